//! Who made a thought: what only its maker understands goes back to the place that it came from, and nowhere else.
//!
//! Encoders and decoders know a provider by its name alone. Here the name in a conversation becomes one that tells
//! places apart: two resources of Azure, or two servers of one kind, read none of each other's encrypted thoughts.

use std::borrow::Cow;

use reqwest::Url;

use super::super::connect;
use crate::domain::{Message, Part};

/// The name of a provider where it is reached at its usual address, else with a mark of the address behind it.
pub(in crate::provider) fn of<'a>(name: &'a str, base: &Url) -> Cow<'a, str> {
    let is_usual =
        connect::usual_base(name).and_then(|usual| Url::parse(usual).ok()).is_some_and(|usual| usual == *base);
    if is_usual {
        return Cow::Borrowed(name);
    }
    // FNV-1a: a mark that stays, and no secret.
    let mark = base.as_str().trim_end_matches('/').bytes();
    let mark = mark.fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Cow::Owned(format!("{name}@{mark:08x}"))
}

/// A conversation as a maker gets it: what others made for themselves is left out, its own is under its plain name.
pub(in crate::provider) fn only_own(messages: &mut [Message], maker: &str, name: &str) {
    for message in messages {
        message.parts.retain_mut(|part| match part {
            Part::Thinking { provider: Some(by), .. } | Part::Opaque { provider: by, .. } => {
                let is_own = *by == maker;
                if is_own && maker != name {
                    name.clone_into(by);
                }
                is_own
            }
            Part::ToolCall(call) => {
                if call.provider.as_ref().is_some_and(|by| by != maker) {
                    call.signature = None;
                }
                true
            }
            _ => true,
        });
    }
}

/// Marks what a maker said for itself alone.
pub(in crate::provider) fn mark(message: &mut Message, maker: &str, name: &str) {
    for part in &mut message.parts {
        match part {
            Part::Thinking { provider: Some(by), .. } | Part::Opaque { provider: by, .. } if by == name => {
                maker.clone_into(by);
            }
            Part::ToolCall(call) if call.signature.is_some() => call.provider = Some(maker.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{MessageRole, ToolCall};

    fn at(name: &str, base: &str) -> String {
        of(name, &Url::parse(base).unwrap()).into_owned()
    }

    #[test]
    fn b29_a_place_of_its_own_is_told_from_the_usual_one() {
        assert_eq!(at("openai", "https://api.openai.com/v1"), "openai");
        assert_eq!(at("anthropic", "https://api.anthropic.com"), "anthropic");
        let (east, west) = (at("azure", "https://east.openai.azure.com"), at("azure", "https://west.openai.azure.com"));
        assert!(east != west && east.starts_with("azure@") && east.len() == "azure@".len() + 8, "{east} {west}");
        assert_eq!(east, at("azure", "https://east.openai.azure.com/"), "a slash is no other place");
        assert_ne!(at("openai", "http://127.0.0.1:8080/v1"), "openai");
    }

    #[test]
    fn b29_b44_what_one_place_made_goes_back_to_it_alone() {
        let mut call = ToolCall::new("c", "f", "{}");
        call.signature = Some("of the call".to_owned());
        let thought =
            Part::Thinking { text: "hm".into(), signature: Some("s".into()), provider: Some("p".into()), id: None };
        let hidden = Part::Opaque { provider: "p".into(), data: json!({"type": "hidden"}) };
        let parts = vec![thought, hidden, Part::text("hello"), Part::ToolCall(call)];
        let said = Message::new(MessageRole::Assistant, parts);
        let mut kept = said.clone();
        mark(&mut kept, "p@east", "p");

        let mut back = [kept.clone()];
        only_own(&mut back, "p@east", "p");
        let mut expected = said.clone();
        if let Some(Part::ToolCall(call)) = expected.parts.last_mut() {
            call.provider = Some("p@east".to_owned());
        }
        assert_eq!(back[0], expected, "under its plain name");

        let mut elsewhere = [kept];
        only_own(&mut elsewhere, "p@west", "p");
        assert_eq!(elsewhere[0].parts.len(), 2);
        assert_eq!(elsewhere[0].tool_calls().next().unwrap().signature, None);
    }
}
