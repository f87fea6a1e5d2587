//! How many tokens a request can count as, before it is sent: never less than what is billed.
//!
//! A byte-level tokenizer makes no more tokens than bytes, so the bytes of a text are a bound for every
//! model. With the feature `tokens` a text is counted exactly where the encoding of the model is known;
//! what a provider writes around texts stays a bound.

#[cfg(feature = "tokens")]
mod exact;

use super::{EmbeddingRequest, profile};
use crate::domain::{Message, ModelRequest, Part};

/// Tokens that a message, tool or request may add around its text.
const OVERHEAD: u64 = 16;
/// Tokens that a file may count as where its bytes are elsewhere: a hundred pages, each as text and image.
const FILE: u64 = 700_000;

/// The most tokens that the input of a request can count as.
pub(super) fn input_bound(request: &ModelRequest) -> u64 {
    let family = request.settings.profile.as_ref().and_then(|own| own.family.as_deref());
    let count = Counter::of(family.unwrap_or(&request.model_name));
    let image = profile::image_bound(&request.model_name);
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
                    Part::File { data, .. } => (data.len() as u64).max(FILE),
                    Part::Opaque { data, .. } => json_len(data),
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
    let tools_prompt = if request.tools.is_empty() { 0 } else { profile::TOOLS_PROMPT };
    OVERHEAD + messages + tools + tools_prompt + schema
}

/// The most tokens that what is to be embedded can count as.
pub(super) fn embedding_bound(request: &EmbeddingRequest) -> u64 {
    let count = Counter::of(&request.model_name);
    let bound = |part: &Part| match part {
        Part::Text { text } => count.text(text),
        _ => profile::image_bound(&request.model_name),
    };
    request.inputs.iter().map(|part| OVERHEAD + bound(part)).sum()
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
    fn json(&self, value: &serde_json::Value) -> u64 {
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
fn json_len(value: &serde_json::Value) -> u64 {
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
