//! Embeddings against the traffic of every provider that makes them.

use std::sync::Arc;
use std::time::Duration;

use blitz::provider::{CallContext, ChatServer, Cohere, EmbeddingRequest, Gemini, OpenAi, Provider};
use blitz::{Engine, NewModel, Part, Price, Provenance, Secret};
use serde_json::Value;

use super::player::KEY;
use super::reading::{self, list, text};
use super::recorded::{Exchange, exchanges};
use crate::support::server::{Reply, Server};

#[tokio::test]
async fn embeddings_agree_with_their_recordings() {
    for file in ["openai", "openrouter", "mistral", "llamacpp", "gemini", "cohere"] {
        let Some(all) = exchanges(file) else { continue };
        let mut problems = Vec::new();
        let plain = all.iter().filter(|exchange| exchange.path.contains("/embed"));
        let batches = all.iter().filter(|exchange| exchange.path.ends_with(":batchEmbedContents"));
        for exchange in plain.chain(batches) {
            problems.extend(play(file, exchange).await.map(|problem| format!("{}: {problem}", exchange.name)));
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

/// The same through an engine: a record, the gate, a reservation, and what the provider reports booked.
#[tokio::test]
async fn recorded_embeddings_come_through_the_engine_and_are_booked() {
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    for (file, root) in [
        ("openai", "/v1"),
        ("openrouter", "/api/v1"),
        ("mistral", "/v1"),
        ("llamacpp", "/v1"),
        ("gemini", ""),
        ("cohere", ""),
    ] {
        let all = exchanges(file).unwrap_or_default();
        let good = all.iter().filter(|exchange| exchange.status == 200);
        for exchange in good.filter(|one| one.path.contains("/embed") || one.path.ends_with(":batchEmbedContents")) {
            let server = Server::start([Reply::body(200, &exchange.content_type, &exchange.body)]).await;
            let request = decode(exchange);
            let model = NewModel::new("e", file, &request.model_name).with_base_url(format!("{}{root}", server.url()));
            let price = Price::per_million("1", "0").unwrap();
            me.models().put(model.with_api_key(KEY).with_price(price)).await.unwrap();
            let made = me.models().embed_parts("e", request).await.unwrap();
            let (vectors, tokens) = recorded(&exchange.json());
            assert_eq!(made.vectors, vectors, "{}", exchange.name);
            let booked = match tokens {
                Some(tokens) => tokens,
                None => made.usage.input_tokens,
            };
            assert_eq!(made.cost.unwrap().nanos(), i64::try_from(booked).unwrap() * 1_000, "{}", exchange.name);
            assert_eq!(made.usage.provenance == Provenance::Provider, tokens.is_some(), "{}", exchange.name);
        }
    }
}

fn provider(file: &str, base: &str) -> Arc<dyn Provider> {
    let key = Some(Secret::new(KEY));
    let chat = |server, root: &str| OpenAi::on(server, &format!("{base}{root}"), key.clone()).unwrap();
    match file {
        "openai" => Arc::new(chat(ChatServer::OpenAi, "/v1")),
        "openrouter" => Arc::new(chat(ChatServer::OpenRouter, "/api/v1")),
        "mistral" => Arc::new(chat(ChatServer::Mistral, "/v1")),
        "llamacpp" => Arc::new(chat(ChatServer::LlamaCpp, "/v1")),
        "gemini" => Arc::new(Gemini::new(base, key).unwrap()),
        _ => Arc::new(Cohere::new(base, key).unwrap()),
    }
}

async fn play(file: &str, exchange: &Exchange) -> Option<String> {
    let server = Server::start([Reply::body(exchange.status, &exchange.content_type, &exchange.body)]).await;
    let request = decode(exchange);
    let context = CallContext::new(Duration::from_secs(30));
    let outcome = provider(file, server.url()).embed(request, context).await;
    let sent = server.last_request();
    if sent.path != exchange.path || normalised(&sent.json()) != normalised(&exchange.request) {
        return Some(format!("{}\n  sent     {}\n  recorded {}", sent.path, sent.json(), exchange.request));
    }
    match outcome {
        Ok(_) if exchange.status != 200 => Some("an error was read as an answer".to_owned()),
        Ok(found) => {
            let (vectors, tokens) = recorded(&exchange.json());
            let same = found.vectors == vectors && found.usage.map(|usage| usage.input_tokens) == tokens;
            (!same).then(|| format!("{} vectors, {:?}", found.vectors.len(), found.usage))
        }
        Err(error) => {
            let expected = reading::error_code(exchange.status, exchange.text());
            (exchange.status == 200 || error.code() != expected).then(|| error.to_string())
        }
    }
}

fn decode(exchange: &Exchange) -> EmbeddingRequest {
    let body = &exchange.request;
    if let Some(requests) = body["requests"].as_array() {
        let texts = requests.iter().map(|one| text(&one["content"]["parts"][0]["text"]));
        let name = text(&requests[0]["model"]).trim_start_matches("models/").to_owned();
        let request = EmbeddingRequest::texts(name, texts);
        return match requests[0]["output_dimensionality"].as_u64() {
            Some(count) => request.with_dimensions(count),
            None => request,
        };
    }
    let mut fields = body.as_object().unwrap().clone();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let texts = [take("input"), take("texts")];
    let mut inputs: Vec<Part> = texts.iter().flat_map(list).map(|one| Part::text(text(one))).collect();
    let images = take("images");
    let image = |data: &Value| Part::Image { media_type: "image/png".to_owned(), data: text(data) };
    inputs.extend(list(&images).map(image));
    let mut request = EmbeddingRequest::new(text(&take("model")), inputs);
    let counts = ["dimensions", "output_dimension"].map(take);
    request.dimensions = counts.iter().find_map(Value::as_u64);
    if !images.is_null() {
        fields.remove("embedding_types");
    }
    request.extra = fields;
    request
}

/// The two ways to write a name.
fn normalised(body: &Value) -> Value {
    serde_json::from_str(&body.to_string().replace("output_dimensionality", "outputDimensionality")).unwrap()
}

fn recorded(answer: &Value) -> (Vec<Vec<f32>>, Option<u64>) {
    let vector = |value: &Value| list(value).map(|number| number.as_f64().unwrap() as f32).collect();
    let billed = answer["meta"]["billed_units"]["input_tokens"].as_u64();
    let tokens = answer["usage"]["prompt_tokens"].as_u64().or(billed);
    let vectors = if answer["data"].is_array() {
        list(&answer["data"]).map(|one| vector(&one["embedding"])).collect()
    } else if answer["embeddings"]["float"].is_array() {
        list(&answer["embeddings"]["float"]).map(vector).collect()
    } else {
        let found = list(&answer["embeddings"]);
        found.map(|one| if one.is_array() { vector(one) } else { vector(&one["values"]) }).collect()
    };
    (vectors, tokens)
}
