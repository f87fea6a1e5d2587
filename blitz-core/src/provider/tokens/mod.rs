//! How many tokens a request can count as, before it is sent: never less than what is billed.
//!
//! A byte-level tokenizer makes no more tokens than bytes, so the bytes of a text are a bound for every
//! model. With the feature `tokens` a text is counted exactly where the encoding of the model is known;
//! what a provider writes around texts stays a bound.

#[cfg(feature = "tokens")]
mod exact;
mod own_tools;

use serde_json::{Map, Value};

use super::{EmbeddingRequest, profile, wire};
use crate::domain::{Message, ModelRequest, Part};

pub(crate) use own_tools::metered;
pub(super) use own_tools::{always_searches, is_billed_by_the_prompt, meter_of, without_known_price};

/// Tokens that a message, tool or request may add around its text.
const OVERHEAD: u64 = 16;
/// Tokens that a request with citations may have beside its text.
const CITING: u64 = 1_024;
/// Tokens that a file may count as where its bytes are elsewhere: a hundred pages, each as text and image.
const FILE: u64 = 700_000;

/// The most tokens that the input of a request can count as, if a model reads it as it is.
///
/// `family` is the model behind the request's name, where the provider knows it.
pub(super) fn input_bound(request: &ModelRequest, family: Option<&str>) -> u64 {
    let family = family_of(request, family);
    let count = Counter::of(family);
    let image = profile::image_bound(family);
    let message = |message: &Message| {
        message.parts.iter().fold(OVERHEAD, |sum, part| {
            sum + OVERHEAD
                + match part {
                    Part::Text { text } | Part::Refusal { text } => count.text(text),
                    Part::Thinking { text, signature, .. } => count.text(text) + count.opaque(signature.as_deref()),
                    Part::ToolCall(call) => {
                        count.text(&call.id)
                            + count.text(&call.name)
                            + count.text(&call.arguments)
                            + count.opaque(call.signature.as_deref())
                    }
                    Part::ToolResult(result) => {
                        count.text(&result.id) + count.text(&result.name) + count.text(&result.as_text())
                    }
                    Part::Image { .. } => image,
                    Part::File { media_type, data, .. } if wire::media::text(media_type, data).is_some() => {
                        data.len() as u64
                    }
                    Part::File { data, .. } => (data.len() as u64).max(FILE),
                    Part::Opaque { data, .. } => json_len(data) + document_bound(data),
                    Part::CachePoint { .. } => 0,
                }
        })
    };
    let messages: u64 = request.messages.iter().map(message).sum();
    let tools: u64 = request
        .tools
        .iter()
        .map(|tool| OVERHEAD + count.text(&tool.name) + count.text(&tool.description) + count.json(&tool.input_schema))
        .sum();
    let schema = request.output_schema.as_ref().map_or(0, |schema| OVERHEAD + count.json(&schema.schema));
    let passed = &request.settings.extra;
    let has_tools = !request.tools.is_empty() || passed.contains_key("tools");
    let tools_prompt = if has_tools { profile::TOOLS_PROMPT } else { 0 };
    let extra = extra_bound(passed);
    let own_prompt = profile::own_prompt(request, family);
    OVERHEAD + own_prompt + messages + tools + tools_prompt + schema + extra
}

/// The same where a server gets the request: what stands behind a name that tells no model may have a template with a
/// text of its own.
pub(super) fn served_bound(request: &ModelRequest, family: Option<&str>) -> u64 {
    let template = profile::template_bound(family_of(request, family));
    input_bound(request, family).saturating_add(template)
}

/// What the settings say goes before what the provider knows, and that before the request's name.
fn family_of<'a>(request: &'a ModelRequest, family: Option<&'a str>) -> &'a str {
    let own = request.settings.profile.as_ref().and_then(|own| own.family.as_deref());
    own.or(family).unwrap_or(&request.model_name)
}

/// Tokens beside its own bytes that a document in Anthropic's form may count as: of what tells it how to cite, and of a
/// file that is elsewhere.
fn document_bound(data: &Value) -> u64 {
    let is_elsewhere = matches!(data["source"]["type"].as_str(), Some("url" | "file"));
    match data["type"].as_str() {
        Some("document") => CITING + if is_elsewhere { FILE } else { 0 },
        _ => 0,
    }
}

/// Fields of `settings.extra` by which one call gives several answers: OpenAI's, vLLM's, Gemini's.
pub(super) const CHOICES: &[&str] = &["n", "best_of", "generationConfig.candidateCount"];

/// How many answers a request asks for at once: each may be as long as the output cap.
pub(crate) fn choice_bound(request: &ModelRequest) -> u64 {
    let extra = &request.settings.extra;
    let asked = CHOICES.iter().flat_map(|field| wire::extra::found(extra, field));
    asked.filter_map(Value::as_u64).max().unwrap_or(1).max(1)
}

/// The most tokens that what is to be embedded can count as.
pub(super) fn embedding_bound(request: &EmbeddingRequest) -> u64 {
    let count = Counter::of(&request.model_name);
    let bound = |part: &Part| match part {
        Part::Text { text } => count.text(text),
        _ => profile::image_bound(&request.model_name),
    };
    // Some servers put what a field says before each input.
    let extra = extra_bound(&request.extra);
    request.inputs.iter().map(|part| OVERHEAD + bound(part) + extra).sum()
}

/// Fields of `settings.extra` that ask for a class of service, in any provider's words: no model reads them.
pub(crate) const CLASS_FIELDS: [&str; 3] = ["service_tier", "serviceTier", "speed"];

/// The most tokens that fields count as which the engine does not know (tools of the provider's own, documents): the
/// provider reads them in its own way, so their bytes.
fn extra_bound(extra: &Map<String, Value>) -> u64 {
    let read = extra.iter().filter(|(name, _)| !CLASS_FIELDS.contains(&name.as_str()));
    read.map(|(name, value)| OVERHEAD + name.len() as u64 + json_len(value)).sum()
}

/// Counts the tokens of texts, exactly or at most.
struct Counter {
    #[cfg(feature = "tokens")]
    exact: Option<exact::Encoding>,
}

impl Counter {
    /// The one for a model.
    #[cfg_attr(not(feature = "tokens"), allow(unused_variables, reason = "bytes are bytes for every model"))]
    fn of(model_name: &str) -> Self {
        Self {
            #[cfg(feature = "tokens")]
            exact: exact::Encoding::of(model_name),
        }
    }

    /// The tokens of a text that the model reads.
    #[allow(clippy::unused_self, reason = "without the feature there is nothing to ask")]
    fn text(&self, text: &str) -> u64 {
        #[cfg(feature = "tokens")]
        if let Some(encoding) = &self.exact {
            return encoding.count(text);
        }
        text.len() as u64
    }

    /// The same of a value that is shown as JSON.
    fn json(&self, value: &Value) -> u64 {
        #[cfg(feature = "tokens")]
        if self.exact.is_some() {
            return self.text(&value.to_string());
        }
        json_len(value)
    }

    /// The same of what the provider reads in its own way: by its bytes.
    #[allow(clippy::unused_self, reason = "it stands beside the others")]
    fn opaque(&self, data: Option<&str>) -> u64 {
        data.map_or(0, |data| data.len() as u64)
    }
}

/// How many bytes a value has as JSON, without making them.
fn json_len(value: &Value) -> u64 {
    struct Counted(u64);

    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    // A counter takes every write, and a `Value` always has a JSON form.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}
