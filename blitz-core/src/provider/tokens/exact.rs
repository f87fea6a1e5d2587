//! Exact counts, by the encodings that OpenAI publishes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};

use tiktoken_rs::CoreBPE;

use super::super::profile::belongs;

/// How a family of models cuts a text into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Encoding {
    /// `o200k_base`.
    O200k,
    /// `cl100k_base`.
    Cl100k,
}

/// The beginnings of the models' names; the first that fits counts.
const FAMILIES: &[(&str, Encoding)] = &[
    ("gpt-5", Encoding::O200k),
    ("gpt-4.5", Encoding::O200k),
    ("gpt-4.1", Encoding::O200k),
    ("gpt-4o", Encoding::O200k),
    ("chatgpt-4o", Encoding::O200k),
    ("gpt-4", Encoding::Cl100k),
    ("gpt-3.5-turbo", Encoding::Cl100k),
    ("o1", Encoding::O200k),
    ("o3", Encoding::O200k),
    ("o4", Encoding::O200k),
    ("text-embedding-3", Encoding::Cl100k),
    ("text-embedding-ada-002", Encoding::Cl100k),
];

/// A text is cut into pieces of at most so many bytes: the time of an encoding grows with the square of
/// the longest word, and its search for words gives up on a very long one.
const PIECE: usize = 1_024;
/// Tokens that a cut in the middle of a word may hide.
const CUT: u64 = 8;

impl Encoding {
    /// The encoding of a model; `None` where it is not known.
    pub(super) fn of(model_name: &str) -> Option<Self> {
        let name = model_name.rsplit('/').next().unwrap_or(model_name);
        FAMILIES.iter().find(|(prefix, _)| belongs(name, prefix)).map(|(_, encoding)| *encoding)
    }

    /// How many tokens a text has. A mark such as `<|endoftext|>` is text like any other.
    pub(super) fn count(self, text: &str) -> u64 {
        if text.len() < REMEMBERED {
            return self.count_now(text);
        }
        // Every turn of a conversation sends what the turns before it sent.
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static KNOWN: LazyLock<Mutex<HashMap<(u64, usize), u64>>> = LazyLock::new(Mutex::default);
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (HASHER.hash_one((self, text)), text.len());
        if let Some(count) = known().get(&key) {
            return *count;
        }
        let count = self.count_now(text);
        let mut known = known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, count);
        count
    }

    fn count_now(self, text: &str) -> u64 {
        let words = self.words();
        let mut rest = text;
        let mut sum = 0;
        while !rest.is_empty() {
            let (piece, whole_word) = piece(rest);
            sum += words.encode_ordinary(piece).len() as u64 + if whole_word { 0 } else { CUT };
            rest = &rest[piece.len()..];
        }
        sum
    }

    /// Its vocabulary, made at the first use.
    fn words(self) -> &'static CoreBPE {
        match self {
            Self::O200k => tiktoken_rs::o200k_base_singleton(),
            Self::Cl100k => tiktoken_rs::cl100k_base_singleton(),
        }
    }
}

/// Texts from this length on are counted once, as long as they are among the last ones.
const REMEMBERED: usize = 512;
/// How many counts are remembered.
const MAX_KNOWN: usize = 4_096;

