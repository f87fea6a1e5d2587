//! The sentences of a text, and which of them say the most.

use std::collections::{HashMap, HashSet};

/// Bytes after which a sentence is ended at the next space, and wherever it is after twice as many.
const LONG: usize = 1_500;
/// Words that tell nothing about what a text is about.
const STOP_WORDS: &[&str] = &[
    "about", "above", "after", "again", "all", "also", "and", "any", "are", "because", "been", "before", "being",
    "below", "between", "both", "but", "can", "could", "did", "does", "doing", "down", "during", "each", "few", "for",
    "from", "further", "had", "has", "have", "having", "her", "here", "hers", "him", "his", "how", "into", "its",
    "itself", "just", "may", "more", "most", "must", "nor", "not", "now", "off", "once", "only", "other", "our", "out",
    "over", "own", "same", "shall", "she", "should", "some", "such", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "through", "too", "under", "until", "upon", "very", "was", "were",
    "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your",
];
/// Words of a wish that say what to do, not about what.
const WISH_WORDS: &[&str] = &[
    "analyse",
    "analyze",
    "calculate",
    "can",
    "check",
    "compute",
    "could",
    "create",
    "do",
    "document",
    "explain",
    "file",
    "find",
    "give",
    "help",
    "let",
    "list",
    "make",
    "please",
    "read",
    "review",
    "say",
    "show",
    "summarise",
    "summarize",
    "summary",
    "tell",
    "text",
    "translate",
    "use",
    "write",
];
/// What a full stop may follow without ending a sentence.
const ABBREVIATIONS: &[&str] =
    &["art", "cf", "co", "corp", "dr", "e.g", "fig", "i.e", "inc", "ltd", "mr", "mrs", "ms", "no", "nr", "sec", "vs"];

/// What may close behind a full stop and belongs to the sentence.
const CLOSING: &[char] = &['"', '”', '\'', ')', ']'];

/// The sentences of a text in order, each as it stands there.
///
/// A blank line ends one too, and a list item or heading begins one.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut is_open = false;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        // A number may also stand at the beginning of a line inside a sentence: `Section\n2.1 of this`.
        if trimmed.is_empty() || is_item(trimmed) || (!is_open && numbering(trimmed).is_some()) {
            split(&text[start..at], &mut found);
            start = at;
        }
        at += line.len();
        is_open = !trimmed.is_empty() && !trimmed.ends_with(['.', ':', ';', ',', '!', '?']);
        if trimmed.starts_with('#') {
            split(&text[start..at], &mut found);
            (start, is_open) = (at, false);
        }
    }
    split(&text[start..], &mut found);
    found
}

/// Whether a line stands for itself: a heading, or an item of a list that is no side of a drawn box.
fn is_item(line: &str) -> bool {
    let mut chars = line.chars();
    match (chars.next(), chars.next()) {
        (Some('#'), _) => true,
        (Some(mark @ ('-' | '*' | '•' | '+')), Some(next)) => next.is_whitespace() && !line.ends_with(mark),
        _ => false,
    }
}

/// The number before an item or clause: `8.`, `8.1`, `(a)`, `§ 3`, `Section 4`.
pub(super) fn numbering(line: &str) -> Option<&str> {
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let dotted = |text: &str| digit(text) && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if dotted(first) && first.contains('.') || first.len() <= 6 && first.starts_with('(') && first.ends_with(')') {
        return Some(first);
    }
    let named = ["section", "article", "clause", "§"].iter().any(|word| first.eq_ignore_ascii_case(word));
    let number = rest.split_whitespace().next().filter(|word| digit(word) || word.len() <= 4)?;
    let end = first.len() + line[first.len()..].find(number)? + number.len();
    named.then(|| &line[..end])
}

/// Splits one block at its full stops.
fn split<'a>(block: &'a str, found: &mut Vec<&'a str>) {
    let mut start = 0;
    let mut chars = block.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends = ends_sentence(block, start, at, c);
        while ends && chars.next_if(|(_, c)| CLOSING.contains(c)).is_some() {}
        let next = chars.peek().map_or(block.len(), |(next, _)| *next);
        let long = next - start >= LONG && (c.is_whitespace() || next - start >= 2 * LONG);
        if ends || long {
            keep(&block[start..next], found);
            start = next;
        }
    }
    keep(&block[start..], found);
}

fn keep<'a>(piece: &'a str, found: &mut Vec<&'a str>) {
    let piece = piece.trim();
    if piece.contains(char::is_alphanumeric) {
        found.push(piece);
    }
}

