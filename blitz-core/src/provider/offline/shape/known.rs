//! What goes into a property, by its name.

use serde_json::Value;

use super::Place;
use crate::provider::offline::facts::Facts;
use crate::provider::offline::findings::{Finding, Severity};
use crate::provider::offline::text::{name_words, one_line, words};

const SUMMARY: &[&str] =
    &["summary", "overview", "abstract", "synopsis", "gist", "conclusion", "assessment", "verdict"];
const TITLE: &[&str] = &["title", "heading", "headline", "subject"];
const FILE: &[&str] = &["document", "file", "filename", "path", "source", "name"];
const ANSWER: &[&str] =
    &["answer", "result", "output", "response", "reply", "text", "content", "message", "analysis", "description"];
const INPUT: &[&str] = &["input", "query", "question", "prompt", "request", "task"];
const MAKER: &[&str] = &["model", "author", "analyst", "reviewer", "provider"];
const SEVERITY: &[&str] = &["severity", "level", "priority", "criticality", "impact"];
const LABEL: &[&str] =
    &["title", "name", "heading", "issue", "risk", "finding", "category", "type", "kind", "topic", "label", "concern"];
const QUOTE: &[&str] =
    &["quote", "excerpt", "evidence", "citation", "passage", "sentence", "snippet", "text", "quotation"];
const SECTION: &[&str] = &["clause", "section", "location", "reference", "article", "paragraph", "where"];
const WHY: &[&str] =
    &["explanation", "description", "reason", "rationale", "why", "detail", "comment", "analysis", "note", "summary"];
const ADVICE: &[&str] = &["recommendation", "suggestion", "mitigation", "action", "fix", "advice", "remedy", "step"];
const FINDINGS: &[&str] =
    &["issue", "risk", "finding", "clause", "concern", "problem", "obligation", "warning", "flag", "violation"];
const POINTS: &[&str] = &["point", "highlight", "takeaway", "fact", "insight", "sentence", "bullet"];
const KEYWORDS: &[&str] = &["keyword", "tag", "topic", "term"];
const SCORE: &[&str] = &["score", "rating", "grade"];
const CONFIDENCE: &[&str] = &["confidence", "probability", "certainty", "likelihood"];
const COUNT: &[&str] = &["count", "number", "num", "total", "found", "how", "amount"];
const RESULT: &[&str] = &["result", "answer", "value", "sum", "total", "output"];
const ALARM: &[&str] =
    &["risk", "risky", "review", "attention", "flagged", "issue", "finding", "concern", "problem", "dangerous"];
const CLEARANCE: &[&str] =
    &["approved", "approve", "safe", "acceptable", "compliant", "ok", "pass", "passed", "accepted", "valid"];

/// The most points, keywords and pieces of advice in a list.
const MAX_POINTS: usize = 7;
/// Sentences of a summary.
const SUMMARY_SENTENCES: usize = 3;

/// One entry of a list.
#[derive(Clone)]
pub(super) enum Entry<'p> {
    /// A finding and its index.
    Finding(usize, &'p Finding<'p>),
    /// A text.
    Text(String),
}

/// Whether a word of the name, in singular or plural, belongs to a group.
fn has(words: &[String], group: &[&str]) -> bool {
    words.iter().any(|word| group.contains(&word.as_str()) || group.contains(&singular(word)))
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

/// Whether a property is given though its schema does not require it.
pub(super) fn is_known(name: &str) -> bool {
    let words = name_words(name);
    let groups =
        [SUMMARY, TITLE, SEVERITY, QUOTE, SECTION, WHY, ADVICE, FINDINGS, POINTS, KEYWORDS, SCORE, CONFIDENCE, ANSWER];
    groups.iter().any(|group| has(&words, group)) || is_count(&words)
}

fn is_count(words: &[String]) -> bool {
    has(words, COUNT) && words.len() > 1
}

/// Whether a name stands for a list of something that is known.
pub(super) fn is_list(words: &[String]) -> bool {
    let plural = words.last().is_some_and(|word| word.ends_with('s'));
    plural && [FINDINGS, POINTS, KEYWORDS, ADVICE].iter().any(|group| has(words, group))
}

/// The entries of a list, by its name or by what its items are made of.
pub(super) fn list<'a>(facts: &'a Facts<'a>, place: &Place<'_>, items: &Value) -> Option<Vec<Entry<'a>>> {
    let words = place.words();
    if has(&words, POINTS) {
        return Some(points(facts).into_iter().map(Entry::Text).collect());
    }
    if has(&words, FINDINGS) || is_finding(items) {
        return Some(
            facts.findings.iter().enumerate().map(|(index, finding)| Entry::Finding(index, finding)).collect(),
        );
    }
    let texts = if has(&words, ADVICE) {
        advice(facts)
    } else if has(&words, KEYWORDS) {
        facts.analysis.keywords(MAX_POINTS).into_iter().map(str::to_owned).collect()
    } else if has(&words, SUMMARY) {
        facts.salient(SUMMARY_SENTENCES)
    } else {
        return None;
    };
    Some(texts.into_iter().map(Entry::Text).collect())
}

