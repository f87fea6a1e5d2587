//! Plays recorded exchanges to a provider and collects everything that disagrees.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use blitz::provider::{CallContext, ModelStream, Provider, StreamItem};
use blitz::{Delta, Error, Message, ModelRequest, ModelResponse, Part};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::ollama;
use super::reading::{self, Reading};
use super::recorded::{Exchange, exchanges, files, unescaped};
use super::table::{self, Row};
use crate::support::canary;
use crate::support::server::{Reply, Server};

/// The key that every provider under test is given.
pub const KEY: &str = "sk-canary-recorded";

/// One dialect as one file of recordings holds it.
pub struct Suite {
    /// The file, without its ending.
    pub file: String,
    /// Which of its exchanges are of this dialect.
    pub takes: fn(&Exchange) -> bool,
    /// What the path of an exchange ends with; what is before it belongs to the address of the provider.
    pub end: &'static str,
    /// The provider at the address of the server.
    pub provider: fn(file: &str, base: &str) -> Arc<dyn Provider>,
    /// The recorded request as a program would have made it; `None` where the engine cannot say it at all.
    pub decode: fn(&Exchange) -> Option<ModelRequest>,
    /// A wire request with everything that may differ without harm brought to one form.
    pub normalised: fn(&Value) -> Value,
    /// A plain reading of the recorded answer.
    pub reading: fn(&Exchange) -> Reading,
    /// The header of the key, and its value.
    pub key: (&'static str, &'static str),
}

/// Plays every exchange and reports all that disagree at once.
pub async fn conform(suite: Suite) {
    let name = suite_name(&suite.file);
    let Some((row, problems)) = play_all(&suite, &name).await else { return };
    assert!(problems.is_empty(), "of {}:\n{}", row.exchanges, problems.join("\n"));
    let name = name.replace("_agrees_with_its_recordings", "").replace('_', " ");
    table::compare(&suite, &Row { name, ..row });
}

/// Plays what other files than its own hold of a dialect, and reports all that disagree at once.
pub async fn conform_elsewhere(kind: &str, own: &[&str], suite: fn(String) -> Suite) {
    let mut problems = Vec::new();
    for file in files().into_iter().filter(|file| !own.contains(&file.as_str())) {
        let suite = suite(file.clone());
        if exchanges(&file).unwrap_or_default().iter().any(suite.takes) {
            problems.extend(play_all(&suite, &format!("{file}_{kind}")).await.into_iter().flat_map(|(_, found)| found));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Plays exchanges that nobody recorded, each of which is read right.
pub async fn conform_to(suite: &Suite, exchanges: &[Exchange]) {
    let (_, _, problems) = play_each(suite, "made", exchanges).await;
    assert!(problems.is_empty(), "of {}:\n{}", exchanges.len(), problems.join("\n"));
}

/// Plays every exchange of a suite and counts them; `None` where there are none.
pub async fn play_all(suite: &Suite, name: &str) -> Option<(Row, Vec<String>)> {
    let mut exchanges = exchanges(&suite.file)?;
    exchanges.retain(suite.takes);
    if exchanges.is_empty() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: nothing of {name} in the recordings of {}", suite.file);
        return None;
    }
    let (row, wrong, problems) = play_each(suite, name, &exchanges).await;
    let Row { right, excepted, .. } = row;
    report(name, &format!("{}: {right} read right, {wrong} read wrong, {excepted} not supported", suite.file));
    Some((row, problems))
}

/// Plays exchanges one behind the other: how many were read right, how many wrong, and what is wrong with them.
async fn play_each(suite: &Suite, name: &str, exchanges: &[Exchange]) -> (Row, usize, Vec<String>) {
    let exceptions: BTreeMap<String, String> = serde_json::from_str(include_str!("exceptions.json")).unwrap();
    let log = canary::Log::read();
    let server = Server::start([]).await;
    let mut models: BTreeMap<String, Arc<dyn Provider>> = BTreeMap::new();
    let (mut problems, mut wrong, mut excepted) = (Vec::new(), 0, 0);
    let mut counts = vec![0; table::BEHAVIOURS.len()];
    for exchange in exchanges {
        let before = log.text().len();
        let played = caught(exchange, async {
            let root = exchange.path.strip_suffix(suite.end).filter(|_| !suite.end.is_empty()).unwrap_or_default();
            let base = format!("{}{root}", server.url());
            let model = models.entry(root.to_owned()).or_insert_with(|| (suite.provider)(&suite.file, &base));
            let found = play(suite, exchange, &server, &**model).await;
            let reading = (found.is_empty() && exchange.is_answer()).then(|| (suite.reading)(exchange));
            (found, table::shows(exchange, (suite.decode)(exchange).as_ref(), reading.as_ref()))
        });
        let (mut found, shown) = played.await.unwrap_or_else(|problem| (vec![problem], Vec::new()));
        found.extend(told_too_much(exchange, &log.text()[before..]));
        match (found.is_empty(), exceptions.contains_key(&exchange.name)) {
            (true, false) => counts.iter_mut().zip(shown).for_each(|(count, shows)| *count += usize::from(shows)),
            (false, true) => excepted += 1,
            (true, true) => problems.push(format!("{}: agrees, take it off the exceptions", exchange.name)),
            (false, false) => {
                wrong += 1;
                problems.extend(found);
            }
        }
    }
    let right = exchanges.len() - wrong - excepted;
    (Row { name: name.to_owned(), exchanges: exchanges.len(), right, excepted, counts }, wrong, problems)
}

/// What a reading gives, or the words in which it broke off: what it does not know is a wrong reading of one
/// exchange, not of all of them.
async fn caught<T>(exchange: &Exchange, reading: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(reading).catch_unwind().await.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("{}: the reading of it broke off: {}", exchange.name, said.unwrap_or_default())
    })
}

