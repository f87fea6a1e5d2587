//! Anthropic Messages.
//!
//! [`request`] maps a request to its wire form, where [`thinking`] asks for thought; [`response`] puts the answer
//! together.

mod request;
mod response;
mod thinking;

use reqwest::header::HeaderName;

use super::tokens;
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, http_provider};
use crate::domain::{ModelRequest, Secret};
use crate::error::Result;

/// A provider that speaks Anthropic Messages.
///
/// ```
/// use blitz::provider::{Anthropic, Provider};
/// let claude = Anthropic::new(Anthropic::BASE_URL, Some(blitz::Secret::new("key")))?;
/// assert_eq!(claude.name(), "anthropic");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Anthropic {
    link: Link,
}

impl Anthropic {
    /// Where Anthropic itself is reached.
    pub const BASE_URL: &'static str = "https://api.anthropic.com";

    /// A provider at `base_url` with a key. An address without a path means its `/v1`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let auth = Auth::key(HeaderName::from_static("x-api-key"), "", api_key)?;
        Ok(Self { link: Link::new(Endpoint::new("anthropic", base_url, auth)?, Messages) })
    }
}

http_provider!(Anthropic);

struct Messages;

/// The input from which on a conversation is compacted before it is answered, where that is asked for.
fn compacts_from(request: &ModelRequest) -> Option<u64> {
    let edits = request.settings.extra.get("context_management")?.get("edits")?.as_array()?;
    let mut compacting =
        edits.iter().filter(|edit| edit["type"].as_str().is_some_and(|kind| kind.starts_with("compact_")));
    compacting.next().map(|edit| edit["trigger"]["value"].as_u64().unwrap_or(DEFAULT_TRIGGER))
}

/// Source: platform.claude.com/docs/en/build-with-claude/compaction.
const DEFAULT_TRIGGER: u64 = 150_000;

impl Dialect for Messages {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let wire = request::encode(&endpoint.name, request)?;
        Ok(Encoded {
            url: endpoint.url("/v1", "/messages"),
            headers: wire.headers,
            body: wire.body,
            streams: wire.streams,
            decoder: Box::new(response::Decoder::new(&endpoint.name, request, wire.reading)),
            left_out: wire.left_out,
        })
    }

    fn input_bound(&self, request: &ModelRequest) -> u64 {
        let once = tokens::served_bound(request, None);
        match compacts_from(request) {
            // The conversation is read to be compacted, and what is left of it behind that.
            Some(least) if once >= least => once.saturating_mul(2).saturating_add(request::cap(request)),
            _ => once,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Message;

    #[test]
    fn b40_money_is_held_for_a_conversation_that_is_compacted() {
        let mut request = ModelRequest::new("claude-opus-4-6", vec![Message::user("x".repeat(60_000))]);
        request.settings.max_output_tokens = Some(1_000);
        let edit = |trigger| json!({"edits": [{"type": "compact_20260112", "trigger": trigger}]});
        let mut bound = |context| {
            request.settings.extra.insert("context_management".into(), context);
            (Messages.input_bound(&request), tokens::served_bound(&request, None))
        };
        let (twice, once) = bound(edit(json!({"type": "input_tokens", "value": 50_000})));
        assert_eq!(twice, 2 * once + 1_000);
        let (never, once) = bound(edit(json!(null)));
        assert_eq!(never, once, "it is too short for that");
        let (never, once) = bound(json!({"edits": [{"type": "clear_tool_uses_20250919"}]}));
        assert_eq!(never, once);
    }
}
