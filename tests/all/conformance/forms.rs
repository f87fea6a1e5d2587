//! Forms that the APIs take and give and that the recordings may not hold: `forms.json` has them, written by hand after
//! the APIs' references. The suites must read each of them right.

use serde_json::Value;

use super::player::play;
use super::reading::{list, text};
use super::recorded::Exchange;
use super::{anthropic, gemini};
use crate::support::server::Server;

#[tokio::test]
async fn conformance_knows_the_forms_that_no_recording_may_hold() {
    let forms: Value = serde_json::from_str(include_str!("forms.json")).unwrap();
    let server = Server::start([]).await;
    let mut problems = Vec::new();
    for suite in [anthropic::suite("anthropic".to_owned()), gemini::suite("gemini".to_owned())] {
        let file = suite.file.as_str();
        for form in list(&forms[file]) {
            let exchange = exchange(file, form);
            let root = if suite.end.is_empty() { "" } else { exchange.path.strip_suffix(suite.end).unwrap() };
            let model = (suite.provider)(file, &format!("{}{root}", server.url()));
            assert!((suite.takes)(&exchange));
            problems.extend(play(&suite, &exchange, &server, &*model).await);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn exchange(file: &str, form: &Value) -> Exchange {
    let events = form["events"].as_array();
    let said = |event: &Value| format!("event: {}\ndata: {event}\n\n", text(&event["type"]));
    let body = events.map_or_else(|| form["answer"].to_string(), |events| events.iter().map(said).collect());
    Exchange {
        name: format!("{file}:{}", text(&form["name"])),
        method: "POST".to_owned(),
        path: text(&form["path"]),
        request: form["request"].clone(),
        status: form["status"].as_u64().unwrap_or(200).try_into().unwrap(),
        content_type: if events.is_some() { "text/event-stream" } else { "application/json" }.to_owned(),
        body: body.into_bytes(),
    }
}
