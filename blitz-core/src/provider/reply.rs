//! One answer of a model, made by a host: for scripts, and for functions that answer.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::domain::{Part, Provenance, ToolCall, Usage, UsageDetails};
use crate::error::{Charged, Error, ErrorCode, ReportedUsage, Result};

/// One answer of a [`Scripted`](super::Scripted) or [`FunctionProvider`](super::FunctionProvider).
///
/// It is read from data too, with one of `text`, `tool_calls`, `parts`, `vectors` and `error`; `usage`
/// and `delay_ms` may stand beside it. Arguments that are a string are what the model wrote, to the letter. An
/// error has `code` and `message`, and if wanted `charged`, `retryable` and `retry_after_ms`; what it used is booked.
///
/// ```
/// use blitz::provider::{Reply, Scripted};
/// let replies: Vec<Reply> = serde_json::from_str(
///     r#"[{"tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 3}}], "usage": {"input_tokens": 10}},
///         {"error": {"code": "rate_limited", "message": "too many requests"}},
///         {"text": "5", "delay_ms": 1}]"#,
/// )?;
/// let scripted = Scripted::new(replies);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct Reply {
    pub(super) answer: Result<Answer>,
    pub(super) usage: Option<Usage>,
    pub(super) delay: Duration,
}

/// What a reply says.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// To a request for an answer.
    Parts(Vec<Part>),
    /// To a request for embeddings.
    Vectors(Vec<Vec<f32>>),
}

impl Reply {
    /// An answer of these parts.
    pub fn parts(parts: Vec<Part>) -> Self {
        Self { answer: Ok(Answer::Parts(parts)), usage: None, delay: Duration::ZERO }
    }

    /// These vectors, for a request for embeddings.
    pub fn vectors(vectors: Vec<Vec<f32>>) -> Self {
        Self { answer: Ok(Answer::Vectors(vectors)), usage: None, delay: Duration::ZERO }
    }

    /// What this provider says by it to a request for an answer, and what that used.
    pub(super) fn into_parts(self, provider: &str) -> Result<(Vec<Part>, Option<Usage>)> {
        match self.said(provider)? {
            (Answer::Parts(parts), usage) => Ok((parts, usage)),
            (Answer::Vectors(_), _) => Err(Error::invalid("the reply holds vectors, but an answer was asked for")),
        }
    }

    /// What this provider says by it to a request for embeddings, and what that used.
    pub(super) fn into_vectors(self, provider: &str) -> Result<(Vec<Vec<f32>>, Option<Usage>)> {
        match self.said(provider)? {
            (Answer::Vectors(vectors), usage) => Ok((vectors, usage)),
            (Answer::Parts(_), _) => Err(Error::invalid("the reply holds an answer, but vectors were asked for")),
        }
    }

    /// A failure is told with what it used, where the reply says that.
    fn said(self, provider: &str) -> Result<(Answer, Option<Usage>)> {
        let error = match (self.answer, self.usage) {
            (Ok(answer), usage) => return Ok((answer, usage)),
            (Err(error), None) => return Err(error),
            (Err(error @ Error::Provider { .. }), Some(usage)) => error.with_reported(Some((usage, Value::Null))),
            (Err(error), Some(usage)) => Error::Provider {
                code: error.code(),
                provider: provider.to_owned(),
                status: None,
                retry_after: error.retry_after(),
                retryable: error.is_retryable(),
                charged: Charged::Delivered,
                usage: Some(Box::new(ReportedUsage::new(usage, Value::Null))),
                message: error.chain(),
                source: None,
            },
        };
        Err(error)
    }

    /// An answer in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::parts(vec![Part::text(text)])
    }

    /// A call of one tool.
    pub fn tool_call(name: impl Into<String>, arguments: Value) -> Self {
        Self::tool_calls(vec![(name.into(), arguments)])
    }

    /// Calls of several tools at once, each with its arguments.
    pub fn tool_calls<N: Into<String>>(calls: Vec<(N, Value)>) -> Self {
        let call = |(name, arguments): (N, Value)| Part::ToolCall(ToolCall::new("", name, arguments.to_string()));
        Self::parts(calls.into_iter().map(call).collect())
    }

    /// A failure.
    pub fn error(error: Error) -> Self {
        Self { answer: Err(error), usage: None, delay: Duration::ZERO }
    }

    /// Whether it is a failure.
    pub fn is_error(&self) -> bool {
        self.answer.is_err()
    }

    /// The same answer with this usage in place of counted tokens; of a failure it is booked all the same.
    pub fn with_usage(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// The same answer, given only after a while.
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ReplyData::deserialize(deserializer)?.reply().map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "reply")]
struct ReplyData {
    text: Option<String>,
    tool_calls: Option<Vec<CallData>>,
    parts: Option<Vec<Part>>,
    vectors: Option<Vec<Vec<f32>>>,
    error: Option<ErrorData>,
    usage: Option<UsageData>,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "tool call")]
struct CallData {
    name: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "error")]
struct ErrorData {
    code: ErrorCode,
    message: String,
    charged: Option<Charged>,
    retryable: Option<bool>,
    retry_after_ms: Option<u64>,
}

/// [`Usage`] with its names held: a count under a wrong name would be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename = "usage")]
struct UsageData {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    provenance: Provenance,
    details: UsageDetails,
}

