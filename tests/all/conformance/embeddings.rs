//! Embeddings against the traffic of every provider that makes them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use blitz::provider::{CallContext, ChatServer, Cohere, EmbeddingRequest, Gemini, Ollama, OpenAi, Provider};
use blitz::{Engine, NewModel, Part, Price, Provenance, Secret};
use futures_util::FutureExt;
use serde_json::Value;

use super::player::{KEY, report};
use super::reading::{self, list, text};
use super::recorded::{Exchange, exchanges, files};
use crate::support::server::{Reply, Server};

#[tokio::test]
async fn embeddings_agree_with_their_recordings() {
    let mut problems = Vec::new();
    for file in files() {
        let all = exchanges(&file).unwrap_or_default();
        let of_kind: Vec<_> = all.iter().filter(|exchange| makes_vectors(exchange)).collect();
        let mut wrong = 0;
        for exchange in &of_kind {
            // What the plain reading does not know is a wrong reading of one exchange, not of all of them.
            let played = AssertUnwindSafe(play(&file, exchange)).catch_unwind().await;
            let problem = played.unwrap_or_else(|_| Some("the reading of it broke off".to_owned()));
            wrong += usize::from(problem.is_some());
            problems.extend(problem.map(|problem| format!("{}: {problem}", exchange.name)));
        }
        if !of_kind.is_empty() {
            let right = of_kind.len() - wrong;
            let counts = format!("{file}: {right} read right, {wrong} read wrong, 0 not supported");
            report(&format!("{file}_embeddings"), &counts);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The same through an engine: a record, the gate, a reservation, and what the provider reports booked.
#[tokio::test]
async fn recorded_embeddings_come_through_the_engine_and_are_booked() {
    let engine = Engine::open(":memory:").await.unwrap();
    let mut problems = Vec::new();
    for (file, root) in [
        ("openai", "/v1"),
        ("openrouter", "/api/v1"),
        ("mistral", "/v1"),
        ("llamacpp", "/v1"),
        ("gemini", ""),
        ("cohere", ""),
    ] {
        let all = exchanges(file).unwrap_or_default();
        let good = all.iter().filter(|exchange| exchange.is_answer());
        for exchange in good.filter(|one| one.path.contains("/embed") || one.path.ends_with(":batchEmbedContents")) {
            let booked = AssertUnwindSafe(book(&engine, file, root, exchange)).catch_unwind().await;
            let problem = booked.unwrap_or_else(|_| Some("the reading of it broke off".to_owned()));
            problems.extend(problem.map(|problem| format!("{}: {problem}", exchange.name)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

async fn book(engine: &Engine, file: &str, root: &str, exchange: &Exchange) -> Option<String> {
    let me = engine.root("test");
    let server = Server::start([Reply::body(200, &exchange.content_type, &exchange.body)]).await;
    let request = decode(exchange);
    let model = NewModel::new("e", file, &request.model_name).with_base_url(format!("{}{root}", server.url()));
    let price = Price::per_million("1", "0").unwrap();
    me.models().put(model.with_api_key(KEY).with_price(price)).await.unwrap();
    let made = match me.models().embed_parts("e", request).await {
        Ok(made) => made,
        Err(error) => return Some(error.to_string()),
    };
    let (vectors, tokens) = recorded(&exchange.json());
    let booked = tokens.unwrap_or(made.usage.input_tokens);
    let agrees = made.vectors == vectors
        && made.cost.map(|cost| cost.nanos()) == i64::try_from(booked * 1_000).ok()
        && (made.usage.provenance == Provenance::Provider) == tokens.is_some();
    (!agrees).then(|| format!("{} vectors, {:?} booked as {:?}", made.vectors.len(), made.usage, made.cost))
}

fn makes_vectors(exchange: &Exchange) -> bool {
    let ends = ["/embeddings", "/embed", ":batchEmbedContents"];
    exchange.method == "POST" && ends.iter().any(|end| exchange.path.ends_with(end))
}

fn provider(file: &str, path: &str, base: &str) -> Arc<dyn Provider> {
    let key = Some(Secret::new(KEY));
    if let Some(root) = path.strip_suffix("/embeddings") {
        let server = match file {
            "openai" => ChatServer::OpenAi,
            "openrouter" => ChatServer::OpenRouter,
            "mistral" => ChatServer::Mistral,
            "llamacpp" => ChatServer::LlamaCpp,
            _ => ChatServer::Other,
        };
        return Arc::new(OpenAi::on(server, &format!("{base}{root}"), key).unwrap());
    }
    match path {
        "/api/embed" => Arc::new(Ollama::new(base, key).unwrap()),
        _ if path.ends_with(":batchEmbedContents") => Arc::new(Gemini::new(base, key).unwrap()),
        _ => Arc::new(Cohere::new(base, key).unwrap()),
    }
}

async fn play(file: &str, exchange: &Exchange) -> Option<String> {
    let server = Server::start([Reply::body(exchange.status, &exchange.content_type, &exchange.body)]).await;
    let request = decode(exchange);
    let context = CallContext::new(Duration::from_secs(30));
    let outcome = provider(file, &exchange.path, server.url()).embed(request, context).await;
    let sent = server.last_request();
    if sent.path != exchange.path || normalised(&sent.json()) != normalised(&exchange.request) {
        return Some(format!("{}\n  sent     {}\n  recorded {}", sent.path, sent.json(), exchange.request));
    }
    match outcome {
        Ok(_) if !exchange.is_answer() => Some("an error was read as an answer".to_owned()),
        Ok(found) => {
            let (vectors, tokens) = recorded(&exchange.json());
            let same = found.vectors == vectors && found.usage.map(|usage| usage.input_tokens) == tokens;
            (!same).then(|| format!("{} vectors, {:?}", found.vectors.len(), found.usage))
        }
        Err(error) => {
            let agrees = reading::agrees(error.code(), exchange.status, &exchange.text());
            (exchange.is_answer() || exchange.status >= 300 && !agrees).then(|| error.to_string())
        }
    }
}

fn decode(exchange: &Exchange) -> EmbeddingRequest {
    let body = &exchange.request;
    if let Some(requests) = body["requests"].as_array() {
        let texts = requests.iter().map(|one| text(&one["content"]["parts"][0]["text"]));
        let name = text(&body["requests"][0]["model"]).trim_start_matches("models/").to_owned();
        let mut request = EmbeddingRequest::texts(name, texts);
        let mut fields = body["requests"][0].as_object().cloned().unwrap_or_default();
        fields.retain(|name, value| !matches!(name.as_str(), "model" | "content") && !value.is_null());
        let counts = ["outputDimensionality", "output_dimensionality"].map(|name| fields.remove(name));
        request.dimensions = counts.into_iter().flatten().find_map(|count| count.as_u64());
        request.extra = fields;
        return request;
    }
    let mut fields = body.as_object().cloned().unwrap_or_default();
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let texts = [take("input"), take("texts")];
    let one = texts.iter().filter(|texts| texts.is_string());
    let mut inputs: Vec<Part> = texts.iter().flat_map(list).chain(one).map(|one| Part::text(text(one))).collect();
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

/// The two ways to write a name; one text, or a list of one; whose words they are; nothing that is null.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    if body["input"].is_string() {
        body["input"] = Value::from(vec![body["input"].take()]);
    }
    for one in body.get_mut("requests").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(content) = one.get_mut("content").and_then(Value::as_object_mut) {
            content.remove("role");
        }
        if let Some(fields) = one.as_object_mut() {
            let counted = fields.remove("output_dimensionality");
            fields.extend(counted.map(|count| ("outputDimensionality".to_owned(), count)));
            fields.retain(|_, value| !value.is_null());
        }
    }
    body
}

fn recorded(answer: &Value) -> (Vec<Vec<f32>>, Option<u64>) {
    let vector = |value: &Value| match value.as_str() {
        Some(bytes) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap_or_default();
            let (floats, _) = bytes.as_chunks::<4>();
            floats.iter().map(|four| f32::from_le_bytes(*four)).collect()
        }
        None => list(value).filter_map(Value::as_f64).map(|number| number as f32).collect(),
    };
    let billed = &answer["meta"]["billed_units"];
    let counts = [&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"], &answer["prompt_eval_count"]];
    let counts = counts.into_iter().chain([&billed["input_tokens"], &billed["image_tokens"]]);
    let tokens = counts.filter_map(Value::as_u64).next();
    let vectors = if answer["data"].is_array() {
        let mut data: Vec<&Value> = list(&answer["data"]).collect();
        data.sort_by_key(|one| one["index"].as_u64());
        data.into_iter().map(|one| vector(&one["embedding"])).collect()
    } else if let Some(kinds) = answer["embeddings"].as_object() {
        let found = kinds.get("float").or_else(|| kinds.values().next()).unwrap_or(&Value::Null);
        list(found).map(vector).collect()
    } else {
        let found = list(&answer["embeddings"]);
        found.map(|one| if one.is_array() { vector(one) } else { vector(&one["values"]) }).collect()
    };
    (vectors, tokens)
}
