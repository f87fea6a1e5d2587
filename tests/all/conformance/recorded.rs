//! The recorded traffic as values.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

/// One request and its answer.
pub struct Exchange {
    /// `<case>#<number>`, for messages.
    pub name: String,
    pub path: String,
    pub request: Value,
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

impl Exchange {
    pub fn streams(&self) -> bool {
        self.request["stream"] == true
    }
}

/// The exchanges of a provider with one path, or `None` (and a loud word) where nothing is recorded.
pub fn exchanges(provider: &str, path: &str) -> Option<Vec<Exchange>> {
    let folder = std::env::var_os("BLITZ_RECORDINGS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join(format!("{provider}.jsonl"))) else {
        // Straight to the stream: the test harness would keep a print to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no recordings of {provider}; set BLITZ_RECORDINGS to the folder with {provider}.jsonl"
        );
        return None;
    };
    let cases = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    Some(cases.flat_map(|case| of_case(&case)).filter(|exchange| exchange.path == path).collect())
}

fn of_case(case: &Value) -> Vec<Exchange> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let exchanges = case["exchanges"].as_array().unwrap().iter().enumerate();
    exchanges
        .map(|(number, exchange)| Exchange {
            name: format!("{}#{number}", text(&case["case"])),
            path: text(&exchange["request"]["path"]),
            request: serde_json::from_str(exchange["request"]["body"].as_str().unwrap_or_default()).unwrap_or_default(),
            status: exchange["response"]["status"].as_u64().unwrap().try_into().unwrap(),
            content_type: text(&exchange["response"]["headers"]["content-type"]),
            body: text(&exchange["response"]["body"]),
        })
        .collect()
}