/// The first piece of a text, and whether it ends where a word does: between a letter and a space no
/// token of these encodings reaches, so the pieces have as many as the whole.
fn piece(text: &str) -> (&str, bool) {
    if text.len() <= PIECE {
        return (text, true);
    }
    let window = &text[..text.floor_char_boundary(PIECE)];
    let ends = window.char_indices().zip(window.char_indices().skip(1));
    let end = ends.filter(|((_, one), (_, next))| one.is_alphabetic() && *next == ' ').last();
    end.map_or((window, false), |(_, (end, _))| (&window[..end], true))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{OVERHEAD, input_bound};
    use super::*;
    use crate::domain::{Message, ModelRequest, ModelSettings, ProfileOverride, ToolSpec};

    fn whole(encoding: Encoding, text: &str) -> u64 {
        encoding.words().encode_ordinary(text).len() as u64
    }

    #[test]
    fn published_counts_are_met() {
        // The examples of OpenAI's own counting guide.
        for (text, cl100k, o200k) in [
            ("antidisestablishmentarianism", 6, 6),
            ("2 + 2 = 4", 7, 7),
            ("\u{304a}\u{8a95}\u{751f}\u{65e5}\u{304a}\u{3081}\u{3067}\u{3068}\u{3046}", 9, 8),
            ("", 0, 0),
        ] {
            assert_eq!(Encoding::Cl100k.count(text), cl100k, "{text}");
            assert_eq!(Encoding::O200k.count(text), o200k, "{text}");
        }
        assert!(Encoding::O200k.count("<|endoftext|>") > 1, "a mark in a text is text");
    }

    #[test]
    fn encodings_are_known_by_the_name_of_the_model_or_its_family() {
        for (name, encoding) in [
            ("gpt-4o-mini", Some(Encoding::O200k)),
            ("openai/gpt-5-nano", Some(Encoding::O200k)),
            ("o3-mini", Some(Encoding::O200k)),
            ("gpt-4-turbo", Some(Encoding::Cl100k)),
            ("text-embedding-3-small", Some(Encoding::Cl100k)),
            ("gpt-oss-120b", None),
            ("o300", None),
            ("claude-sonnet-4-5", None),
            ("my-deployment", None),
        ] {
            assert_eq!(Encoding::of(name), encoding, "{name}");
        }
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(4);
        let mut request = ModelRequest::new("my-deployment", vec![Message::user(&text)]);
        let by_bytes = input_bound(&request, None);
        let profile = ProfileOverride { family: Some("gpt-4o".to_owned()), ..ProfileOverride::default() };
        request.settings = ModelSettings { profile: Some(profile), ..ModelSettings::default() };
        assert_eq!(input_bound(&request, None), whole(Encoding::O200k, &text) + 3 * OVERHEAD);
        assert_eq!(by_bytes, text.len() as u64 + 3 * OVERHEAD);
    }

    #[test]
    fn long_and_hostile_texts_are_counted_in_time_and_never_too_low() {
        for text in ["a".repeat(200_000), " ".repeat(200_000), "\n \n".repeat(60_000), "\u{4e00}".repeat(60_000)] {
            let count = Encoding::O200k.count(&text);
            assert!(count > 0 && count <= text.len() as u64, "{count}");
        }
        let prose =
            "It was a bright cold day in April, and 13 clocks didn't strike; \u{2014} so be it.\n\n".repeat(400);
        assert_eq!(Encoding::O200k.count(&prose), whole(Encoding::O200k, &prose));
        assert_eq!(Encoding::O200k.count(&prose), whole(Encoding::O200k, &prose), "remembered");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever is written: never less than the exact count, never more than the bytes.
        #[test]
        fn the_estimate_is_never_below_the_exact_count(words in proptest::collection::vec("\\PC{0,12}|[a-z ]{0,30}|[\n\t ]{0,9}", 0..200), cl100k: bool) {
            let (encoding, model) = if cl100k { (Encoding::Cl100k, "gpt-4") } else { (Encoding::O200k, "gpt-4o") };
            let text = words.concat();
            let exact = whole(encoding, &text);
            let tool = ToolSpec::new("look", text.clone(), serde_json::json!({"type": "object"}));
            let request = ModelRequest::new(model, vec![Message::system(&text), Message::user(&text)]);
            prop_assert!(input_bound(&request, None) >= 2 * exact);
            prop_assert!(input_bound(&request.clone().with_tools(vec![tool]), None) >= 3 * exact);
            prop_assert!(exact <= text.len() as u64, "a token is a byte at least: the bound of all other models holds");
            let other = ModelRequest { model_name: "other".to_owned(), ..request.clone() };
            prop_assert!(input_bound(&request, None) <= input_bound(&other, None) + CUT * (text.len() as u64 / 256));
        }
    }
}
