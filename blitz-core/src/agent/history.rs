//! The conversation of an execution, built of its journal records in order.
//!
//! Deterministic and idempotent: the same records give the same messages byte for byte, which
//! keeps providers' caches warm. Repair happens here: every call gets exactly one result, in the
//! order the calls were made, before anything else is said.

use crate::domain::{Message, MessageRole, ModelResponse, Part, ToolResult};

/// Told to the model for a call that never got its result.
const INTERRUPTED: &str = "interrupted: this call was not finished and has no result";

/// The messages of one execution so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript {
    messages: Vec<Message>,
    /// Where the results of the calls of the newest assistant message go, `None` until they come.
    results: Vec<Option<ToolResult>>,
}

impl Transcript {
    /// A conversation that begins with instructions (none where empty) and what the caller asks.
    pub(crate) fn new(instructions: &str, user: Message) -> Self {
        let system = (!instructions.is_empty()).then(|| Message::system(instructions));
        Self { messages: system.into_iter().chain([user]).collect(), results: Vec::new() }
    }

    /// A conversation that begins with these messages.
    pub(crate) fn of(messages: Vec<Message>) -> Self {
        Self { messages, results: Vec::new() }
    }

    /// The model's next answer.
    pub(crate) fn answer(&mut self, response: &ModelResponse) {
        self.flush();
        self.results = vec![None; response.message.tool_calls().count()];
        self.messages.push(response.message.clone());
    }

    /// The result of the newest answer's call number `index`.
    pub(crate) fn result(&mut self, index: usize, result: ToolResult) {
        if let Some(slot) = self.results.get_mut(index) {
            *slot = Some(result);
        }
    }

    /// What the engine tells the model.
    pub(crate) fn feedback(&mut self, text: &str) {
        self.flush();
        self.messages.push(Message::user(text));
    }

    /// The conversation as it is sent: open calls count as interrupted, and thinking that another
    /// provider made is left out.
    pub(crate) fn for_request(&mut self, provider: &str) -> Vec<Message> {
        self.flush();
        self.messages.iter().map(|message| without_foreign_thinking(message, provider)).collect()
    }

    /// The conversation as the user gets it.
    pub(crate) fn into_messages(mut self) -> Vec<Message> {
        self.flush();
        self.messages
    }

    /// Writes the results behind their calls.
    fn flush(&mut self) {
        let results = std::mem::take(&mut self.results);
        if results.is_empty() {
            return;
        }
        let Some(answer) = self.messages.last() else { return };
        let parts = answer
            .tool_calls()
            .zip(results)
            .map(|(call, result)| {
                let mut result = result.unwrap_or_else(|| ToolResult::error(&call.id, &call.name, INTERRUPTED));
                result.id.clone_from(&call.id);
                Part::ToolResult(result)
            })
            .collect();
        self.messages.push(Message::new(MessageRole::Tool, parts));
    }
}

fn without_foreign_thinking(message: &Message, provider: &str) -> Message {
    let keep = |part: &&Part| match part {
        Part::Thinking { provider: Some(maker), .. } => maker == provider,
        _ => true,
    };
    Message::new(message.role, message.parts.iter().filter(keep).cloned().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ToolCall;

    #[test]
    fn b07_b30_a_call_without_a_result_is_sent_with_one_in_its_place() {
        let calls = ["a", "b", "c"].map(|id| Part::ToolCall(ToolCall::new(id, "f", "{}")));
        let mut transcript = Transcript::new("", Message::user("go"));
        transcript.answer(&ModelResponse::new(calls.into()));
        transcript.result(2, ToolResult::new("c", "f", json!(3)));
        transcript.result(0, ToolResult::new("a", "f", json!(1)));
        let sent = transcript.for_request("p");
        let results: Vec<_> = sent[2]
            .parts
            .iter()
            .map(|part| match part {
                Part::ToolResult(result) => (result.id.as_str(), result.as_text(), result.is_error),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected =
            [("a", "1".to_owned(), false), ("b", INTERRUPTED.to_owned(), true), ("c", "3".to_owned(), false)];
        assert_eq!(results, expected);
        assert_eq!((sent.len(), sent[2].role), (3, MessageRole::Tool));
        assert_eq!(transcript.for_request("p"), sent, "the same again");
        transcript.feedback("and?");
        assert_eq!(transcript.for_request("p")[..3], sent[..], "before anything else is said");
    }
}
