//! A described HTTP call: the tool `http` of agents, and the node `http` of workflows.
//!
//! Where it may go is the host's to say: nowhere, until it names hosts. Everything else that keeps a
//! request from harm is `net::egress`.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use encoding_rs::Encoding;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Tool, ToolContext, ToolError};
use crate::domain::{Effect, Timestamp, ToolSpec};
use crate::error::{Error, ErrorCode, Result};
use crate::net::egress::{Guard, Reach, Request, Response, Rules};
use crate::net::retry_after;

/// The most bytes of an answer.
const MAX_BODY: usize = 8 << 20;
/// How long one call may take, redirects included, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the HTTP calls of tools and nodes may go.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Only to these hosts; `.example.com` stands for every host below it. To none where empty.
    pub hosts: Vec<String>,
    /// To every host of the public network.
    pub any_host: bool,
    /// To this machine and its own network too.
    pub local: bool,
}

impl Egress {
    /// To these hosts of the public network.
    pub fn hosts<H: Into<String>>(hosts: impl IntoIterator<Item = H>) -> Self {
        Self { hosts: hosts.into_iter().map(Into::into).collect(), any_host: false, local: false }
    }

    /// To every host of the public network.
    pub fn any() -> Self {
        Self { hosts: Vec::new(), any_host: true, local: false }
    }

    /// To this machine and its own network too.
    #[must_use]
    pub fn and_local(mut self) -> Self {
        self.local = true;
        self
    }

    fn guard(&self, timeout: Duration) -> Guard {
        let mut rules = Rules::public().with_reach(if self.local { Reach::Local } else { Reach::Public });
        rules.hosts = (!self.any_host).then(|| self.hosts.clone());
        (rules.max_redirects, rules.max_body, rules.timeout) = (3, MAX_BODY, timeout);
        Guard::new(rules)
    }
}

/// How an answer is read, and which answers are good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// As JSON or as text, whatever the answer says it is.
    pub(crate) json: Option<bool>,
    /// Statuses that count as success beside 2xx.
    pub(crate) accept: Vec<u16>,
    /// What the request does to the world.
    pub(crate) effect: Effect,
    /// How long one call may take, where that is said.
    pub(crate) timeout: Option<Duration>,
}

impl Reading {
    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }
}

/// An HTTP call whose every part comes as an argument.
pub(crate) struct HttpTool {
    guard: Guard,
    nowhere: bool,
    reading: Reading,
}

impl HttpTool {
    pub(crate) fn new(egress: &Egress, reading: Reading) -> Self {
        Self { guard: egress.guard(reading.timeout()), nowhere: !egress.any_host && egress.hosts.is_empty(), reading }
    }
}

/// What is asked.
#[derive(Deserialize)]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    body: Value,
}

impl Tool for HttpTool {
    fn spec(&self) -> ToolSpec {
        let schema = json!({
            "type": "object",
            "properties": {
                "method": {"enum": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]},
                "url": {"type": "string"},
                "headers": {"type": "object"},
                "query": {"type": "object"},
                "body": {}
            },
            "required": ["method", "url"]
        });
        ToolSpec::new("http", "Sends an HTTP request.", schema)
    }

    fn blocks(&self) -> bool {
        false
    }

    fn effect(&self) -> Effect {
        self.reading.effect
    }

    fn call(&self, arguments: Value, context: ToolContext) -> BoxFuture<'static, Result<Value, ToolError>> {
        let (guard, reading, nowhere) = (self.guard.clone(), self.reading.clone(), self.nowhere);
        Box::pin(async move {
            if nowhere {
                let message = "HTTP calls go nowhere until the host program names hosts: see `egress` of its settings";
                return Err(ToolError::typed(Error::denied(message)));
            }
            let asked: Asked = serde_json::from_value(arguments)
                .map_err(|_| ToolError::typed(Error::invalid("the request is malformed")))?;
            let request = request(asked, &context.idempotency_key).map_err(ToolError::typed)?;
            let response = guard.fetch(request).await.map_err(ToolError::typed)?;
            answer(response, &reading).map_err(ToolError::typed)
        })
    }
}