#[tokio::test]
async fn conformance_counts_a_reading_that_breaks_off_as_wrong_and_goes_on() {
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": false});
    let body = br#"{"model": "m", "message": {"content": "hi"}, "done": true, "eval_count": 1}"#;
    let exchange =
        |number| Exchange::made(format!("none:case#{number}"), "/api/chat", &request, "application/json", body);
    let exchanges = [exchange(0), exchange(1), exchange(2)];
    for broken in [
        Suite {
            reading: |exchange| match exchange.name.as_str() {
                "none:case#1" => panic!("an unknown {}", "shape"),
                _ => ollama::reading(exchange),
            },
            ..ollama::suite("none".to_owned())
        },
        Suite {
            decode: |exchange| match exchange.name.as_str() {
                "none:case#1" => panic!("an unknown shape"),
                _ => ollama::decode(&exchange.request),
            },
            ..ollama::suite("none".to_owned())
        },
    ] {
        let (row, wrong, problems) = play_each(&broken, "none", &exchanges).await;
        assert_eq!((row.exchanges, row.right, wrong), (3, 2, 1), "{problems:?}");
        assert_eq!(problems, ["none:case#1: the reading of it broke off: an unknown shape"]);
    }
}

/// The name of the test that plays a suite.
fn suite_name(file: &str) -> String {
    let thread = std::thread::current();
    thread.name().and_then(|name| name.rsplit("::").next()).unwrap_or(file).to_owned()
}

/// What no suite takes: calls that make no chat and no embeddings.
#[test]
fn conformance_says_what_is_of_a_kind_that_is_not_supported() {
    const SPOKEN: &[&str] = &[
        "/chat/completions",
        "/responses",
        "/messages",
        "generatecontent",
        "/api/chat",
        "/v2/chat",
        "/converse",
        "/converse-stream",
        "/embeddings",
        "/embed",
        ":batchembedcontents",
    ];
    for file in files() {
        let all = exchanges(&file).unwrap_or_default();
        let is_spoken = |exchange: &&Exchange| {
            let path = exchange.path.split('?').next().unwrap_or_default().to_lowercase();
            exchange.method == "POST" && SPOKEN.iter().any(|end| path.ends_with(end))
        };
        let others = all.len() - all.iter().filter(is_spoken).count();
        if others > 0 {
            report(&format!("{file}_others"), &format!("{file}: {others} of a kind that is not supported"));
        }
    }
}

