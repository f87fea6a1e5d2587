//! What each model family can do and how it is asked, by the name of the model.
//!
//! Source: written from memory of the providers' pages, and compared on 2026-11-23 with the model map
//! of LiteLLM 1.109, where most of them are. A figure is the family's; a member that differs is told by
//! `settings.profile`. A family that is not listed is asked in the way that every compatible server
//! understands.

use super::Profile;
use crate::domain::{ModelRequest, ThinkingRule};

/// One family: the beginning of its models' names, and its figures.
struct Family {
    prefix: &'static str,
    context_window: u64,
    max_output_tokens: u64,
    /// Whether sampling settings are refused.
    reasoning: bool,
}

const fn family(prefix: &'static str, context_window: u64, max_output_tokens: u64, reasoning: bool) -> Family {
    Family { prefix, context_window, max_output_tokens, reasoning }
}

/// The first prefix that fits counts, so the longer ones come first.
const FAMILIES: &[Family] = &[
    family("gpt-6", 1_050_000, 128_000, true),
    family("gpt-5-chat", 128_000, 16_384, false),
    family("gpt-5.1-chat", 128_000, 16_384, true),
    family("gpt-5.2-chat", 128_000, 16_384, true),
    family("gpt-5.3-chat", 128_000, 16_384, true),
    family("gpt-5.4-mini", 400_000, 128_000, true),
    family("gpt-5.4-nano", 400_000, 128_000, true),
    family("gpt-5.4", 1_050_000, 128_000, true),
    family("gpt-5.5", 1_050_000, 128_000, true),
    family("gpt-5.6", 1_050_000, 128_000, true),
    family("gpt-5", 400_000, 128_000, true),
    family("gpt-4.1", 1_047_576, 32_768, false),
    family("gpt-4o-2024-05-13", 128_000, 4_096, false),
    family("gpt-4o", 128_000, 16_384, false),
    family("gpt-4-turbo", 128_000, 4_096, false),
    family("gpt-3.5-turbo", 16_385, 4_096, false),
    family("o1-mini", 128_000, 65_536, true),
    family("o1", 200_000, 100_000, true),
    family("o3", 200_000, 100_000, true),
    family("o4", 200_000, 100_000, true),
    family("claude-fable-5", 1_000_000, 128_000, true),
    family("claude-mythos", 1_000_000, 128_000, true),
    family("claude-opus-5", 1_000_000, 128_000, true),
    family("claude-sonnet-5", 1_000_000, 128_000, true),
    family("claude-haiku-5", 1_000_000, 128_000, true),
    family("claude-opus-4-8", 1_000_000, 128_000, true),
    family("claude-opus-4-7", 1_000_000, 128_000, true),
    family("claude-opus-4-6", 1_000_000, 128_000, false),
    family("claude-sonnet-4-6", 1_000_000, 64_000, false),
    family("claude-opus-4-5", 200_000, 64_000, false),
    family("claude-opus-4", 200_000, 32_000, false),
    family("claude-sonnet-4", 200_000, 64_000, false),
    family("claude-haiku-4", 200_000, 64_000, false),
    family("claude-3-7-sonnet", 200_000, 64_000, false),
    family("claude-3-5", 200_000, 8_192, false),
    family("claude-3", 200_000, 4_096, false),
    family("gemini-4", 1_048_576, 65_536, false),
    family("gemini-3", 1_048_576, 65_536, false),
    family("gemini-2.5", 1_048_576, 65_536, false),
    family("gemini-2.0", 1_048_576, 8_192, false),
    family("grok-4.20", 1_000_000, 1_000_000, false),
    family("grok-4.3", 1_000_000, 1_000_000, false),
    family("grok-4.5", 500_000, 500_000, false),
    family("grok-4.6", 500_000, 500_000, false),
    family("grok-4.7", 500_000, 500_000, false),
    family("grok-build", 256_000, 256_000, false),
    family("grok-code-fast", 256_000, 256_000, false),
    family("deepseek-v4", 1_000_000, 393_216, false),
    family("deepseek-v3.2", 163_840, 163_840, false),
    family("deepseek-chat", 131_072, 8_192, false),
    family("deepseek-reasoner", 131_072, 65_536, false),
    family("gpt-oss", 131_072, 65_536, false),
    family("mistral-large", 131_072, 131_072, false),
    family("mistral-medium", 131_072, 131_072, false),
    family("mistral-small", 131_072, 131_072, false),
    family("ministral", 131_072, 131_072, false),
    family("command-a-plus", 128_000, 64_000, false),
    family("command-a", 256_000, 8_000, false),
    family("command-r", 128_000, 4_096, false),
];

/// The profile of a model; what a gateway or region puts before its name is no part of the family's.
pub(super) fn of(model_name: &str) -> Profile {
    let name = plain_name(model_name);
    let name = name.as_str();
    let name = name.find("claude-").map_or(name, |begin| &name[begin..]);
    let found = FAMILIES.iter().find(|family| belongs(name, family.prefix));
    let plain = Profile {
        native_schema: claude_version(name).is_none_or(|version| version >= (4, 5)) && !is_ollama_cloud(name),
        // Before Gemini 3 a schema and tools could not be in one request.
        schema_with_tools: !["gemini-1", "gemini-2"].iter().any(|family| name.starts_with(family)),
        thinking: thinking(name, found.is_some_and(|family| family.reasoning)),
        ..Profile::default()
    };
    found.map_or(plain, |family| Profile {
        context_window: Some(family.context_window),
        max_output_tokens: Some(family.max_output_tokens),
        reasoning: family.reasoning,
        sampling: !family.reasoning,
        ..plain
    })
}

