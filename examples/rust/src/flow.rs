//! The review as a workflow: list the documents, review each, ask for a second opinion where it is risky, report.

use std::path::PathBuf;
use std::time::Duration;

use blitz::tool::{FunctionNode, ToolError};
use blitz::{Effect, NodeTypeInfo, OnError, Workflow, WorkflowDefinition, WorkflowLimits};
use serde_json::{Value, json};

use crate::setup::{AGENT, SECOND_AGENT};

/// The name of the workflow.
pub const NAME: &str = "document_review";
/// The map over the documents, and the nodes of its body that ask an agent.
pub const EACH: &str = "each";
/// The agent's node.
pub const REVIEW: &str = "review";
/// The node of the second opinion.
pub const SECOND: &str = "second";
/// The node that joins both into what is known of a document.
pub const VERDICT: &str = "verdict";
/// The type of the node that lists the documents: a function of this program.
const LIST: &str = "list_documents";

/// Documents that are reviewed at the same time.
const AT_ONCE: u32 = 16;
/// From this risk on a second agent is asked.
const RISKY: u32 = 40;

/// Both opinions as one: the greater risk counts.
const JOINED: &str = "item.verdict or {\
    'document': item.document, \
    'summary': nodes.review.output.summary, \
    'issues': nodes.review.output.issues, \
    'risk_score': (nodes.review.output.risk_score if (nodes.second.output | default(none)) is none \
        else [nodes.review.output.risk_score, nodes.second.output.risk_score] | max), \
    'second': nodes.second.output | default(none)}";

const REPORT: &str = "\
{% set done = nodes.each.output | select | list %}\
{{ done | length }} of {{ nodes.each.output | length }} reviewed, {{ done | selectattr('second') | list | length }} of them twice.\
{% if done %}{% set worst = done | sort(attribute='risk_score') | last %} \
The greatest risk is {{ worst.risk_score | round | int }} of 100, in {{ worst.document }}.{% endif %}";

/// The workflow. It may take `patience`: the time that a killed program is away counts too.
pub fn review(patience: Duration) -> WorkflowDefinition {
    let mut limits = WorkflowLimits::default();
    limits.timeout_s = patience.as_secs();
    limits.max_parallel = AT_ONCE;
    let document = || json!({"document": "{{ item.document }}"});
    Workflow::new(NAME)
        .description("Reviews documents for risks; what is risky gets a second opinion.")
        .limits(limits)
        .start("start")
        .node("list", LIST, Value::Null)
        .input(json!({"documents": "{{ inputs.documents }}"}))
        .label("list the documents")
        .map(EACH, "nodes.list.output", |body| {
            body.choose("new", "not item.verdict")
                .label("not reviewed yet?")
                .agent(REVIEW, AGENT)
                .input(document())
                .label("read, analyse, score")
                .choose("risky", format!("nodes.review.output.risk_score >= {RISKY}"))
                .agent(SECOND, SECOND_AGENT)
                .input(document())
                .label("second opinion")
                .on_error(OnError::Continue)
                .code(VERDICT, JOINED)
                .port("new", "true", REVIEW)
                .port("new", "false", VERDICT)
                .edge(REVIEW, "risky")
                .port("risky", "true", SECOND)
                .port("risky", "false", VERDICT)
                .edge(SECOND, VERDICT)
        })
        .label("each document")
        .config("concurrency", AT_ONCE)
        .config("fail", "null")
        .config("output", "{{ nodes.verdict.output }}")
        .template("report", REPORT)
        .end("end")
        .config("output", json!({"documents": "{{ nodes.each.output }}", "report": "{{ nodes.report.output }}"}))
        .edge("start", "list")
        .edge("list", EACH)
        .edge(EACH, "report")
        .edge("report", "end")
        .build()
}

/// The node that lists the documents of a batch, whose copies are in `folder`.
pub fn list_documents(folder: PathBuf) -> FunctionNode {
    let documents = json!({"type": "array", "items": {"type": "object", "required": ["document"]}});
    let input = json!({"type": "object", "properties": {"documents": documents}, "required": ["documents"]});
    let info = NodeTypeInfo::host(LIST, "Lists the documents of a batch; each must be there.");
    FunctionNode::new(info.with_effect(Effect::Pure).with_input(input), move |work, _| {
        let folder = folder.clone();
        async move {
            let documents = work.input["documents"].as_array().cloned().unwrap_or_default();
            let is_there = |name: &str| folder.join(name).is_file();
            let gone =
                documents.iter().filter_map(|document| document["document"].as_str()).find(|name| !is_there(name));
            match gone {
                Some(name) => Err(ToolError::failed(format!("{name} is not there any more"))),
                None => Ok(Value::Array(documents).into()),
            }
        }
    })
}