/// Whether an item has what only a finding has.
fn is_finding(item: &Value) -> bool {
    item.get("properties")
        .is_some_and(|properties| ["severity", "quote"].iter().any(|name| properties.get(name).is_some()))
}

/// The sentences to remember: those that hold a risk, else the salient ones.
fn points(facts: &Facts<'_>) -> Vec<String> {
    if facts.findings.is_empty() {
        return facts.salient(MAX_POINTS);
    }
    facts.findings.iter().take(MAX_POINTS).map(|finding| one_line(finding.quote)).collect()
}

/// What the findings advise, each advice once.
fn advice(facts: &Facts<'_>) -> Vec<String> {
    let mut all: Vec<&str> = Vec::new();
    for finding in &facts.findings {
        if !all.contains(&finding.topic.recommendation) {
            all.push(finding.topic.recommendation);
        }
    }
    all.into_iter().take(MAX_POINTS).map(str::to_owned).collect()
}

/// The text for a place.
pub(super) fn string(facts: &Facts<'_>, place: &Place<'_>) -> Option<String> {
    let words = place.words();
    match &place.entry {
        Some(Entry::Finding(index, finding)) => of_finding(facts, *index, finding, &words),
        Some(Entry::Text(text)) => {
            let fits = words.is_empty()
                || [QUOTE, LABEL, ANSWER, WHY, ADVICE, POINTS, KEYWORDS].iter().any(|group| has(&words, group));
            fits.then(|| text.clone())
        }
        None => of_document(facts, place, &words),
    }
}

fn of_finding(facts: &Facts<'_>, index: usize, finding: &Finding<'_>, words: &[String]) -> Option<String> {
    let topic = finding.topic;
    let text = if words.is_empty() {
        one_line(finding.quote)
    } else if has(words, SEVERITY) {
        finding.severity.name().to_owned()
    } else if has(words, QUOTE) {
        finding.quote.to_owned()
    } else if has(words, WHY) {
        topic.explanation.to_owned()
    } else if has(words, ADVICE) {
        topic.recommendation.to_owned()
    } else if has(words, SECTION) {
        finding.section.clone().unwrap_or_else(|| topic.title.to_owned())
    } else if has(words, LABEL) {
        topic.title.to_owned()
    } else if has(words, &["id"]) {
        format!("finding-{}", index + 1)
    } else {
        return facts.material.file.clone().filter(|_| has(words, FILE));
    };
    Some(text)
}

fn of_document(facts: &Facts<'_>, place: &Place<'_>, words: &[String]) -> Option<String> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    if has(words, SUMMARY) {
        return some(facts.summary(SUMMARY_SENTENCES));
    }
    if has(words, SEVERITY) || words == ["risk"] {
        return Some(facts.gravest().name().to_owned());
    }
    if has(words, TITLE) {
        return facts.title();
    }
    if has(words, FILE) {
        return facts.material.file.clone().or_else(|| facts.title());
    }
    if has(words, INPUT) {
        return some(facts.material.asked.clone());
    }
    if has(words, &["expression"]) {
        return Some("0".to_owned());
    }
    if has(words, ADVICE) {
        return some(advice(facts).join(" "));
    }
    if has(words, FINDINGS) || has(words, POINTS) || has(words, &["quote", "excerpt", "evidence"]) {
        return some(points(facts).into_iter().take(SUMMARY_SENTENCES).collect::<Vec<_>>().join(" "));
    }
    if has(words, KEYWORDS) {
        return some(facts.analysis.keywords(MAX_POINTS).join(", "));
    }
    if has(words, ANSWER) || has(words, WHY) || place.name.is_none() {
        return Some(facts.answer());
    }
    has(words, MAKER).then(|| super::super::Offline::NAME.to_owned())
}