impl Default for UsageData {
    fn default() -> Self {
        Self {
            requests: 1,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            reasoning_tokens: 0,
            provenance: Provenance::Provider,
            details: UsageDetails::default(),
        }
    }
}

impl ReplyData {
    fn reply(self) -> Result<Reply, &'static str> {
        let calls = self.tool_calls.map(|calls| Reply::parts(calls.into_iter().map(CallData::part).collect()));
        let error = self.error.map(|error| Reply::error(error.error()));
        let (parts, vectors) = (self.parts.map(Reply::parts), self.vectors.map(Reply::vectors));
        let mut said = [self.text.map(Reply::text), calls, parts, vectors, error].into_iter().flatten();
        let (Some(reply), None) = (said.next(), said.next()) else {
            return Err("a reply has exactly one of text, tool_calls, parts, vectors and error");
        };
        let usage = self.usage.map(UsageData::usage);
        Ok(Reply { usage, ..reply }.with_delay(Duration::from_millis(self.delay_ms)))
    }
}

impl ErrorData {
    fn error(self) -> Error {
        let mut error = Error::new(self.code, self.message);
        if let Some(charged) = self.charged {
            error = error.with_charged(charged);
        }
        if let Some(retryable) = self.retryable {
            error = error.with_retryable(retryable);
        }
        match self.retry_after_ms {
            Some(wait) => error.with_retry_after(Duration::from_millis(wait)),
            None => error,
        }
    }
}

impl CallData {
    fn part(self) -> Part {
        let arguments = match self.arguments {
            Value::String(written) => written,
            Value::Null => String::new(),
            arguments => arguments.to_string(),
        };
        Part::ToolCall(ToolCall::new(self.id, self.name, arguments))
    }
}

impl UsageData {
    fn usage(self) -> Usage {
        let mut usage = Usage::new(self.input_tokens, self.output_tokens)
            .with_cache(self.cache_read_tokens, self.cache_write_tokens)
            .with_reasoning(self.reasoning_tokens)
            .with_provenance(self.provenance)
            .with_details(self.details);
        usage.requests = self.requests;
        usage
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Reply {
        serde_json::from_value(value).unwrap()
    }

    fn refused(value: Value) -> String {
        serde_json::from_value::<Reply>(value).unwrap_err().to_string()
    }

    #[test]
    fn each_form_is_read() {
        assert_eq!(read(json!({"text": "5"})).into_parts("p").unwrap(), (vec![Part::text("5")], None));
        let calls = json!([{"name": "add", "arguments": {"a": 1}}, {"name": "b", "arguments": "{oops"}, {"name": "c"}]);
        let written: Vec<String> = read(json!({"tool_calls": calls}))
            .into_parts("p")
            .unwrap()
            .0
            .into_iter()
            .map(|part| match part {
                Part::ToolCall(call) => call.arguments,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(written, [r#"{"a":1}"#, "{oops", ""]);
        assert_eq!(
            read(json!({"parts": [{"type": "text", "text": "x"}]})).into_parts("p").unwrap().0,
            [Part::text("x")]
        );
        assert_eq!(read(json!({"vectors": [[1, 0.5]]})).into_vectors("p").unwrap().0, [[1.0, 0.5]]);
        assert!(read(json!({"vectors": []})).into_parts("p").is_err());
        assert!(read(json!({"text": "5"})).into_vectors("p").is_err());
        let error = read(json!({"error": {"code": "rate_limited", "message": "slow down"}})).answer.unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (ErrorCode::RateLimited, "slow down"));
        assert_eq!(error.charged(), Charged::No);
        for (charged, expected) in
            [("none", Charged::No), ("delivered", Charged::Delivered), ("unknown", Charged::Unknown)]
        {
            let error = read(json!({"error": {"code": "rate_limited", "message": "", "charged": charged}}));
            assert_eq!(error.answer.unwrap_err().charged(), expected);
        }
        let said = json!({"code": "rate_limited", "message": "", "retryable": false, "retry_after_ms": 7});
        let error = read(json!({"error": said})).answer.unwrap_err();
        let expected = (false, Some(Duration::from_millis(7)));
        assert_eq!((error.is_retryable(), error.retry_after()), expected);
        let travelled = Error::from(error.to_info());
        assert_eq!((travelled.is_retryable(), travelled.retry_after()), expected);
    }

    #[test]
    fn usage_and_delay_stand_beside_it() {
        let reply = read(json!({"text": "", "usage": {"input_tokens": 7, "reasoning_tokens": 1}, "delay_ms": 20}));
        assert_eq!(reply.usage, Some(Usage::new(7, 0).with_reasoning(1)), "one request is one request");
        assert_eq!(reply.delay, Duration::from_millis(20));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for value in [json!({}), json!({"text": "a", "parts": []}), json!({"usage": {}})] {
            assert!(refused(value).contains("exactly one"));
        }
        for value in [
            json!({"text": "a", "usage": {"input": 1}}),
            json!({"texts": "a"}),
            json!({"error": {"code": "rate_limited", "message": "", "status": 429}}),
            json!({"tool_calls": [{"nmae": "add"}]}),
        ] {
            assert!(refused(value.clone()).contains("unknown field"), "{value}");
        }
        let nope = refused(json!({"error": {"code": "nope", "message": ""}}));
        assert!(nope.contains("code nope") && nope.contains("rate_limited"), "{nope}");
        assert!(refused(json!({"text": "a", "delay_ms": -1})).contains("-1"));
    }
}