/// Keeps the counts where `make conformance` finds them.
pub fn report(name: &str, counts: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&folder).unwrap();
    let line = format!("{counts} ({name})\n");
    std::fs::write(folder.join(format!("{name}.txt")), &line).unwrap();
    let _ = write!(std::io::stderr(), "{line}");
}

/// Plays one exchange and says what disagrees.
pub async fn play(suite: &Suite, exchange: &Exchange, server: &Server, model: &dyn Provider) -> Vec<String> {
    let mut problems = Vec::new();
    let decoded = (suite.decode)(exchange);
    if decoded.is_none() {
        problems.push(format!("{}: the engine cannot say this request", exchange.name));
    }
    let mut request = decoded.clone().unwrap_or_else(|| stand_in(exchange));
    made_here(&mut request, model);
    let mut used = 0;
    for reply in replies(exchange) {
        server.forget_replies();
        server.push(reply);
        let context = CallContext::new(Duration::from_secs(30));
        let outcome = collect(model.stream(request.clone(), context)).await;
        if let Err(error) = &outcome {
            problems.extend(told_too_much(exchange, &canary::shown(error)));
        }
        if let Ok((response, _)) = &outcome {
            used = used.max(response.usage.map_or(0, |usage| usage.input_tokens));
        }
        problems.extend(compare_answer(suite, exchange, outcome));
    }
    if decoded.is_some() {
        problems.extend(compare_request(suite, exchange, server));
        problems.extend(beyond_the_bound(exchange, &request, model, used));
    }
    problems.dedup();
    problems
}

/// What of the key and of the request an error or a log line repeats.
fn told_too_much(exchange: &Exchange, said: &str) -> Option<String> {
    fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }
    let mut private = vec![KEY];
    for name in ["messages", "contents", "input", "system", "instructions", "systemInstruction"] {
        texts(&exchange.request[name], &mut private);
    }
    // A shorter one may be any word.
    let repeated = private.into_iter().find(|text| (*text == KEY || text.len() >= 12) && said.contains(text))?;
    Some(format!("{}: an error or a log repeats {repeated:?}: {said}", exchange.name))
}

/// Input that was billed and that no money would have been held for. What the provider's own tools find nobody can know
/// before, and what they found is cut out of the recordings.
fn beyond_the_bound(exchange: &Exchange, request: &ModelRequest, model: &dyn Provider, used: u64) -> Option<String> {
    let mut request = request.clone();
    request.settings.max_output_tokens.get_or_insert(4_096);
    let bound = model.input_token_bound(&request);
    let runs_tools =
        request.settings.extra.contains_key("tools") || exchange.request.to_string().contains("_REDACTED_");
    (!runs_tools && used > bound)
        .then(|| format!("{}: {used} input tokens are billed, {bound} were held", exchange.name))
}

/// What the recorded provider said for itself was said by the one that is played with.
fn made_here(request: &mut ModelRequest, model: &dyn Provider) {
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::Thinking { provider: Some(by), .. } | Part::Opaque { provider: by, .. } if by == model.name() => {
                *by = model.maker().into_owned();
            }
            _ => {}
        }
    }
}

/// Stands in for a request that the engine cannot make, so that its answer is read all the same.
fn stand_in(exchange: &Exchange) -> ModelRequest {
    let mut request = ModelRequest::new(exchange.request["model"].as_str().unwrap_or("m"), vec![Message::user("?")]);
    request.settings.stream = Some(exchange.streams());
    request
}

