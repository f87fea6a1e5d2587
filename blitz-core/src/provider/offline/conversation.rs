//! A request as the stand-in sees it: what is asked now, and what tools gave so far.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::arithmetic::{self, Term};
use super::files;
use crate::domain::{Message, MessageRole, ModelRequest, Part, ToolCall, ToolResult};

/// How the engine begins when it asks for a better final answer: that is no new question.
const CORRECTION: &str = "Your last answer";
/// Keys of a tool's argument that names a file.
pub(super) const PATH_KEYS: &[&str] = &["path", "file_path", "filename", "file"];
/// Keys under which a tool's result has its text.
const TEXT_KEYS: &[&str] = &["content", "text", "contents", "data", "body"];
/// Keys under which a tool's result has its number.
const NUMBER_KEYS: &[&str] = &["result", "value", "answer", "output", "sum", "total"];
/// Bytes at the beginning and at the end of a long text in which a wish is looked for: what is
/// between them is the text that the wish is about.
const HEAD: usize = 4_000;
const TAIL: usize = 1_000;
/// Bytes within which an instruction before a text ends.
const PREFACE: usize = 2_000;

/// What is asked and what is known.
pub(super) struct Conversation<'a> {
    /// The newest question.
    pub(super) asked: Asked,
    /// What the system messages say.
    pub(super) instructions: String,
    calls: Vec<Call<'a>>,
    /// Where the calls that belong to the newest question begin.
    current: usize,
}

impl<'a> Conversation<'a> {
    pub(super) fn of(request: &'a ModelRequest) -> Self {
        let messages = &request.messages;
        let is_question = |message: &Message| {
            message.role == MessageRole::User && !message.text_content().trim_start().starts_with(CORRECTION)
        };
        let question = messages.iter().rposition(is_question);
        let results = results(messages);
        let mut calls = Vec::new();
        let mut current = 0;
        for (at, message) in messages.iter().enumerate() {
            if Some(at) == question {
                current = calls.len();
            }
            calls.extend(message.tool_calls().map(|call| Call::new(call, results.get(call.id.as_str()).copied())));
        }
        let system = messages.iter().filter(|message| message.role == MessageRole::System);
        let instructions = system.map(Message::text_content).collect::<Vec<_>>().join("\n");
        let asked = question.map(|at| messages[at].text_content()).unwrap_or_default();
        Self { asked: Asked::new(asked), instructions, calls, current }
    }

    /// The calls made for the newest question.
    pub(super) fn current(&self) -> &[Call<'a>] {
        &self.calls[self.current..]
    }

    /// The calls that hold what is known: those for the newest question, else all.
    pub(super) fn known(&self) -> &[Call<'a>] {
        if self.current().is_empty() { &self.calls } else { self.current() }
    }

    /// An id that no call of the conversation has.
    pub(super) fn next_id(&self) -> String {
        let numbers = self.calls.iter().filter_map(|call| call.id.strip_prefix("offline_")?.parse::<u64>().ok());
        format!("offline_{}", numbers.max().unwrap_or(0).saturating_add(1))
    }
}

fn results(messages: &[Message]) -> HashMap<&str, &ToolResult> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match part {
            Part::ToolResult(result) => Some((result.id.as_str(), result)),
            _ => None,
        })
        .collect()
}

/// One call of a tool and what came of it.
pub(super) struct Call<'a> {
    id: &'a str,
    pub(super) name: &'a str,
    arguments: Value,
    result: Option<&'a ToolResult>,
}

impl<'a> Call<'a> {
    fn new(call: &'a ToolCall, result: Option<&'a ToolResult>) -> Self {
        let arguments = serde_json::from_str(&call.arguments).unwrap_or_default();
        Self { id: &call.id, name: &call.name, arguments, result }
    }

    /// The file it reads, if it reads one.
    pub(super) fn reads(&self) -> Option<&str> {
        let reader = self.name.to_ascii_lowercase().contains("read");
        PATH_KEYS.iter().find_map(|key| self.arguments.get(key)?.as_str()).filter(|_| reader)
    }

    /// What went wrong, if anything did.
    pub(super) fn failure(&self) -> Option<String> {
        self.result.filter(|result| result.is_error).map(ToolResult::as_text)
    }

    /// What it gave as text.
    pub(super) fn reply(&self) -> Option<String> {
        self.outcome().map(|_| self.result.map(ToolResult::as_text).unwrap_or_default())
    }

    /// The number it gave.
    pub(super) fn number(&self) -> Option<f64> {
        number_in(self.outcome()?.as_ref())
    }

