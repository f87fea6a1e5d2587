//! How a call for embeddings is sent and its answer read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

use super::super::{CallContext, EmbeddingRequest, EmbeddingResponse};
use super::body::Unreadable;
use super::counts::Counts;
use super::endpoint::Endpoint;
use super::{Link, extra, lay_over, media, to_body};
use crate::domain::{Part, Usage};
use crate::error::{Charged, Error, Result};
use crate::net::Patience;

/// A call for embeddings ready to be sent, and who reads its answer.
pub(in crate::provider) struct EmbeddingCall {
    pub url: Url,
    pub body: Value,
    /// Fields of the body that the caller may set otherwise.
    pub open: &'static [&'static str],
    pub read: fn(&Value) -> EmbeddingResponse,
}

impl EmbeddingCall {
    /// Takes the fields of `extra`: each input does where it is a request of its own.
    ///
    /// Errors: `InvalidInput` if one of them belongs to the engine.
    pub(in crate::provider) fn pass(&mut self, extra: &Map<String, Value>) -> Result<()> {
        let bodies = match self.body.get_mut("requests").and_then(Value::as_array_mut) {
            Some(requests) => requests.iter_mut().collect(),
            None => vec![&mut self.body],
        };
        for body in bodies {
            extra::check_embedding(body, self.open, extra)?;
            lay_over(body, extra);
        }
        Ok(())
    }
}

impl Link {
    /// Embeds as many inputs at once as the dialect takes, one call behind another.
    ///
    /// Errors: those of the first call that fails, with what the calls before it used.
    pub(in crate::provider) async fn embed(
        mut self,
        mut request: EmbeddingRequest,
        context: CallContext,
    ) -> Result<EmbeddingResponse> {
        self.endpoint = self.endpoint.with_headers(&context.headers);
        let (inputs, mut calls) = (std::mem::take(&mut request.inputs), Vec::new());
        for some in inputs.chunks(self.dialect.most_inputs(&inputs).max(1)) {
            request.inputs = some.to_vec();
            let Some(call) = self.dialect.embed(&self.endpoint, &request) else {
                return Err(Error::invalid(format!("{} makes no embeddings here", self.endpoint.name)));
            };
            let mut call = call?;
            call.pass(&request.extra)?;
            calls.push((call, some.len()));
        }
        let patience = Patience::new(context.timeout, None);
        let mut whole: Option<EmbeddingResponse> = None;
        for (call, inputs) in calls {
            whole = Some(match (whole, self.embed_some(call, inputs, patience).await) {
                (None, found) => found?,
                (Some(before), Ok(found)) => joined(before, found),
                (Some(before), Err(error)) => return Err(behind(before, error)),
            });
        }
        let whole = whole.unwrap_or_default();
        match missing(&whole.vectors, inputs.len()) {
            None => Ok(whole),
            Some(what) => Err(self.unusable(Unreadable::Empty(what), whole)),
        }
    }

    async fn embed_some(&self, call: EmbeddingCall, inputs: usize, patience: Patience) -> Result<EmbeddingResponse> {
        let EmbeddingCall { url, body, read, .. } = call;
        let mut answer = self.endpoint.post(url, HeaderMap::new(), to_body(&body)?, patience).await?;
        if answer.status() >= 300 {
            return Err(self.endpoint.failure(answer).await.into_error(&self.endpoint));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.endpoint.broken(error))? {
            bytes.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| {
            self.endpoint.unreadable(Unreadable::Malformed("embeddings that are not JSON"), false, None)
        })?;
        let found = read(&answer);
        let Some(what) = missing(&found.vectors, inputs) else { return Ok(found) };
        // An error in place of the answer says more than that there is none.
        let error = match answer.get("error").filter(|error| !error.is_null()) {
            Some(_) => Unreadable::ErrorObject(answer),
            None => Unreadable::Empty(what),
        };
        Err(self.unusable(error, found))
    }

    fn unusable(&self, error: Unreadable, found: EmbeddingResponse) -> Error {
        let raw = found.raw_usage;
        self.endpoint.unreadable(error, false, found.usage.map(|usage| (usage, raw)))
    }
}

/// The vectors of two calls, one behind the other, and what both used, where both say it.
fn joined(mut before: EmbeddingResponse, found: EmbeddingResponse) -> EmbeddingResponse {
    before.vectors.extend(found.vectors);
    before.usage = before.usage.zip(found.usage).map(|(one, other)| together(one, &other));
    before.raw_usage = listed(before.raw_usage, found.raw_usage);
    before
}

