//! The recorded traffic as values.

use std::io::Write;
use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

/// One request and its answer.
pub struct Exchange {
    /// `<file>:<case>#<number>`, for messages.
    pub name: String,
    pub method: String,
    pub path: String,
    pub request: Value,
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Exchange {
    /// One that nobody recorded, of shapes that the reference of an API names.
    pub fn made(name: impl Into<String>, path: &str, request: &Value, content_type: &str, body: &[u8]) -> Self {
        Self {
            name: name.into(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            request: request.clone(),
            status: 200,
            content_type: content_type.to_owned(),
            body: body.to_vec(),
        }
    }

    /// Whether the answer came in pieces.
    pub fn streams(&self) -> bool {
        let begins = |word: &str| self.body.trim_ascii_start().starts_with(word.as_bytes());
        ["event-stream", "eventstream", "ndjson"].iter().any(|kind| self.content_type.contains(kind))
            || ["data:", "event:", ": "].iter().any(|word| begins(word))
    }

    /// Whether it is an answer: not an error by its status, nor one that came behind a status of 200.
    pub fn is_answer(&self) -> bool {
        if !(200..300).contains(&self.status) {
            return false;
        }
        let fails = |said: &Value| {
            let error = said.get("error").or_else(|| said["response"].get("error"));
            error.is_some_and(|error| !error.is_null())
                || said["type"] == "error"
                || said["choices"].as_array().into_iter().flatten().any(breaks_off)
                || said["finish_reason"] == "ERROR"
                || said["delta"]["finish_reason"] == "ERROR"
        };
        // A frame of Amazon's names an error in its head.
        let holds = |name: &str| self.body.windows(name.len()).any(|piece| piece == name.as_bytes());
        if self.content_type.contains("eventstream") && [":exception-type", ":error-code"].into_iter().any(holds) {
            return false;
        }
        match std::str::from_utf8(&self.body) {
            Ok(text) if self.streams() => {
                let pieces = text.lines().filter_map(|line| line.strip_prefix("data:").or(Some(line)));
                !pieces.filter_map(|piece| serde_json::from_str(piece.trim()).ok()).any(|piece| fails(&piece))
            }
            Ok(text) => serde_json::from_str(text).is_ok_and(|body| !fails(&body)),
            Err(_) => true,
        }
    }

    /// A streamed answer of these events.
    pub fn streamed(events: &[Value]) -> Self {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        Self {
            name: "written:here#0".to_owned(),
            method: "POST".to_owned(),
            path: String::new(),
            request: Value::Null,
            status: 200,
            content_type: "text/event-stream".to_owned(),
            body: body.into_bytes(),
        }
    }

    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of each event of an event stream.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        data.filter(|data| !data.is_empty() && *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

/// Whether a candidate of Chat Completions ended by an error, told in an object or by a word alone.
fn breaks_off(choice: &Value) -> bool {
    let told = choice.get("error").is_some_and(|error| !error.is_null());
    told || choice["finish_reason"] == "error"
}

/// Where the recordings are.
fn folder() -> PathBuf {
    std::env::var_os("BLITZ_RECORDINGS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings"), PathBuf::from)
}

/// Eight digits that tell one recording of a file from another.
pub fn mark(file: &str) -> Option<String> {
    let bytes = std::fs::read(folder().join(format!("{file}.jsonl"))).ok()?;
    let hash = bytes.iter().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    Some(format!("{hash:08x}"))
}

/// The names of the files that are there.
pub fn files() -> Vec<String> {
    let found = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned());
    let mut files: Vec<String> = found.filter_map(name).collect();
    files.sort();
    files
}

/// Every exchange of a file, or `None` (and a loud word) where nothing is recorded.
pub fn exchanges(file: &str) -> Option<Vec<Exchange>> {
    let Ok(text) = std::fs::read_to_string(folder().join(format!("{file}.jsonl"))) else {
        // Straight to the stream: the test harness would keep a print to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no recordings of {file}; set BLITZ_RECORDINGS to the folder with {file}.jsonl"
        );
        return None;
    };
    let cases =
        text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    Some(cases.flat_map(|case| of_case(file, &case)).collect())
}

/// What a case does not hold is empty, and its status 0: whoever plays it finds that it agrees with nothing.
fn of_case(file: &str, case: &Value) -> Vec<Exchange> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let exchanges = case["exchanges"].as_array().into_iter().flatten().enumerate();
    exchanges
        .map(|(number, exchange)| {
            let (request, response) = (&exchange["request"], &exchange["response"]);
            let body = text(&response["body"]);
            let is_binary = response["body_encoding"] == "base64";
            let bytes = is_binary.then(|| base64::engine::general_purpose::STANDARD.decode(&body).ok()).flatten();
            Exchange {
                name: format!("{file}:{}#{number}", text(&case["case"])),
                method: text(&request["method"]),
                path: text(&request["path"]),
                request: serde_json::from_str(request["body"].as_str().unwrap_or_default()).unwrap_or_default(),
                status: response["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0),
                content_type: text(&response["headers"]["content-type"]),
                body: bytes.unwrap_or_else(|| body.into_bytes()),
            }
        })
        .collect()
}

/// A path whose escapes are written out: there are several ways to write one.
pub fn unescaped(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn conformance_takes_an_exception_frame_for_an_error() {
    let exchange = |head: &str| {
        let case = serde_json::json!({"exchanges": [{"response": {
            "status": 200, "headers": {"content-type": "application/vnd.amazon.eventstream"}, "body": head}}]});
        let mut exchange = of_case("f", &case).remove(0);
        exchange.body.splice(0..0, [0xFF, 0]);
        exchange
    };
    assert!(exchange(":event-type messageStart").is_answer());
    assert!(!exchange(":exception-type throttlingException").is_answer());
    assert_eq!(unescaped("/model/arn%3Aaws%2fx%zz/converse%"), "/model/arn:aws/x%zz/converse%");
}

#[test]
fn conformance_takes_a_candidate_that_broke_off_for_an_error() {
    let choice = |choice: Value| Exchange::streamed(&[serde_json::json!({"choices": [choice]})]).is_answer();
    assert!(choice(serde_json::json!({"finish_reason": "stop", "error": null})));
    assert!(!choice(serde_json::json!({"finish_reason": "error"})));
    assert!(!choice(serde_json::json!({"delta": {"content": ""}, "error": {"code": 502}})));
}
