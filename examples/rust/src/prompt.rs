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

/// The prompt that asks about a document for a [`Verdict`].
pub fn risk_analysis() -> NewPrompt {
    NewPrompt::new(NAME, TEMPLATE).with_input_schema(question_schema()).with_output_schema(verdict_schema())
}

/// What a batch is asked: the input of the workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// A hash of the names of all files of the batch, and of the model.
    pub files: String,
    /// Counts the batches of the database from 1.
    pub batch: u64,
    /// The documents that can be read.
    pub documents: Vec<Question>,
}

/// A document to review.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    /// The name of the document.
    pub document: String,
    /// Where it was found.
    pub source: String,
    /// A hash of its content.
    pub fingerprint: String,
    /// What is known already, from an execution that was given up in the middle.
    pub verdict: Value,
}

impl Question {
    /// Whether it is about the same text under the same name.
    pub fn is_the_same_as(&self, other: &Question) -> bool {
        (&self.document, &self.fingerprint) == (&other.document, &other.fingerprint)
    }
}

/// What a review gives.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    /// The document in a few sentences.
    pub summary: String,
    /// From 0, harmless, to 100; the greater one of two opinions.
    pub risk_score: f64,
    /// What was found.
    pub issues: Vec<Issue>,
    /// What a second agent says, where the first one found a high risk.
    #[serde(default)]
    pub second: Option<Opinion>,
}

/// A second opinion.
#[derive(Debug, Clone, Deserialize)]
pub struct Opinion {
    /// The document in a few sentences.
    pub summary: String,
    /// From 0, harmless, to 100.
    pub risk_score: f64,
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
    json!({"type": "object", "properties": {"document": {"type": "string", "minLength": 1}}, "required": ["document"]})
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
