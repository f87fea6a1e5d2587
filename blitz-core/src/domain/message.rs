//! Messages as all providers understand them: a role and a list of parts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageRole {
    /// Instructions to the model; leading only.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls.
    Tool,
}

/// One message of a conversation.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Message {
    /// Who speaks.
    pub role: MessageRole,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

/// A piece of a message.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought before it answered; kept byte for byte for the provider that made it.
    Thinking {
        /// The thought, as far as it is shown.
        text: String,
        /// The provider's signature or encrypted content.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// The provider that made it, with a mark of the place where that is not its usual one; nobody else is shown it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        /// The provider's own id of the thought, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool gave.
    ToolResult(ToolResult),
    /// An image for a model that sees.
    Image {
        /// MIME type, such as `image/png`.
        media_type: String,
        /// Base64 bytes, an `http(s)` URL, or `file-id:` and the id of an upload to the provider.
        data: String,
    },
    /// A document, sound or film for a model that reads it.
    File {
        /// MIME type, such as `application/pdf`.
        media_type: String,
        /// Base64 bytes, an `http(s)` URL, or `file-id:` and the id of an upload to the provider.
        data: String,
        /// Its name, for the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// What comes before may be kept in the provider's prompt cache; nothing where it has none.
    CachePoint {
        /// How long, in the provider's words, such as `1h`; its default where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<String>,
    },
    /// A part that only its provider understands, kept as it came: hidden thinking, the work of the
    /// provider's own tools, citations.
    Opaque {
        /// The provider that made it, as in [`Part::Thinking`]; nobody else is sent it.
        provider: String,
        /// The part in the provider's form.
        data: Value,
    },
    /// The model declined, in its own words.
    Refusal {
        /// Its words.
        text: String,
    },
}

/// A model's request to run a tool.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolCall {
    /// Unique within the execution; made by the engine where the provider gave none or gave one twice.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments exactly as the model wrote them; empty means `{}`.
    pub arguments: String,
    /// The provider's own id where it differs from `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The provider's signature of the call, which some want back with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Who made the signature; nobody else is sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// The answer to one [`ToolCall`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolResult {
    /// The call's id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// What it gave; text stays text, all else is shown to the model as JSON.
    pub content: Value,
    /// Whether the call failed; the content then tells the model why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

impl Message {
    /// A message of a role with one text part.
    pub fn text(role: MessageRole, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text { text: text.into() }] }
    }

    /// Instructions to the model.
    pub fn system(text: impl Into<String>) -> Self {
        Self::text(MessageRole::System, text)
    }

    /// What a person or program says.
    pub fn user(text: impl Into<String>) -> Self {
        Self::text(MessageRole::User, text)
    }

    /// What the model says.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::text(MessageRole::Assistant, text)
    }

    /// A message of a role with these parts.
    pub fn new(role: MessageRole, parts: Vec<Part>) -> Self {
        Self { role, parts }
    }

    /// All text parts, joined.
    pub fn text_content(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl ToolCall {
    /// A call of `name` with arguments as JSON text.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let (id, name, arguments) = (id.into(), name.into(), arguments.into());
        Self { id, name, arguments, provider_id: None, signature: None, provider: None }
    }
}

impl ToolResult {
    /// A result for the call `id` of `name`.
    pub fn new(id: impl Into<String>, name: impl Into<String>, content: Value) -> Self {
        Self { id: id.into(), name: name.into(), content, is_error: false }
    }

    /// A failure that the model is told about.
    pub fn error(id: impl Into<String>, name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), content: Value::String(message.into()), is_error: true }
    }

    /// What the model is shown: text as it is, all else as JSON.
    pub fn as_text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Messages as earlier versions wrote them load, and what they do not use is not written.
    #[test]
    fn b55_old_messages_load_and_stay_as_they_were() {
        let old = json!({"role": "assistant", "parts": [
            {"type": "thinking", "text": "hm", "signature": "s", "provider": "anthropic"},
            {"type": "text", "text": "ok"},
            {"type": "tool_call", "id": "c", "name": "f", "arguments": "{}", "provider_id": "p"},
            {"type": "image", "media_type": "image/png", "data": "AAAA"}]});
        let message: Message = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(serde_json::to_value(message).unwrap(), old);
    }

    #[test]
    fn opaque_parts_files_and_cache_points_are_kept() {
        let parts = json!([
            {"type": "opaque", "provider": "anthropic", "data": {"type": "redacted_thinking", "data": "x"}},
            {"type": "file", "media_type": "application/pdf", "data": "file-id:f", "name": "a.pdf"},
            {"type": "cache_point"}, {"type": "cache_point", "ttl": "1h"}]);
        let read: Vec<Part> = serde_json::from_value(parts.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), parts);
    }
}
