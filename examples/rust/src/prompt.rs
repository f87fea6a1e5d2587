//! What a review is asked, and what it answers: a prompt of the catalogue with a schema for either.

use blitz::NewPrompt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The name of the prompt.
pub const NAME: &str = "risk_analysis";

const TEMPLATE: &str = "\
Review a document for a person who is about to agree to it.

Document: {document}

Read it with file_read. Find what puts that person at risk: liability, missing warranty, duties, loss of rights,
one-sided terms. Each issue has a short title, a severity and a quote, which is one sentence, word for word.

The risk score goes from 0, harmless, to 100. Compute it with the calculator: four points for each issue of high
severity, two for each of medium, one for each of low, a hundred at the most.

Sum the document up in two or three sentences.";

/// The prompt that makes a message of a [`Question`] and asks for a [`Verdict`].
pub fn risk_analysis() -> NewPrompt {
    NewPrompt::new(NAME, TEMPLATE).with_input_schema(question_schema()).with_output_schema(verdict_schema())
}

/// What a review is asked with. The prompt needs the document's name only; the rest says later
/// which batch the execution belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    /// The name of the document.
    pub document: String,
    /// Where it was found.
    pub source: String,
    /// A hash of its content.
    pub fingerprint: String,
    /// A hash of the names of all files of the batch, and of the model.
    pub files: String,
    /// The number of the batch.
    pub batch: u64,
}

/// What a review gives.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    /// The document in a few sentences.
    pub summary: String,
    /// From 0, harmless, to 100.
    pub risk_score: f64,
    /// What was found.
    pub issues: Vec<Issue>,
}

/// Something in a document that puts its reader at risk.
#[derive(Debug, Clone, Deserialize)]
pub struct Issue {
    /// What it is about.
    pub title: String,
    /// How grave it is.
    pub severity: Severity,
    /// The sentence.
    pub quote: String,
}

/// How grave an issue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Severity {
    High,
    Medium,
    Low,
}

fn question_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "document": {"type": "string", "minLength": 1},
            "source": {"type": "string"},
            "fingerprint": {"type": "string"},
            "files": {"type": "string"},
            "batch": {"type": "integer"},
        },
        "required": ["document"],
    })
}

fn verdict_schema() -> Value {
    let issue = json!({
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "severity": {"type": "string", "enum": ["low", "medium", "high"]},
            "quote": {"type": "string"},
        },
        "required": ["title", "severity", "quote"],
    });
    json!({
        "type": "object",
        "properties": {
            "summary": {"type": "string"},
            "risk_score": {"type": "number", "minimum": 0, "maximum": 100},
            "issues": {"type": "array", "items": issue},
        },
        "required": ["summary", "risk_score", "issues"],
    })
}
