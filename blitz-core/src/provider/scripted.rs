//! Answers from a list: for tests and examples.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::reply::Reply;
use super::{
    CallContext, EmbeddingFuture, EmbeddingRequest, EmbeddingResponse, ModelStream, Profile, Provider, StreamItem,
};
use crate::domain::{Delta, Message, MessageRole, ModelRequest, ModelResponse, Part, Provenance, Usage};
use crate::error::{Error, Result};

/// A provider that answers from a list or by a function, and remembers what it was asked.
///
/// Clones share the list and the record of requests. It needs no network and costs nothing.
///
/// ```
/// use blitz::provider::{Reply, Scripted};
/// use serde_json::json;
/// let scripted = Scripted::new(vec![Reply::tool_call("add", json!({"a": 2, "b": 3})), Reply::text("5")]);
/// assert!(scripted.requests().is_empty());
/// ```
#[derive(Clone)]
pub struct Scripted {
    name: String,
    script: Arc<Script>,
}

struct Script {
    replies: Replies,
    requests: Mutex<Vec<ModelRequest>>,
}

enum Replies {
    List(Mutex<VecDeque<Reply>>),
    Function(Box<dyn Fn(&ModelRequest) -> Reply + Send + Sync>),
}

impl Scripted {
    /// A provider that gives these answers, one for each request, and then fails.
    pub fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(Replies::List(Mutex::new(replies.into_iter().collect())))
    }

    /// A provider that answers each request by a function.
    pub fn from_fn(answer: impl Fn(&ModelRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Replies::Function(Box::new(answer)))
    }

    fn with(replies: Replies) -> Self {
        let script = Script { replies, requests: Mutex::default() };
        Self { name: "scripted".to_owned(), script: Arc::new(script) }
    }

    /// The same script under another name.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// What it was asked so far, in order.
    pub fn requests(&self) -> Vec<ModelRequest> {
        lock(&self.script.requests).clone()
    }

    /// Notes a request and takes its answer, which call ids need a number for.
    fn reply(&self, request: &ModelRequest) -> (usize, Reply) {
        let number = {
            let mut requests = lock(&self.script.requests);
            requests.push(request.clone());
            requests.len()
        };
        let reply = match &self.script.replies {
            Replies::Function(answer) => answer(request),
            Replies::List(replies) => lock(replies).pop_front().unwrap_or_else(|| {
                Reply::error(Error::invalid(format!(
                    "{} has no answer left for request {number}: give it one more",
                    self.name
                )))
            }),
        };
        (number, reply)
    }
}

/// What is to be embedded as a message of its inputs.
pub(super) fn as_message(request: EmbeddingRequest) -> ModelRequest {
    ModelRequest::new(request.model_name, vec![Message::new(MessageRole::User, request.inputs)])
}

/// The vectors of a reply to [`as_message`]. Errors: the reply's own, `InvalidInput` where it holds none.
pub(super) fn embedded(provider: &str, asked: &ModelRequest, reply: Reply) -> Result<EmbeddingResponse> {
    let (vectors, usage) = reply.into_vectors(provider)?;
    let usage = usage.unwrap_or_else(|| counted(&asked.messages, &[]));
    Ok(EmbeddingResponse { vectors, usage: Some(usage), raw_usage: Value::Null, model_name: asked.model_name.clone() })
}

/// A panic of another test must not hide behind a poisoned list.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Provider for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream(&self, request: ModelRequest, _: CallContext) -> ModelStream {
        let scripted = self.clone();
        stream::once(async move {
            let (number, reply) = scripted.reply(&request);
            if !reply.delay.is_zero() {
                tokio::time::sleep(reply.delay).await;
            }
            stream::iter(items(&scripted.name, number, &request, reply))
        })
        .flatten()
        .boxed()
    }

    fn profile(&self, _: &str) -> Profile {
        Profile { free: true, ..Profile::default() }
    }

    /// Takes the next reply of the same list. What it was asked is kept as a message of its inputs.
    fn embed(&self, request: EmbeddingRequest, _: CallContext) -> EmbeddingFuture {
        let scripted = self.clone();
        Box::pin(async move {
            let asked = as_message(request);
            let (_, reply) = scripted.reply(&asked);
            if !reply.delay.is_zero() {
                tokio::time::sleep(reply.delay).await;
            }
            embedded(&scripted.name, &asked, reply)
        })
    }

    fn is_remote(&self) -> bool {
        false
    }
}

/// The deltas of an answer, word by word, and the answer itself.
fn items(provider: &str, number: usize, request: &ModelRequest, reply: Reply) -> Vec<Result<StreamItem>> {
    let response = match response(provider, number, request, reply) {
        Ok(response) => response,
        Err(error) => return vec![Err(error)],
    };
    let pieces = deltas(&response.message.parts).into_iter().map(StreamItem::Delta);
    let mut items: Vec<_> = pieces.map(Ok).collect();
    items.push(Ok(StreamItem::Done(Box::new(response))));
    items
}

