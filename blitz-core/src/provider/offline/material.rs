//! What a conversation gives to work with: the question, what tools gave, and what stands out in it.

use serde_json::{Map, Value};

use super::text::{Risk, Sentence, sentences};
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolCall, ToolResult};

/// Everything the rules look at, read once per request.
pub(super) struct Material {
    /// The last message of the user, as written.
    pub(super) question: String,
    /// The fields of the question, where it is a JSON object.
    pub(super) fields: Map<String, Value>,
    /// Instructions and question, in lower case: where words are looked for.
    pub(super) prompt: String,
    /// The calls since the question and what they gave.
    pub(super) calls: Vec<(ToolCall, ToolResult)>,
    /// The sentences of what was read, or of the question where nothing was.
    pub(super) sentences: Vec<Sentence>,
    /// Whether a tool read a document.
    pub(super) document: bool,
}

impl Material {
    pub(super) fn of(request: &ModelRequest) -> Self {
        let messages = &request.messages;
        let asked = messages.iter().rposition(|message| message.role == MessageRole::User);
        let question = asked.map(|at| messages[at].text_content()).unwrap_or_default();
        let fields = serde_json::from_str(&question).unwrap_or_default();
        let calls = calls(&messages[asked.unwrap_or(0)..]);
        let read: Vec<String> =
            calls.iter().filter(|(call, _)| is_reader(&call.name)).filter_map(|(_, result)| content(result)).collect();
        let document = !read.is_empty();
        let text = if document { read.join("\n\n") } else { spoken(&question, &fields) };
        let system = messages.iter().filter(|message| message.role == MessageRole::System).map(Message::text_content);
        let prompt = system.chain([question.clone()]).collect::<Vec<_>>().join("\n").to_lowercase();
        Self { question, prompt, calls, sentences: sentences(&text), document, fields }
    }

    /// Whether a tool was called since the question.
    pub(super) fn called(&self, tool: &str) -> bool {
        self.calls.iter().any(|(call, _)| call.name == tool)
    }

    /// How many sentences of this risk there are.
    pub(super) fn risks(&self, risk: Risk) -> usize {
        self.sentences.iter().filter(|sentence| sentence.risk == risk).count()
    }

    /// The last number that a tool gave.
    pub(super) fn number(&self) -> Option<f64> {
        self.calls.iter().rev().filter(|(_, result)| !result.is_error).find_map(|(_, result)| number(&result.content))
    }

    /// A risk score from 0 to 100: what a tool computed, else counted from the words.
    pub(super) fn score(&self) -> f64 {
        let computed = self.number().filter(|_| self.document);
        computed.unwrap_or_else(|| self.counted_score()).clamp(0.0, 100.0)
    }

    fn counted_score(&self) -> f64 {
        (SCORE_BASE + SCORE_RISKY * self.risks(Risk::Some) + SCORE_SEVERE * self.risks(Risk::Severe)) as f64
    }

    /// The score as an expression for a calculator.
    pub(super) fn score_expression(&self) -> String {
        let (risky, severe) = (self.risks(Risk::Some), self.risks(Risk::Severe));
        let sum = format!("{SCORE_BASE} + {SCORE_RISKY} * {risky} + {SCORE_SEVERE} * {severe}");
        if self.counted_score() > 100.0 { format!("min(100, {sum})") } else { sum }
    }
}

/// Points that every text has, that each sentence of risk adds, and that each severe one adds.
const SCORE_BASE: usize = 10;
const SCORE_RISKY: usize = 4;
const SCORE_SEVERE: usize = 10;

/// Whether a tool of this name reads documents.
pub(super) fn is_reader(tool: &str) -> bool {
    let name = tool.to_lowercase();
    ["read", "open_file", "load", "fetch"].iter().any(|word| name.contains(word))
}

/// A number as a tool may give it: itself, in text, or as the only number of an object.
fn number(content: &Value) -> Option<f64> {
    match content {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Object(map) => {
            let mut numbers = map.values().filter_map(Value::as_f64);
            numbers.next().filter(|_| numbers.next().is_none())
        }
        _ => None,
    }
}

fn calls(messages: &[Message]) -> Vec<(ToolCall, ToolResult)> {
    let parts = || messages.iter().flat_map(|message| &message.parts);
    let result_of = |id: &str| {
        parts().find_map(|part| match part {
            Part::ToolResult(result) if result.id == id => Some(result.clone()),
            _ => None,
        })
    };
    messages
        .iter()
        .flat_map(Message::tool_calls)
        .filter_map(|call| Some((call.clone(), result_of(&call.id)?)))
        .collect()
}

/// The text that a reader gave.
fn content(result: &ToolResult) -> Option<String> {
    if result.is_error {
        return None;
    }
    let field = |key: &&str| result.content.get(key)?.as_str();
    Some(["content", "text", "body"].iter().find_map(field).map_or_else(|| result.as_text(), str::to_owned))
}

/// The question as prose: of JSON its texts.
fn spoken(question: &str, fields: &Map<String, Value>) -> String {
    if fields.is_empty() {
        return question.to_owned();
    }
    let texts: Vec<&str> = fields.values().filter_map(Value::as_str).collect();
    if texts.is_empty() { question.to_owned() } else { texts.join("\n\n") }
}

/// Endings that make a word a file.
const EXTENSIONS: [&str; 12] = ["txt", "md", "json", "csv", "log", "html", "xml", "yaml", "yml", "toml", "rst", "text"];
/// Fields that name a document.
const DOCUMENT_FIELDS: [&str; 5] = ["document", "path", "file", "filename", "file_name"];

/// The file that a question names.
pub(super) fn named_file(material: &Material) -> Option<String> {
    let field = DOCUMENT_FIELDS.iter().find_map(|key| material.fields.get(*key)?.as_str());
    // A document may also stand in the field itself; a path is one short line.
    let field = field.filter(|path| !path.is_empty() && path.len() < 200 && !path.contains(['\n', ' ']));
    field.map(str::to_owned).or_else(|| file_word(&material.question)).or_else(|| labelled_word(&material.question))
}

fn file_words(text: &str) -> impl Iterator<Item = &str> {
    let bounds = |c: char| !(c.is_alphanumeric() || "._-/".contains(c));
    text.split(bounds).map(|word| word.trim_end_matches(['.', '-'])).filter(|word| !word.is_empty())
}

fn file_word(text: &str) -> Option<String> {
    let is_file = |word: &&str| {
        word.rsplit_once('.').is_some_and(|(stem, end)| {
            !stem.is_empty() && !stem.starts_with("//") && EXTENSIONS.contains(&end.to_lowercase().as_str())
        })
    };
    file_words(text).find(is_file).map(str::to_owned)
}

/// The word behind `document:` or `file:`.
fn labelled_word(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    DOCUMENT_FIELDS.iter().find_map(|label| {
        let at = lower.find(&format!("{label}:"))? + label.len() + 1;
        let line = text[at..].lines().next()?.trim();
        file_words(line).next().filter(|word| *word == line).map(str::to_owned)
    })
}
