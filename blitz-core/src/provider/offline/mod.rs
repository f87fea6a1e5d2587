//! A rule-based stand-in that needs no key and says so wherever it answers.
//!
//! It is no language model. [`Conversation`] finds what is asked; [`tools`] calls for files and
//! arithmetic; [`Facts`] holds what a text says and what should be looked at in it; [`shape`] puts
//! that into the form of a schema. The same request always gives the same answer.

mod arithmetic;
mod conversation;
mod facts;
mod files;
mod findings;
mod shape;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod text;
mod tools;

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use self::conversation::Conversation;
use self::facts::{Facts, Material};
use self::tools::Wish;
use super::scripted::{counted, deltas};
use super::{CallContext, ModelStream, Profile, Provider, StreamItem};
use crate::domain::{FinishReason, ModelRequest, ModelResponse, Part, ToolCall, ToolChoice, ToolSpec};
use crate::error::{Error, Result};

/// What every answer in words begins with.
const MARK: &str = "[offline] ";
/// Bytes of output that one token of the cap allows at most.
const BYTES_PER_TOKEN: u64 = 8;
/// How many entries the lists of an answer have; fewer are tried where the answer is too long.
const LIST_LENGTHS: [usize; 4] = [30, 10, 3, 0];
/// Bytes of messages from which an answer is worked out off the async threads.
const LARGE: usize = 64 * 1024;

/// A provider that runs inside the process, needs no key, costs nothing and is no language model.
///
/// It reads files and works out arithmetic by the tools on offer, extracts the salient sentences of
/// a text and those that hold a risk, and fills any JSON Schema from them. Its prose begins with
/// `[offline] `, and its model is named `offline` whatever was asked for.
///
/// ```
/// use blitz::provider::{Offline, Provider};
/// assert_eq!(Offline::new().name(), Offline::NAME);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

impl Offline {
    /// Its name as a provider and as a model.
    pub const NAME: &str = "offline";

    /// The stand-in. It holds nothing.
    pub fn new() -> Self {
        Self
    }
}

impl Provider for Offline {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: ModelRequest, _: CallContext) -> ModelStream {
        stream::once(async move {
            match answer(request).await {
                Ok(response) => stream::iter(items(response)).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            }
        })
        .flatten()
        .boxed()
    }

    fn profile(&self, _: &str) -> Profile {
        Profile { free: true, ..Profile::default() }
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// The deltas of an answer and the answer itself.
fn items(response: ModelResponse) -> Vec<Result<StreamItem>> {
    let deltas = deltas(&response.message.parts).into_iter().map(StreamItem::Delta);
    let mut items: Vec<_> = deltas.map(Ok).collect();
    items.push(Ok(StreamItem::Done(Box::new(response))));
    items
}

async fn answer(request: ModelRequest) -> Result<ModelResponse> {
    let size: usize = request.messages.iter().map(|message| message.text_content().len()).sum();
    if size < LARGE {
        return Ok(respond(&request));
    }
    let work = tokio::task::spawn_blocking(move || respond(&request));
    work.await.map_err(|_| Error::internal("the offline stand-in failed on this request"))
}

/// The answer to a request: a call if a rule asks for one, else what is known by now.
fn respond(request: &ModelRequest) -> ModelResponse {
    let talk = Conversation::of(request);
    let material = Material::of(&talk);
    let (part, is_cut) = match next_call(request, &talk, &material) {
        Some(wish) => {
            let name = wish.tool.name.clone();
            let arguments = wish.arguments(&material).to_string();
            (Part::ToolCall(ToolCall::new(talk.next_id(), name, arguments)), false)
        }
        None => {
            let (text, is_cut) = final_text(request, &material);
            (Part::text(text), is_cut)
        }
    };
    let parts = vec![part];
    let usage = counted(&request.messages, &parts);
    let mut response = ModelResponse::new(parts).with_usage(usage);
    if is_cut {
        response = response.with_finish_reason(FinishReason::Length);
    }
    response.model_name = Offline::NAME.to_owned();
    response
}

/// The call to make next, if any; a forced choice holds until something was called.
fn next_call<'a>(request: &'a ModelRequest, talk: &Conversation<'_>, material: &Material) -> Option<Wish<'a>> {
    let tools = &request.tools;
    let is_first = talk.current().is_empty();
    match &request.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Tool(name) if is_first && tools.iter().any(|tool| tool.name == *name) => {
            let only = tools.iter().find(|tool| tool.name == *name)?;
            by_rule(std::slice::from_ref(only), talk, material).or_else(|| Some(Wish::blank(only)))
        }
        ToolChoice::Required if is_first => by_rule(tools, talk, material).or_else(|| tools.first().map(Wish::blank)),
        _ => by_rule(tools, talk, material),
    }
}

/// What the rules ask for, in their order: files, the score of a document, arithmetic.
fn by_rule<'a>(tools: &'a [ToolSpec], talk: &Conversation<'_>, material: &Material) -> Option<Wish<'a>> {
    if tools.is_empty() {
        return None;
    }
    if let Some(wish) = tools::read(tools, talk) {
        return Some(wish);
    }
    let calculation = talk.asked.calculation.as_ref();
    let is_scored =
        material.has_document && (calculation.is_none() || material.file.is_some()) && mentions_calculator(talk);
    if is_scored && tools::calculator(tools).is_some() {
        return tools::evaluate(tools, talk, || Facts::of(material).score_expression());
    }
    let calculation = calculation?;
    if tools::calculator(tools).is_some() {
        return tools::evaluate(tools, talk, || calculation.to_string());
    }
    tools::operate(tools, talk, calculation)
}

fn mentions_calculator(talk: &Conversation<'_>) -> bool {
    [&talk.instructions, &talk.asked.text].iter().any(|text| text.to_lowercase().contains("calculator"))
}

/// The final answer in the form that is asked for, and whether it is cut off at the cap.
fn final_text(request: &ModelRequest, material: &Material) -> (String, bool) {
    let tokens = request.settings.max_output_tokens.unwrap_or(u64::MAX);
    let cap = usize::try_from(tokens.saturating_mul(BYTES_PER_TOKEN)).unwrap_or(usize::MAX);
    let facts = Facts::of(material);
    let mut text = match &request.output_schema {
        Some(schema) => shaped(&schema.schema, &facts, cap),
        None => format!("{MARK}{}", facts.answer()),
    };
    let is_cut = text.len() > cap;
    text.truncate(text.floor_char_boundary(cap));
    (text, is_cut)
}

/// A value that follows a schema, as JSON; its lists are as long as the cap allows.
fn shaped(schema: &Value, facts: &Facts<'_>, cap: usize) -> String {
    let mut text = String::new();
    for length in LIST_LENGTHS {
        text = shape::output(schema, facts, length).to_string();
        if text.len() <= cap {
            break;
        }
    }
    text
}