/// The number for a place within these bounds.
pub(super) fn number(facts: &Facts<'_>, place: &Place<'_>, min: Option<f64>, max: Option<f64>) -> Option<f64> {
    let words = place.words();
    if let Some(Entry::Finding(index, finding)) = &place.entry {
        let is_index = has(&words, &["id", "index", "number", "rank", "no"]);
        let weighs = has(&words, SCORE) || has(&words, SEVERITY) || has(&words, &["weight"]);
        let points = f64::from(finding.severity.points());
        return if is_index { Some((index + 1) as f64) } else { weighs.then_some(points) };
    }
    if has(&words, SCORE) {
        return Some(scaled(facts.score(), min, max));
    }
    if has(&words, CONFIDENCE) {
        return Some(scaled(50.0, min, max.or(Some(1.0))));
    }
    let count = |count: usize| Some(count as f64);
    if let Some(severity) = Severity::ALL.into_iter().find(|severity| has(&words, &[severity.name()]))
        && (words.len() == 1 || is_count(&words) || has(&words, FINDINGS))
    {
        return count(facts.count(severity));
    }
    if has(&words, SEVERITY) {
        return Some(scaled(facts.score(), min, max));
    }
    if has(&words, &["word"]) {
        return count(facts.analysis.words);
    }
    if has(&words, &["sentence"]) {
        return count(facts.analysis.sentences.len());
    }
    if has(&words, &["character", "char", "length"]) {
        return count(facts.material.document.chars().count());
    }
    if has(&words, FINDINGS) || (is_count(&words) && !has(&words, RESULT)) {
        return count(facts.findings.len());
    }
    (has(&words, RESULT) || place.name.is_none()).then_some(facts.material.number).flatten()
}

/// A number from 0 to 100 on the scale of a schema, which is the same where no other is set.
fn scaled(score: f64, min: Option<f64>, max: Option<f64>) -> f64 {
    let low = min.unwrap_or(0.0);
    match max {
        Some(high) if high < 100.0 => low + (high - low) * score / 100.0,
        _ => score.max(low),
    }
}

/// Whether a place is true.
pub(super) fn boolean(facts: &Facts<'_>, place: &Place<'_>) -> Option<bool> {
    let words = place.words();
    let grave = match &place.entry {
        Some(Entry::Finding(_, finding)) => finding.severity == Severity::High,
        _ => facts.gravest() == Severity::High,
    };
    if has(&words, CLEARANCE) {
        return Some(!grave);
    }
    has(&words, ALARM).then_some(grave || (place.entry.is_none() && !facts.findings.is_empty()))
}

/// Which of the options a place takes: the one that is as grave as the finding or document, else the
/// one that the text speaks of most.
pub(super) fn choice(facts: &Facts<'_>, place: &Place<'_>, options: &[&Value]) -> Option<usize> {
    const NONE: &[&str] = &["other", "unknown", "neutral", "none", "n/a"];
    let texts: Vec<String> = options.iter().map(|option| option.as_str().unwrap_or_default().to_lowercase()).collect();
    let severity = match &place.entry {
        Some(Entry::Finding(_, finding)) => Some(finding.severity),
        _ => facts.findings.first().map(|finding| finding.severity),
    };
    let ranks: Vec<Option<u8>> = texts.iter().map(|text| rank(text)).collect();
    if ranks.iter().flatten().count() > 1 {
        let wanted = severity.map_or(0, |severity| severity as u8 + 1);
        let distance = |at: &usize| ranks[*at].map_or(u8::MAX, |rank| rank.abs_diff(wanted));
        return (0..ranks.len()).min_by_key(distance);
    }
    let spoken = |text: &String| words(text).map(|word| facts.analysis.occurrences(word)).sum::<u32>();
    let most = texts.iter().map(spoken).max().filter(|most| *most > 0);
    match most {
        Some(most) => texts.iter().position(|text| spoken(text) == most),
        None => texts.iter().position(|text| NONE.contains(&text.as_str())),
    }
}

/// How grave a word is: 0 is nothing, 4 the worst.
fn rank(word: &str) -> Option<u8> {
    const RANKS: [&[&str]; 5] = [
        &["none", "negligible", "ok"],
        &["low", "minor", "info", "informational", "minimal", "green"],
        &["medium", "moderate", "normal", "warning", "yellow", "amber"],
        &["high", "major", "severe", "significant", "red", "error"],
        &["critical", "extreme", "blocker"],
    ];
    RANKS.iter().position(|words| words.contains(&word)).map(|rank| rank as u8)
}