    /// The text it gave, if that is more than a number or a few facts.
    pub(super) fn text(&self) -> Option<String> {
        match self.outcome()?.as_ref() {
            Value::String(text) if text.trim().parse::<f64>().is_err() => Some(text.clone()),
            Value::Object(object) => TEXT_KEYS.iter().find_map(|key| object.get(*key)?.as_str()).map(str::to_owned),
            _ => None,
        }
    }

    /// Where the text that it gave goes on, if the result says that there is more.
    pub(super) fn next_offset(&self) -> Option<u64> {
        let value = self.outcome()?;
        let offset = self.arguments.get("offset").and_then(Value::as_u64).unwrap_or(0);
        let told = value.get("next_offset").and_then(Value::as_u64);
        let more = ["truncated", "has_more", "more"].iter().any(|key| value.get(key) == Some(&Value::Bool(true)));
        let counted = || more.then(|| offset + self.text().map_or(0, |text| text.len() as u64));
        told.or_else(counted).filter(|next| *next > offset)
    }

    /// What it gave where it went well; JSON in a text is taken as JSON.
    fn outcome(&self) -> Option<Cow<'a, Value>> {
        let content = &self.result.filter(|result| !result.is_error)?.content;
        let parsed =
            content.as_str().filter(|text| text.starts_with('{')).and_then(|text| serde_json::from_str(text).ok());
        Some(parsed.map_or(Cow::Borrowed(content), Cow::Owned))
    }
}

fn number_in(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Object(object) => NUMBER_KEYS.iter().find_map(|key| object.get(*key)).and_then(number_in),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// What the user says.
pub(super) struct Asked {
    /// The whole text.
    pub(super) text: String,
    /// What is wished, as far as it can be told from what it is about.
    pub(super) question: String,
    /// The text that the wish is about; the whole where nothing can be told apart.
    pub(super) document: String,
    /// Files to be read.
    pub(super) files: Vec<String>,
    /// A calculation to be made.
    pub(super) calculation: Option<Term>,
}

impl Asked {
    fn new(text: String) -> Self {
        match serde_json::from_str(&text) {
            Ok(value @ Value::Object(_)) => Self::of_object(text, &value),
            _ => Self::of_text(text),
        }
    }

    fn of_object(text: String, value: &Value) -> Self {
        let mut strings = Vec::new();
        collect_strings(value, &mut strings);
        let longest =
            strings.iter().enumerate().max_by_key(|(at, text)| (text.len(), std::cmp::Reverse(*at))).map(|(at, _)| at);
        let others = strings.iter().enumerate().filter(|(at, _)| Some(*at) != longest).map(|(_, text)| *text);
        let question = others.collect::<Vec<_>>().join("\n");
        let document = longest.map(|at| strings[at].to_owned()).unwrap_or_default();
        let mut files = files::in_object(value);
        if files.is_empty() {
            files = strings.iter().flat_map(|text| files::in_text(&edges(text))).collect();
        }
        let calculation = strings.iter().find_map(|text| arithmetic::find(&edges(text)));
        Self { text, question, document, files, calculation }
    }

    fn of_text(text: String) -> Self {
        let near = &text[..text.floor_char_boundary(PREFACE)];
        // A heading is part of the text below it; a sentence above a text is about that text.
        let is_preface =
            |end: &usize| near[..*end].trim_end().ends_with(['.', ':', '?', '!']) && !near.starts_with('#');
        let end =
            [":\n", "\n\n"].iter().filter_map(|mark| Some(near.find(mark)? + mark.len())).min().filter(is_preface);
        let (question, document) = match end {
            Some(end) if text.len() - end > end => text.split_at(end),
            _ => ("", text.as_str()),
        };
        let (question, document) = (question.to_owned(), document.to_owned());
        let wishes = edges(&text);
        Self { files: files::in_text(&wishes), calculation: arithmetic::find(&wishes), text, question, document }
    }

    /// What is said, without the names of files: those say nothing about what is wished.
    pub(super) fn without_files(&self) -> String {
        self.files.iter().fold(self.text.clone(), |text, file| text.replace(file.as_str(), ""))
    }
}

fn collect_strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_strings(item, found)),
        Value::Object(map) => map.values().for_each(|item| collect_strings(item, found)),
        _ => {}
    }
}

/// The beginning and the end of a text.
fn edges(text: &str) -> Cow<'_, str> {
    if text.len() <= HEAD + TAIL {
        return Cow::Borrowed(text);
    }
    let head = &text[..text.floor_char_boundary(HEAD)];
    let tail = &text[text.ceil_char_boundary(text.len() - TAIL)..];
    Cow::Owned(format!("{head}\n{tail}"))
}
