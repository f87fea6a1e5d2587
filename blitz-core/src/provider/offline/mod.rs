//! A rule-based stand-in for a model: no key, no network, the same answer every time.
//!
//! It does real but modest work: it reads the file that a question names, hands arithmetic to tools,
//! fills an output schema from what stands out in the text, and else repeats the salient sentences.
//! It says `offline` wherever it answers, so that nobody takes it for a model.

mod arithmetic;
mod fill;
mod material;
mod text;

use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use self::material::{Material, is_reader, named_file};
use self::text::{Sentence, salient};
use super::{CallContext, ModelStream, Profile, Provider, StreamItem};
use crate::domain::{
    Delta, FinishReason, Message, ModelRequest, ModelResponse, Part, Provenance, ToolCall, ToolChoice, ToolSpec, Usage,
};

/// What begins every prose answer.
const MARK: &str = "[offline]";
/// Sentences of a summary.
const SUMMARY: usize = 3;
/// Bytes that count as one token.
const TOKEN: usize = 4;

/// The stand-in provider, named `offline`. It costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

impl Offline {
    /// Its name, in model records and wherever it answers.
    pub const NAME: &'static str = "offline";

    /// The stand-in; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl Provider for Offline {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: ModelRequest, _context: CallContext) -> ModelStream {
        stream::once(async move { stream::iter(items(&request)) }).flatten().map(Ok).boxed()
    }

    fn profile(&self, _model_name: &str) -> Profile {
        Profile { free: true, ..Profile::default() }
    }
}

fn items(request: &ModelRequest) -> Vec<StreamItem> {
    let response = respond(request);
    let shown: &[Part] = if request.settings.stream == Some(false) { &[] } else { &response.message.parts };
    let deltas = shown.iter().flat_map(deltas).map(StreamItem::Delta);
    deltas.chain([StreamItem::Done(Box::new(response.clone()))]).collect()
}

fn deltas(part: &Part) -> Vec<Delta> {
    match part {
        Part::Text { text } => text.split_inclusive(' ').map(|word| Delta::Text { text: word.to_owned() }).collect(),
        Part::ToolCall(call) => vec![
            Delta::ToolCall { index: 0, name: call.name.clone() },
            Delta::Arguments { index: 0, text: call.arguments.clone() },
        ],
        _ => Vec::new(),
    }
}

/// The whole answer to a request.
fn respond(request: &ModelRequest) -> ModelResponse {
    let material = Material::of(request);
    let (part, output) = match next_call(request, &material) {
        Some((tool, arguments)) => {
            let arguments = Value::Object(arguments).to_string();
            let made = request.messages.iter().flat_map(Message::tool_calls).count();
            let size = tool.len() + arguments.len();
            (Part::ToolCall(ToolCall::new(format!("offline-{}", made + 1), tool, arguments)), size)
        }
        None => {
            let text = answer(request, &material);
            let size = text.len();
            (Part::text(text), size)
        }
    };
    capped(part, output, request)
}

/// The answer within the cap of the request, with its usage.
fn capped(part: Part, output: usize, request: &ModelRequest) -> ModelResponse {
    let cap = request.settings.max_output_tokens.unwrap_or(u64::MAX);
    let tokens = output.div_ceil(TOKEN) as u64;
    let input: usize = request.messages.iter().map(message_size).sum();
    let usage = Usage::new(input.div_ceil(TOKEN) as u64, tokens.min(cap)).with_provenance(Provenance::Counted);
    let (part, cut) = match part {
        Part::Text { text } if tokens > cap => {
            let end = usize::try_from(cap).unwrap_or(usize::MAX).saturating_mul(TOKEN).min(text.len());
            (Part::text(&text[..text.floor_char_boundary(end)]), true)
        }
        part => (part, false),
    };
    let mut response = ModelResponse::new(vec![part]).with_usage(usage);
    if cut {
        response.finish_reason = FinishReason::Length;
    }
    response.model_name = "offline".to_owned();
    response
}

fn message_size(message: &Message) -> usize {
    let size = |part: &Part| match part {
        Part::Text { text } | Part::Thinking { text, .. } | Part::Refusal { text } => text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::ToolResult(result) => result.as_text().len(),
        Part::Image { .. } => 0,
    };
    message.parts.iter().map(size).sum()
}

/// The tool to call next, if any rule asks for one: read the file, do the sum, compute the score.
fn next_call(request: &ModelRequest, material: &Material) -> Option<(String, Map<String, Value>)> {
    let tools: Vec<&ToolSpec> = match &request.tool_choice {
        ToolChoice::None => return None,
        ToolChoice::Tool(name) => request.tools.iter().filter(|tool| tool.name == *name).collect(),
        _ => request.tools.iter().collect(),
    };
    let fresh: Vec<&ToolSpec> = tools.iter().copied().filter(|tool| !material.called(&tool.name)).collect();
    let chosen =
        read_call(&fresh, material).or_else(|| sum_call(&fresh, material)).or_else(|| score_call(&fresh, material));
    let must = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
    chosen.or_else(|| if must { forced_call(tools.first()?, material) } else { None })
}

