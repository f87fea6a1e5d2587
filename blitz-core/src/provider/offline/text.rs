//! What stands out in a text: sentences scored by their words and place, and words of risk.

use std::collections::HashMap;

/// The most bytes of a text that are read.
const MAX_TEXT: usize = 512 * 1024;
/// The most sentences that are scored.
const MAX_SENTENCES: usize = 4_000;
/// The most characters of a sentence that is shown.
const MAX_SENTENCE: usize = 400;

/// Fewer words than this are no statement.
const HEADING: usize = 4;

/// Words of a clause that can hurt.
const RISKY: [&str; 26] = [
    "shall not",
    "must not",
    "may not",
    "liable",
    "liability",
    "terminate",
    "termination",
    "warranty",
    "warranties",
    "indemnif",
    "penalty",
    "penalties",
    "breach",
    "damages",
    "revoke",
    "exclusive",
    "non-refundable",
    "automatically renew",
    "without notice",
    "sole discretion",
    "waive",
    "forfeit",
    "default",
    "interest of",
    "late fee",
    "at any time",
];
/// Words of a clause that can hurt much.
const SEVERE: [&str; 12] = [
    "without notice",
    "no warranty",
    "unlimited",
    "indemnif",
    "sole discretion",
    "waive",
    "penalty",
    "penalties",
    "revoke",
    "consequential damages",
    "irrevocabl",
    "forfeit",
];
/// Words that say nothing about a text's subject.
const COMMON: [&str; 40] = [
    "that", "this", "with", "from", "have", "been", "will", "which", "their", "there", "they", "them", "than", "then",
    "were", "what", "when", "where", "would", "could", "should", "shall", "such", "some", "other", "into", "only",
    "also", "does", "more", "most", "each", "upon", "under", "these", "those", "about", "after", "before", "your",
];

/// How much a sentence can hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Risk {
    None,
    Some,
    Severe,
}

/// One sentence of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sentence {
    pub(super) text: String,
    pub(super) risk: Risk,
    salience: f64,
}

/// The sentences of a text, in order, with what stands out in each.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    let found: Vec<String> = split(text).into_iter().take(MAX_SENTENCES).collect();
    let mut counts: HashMap<String, f64> = HashMap::new();
    for word in found.iter().flat_map(|sentence| words(sentence)) {
        *counts.entry(word).or_default() += 1.0;
    }
    let total = found.len().max(1) as f64;
    let scored = found.into_iter().enumerate().map(|(place, text)| {
        let (sum, number) = words(&text).fold((0.0, 0.0), |(sum, n), word| (sum + counts[&word], n + 1.0));
        // Words that the text repeats are its subject; what comes first introduces it.
        let subject = if number > 0.0 { sum / (number + 2.0) } else { 0.0 };
        // A few words are a heading, not a statement.
        let subject = if text.split(' ').count() < HEADING { subject * 0.2 } else { subject };
        let salience = subject * (1.0 + 0.5 * (1.0 - place as f64 / total));
        Sentence { risk: risk(&text), salience, text }
    });
    scored.collect()
}

/// The `most` sentences that stand out, in the order of the text.
pub(super) fn salient(sentences: &[Sentence], most: usize) -> Vec<&Sentence> {
    strongest(sentences.iter().enumerate(), most, |sentence| sentence.salience)
}

/// The `most` sentences of risk, the severe ones before the others, in the order of the text.
pub(super) fn risky(sentences: &[Sentence], most: usize) -> Vec<&Sentence> {
    let risky = sentences.iter().enumerate().filter(|(_, sentence)| sentence.risk > Risk::None);
    let weight = |sentence: &Sentence| sentence.salience + if sentence.risk == Risk::Severe { 1e6 } else { 0.0 };
    strongest(risky, most, weight)
}

fn strongest<'a>(
    sentences: impl Iterator<Item = (usize, &'a Sentence)>,
    most: usize,
    weight: impl Fn(&Sentence) -> f64,
) -> Vec<&'a Sentence> {
    let mut ranked: Vec<(usize, &Sentence)> = sentences.collect();
    ranked.sort_by(|a, b| weight(b.1).total_cmp(&weight(a.1)).then(a.0.cmp(&b.0)));
    ranked.truncate(most);
    ranked.sort_by_key(|(place, _)| *place);
    ranked.into_iter().map(|(_, sentence)| sentence).collect()
}

fn risk(sentence: &str) -> Risk {
    let lower = sentence.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&SEVERE) {
        Risk::Severe
    } else if has(&RISKY) {
        Risk::Some
    } else {
        Risk::None
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 3);
    words.map(str::to_lowercase).filter(|word| !COMMON.contains(&word.as_str()))
}

/// Splits at the ends of sentences and at empty lines; lines that go on are joined.
fn split(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    for paragraph in text.replace("\r\n", "\n").split("\n\n").flat_map(|block| block.split("\n- ")) {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut start = 0;
        for (at, _) in line.match_indices(['.', '!', '?', ';']) {
            // An end is followed by a space; `3.5` and `e.g.` in a word are none, nor is the dot of `1.`.
            let end = at + 1;
            let ends = line[end..].starts_with(' ') && line[start..at].split(' ').count() > 2;
            if ends {
                sentences.push(shown(&line[start..end]));
                start = end;
            }
        }
        sentences.push(shown(&line[start..]));
    }
    sentences.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
    sentences
}

fn shown(sentence: &str) -> String {
    let sentence = sentence.trim().trim_start_matches(['-', '*', '#', '•', ' ']);
    match sentence.char_indices().nth(MAX_SENTENCE) {
        Some((end, _)) => format!("{}…", &sentence[..end]),
        None => sentence.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: &str = "LEASE\n\nThis lease is between Ana and the landlord. The rent is 1,200.50 a month.\n\
        The landlord may terminate the lease without notice! The tenant likes tea.\n\n- The tenant shall not sublet the flat.";

    #[test]
    fn sentences_end_where_they_end() {
        let found: Vec<String> = sentences(LEASE).into_iter().map(|sentence| sentence.text).collect();
        assert_eq!(
            found,
            [
                "LEASE",
                "This lease is between Ana and the landlord.",
                "The rent is 1,200.50 a month.",
                "The landlord may terminate the lease without notice!",
                "The tenant likes tea.",
                "The tenant shall not sublet the flat.",
            ]
        );
    }

    #[test]
    fn risk_is_found_and_ranked() {
        let all = sentences(LEASE);
        let texts = |found: Vec<&Sentence>| found.iter().map(|s| s.text.clone()).collect::<Vec<_>>();
        assert_eq!(
            texts(risky(&all, 9)),
            ["The landlord may terminate the lease without notice!", "The tenant shall not sublet the flat."]
        );
        assert_eq!(texts(risky(&all, 1)), ["The landlord may terminate the lease without notice!"]);
    }

    #[test]
    fn what_the_text_is_about_stands_out() {
        let all = sentences(LEASE);
        let two = salient(&all, 2);
        assert!(two.iter().all(|sentence| sentence.text.contains("lease")), "{two:?}");
    }

    #[test]
    fn odd_texts_are_fine() {
        for text in ["", "...", "\n\n\n", "é. ü! 漢?", "a; b; c"] {
            sentences(text);
        }
        assert_eq!(sentences(&"x".repeat(MAX_TEXT + 10)).len(), 1);
    }
}