/// The recorded answer whole, cut at random places, and cut into single bytes' neighbourhoods.
fn replies(exchange: &Exchange) -> Vec<Reply> {
    let body = exchange.body.as_slice();
    let mut random =
        Random(exchange.name.bytes().fold(1, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into())));
    let cut = |largest: usize, random: &mut Random| {
        let mut rest = body;
        let pieces = std::iter::from_fn(|| {
            let (piece, behind) = rest.split_at_checked(1 + random.below(largest)).unwrap_or((rest, &[]));
            rest = behind;
            (!piece.is_empty()).then_some(piece)
        });
        Reply::chunked(exchange.status, &exchange.content_type, pieces)
    };
    vec![Reply::body(exchange.status, &exchange.content_type, body), cut(400, &mut random), cut(7, &mut random)]
}

/// A small generator (xorshift), so that a failing cut can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// The answer, and the texts of its deltas.
async fn collect(mut stream: ModelStream) -> Result<(ModelResponse, Reading), Error> {
    let mut shown = Reading::default();
    let mut answer = None;
    while let Some(item) = stream.next().await {
        match item? {
            StreamItem::Delta(Delta::Text { text }) => shown.text += &text,
            StreamItem::Delta(Delta::Thinking { text }) => shown.thinking += &text,
            StreamItem::Delta(Delta::Refusal { text }) => shown.refusal += &text,
            StreamItem::Delta(_) => assert!(answer.is_none()),
            StreamItem::Done(response) => answer = Some(*response),
            other => panic!("a stream gave {other:?}"),
        }
    }
    Ok((answer.expect("a stream without error ends with its answer"), shown))
}

fn compare_answer(
    suite: &Suite,
    exchange: &Exchange,
    outcome: Result<(ModelResponse, Reading), Error>,
) -> Option<String> {
    let name = &exchange.name;
    match outcome {
        Ok(_) if !exchange.is_answer() => Some(format!("{name}: an error was read as an answer")),
        Ok((response, shown)) => {
            let (mut found, expected) = (reading::provided(&response), (suite.reading)(exchange));
            // A call without an id gets one, whichever that is.
            for (found, expected) in found.calls.iter_mut().zip(&expected.calls).filter(|(_, call)| call.0.is_empty()) {
                found.0.clone_from(&expected.0);
            }
            let same_shown =
                (&shown.text, &shown.thinking, &shown.refusal) == (&found.text, &found.thinking, &found.refusal);
            let problem =
                (found != expected).then(|| format!("{name}:\n  read     {found:?}\n  recorded {expected:?}"));
            problem.or_else(|| (!same_shown).then(|| format!("{name}: the deltas are not the answer")))
        }
        Err(error) if exchange.is_answer() => Some(format!("{name}: {error}")),
        // Behind a status of 200 its words say which error it is, as far as they do.
        Err(error) => {
            let status = if exchange.status < 300 { reading::stated(&exchange.text())? } else { exchange.status };
            (!reading::agrees(error.code(), status, &exchange.text())).then(|| {
                let expected = reading::error_code(status, &exchange.text());
                format!("{name}: {} in place of {expected}", error.code())
            })
        }
    }
}

fn compare_request(suite: &Suite, exchange: &Exchange, server: &Server) -> Option<String> {
    let sent = server.last_request();
    let path = sent.path.split('?').next().unwrap_or_default();
    let (header, value) = suite.key;
    if header.is_empty() {
        assert!(sent.header("authorization").is_some());
    } else {
        assert_eq!(sent.header(header), Some(value), "{}", exchange.name);
    }
    let (mut body, mut recorded) = ((suite.normalised)(&sent.json()), (suite.normalised)(&exchange.request));
    [&mut body, &mut recorded].into_iter().for_each(plain_numbers);
    (unescaped(path) != unescaped(&exchange.path) || body != recorded)
        .then(|| format!("{}: {path}\n  sent     {body}\n  recorded {recorded}", exchange.name))
}

/// Writes a number without a fraction in one way.
fn plain_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15);
            if let Some(float) = whole {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        Value::Object(fields) => fields.values_mut().for_each(plain_numbers),
        _ => {}
    }
}