fn read_call(tools: &[&ToolSpec], material: &Material) -> Option<(String, Map<String, Value>)> {
    let path = named_file(material)?;
    let field = |tool: &ToolSpec| {
        ["path", "file", "filename", "document"].into_iter().find(|name| property(tool, name, &["string"]))
    };
    let (tool, field) =
        tools.iter().filter(|tool| is_reader(&tool.name)).find_map(|tool| Some((tool, field(tool)?)))?;
    call(tool, [(field, json!(path))])
}

fn sum_call(tools: &[&ToolSpec], material: &Material) -> Option<(String, Map<String, Value>)> {
    // One sum, one tool: what was computed is not handed to the next one.
    if material.number().is_some() {
        return None;
    }
    let expression = arithmetic::expression(&material.question)?;
    if let Some(tool) = calculator(tools) {
        return call(tool, [("expression", json!(expression))]);
    }
    let sum = arithmetic::binary(&expression)?;
    let words: &[&str] = match sum.operator {
        '+' => &["add", "sum", "plus"],
        '-' => &["subtract", "minus", "difference"],
        '*' => &["multiply", "times", "product"],
        _ => &["divide", "quotient", "ratio"],
    };
    let fits = |tool: &&&ToolSpec| {
        let text = format!("{} {}", tool.name, tool.description).to_lowercase();
        words.iter().any(|word| text.contains(word)) && number_fields(tool).len() == 2
    };
    let tool = tools.iter().find(fits)?;
    let fields = number_fields(tool);
    call(tool, [(fields[0], number(tool, fields[0], sum.left)), (fields[1], number(tool, fields[1], sum.right))])
}

/// Computes the score of a document where the prompt asks for a calculator.
fn score_call(tools: &[&ToolSpec], material: &Material) -> Option<(String, Map<String, Value>)> {
    let wanted = material.document && material.prompt.contains("calculator");
    let tool = calculator(tools).filter(|_| wanted)?;
    call(tool, [("expression", json!(material.score_expression()))])
}

/// A call that the request demands, with arguments by its schema.
fn forced_call(tool: &ToolSpec, material: &Material) -> Option<(String, Map<String, Value>)> {
    match fill::value(&tool.input_schema, material) {
        Value::Object(arguments) => Some((tool.name.clone(), arguments)),
        _ => None,
    }
}

fn calculator<'a>(tools: &[&'a ToolSpec]) -> Option<&'a ToolSpec> {
    tools.iter().copied().find(|tool| property(tool, "expression", &["string"]))
}

/// A call with these arguments, unless the tool demands others.
fn call<const N: usize>(tool: &ToolSpec, arguments: [(&str, Value); N]) -> Option<(String, Map<String, Value>)> {
    let arguments: Map<String, Value> = arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let required = tool.input_schema.get("required").and_then(Value::as_array);
    let given = |name: &Value| name.as_str().is_some_and(|name| arguments.contains_key(name));
    required.is_none_or(|names| names.iter().all(given)).then(|| (tool.name.clone(), arguments))
}

fn property(tool: &ToolSpec, name: &str, types: &[&str]) -> bool {
    let schema = tool.input_schema.get("properties").and_then(|properties| properties.get(name));
    schema.and_then(|schema| schema.get("type")?.as_str()).is_some_and(|found| types.contains(&found))
}

fn number_fields(tool: &ToolSpec) -> Vec<&str> {
    let properties = tool.input_schema.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(Map::keys).map(String::as_str);
    names.filter(|name| property(tool, name, &["number", "integer"])).collect()
}

/// A number as a field takes it: whole numbers without a fraction.
fn number(tool: &ToolSpec, field: &str, value: f64) -> Value {
    if property(tool, field, &["integer"]) || value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// The last answer: a value of the schema, or prose with the mark.
fn answer(request: &ModelRequest, material: &Material) -> String {
    if let Some(output) = &request.output_schema {
        return fill::value(&output.schema, material).to_string();
    }
    let last = material.calls.last().map(|(_, result)| result);
    let prose = match last {
        Some(result) if result.is_error => format!("The tool {} failed: {}", result.name, result.as_text()),
        Some(result) if !material.document => match material.number() {
            Some(number) => format!("The result is {number}."),
            None => format!("The tool {} gave: {}", result.name, result.as_text()),
        },
        _ => summary(&material.sentences),
    };
    format!("{MARK} {prose}").trim_end().to_owned()
}

/// The sentences that stand out.
fn summary(sentences: &[Sentence]) -> String {
    salient(sentences, SUMMARY).iter().map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