fn ends_sentence(block: &str, start: usize, at: usize, c: char) -> bool {
    match c {
        '。' | '！' | '？' => true,
        '.' | '!' | '?' => {
            let after = block[at + 1..].trim_start_matches(CLOSING);
            let Some(space) = after.chars().next() else { return true };
            if !space.is_whitespace() {
                return false;
            }
            let goes_on = after.chars().take(LONG).find(|c| !c.is_whitespace()).is_some_and(char::is_lowercase);
            !goes_on && (c != '.' || !is_abbreviation(&block[start..at]))
        }
        _ => false,
    }
}

/// Whether the full stop behind `before` belongs to its last word.
fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or(before);
    let initial = word.chars().count() == 1 && word.starts_with(char::is_alphabetic);
    let number = word.len() == before.trim_start().len() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    initial || number || ABBREVIATIONS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// The text on one line, its white space made single spaces.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The words of a name in lower case: `riskScore` and `risk_score` are `risk`, `score`.
pub(super) fn name_words(name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            inside = false;
            continue;
        }
        if !inside || (lower && c.is_uppercase()) {
            found.push(String::new());
        }
        if let Some(word) = found.last_mut() {
            word.extend(c.to_lowercase());
        }
        (inside, lower) = (true, c.is_lowercase() || c.is_numeric());
    }
    found
}

/// Whether a sentence says something: it is no question, no wish and no mere word.
pub(super) fn is_statement(sentence: &str) -> bool {
    let first = words(sentence).next().unwrap_or_default().to_lowercase();
    sentence.ends_with(['.', '!', '。'])
        && words(sentence).nth(3).is_some()
        && WISH_WORDS.binary_search(&first.as_str()).is_err()
}

/// Writes a word in lower case and in the singular; says whether it tells what a text is about.
fn fold(word: &str, into: &mut String) -> bool {
    into.clear();
    if word.is_ascii() {
        into.push_str(word);
        into.make_ascii_lowercase();
    } else {
        into.extend(word.chars().flat_map(char::to_lowercase));
    }
    let tells = into.len() > 2
        && !into.starts_with(|c: char| c.is_ascii_digit())
        && STOP_WORDS.binary_search(&into.as_str()).is_err();
    if into.len() > 4 && into.ends_with('s') && !["ss", "us", "is"].iter().any(|ending| into.ends_with(ending)) {
        into.pop();
    }
    tells
}

/// A text cut into sentences, with how often each word of weight occurs.
pub(super) struct Analysis<'a> {
    /// The sentences in order, as they stand in the text.
    pub(super) sentences: Vec<&'a str>,
    /// How many words the text has.
    pub(super) words: usize,
    frequency: HashMap<String, u32>,
}