/// A failure behind calls that were answered: what those used is part of it.
fn behind(before: EmbeddingResponse, error: Error) -> Error {
    let own = match &error {
        Error::Provider { usage: Some(own), .. } => Some(own.clone()),
        _ => None,
    };
    let is_free = error.charged() == Charged::No;
    let used = match (before.usage, own.as_ref().map(|own| own.usage)) {
        (Some(one), Some(other)) => Some(together(one, &other)),
        (Some(one), None) if is_free => Some(one),
        // Nobody knows the rest.
        (one, other) => one.or(other).map(Usage::with_open_input),
    };
    let raw = listed(before.raw_usage, own.map_or(Value::Null, |own| own.raw));
    let error = if is_free { error.with_charged(Charged::Delivered) } else { error };
    error.with_reported(used.map(|used| (used, raw)))
}

fn together(mut one: Usage, other: &Usage) -> Usage {
    one.add(other);
    if other.open.odd { one.doubted() } else { one }
}

/// The reports of several calls as a list.
fn listed(before: Value, one: Value) -> Value {
    match before {
        Value::Array(mut all) => {
            all.push(one);
            all.into()
        }
        first => json!([first, one]),
    }
}

/// What is wrong with vectors that should be so many, and all of one space.
fn missing(vectors: &[Vec<f32>], inputs: usize) -> Option<&'static str> {
    if vectors.len() != inputs || vectors.iter().any(Vec::is_empty) {
        return Some("not one embedding for each input");
    }
    let length = vectors.first().map(Vec::len);
    vectors.iter().any(|one| Some(one.len()) != length).then_some("embeddings of unequal length")
}

/// The texts of a request. Errors: `InvalidInput` where there is anything else.
pub(in crate::provider) fn texts<'a>(endpoint: &Endpoint, request: &'a EmbeddingRequest) -> Result<Vec<&'a str>> {
    let text = |part: &'a Part| match part {
        Part::Text { text } => Some(text.as_str()),
        _ => None,
    };
    let texts: Option<Vec<_>> = request.inputs.iter().map(text).collect();
    texts.ok_or_else(|| Error::invalid(format!("{} embeds texts only", endpoint.name)))
}

/// The images of a request as URLs; `None` where there is anything else.
pub(in crate::provider) fn images(request: &EmbeddingRequest) -> Option<Vec<String>> {
    let image = |part: &Part| match part {
        Part::Image { media_type, data } => media::url(media_type, data).map(|url| url.into_owned()),
        _ => None,
    };
    request.inputs.iter().map(image).collect()
}

/// A list of numbers, or the bytes of them (`encoding_format: base64`).
pub(in crate::provider) fn vector(value: &Value) -> Vec<f32> {
    if let Some(bytes) = value.as_str().and_then(|text| STANDARD.decode(text).ok()) {
        let numbers = bytes.chunks_exact(4).filter_map(|four| Some(f32::from_le_bytes(four.try_into().ok()?)));
        return if bytes.len() % 4 == 0 { numbers.collect() } else { Vec::new() };
    }
    value.as_array().into_iter().flatten().filter_map(|number| Some(number.as_f64()? as f32)).collect()
}

/// The form of OpenAI and all that copy it.
pub(in crate::provider) fn openai_body(
    endpoint: &Endpoint,
    request: &EmbeddingRequest,
    dimensions: &str,
) -> Result<Value> {
    let mut body = json!({"model": request.model_name, "input": texts(endpoint, request)?});
    if let Some(count) = request.dimensions {
        body[dimensions] = count.into();
    }
    Ok(body)
}

/// Reads that form: the vectors may come in any order, each under an index of its own or all without one.
pub(in crate::provider) fn openai_answer(answer: &Value) -> EmbeddingResponse {
    let index = |one: &Value| one["index"].as_u64();
    let mut data: Vec<&Value> = answer["data"].as_array().into_iter().flatten().collect();
    data.sort_by_key(|one| index(one));
    // What is there twice is in another's place.
    if data.iter().any(|one| index(one).is_some()) && (0..).zip(&data).any(|(place, one)| index(one) != Some(place)) {
        data.clear();
    }
    let counts = Counts::new(&answer["usage"]);
    let used = counts.first(&["/prompt_tokens", "/total_tokens"]);
    EmbeddingResponse {
        vectors: data.iter().map(|one| vector(&one["embedding"])).collect(),
        usage: used.map(|tokens| counts.checked(Usage::new(tokens, 0))),
        raw_usage: answer["usage"].clone(),
        model_name: answer["model"].as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_as_numbers_or_as_their_bytes() {
        assert_eq!(vector(&json!([1, -0.5])), [1.0, -0.5]);
        assert_eq!(vector(&json!("AACAPwAAAL8=")), [1.0, -0.5]);
        for nothing in [json!(null), json!(""), json!("no base64"), json!("AACA"), json!({})] {
            assert!(vector(&nothing).is_empty(), "{nothing}");
        }
    }
}