/// Whether a model of Ollama runs in its cloud, which takes a schema and does not hold to it: `gpt-oss:120b-cloud`.
fn is_ollama_cloud(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, tag)| tag == "cloud" || tag.ends_with("-cloud"))
}

/// How a model is asked to think; `None` where nothing is known of it.
fn thinking(name: &str, reasoning: bool) -> Option<ThinkingRule> {
    use ThinkingRule::{Adaptive, Budget, Effort, Never};
    if let Some(version) = claude_version(name) {
        return Some(match version {
            _ if version >= (4, 6) => Adaptive,
            _ if version >= (3, 7) => Budget,
            _ => Never,
        });
    }
    match name {
        // The first of them has no version in its name.
        _ if name.starts_with("claude-mythos") => Some(Adaptive),
        _ if name.starts_with("gemini-2.5") => Some(Budget),
        _ if name.starts_with("gemini-1") || name.starts_with("gemini-2") => Some(Never),
        _ if name.starts_with("gemini-") || reasoning => Some(Effort),
        _ => None,
    }
}

/// Tokens that a provider may add to a request with tools, before any of them: the largest is Claude's.
pub(super) const TOOLS_PROMPT: u64 = 1_024;

/// Tokens that a provider puts before what is said, beside those of tools.
///
/// Source: recorded usage of short requests. xAI has a text of its own, DeepSeek one where it thinks; OpenAI's `pro`
/// mode reads what it works out in between.
pub(super) fn own_prompt(request: &ModelRequest, family: &str) -> u64 {
    let name = plain_name(family);
    let by_family = match name.as_str() {
        _ if name.starts_with("grok") => 512,
        _ if name.starts_with("deepseek") => 256,
        _ => 0,
    };
    let works_in_between = request.settings.extra.get("reasoning").is_some_and(|reasoning| reasoning["mode"] == "pro");
    by_family + if works_in_between { 8_192 } else { 0 }
}

/// Tokens that the template of a model nobody knows may put before what is said. Source: recorded usage.
pub(super) fn template_bound(family: &str) -> u64 {
    if of(&plain_name(family)).context_window.is_some() { 0 } else { 512 }
}

/// The name without what a gateway puts before it, in the one way in which families are written.
fn plain_name(model_name: &str) -> String {
    model_name.rsplit('/').next().unwrap_or(model_name).to_ascii_lowercase()
}

/// Tokens that an image may count as at most, by the name of the model's family.
///
/// A name that tells no family, as a deployment's own may, could hide any of them.
pub(super) fn image_bound(family: &str) -> u64 {
    let name = plain_name(family);
    // This one counts an image as many times more tokens as its tokens are cheaper.
    if belongs(&name, "gpt-4o-mini") || of(&name).context_window.is_none() { 48_200 } else { 6_000 }
}

/// The profile of the model of a request, as its settings have it.
pub(super) fn of_request(request: &ModelRequest, family: Option<&str>) -> Profile {
    let own = request.settings.profile.as_ref();
    let named = own.and_then(|own| own.family.as_deref()).or(family);
    of(named.unwrap_or(&request.model_name)).overridden(own)
}

/// Whether a name begins a family: `o3-mini` belongs to `o3`, `o300` does not.
pub(super) fn belongs(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// The version in the name of a Claude: `claude-haiku-4-5-20251001` is 4.5, `claude-3-opus-…` is 3.0.
pub(super) fn claude_version(model_name: &str) -> Option<(u32, u32)> {
    let name = &model_name[model_name.find("claude-")?..];
    let mut numbers = name.split(['-', '.', ':', '@']).skip(1).map(|word| word.parse::<u32>().ok());
    let major = numbers.by_ref().flatten().next()?;
    // What is longer than two digits is a date.
    let minor = numbers.next().flatten().filter(|minor| *minor < 100);
    Some((major, minor.unwrap_or(0)))
}

/// Whether a model can be made to call a tool: Claude cannot from 5.1 on, but for its smallest.
///
/// Source: the model map of LiteLLM 1.109 (`supports_forced_tool_use`).
pub(super) fn takes_forced_calls(model_name: &str) -> bool {
    model_name.contains("haiku") || claude_version(model_name).is_none_or(|version| version < (5, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b34_reasoning_families_are_known_by_name() {
        let newer = ["gpt-6.1-sol", "gpt-6-luna-2026-09-22", "gpt-5.5-pro", "claude-opus-5-5", "claude-sonnet-5"];
        for name in ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-nano", "gpt-5.1", "openai/gpt-5-mini"]
            .iter()
            .chain(&newer)
        {
            assert!(of(name).reasoning, "{name}");
        }
        for (name, version) in [
            ("claude-haiku-4-5-20251001", (4, 5)),
            ("claude-3-opus-20240229", (3, 0)),
            ("claude-3-5-sonnet-20241022", (3, 5)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("us.anthropic.claude-opus-4-7-v1:0", (4, 7)),
            ("claude-fable-5-1", (5, 1)),
        ] {
            assert_eq!(claude_version(name), Some(version), "{name}");
        }
        for name in ["claude-mythos-preview", "us.anthropic.claude-mythos-preview", "anthropic.claude-mythos-5-1-v1:0"]
        {
            assert_eq!(of(name).thinking, Some(ThinkingRule::Adaptive), "{name}");
        }
        assert_eq!(of("us.anthropic.claude-sonnet-4-5-20250929-v1:0").max_output_tokens, Some(64_000));
        for name in ["gpt-4o", "gpt-4.1-nano", "gpt-5-chat-latest", "o300", "qwen3-o3", "llama", ""] {
            assert!(!of(name).reasoning, "{name}");
        }
    }
}
