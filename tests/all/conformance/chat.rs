//! OpenAI Chat Completions against the traffic of OpenAI and of llama.cpp.

use std::collections::BTreeMap;
use std::time::Duration;

use blitz::provider::{CallContext, ModelStream, OpenAi, Provider, StreamItem};
use blitz::{Delta, Error, Message, ModelRequest, ModelResponse, Secret};
use futures_util::StreamExt;

use super::oracle::{self, Reading};
use super::recorded::{Exchange, exchanges};
use super::requests;
use crate::support::server::{Reply, Server};

const PATH: &str = "/v1/chat/completions";
const KEY: &str = "sk-recorded";

#[tokio::test]
async fn openai_chat_agrees_with_its_recordings() {
    conform("openai").await;
}

#[tokio::test]
async fn llamacpp_chat_agrees_with_its_recordings() {
    conform("llamacpp").await;
}

/// Plays every exchange and reports all that disagree at once.
async fn conform(provider: &str) {
    let Some(exchanges) = exchanges(provider, PATH) else { return };
    assert!(!exchanges.is_empty(), "no chat in the recordings of {provider}");
    let exceptions: BTreeMap<String, String> = serde_json::from_str(include_str!("exceptions.json")).unwrap();
    let server = Server::start([]).await;
    let model = OpenAi::new(server.url(), Some(Secret::new(KEY))).unwrap();
    let mut problems = Vec::new();
    for exchange in &exchanges {
        let decoded = requests::decode(&exchange.request);
        let excepted = exceptions.contains_key(&exchange.name);
        if decoded.is_none() != excepted {
            problems.push(format!("{}: excepted is {excepted}", exchange.name));
        }
        let request = decoded.clone().unwrap_or_else(|| stand_in(exchange));
        for reply in replies(exchange) {
            server.push(reply);
            let outcome = collect(model.stream(request.clone(), CallContext::new(Duration::from_secs(30)))).await;
            problems.extend(compare_answer(exchange, outcome));
        }
        if decoded.is_some() {
            problems.extend(compare_request(exchange, &server));
        }
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), exchanges.len(), problems.join("\n"));
}

/// Stands in for a request that the engine cannot make, so that its answer is read all the same.
fn stand_in(exchange: &Exchange) -> ModelRequest {
    let mut request = ModelRequest::new(exchange.request["model"].as_str().unwrap(), vec![Message::user("?")]);
    request.settings.stream = Some(exchange.streams());
    request
}

/// The recorded answer whole, cut at random places, and cut into single bytes' neighbourhoods.
fn replies(exchange: &Exchange) -> Vec<Reply> {
    let body = exchange.body.as_bytes();
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

fn compare_answer(exchange: &Exchange, outcome: Result<(ModelResponse, Reading), Error>) -> Option<String> {
    let name = &exchange.name;
    match outcome {
        Ok(_) if exchange.status != 200 => Some(format!("{name}: an error was read as an answer")),
        Ok((response, shown)) => {
            let (found, expected) = (oracle::provided(&response), oracle::recorded(&exchange.body, exchange.streams()));
            let same_shown =
                (&shown.text, &shown.thinking, &shown.refusal) == (&found.text, &found.thinking, &found.refusal);
            let problem =
                (found != expected).then(|| format!("{name}:\n  read     {found:?}\n  recorded {expected:?}"));
            problem.or_else(|| (!same_shown).then(|| format!("{name}: the deltas are not the answer")))
        }
        Err(error) if exchange.status == 200 => Some(format!("{name}: {error}")),
        Err(error) => {
            let expected = oracle::error_code(exchange.status, &exchange.body);
            (error.code() != expected).then(|| format!("{name}: {} in place of {expected}", error.code()))
        }
    }
}

fn compare_request(exchange: &Exchange, server: &Server) -> Option<String> {
    let sent = server.last_request();
    assert_eq!((sent.path.as_str(), sent.header("authorization")), (PATH, Some("Bearer sk-recorded")));
    let (sent, recorded) = (requests::normalised(&sent.json()), requests::normalised(&exchange.request));
    (sent != recorded).then(|| format!("{}:\n  sent     {sent}\n  recorded {recorded}", exchange.name))
}