fn request(asked: Asked, idempotency_key: &str) -> Result<Request> {
    let mut url = reqwest::Url::parse(&asked.url).map_err(|_| Error::invalid("the url is none"))?;
    if !asked.query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in &asked.query {
            pairs.append_pair(name, &text(value));
        }
    }
    let mut request = Request::new(asked.method, url);
    let names = |name: &str| asked.headers.keys().any(|given| given.eq_ignore_ascii_case(name));
    if !names("idempotency-key") && !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
        request = request.header("idempotency-key", idempotency_key);
    }
    match &asked.body {
        Value::Null => {}
        Value::String(body) => request = request.body(body.clone()),
        body => {
            if !names("content-type") {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body.to_string());
        }
    }
    for (name, value) in &asked.headers {
        request = request.header(name, text(value));
    }
    Ok(request)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn answer(response: Response, reading: &Reading) -> Result<Value> {
    let status = response.status;
    if !(200..300).contains(&status) && !reading.accept.contains(&status) {
        let code = match status {
            401 | 403 => ErrorCode::ProviderAuth,
            404 => ErrorCode::NotFound,
            408 => ErrorCode::Timeout,
            429 => ErrorCode::RateLimited,
            500..=599 => ErrorCode::Unavailable,
            _ => ErrorCode::ToolFailed,
        };
        let wait = retry_after::retry_after(&response.headers, Timestamp::now())
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let details = json!({"status": status, "retry_after_ms": wait});
        return Err(Error::new(code, format!("the server answered {status}")).with_details(details));
    }
    let header = |name: &str| response.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = header("content-type").to_owned();
    let is_json = reading.json.unwrap_or_else(|| kind.contains("json"));
    let mut answer = json!({"status": status, "content_type": kind});
    answer["body"] = match decoded(&kind, &response.body) {
        Some(text) if is_json && !text.is_empty() => {
            serde_json::from_str(&text).map_err(|_| Error::bad_output("the answer is no JSON"))?
        }
        Some(text) => Value::String(text.into_owned()),
        None if reading.json.is_some() || is_json => {
            return Err(Error::bad_output("the answer is no text in the charset that it names, or in UTF-8"));
        }
        None => {
            answer["encoding"] = "base64".into();
            base64::engine::general_purpose::STANDARD.encode(&response.body).into()
        }
    };
    Ok(answer)
}

/// A body as text: by its byte order mark, by the charset that its type names, else in UTF-8. `None` for what is none.
fn decoded<'b>(kind: &str, body: &'b [u8]) -> Option<Cow<'b, str>> {
    let named = || {
        let mut parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        Encoding::for_label(charset.trim().trim_matches('"').as_bytes())
    };
    let (encoding, mark) = match Encoding::for_bom(body) {
        Some((encoding, mark)) => (encoding, mark),
        None => (named().unwrap_or(encoding_rs::UTF_8), 0),
    };
    encoding.decode_without_bom_handling_and_without_replacement(&body[mark..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w41_a_body_is_read_in_its_charset_and_never_damaged() {
        let read = |kind: &str, body: &[u8], json| {
            let mut headers = reqwest::header::HeaderMap::new();
            headers.insert("content-type", kind.parse().expect("a header"));
            let response = Response { status: 200, headers, body: body.to_vec() };
            answer(response, &Reading { json, ..Reading::default() }).map_err(|error| error.code())
        };
        let body = |kind: &str, bytes: &[u8]| read(kind, bytes, None).expect("it is read")["body"].clone();
        assert_eq!(body("text/plain; charset=ISO-8859-1", b"caf\xe9"), "café");
        assert_eq!(body("text/plain; charset=\"windows-1252\"", b"5 \x80"), "5 €");
        assert_eq!(body("text/html;charset=shift_jis", b"\x93\xfa\x96\x7b"), "日本");
        assert_eq!(body("text/plain", b"\xff\xfea\0b\0"), "ab");
        assert_eq!(body("text/plain", "\u{feff}ä".as_bytes()), "ä");
        assert_eq!(body("application/json; charset=latin1", b"{\"a\": \"\xe9\"}"), json!({"a": "é"}));
        assert_eq!(body("text/plain", b""), "");
        // What is no text comes whole, and says so.
        let image = read("image/png", b"\x89PNG\xff", None).expect("it is read");
        assert_eq!((&image["encoding"], &image["body"]), (&json!("base64"), &json!("iVBOR/8=")));
        assert_eq!(read("text/plain", b"ok", None).expect("it is read").get("encoding"), None);
        assert_eq!(read("image/png", b"\x89PNG\xff", Some(false)), Err(ErrorCode::BadOutput));
        assert_eq!(read("application/json", b"{\"a\": \"\xe9\"}", None), Err(ErrorCode::BadOutput));
    }

    #[test]
    fn a_call_may_take_as_long_as_its_node() {
        let shown = |timeout| {
            let reading = Reading { timeout, ..Reading::default() };
            format!("{:?}", HttpTool::new(&Egress::any(), reading).guard)
        };
        assert!(shown(Some(Duration::from_secs(300))).contains("timeout: 300s"));
        assert!(shown(None).contains("timeout: 60s"));
    }
}
