//! What each model family can do and how it is asked, by the name of the model.
//!
//! Source: the model pages of the providers, read 2026-08. A family that is not listed is asked in
//! the way that every compatible server understands.

use super::Profile;

/// One family: the beginning of its models' names, and its figures.
struct Family {
    prefix: &'static str,
    context_window: u64,
    max_output_tokens: u64,
    reasoning: bool,
}

const fn family(prefix: &'static str, context_window: u64, max_output_tokens: u64, reasoning: bool) -> Family {
    Family { prefix, context_window, max_output_tokens, reasoning }
}

/// The first prefix that fits counts, so the longer ones come first.
const FAMILIES: &[Family] = &[
    family("gpt-5-chat", 128_000, 16_384, false),
    family("gpt-5", 400_000, 128_000, true),
    family("gpt-4.1", 1_047_576, 32_768, false),
    family("gpt-4o", 128_000, 16_384, false),
    family("gpt-4-turbo", 128_000, 4_096, false),
    family("gpt-3.5-turbo", 16_385, 4_096, false),
    family("o1-mini", 128_000, 65_536, true),
    family("o1", 200_000, 100_000, true),
    family("o3", 200_000, 100_000, true),
    family("o4", 200_000, 100_000, true),
];

/// The profile of a model; a gateway's prefix (`openai/gpt-5`) is not part of the family's name.
pub(super) fn of(model_name: &str) -> Profile {
    let name = model_name.rsplit('/').next().unwrap_or(model_name);
    let found = FAMILIES.iter().find(|family| belongs(name, family.prefix));
    found.map_or_else(Profile::default, |family| Profile {
        context_window: Some(family.context_window),
        max_output_tokens: Some(family.max_output_tokens),
        reasoning: family.reasoning,
        ..Profile::default()
    })
}

/// Whether a name begins a family: `o3-mini` belongs to `o3`, `o300` does not.
fn belongs(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b34_reasoning_families_are_known_by_name() {
        for name in ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-nano", "gpt-5.1", "openai/gpt-5-mini"] {
            assert!(of(name).reasoning, "{name}");
        }
        for name in ["gpt-4o", "gpt-4.1-nano", "gpt-5-chat-latest", "o300", "qwen3-o3", "llama", ""] {
            assert!(!of(name).reasoning, "{name}");
        }
    }
}