/// The whole answer that a reply to request `number` is.
pub(super) fn response(provider: &str, number: usize, request: &ModelRequest, reply: Reply) -> Result<ModelResponse> {
    let (mut parts, usage) = reply.into_parts(provider)?;
    name_calls(number, &mut parts);
    let usage = usage.unwrap_or_else(|| counted(&request.messages, &parts));
    let mut response = ModelResponse::new(parts).with_usage(usage);
    response.model_name.clone_from(&request.model_name);
    Ok(response)
}

/// Gives calls without an id one that no other answer of the script gives.
fn name_calls(number: usize, parts: &mut [Part]) {
    let calls = parts.iter_mut().filter_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        _ => None,
    });
    for (index, call) in calls.enumerate().filter(|(_, call)| call.id.is_empty()) {
        call.id = format!("call_{number}_{index}");
    }
}

/// An answer in pieces, text word by word.
pub(super) fn deltas(parts: &[Part]) -> Vec<Delta> {
    let mut calls = 0..;
    parts
        .iter()
        .flat_map(|part| match part {
            Part::Text { text } => words(text, |text| Delta::Text { text }),
            Part::Thinking { text, .. } => words(text, |text| Delta::Thinking { text }),
            Part::Refusal { text } => words(text, |text| Delta::Refusal { text }),
            Part::ToolCall(call) => {
                let index = calls.next().unwrap_or(u32::MAX);
                let (name, text) = (call.name.clone(), call.arguments.clone());
                vec![Delta::ToolCall { index, name }, Delta::Arguments { index, text }]
            }
            _ => Vec::new(),
        })
        .collect()
}

fn words(text: &str, delta: fn(String) -> Delta) -> Vec<Delta> {
    text.split_inclusive(' ').map(|word| delta(word.to_owned())).collect()
}

/// Usage as an ordinary tokenizer might count it: a token for each four bytes begun.
pub(super) fn counted(messages: &[Message], answer: &[Part]) -> Usage {
    let bytes = |parts: &[Part]| -> usize { parts.iter().map(bytes).sum() };
    let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
    let input = messages.iter().map(|message| bytes(&message.parts)).sum();
    Usage::new(tokens(input), tokens(bytes(answer))).with_provenance(Provenance::Counted)
}

fn bytes(part: &Part) -> usize {
    match part {
        Part::Text { text } | Part::Thinking { text, .. } | Part::Refusal { text } => text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::ToolResult(result) => result.as_text().len(),
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::complete;
    use super::*;
    use std::time::Duration;

    use crate::error::ErrorCode;
    use serde_json::json;

    fn ask(scripted: &Scripted) -> ModelStream {
        let request = ModelRequest::new("m", vec![Message::user("12345678")]);
        scripted.stream(request, CallContext::new(Duration::from_secs(1)))
    }

    #[tokio::test]
    async fn answers_come_in_order_and_run_out_clearly() {
        let scripted = Scripted::new(vec![Reply::tool_call("add", json!({"a": 1})), Reply::text("it is 3")]);
        let first = complete(ask(&scripted)).await.unwrap();
        let call = first.message.tool_calls().next().unwrap();
        assert_eq!((call.id.as_str(), call.name.as_str(), call.arguments.as_str()), ("call_1_0", "add", r#"{"a":1}"#));
        let second = complete(ask(&scripted.clone())).await.unwrap();
        assert_eq!(second.message.text_content(), "it is 3");
        assert_eq!(second.usage, Some(Usage::new(2, 2).with_provenance(Provenance::Counted)));
        let error = complete(ask(&scripted)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(error.to_string().contains("no answer left for request 3"));
        assert_eq!(scripted.requests().len(), 3);
    }

    #[tokio::test]
    async fn text_streams_word_by_word() {
        let items: Vec<_> = ask(&Scripted::new([Reply::text("one two")])).map(Result::unwrap).collect().await;
        let text = |text: &str| StreamItem::Delta(Delta::Text { text: text.into() });
        assert_eq!(items[..2], [text("one "), text("two")]);
        assert!(matches!(&items[2..], [StreamItem::Done(_)]));
    }

    #[tokio::test]
    async fn a_function_sees_the_request() {
        let echo = Scripted::from_fn(|request| Reply::text(request.messages[0].text_content())).named("echo");
        assert_eq!(echo.name(), "echo");
        assert_eq!(complete(ask(&echo)).await.unwrap().message.text_content(), "12345678");
    }

    #[tokio::test]
    async fn nothing_is_taken_before_the_stream_is_polled() {
        let scripted = Scripted::new([Reply::text("a")]);
        drop(ask(&scripted));
        assert!(scripted.requests().is_empty());
    }

    #[tokio::test]
    async fn errors_usage_and_delays_are_as_told() {
        let usage = Usage::new(7, 8);
        let delay = Duration::from_millis(20);
        let failing = Reply::error(Error::timeout("too slow"));
        let scripted = Scripted::new([failing, Reply::text("a").with_usage(usage).with_delay(delay)]);
        assert_eq!(complete(ask(&scripted)).await.unwrap_err().code(), ErrorCode::Timeout);
        let start = std::time::Instant::now();
        assert_eq!(complete(ask(&scripted)).await.unwrap().usage, Some(usage));
        assert!(start.elapsed() >= delay);
    }
}
