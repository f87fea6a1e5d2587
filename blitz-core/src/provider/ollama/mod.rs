//! Ollama's own dialect: `/api/chat`, one JSON value a line.

mod request;
mod response;

use serde_json::{Value, json};

use super::wire::counts::Counts;
use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::{Dialect, Encoded, Link, asks_cache, http_provider, left_out, must_call};
use super::{EmbeddingRequest, EmbeddingResponse, Profile, profile, tokens};
use crate::domain::{ModelRequest, Secret, Usage};
use crate::error::Result;

/// A provider that speaks to Ollama.
///
/// ```
/// use blitz::provider::{Ollama, Provider};
/// let local = Ollama::new(Ollama::BASE_URL, None)?;
/// assert_eq!(local.name(), "ollama");
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ollama {
    link: Link,
}

impl Ollama {
    /// Where Ollama listens on a machine of one's own.
    pub const BASE_URL: &'static str = "http://localhost:11434";

    /// A provider at `base_url`, with a key where one is wanted. An address without a path means its `/api`.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(base_url: &str, api_key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new("ollama", base_url, Auth::bearer(api_key)?)?;
        let host = endpoint.base.host_str().unwrap_or_default();
        let is_cloud = host == "ollama.com" || host.ends_with(".ollama.com");
        Ok(Self { link: Link::new(endpoint, Chat { is_cloud }) })
    }
}

http_provider!(Ollama);

struct Chat {
    /// Whether it is Ollama's own service, which takes a schema and does not hold to it.
    is_cloud: bool,
}

impl Dialect for Chat {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, _: bool) -> Result<Encoded> {
        let (body, streams) = (request::encode(&endpoint.name, request)?, request.settings.stream != Some(false));
        let decoder = response::Decoder::new(&endpoint.name, request);
        let is_nearest = request::thinking(request).is_some_and(|(_, is_exact)| !is_exact);
        let left_out = left_out(
            request,
            &[
                ("reasoning_effort", is_nearest),
                ("parallel_tool_calls", request.settings.parallel_tool_calls.is_some() && !request.tools.is_empty()),
                ("prompt_cache", asks_cache(request)),
                ("tool_choice", must_call(request)),
            ],
        )?;
        Ok(Encoded::plain(endpoint.url("/api", "/chat"), body, streams, decoder).without(left_out))
    }

    fn profile(&self, model_name: &str) -> Profile {
        let of = profile::of(model_name);
        // Held to a schema, it calls no tool.
        Profile { schema_with_tools: false, native_schema: of.native_schema && !self.is_cloud, ..of }
    }

    fn input_bound(&self, request: &ModelRequest) -> u64 {
        // Held to a schema, it is asked a second time behind what it thought, which counts as its input then.
        let again = request.output_schema.as_ref().and(request.settings.max_output_tokens).unwrap_or(0);
        tokens::served_bound(request, None).saturating_add(again)
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        let url = endpoint.url("/api", "/embed");
        let body = embed::openai_body(endpoint, request, "dimensions");
        let read = |answer: &Value| {
            let found = answer["embeddings"].as_array().into_iter().flatten();
            let counts = Counts::new(answer);
            let used = counts.first(&["/prompt_eval_count"]);
            EmbeddingResponse {
                vectors: found.map(embed::vector).collect(),
                usage: used.map(|tokens| counts.checked(Usage::new(tokens, 0))),
                raw_usage: json!({"prompt_eval_count": used}),
                model_name: answer["model"].as_str().unwrap_or_default().to_owned(),
            }
        };
        Some(body.map(|body| EmbeddingCall { url, body, open: &[], read }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::{Message, PromptCache, ToolChoice, ToolSpec};
    use crate::provider::{OpenAi, Provider};

    #[test]
    fn b16_models_of_the_cloud_are_not_taken_to_hold_to_a_schema() {
        let local = Ollama::new(Ollama::BASE_URL, None).unwrap();
        let cloud = Ollama::new("https://ollama.com", None).unwrap();
        let compatible = OpenAi::new("http://localhost:11434/v1", None).unwrap();
        for (provider, model, native) in [
            (&local as &dyn Provider, "gpt-oss:20b", true),
            (&local, "gpt-oss:120b-cloud", false),
            (&local, "glm-4.6:cloud", false),
            (&local, "nebula-cloud", true),
            (&cloud, "gpt-oss:120b", false),
            (&compatible, "gpt-oss:120b-cloud", false),
        ] {
            assert_eq!(provider.profile(model).native_schema, native, "{model}");
        }
    }

    #[test]
    fn b34_a_choice_of_a_tool_and_a_prompt_cache_are_named_as_left_out() {
        let endpoint = Endpoint::new("p", "http://h", Auth::None).unwrap();
        let mut request = ModelRequest::new("m", vec![Message::user("?")]);
        request.settings.prompt_cache = Some(PromptCache::everything());
        request.tools = vec![ToolSpec::new("f", "", json!({}))].into();
        request.tool_choice = ToolChoice::Required;
        let left_out = Chat { is_cloud: false }.encode(&endpoint, &request, false).unwrap().left_out;
        assert_eq!(left_out, ["prompt_cache", "tool_choice"]);
    }

    #[test]
    fn b34_an_effort_is_asked_for_in_words_that_ollama_takes_and_named_where_it_is_only_the_nearest() {
        let endpoint = Endpoint::new("p", "http://h", Auth::None).unwrap();
        for (model, effort, think, is_named) in [
            ("gpt-oss:20b", "low", json!("low"), false),
            ("gpt-oss:20b", "high", json!("high"), false),
            ("gpt-oss:20b", "minimal", json!("low"), true),
            ("gpt-oss:20b", "xhigh", json!("high"), true),
            ("gpt-oss:120b-cloud", "none", json!("low"), true),
            ("hf.co/unsloth/GPT-OSS-20B-GGUF", "medium", json!("medium"), false),
            ("qwen3:8b", "none", json!(false), false),
            ("qwen3:8b", "low", json!(true), true),
        ] {
            let mut request = ModelRequest::new(model, vec![Message::user("?")]);
            request.settings.reasoning_effort = Some(effort.into());
            let encoded = Chat { is_cloud: false }.encode(&endpoint, &request, false).unwrap();
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            assert_eq!(body["think"], think, "{model} {effort}");
            assert_eq!(encoded.left_out == ["reasoning_effort"], is_named, "{model} {effort}");
        }
    }
}