impl<'a> Analysis<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let sentences = sentences(text);
        let mut frequency: HashMap<String, u32> = HashMap::new();
        let mut count = 0;
        let mut folded = String::new();
        for word in sentences.iter().flat_map(|sentence| words(sentence)) {
            count += 1;
            if !fold(word, &mut folded) {
                continue;
            }
            match frequency.get_mut(&folded) {
                Some(times) => *times += 1,
                None => {
                    frequency.insert(folded.clone(), 1);
                }
            }
        }
        Self { sentences, words: count, frequency }
    }

    /// How often a word occurs, in any case and number.
    pub(super) fn occurrences(&self, word: &str) -> u32 {
        let mut folded = String::new();
        fold(word, &mut folded);
        self.frequency.get(&folded).copied().unwrap_or(0)
    }

    /// The most frequent words of weight, at most `max`.
    pub(super) fn keywords(&self, max: usize) -> Vec<&str> {
        let mut all: Vec<(&str, u32)> = self.frequency.iter().map(|(word, times)| (word.as_str(), *times)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all.into_iter().take(max).map(|(word, _)| word).collect()
    }

    /// The sentences that say the most, at most `max`, in the order of the text; those that share
    /// words with `question` first of all.
    pub(super) fn salient(&self, question: &str, max: usize) -> Vec<&'a str> {
        let focus = self.focus(question);
        let mut ranked: Vec<(f64, usize)> =
            (0..self.sentences.len()).map(|index| (self.score(index, &focus), index)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut seen = HashSet::new();
        let mut chosen: Vec<usize> = ranked
            .into_iter()
            .map(|(_, index)| index)
            .filter(|index| seen.insert(self.sentences[*index]))
            .take(max)
            .collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|index| self.sentences[index]).collect()
    }

    /// Words of weight that a question shares with the text, save those the text is full of.
    fn focus(&self, question: &str) -> HashSet<String> {
        let common = (self.sentences.len() / 3).max(3) as u32;
        let mut focus = HashSet::new();
        let mut folded = String::new();
        for word in words(question) {
            let tells = fold(word, &mut folded) && WISH_WORDS.binary_search(&folded.as_str()).is_err();
            if tells && self.frequency.get(&folded).is_some_and(|times| *times <= common) {
                focus.insert(folded.clone());
            }
        }
        focus
    }

    /// How much a sentence says: the weight of its words, each counted once, for its length, place
    /// and form, and for what it shares with the question.
    fn score(&self, index: usize, focus: &HashSet<String>) -> f64 {
        let sentence = self.sentences[index];
        let (mut count, mut weight, mut shared) = (0u32, 0.0, 0u32);
        let mut seen = HashSet::new();
        let mut folded = String::new();
        for word in words(sentence) {
            count += 1;
            if fold(word, &mut folded)
                && let Some((word, times)) = self.frequency.get_key_value(&folded)
                && seen.insert(word.as_str())
            {
                // Between the root and the whole: neither rare words nor the most frequent one decide alone.
                let root = f64::from(*times).sqrt();
                weight += root * root.sqrt();
                shared += u32::from(focus.contains(word));
            }
        }
        let length = match count {
            0..=3 => 0.1,
            4..=6 => 0.6,
            7..=45 => 1.0,
            _ => 0.6,
        };
        let place = if index < 3 { 1.2 } else { 1.0 };
        let is_whole =
            sentence.ends_with(['.', '!', '?', '"', '”', ')', '。', '！', '？']) && !sentence.contains("://");
        let form = match (is_whole, sentence.contains(char::is_lowercase)) {
            (true, true) => 1.0,
            (true, false) => 0.5,
            (false, _) => 0.3,
        };
        let is_fragment = numbering(sentence).is_some() || sentence.starts_with(char::is_lowercase);
        let part = if is_fragment { 0.7 } else { 1.0 };
        weight / f64::from(count + 8) * length * place * form * part * (1.0 + 3.0 * f64::from(shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted() && WISH_WORDS.is_sorted());
    }

    #[test]
    fn sentences_end_where_people_end_them() {
        let text = "Dr. Who pays 2.50 EUR, e.g. Monday. \"Really?\" Yes! See No. 4 (and J. Doe).\n\n# Terms\n8. Liability. None\nat all\n- one\n- two";
        let expected = [
            "Dr. Who pays 2.50 EUR, e.g. Monday.",
            "\"Really?\"",
            "Yes!",
            "See No. 4 (and J. Doe).",
            "# Terms",
            "8. Liability.",
            "None\nat all",
            "- one",
            "- two",
        ];
        assert_eq!(sentences(text), expected);
    }

    #[test]
    fn a_sentence_goes_on_over_lines_and_boxes() {
        let text = "The rights under Section\n2.1 of this paper end.\n2.2. Next.\n* in a *\n* box   *";
        assert_eq!(
            sentences(text),
            ["The rights under Section\n2.1 of this paper end.", "2.2. Next.", "* in a *\n* box   *"]
        );
    }

    #[test]
    fn a_text_without_full_stops_is_still_cut() {
        let words = "word ".repeat(1_000);
        assert!(sentences(&words).iter().all(|sentence| sentence.len() <= LONG));
        let wall = "ü".repeat(5_000);
        assert!(sentences(&wall).iter().all(|sentence| sentence.len() <= 2 * LONG + 4));
    }

    #[test]
    fn numbers_of_clauses_are_known() {
        for (line, number) in [
            ("8. Liability", "8."),
            ("8.1 Scope of it", "8.1"),
            ("(a) you", "(a)"),
            ("Section 4 Rules", "Section 4"),
            ("§ 3 Fees", "§ 3"),
        ] {
            assert_eq!(numbering(line), Some(number));
        }
        assert_eq!(numbering("2 apples"), None);
        assert_eq!(numbering("Sections of it"), None);
    }

    #[test]
    fn names_fall_into_words() {
        assert_eq!(name_words("riskScore"), ["risk", "score"]);
        assert_eq!(name_words("Issues_found-HTTP"), ["issues", "found", "http"]);
        assert!(name_words("--").is_empty());
    }

    #[test]
    fn the_salient_sentences_are_about_what_the_text_is_about() {
        let text = "The lease covers the flat in Berlin. Birds sing. The tenant pays the lease of the flat each month. \
                    Someone said hello yesterday evening at nine. The deposit is three months of rent.";
        let analysis = Analysis::new(text);
        assert_eq!(
            analysis.salient("", 2),
            ["The lease covers the flat in Berlin.", "The tenant pays the lease of the flat each month."]
        );
        assert_eq!(analysis.salient("How high is the deposit?", 1), ["The deposit is three months of rent."]);
        assert_eq!(analysis.keywords(2), ["flat", "lease"]);
    }
}
