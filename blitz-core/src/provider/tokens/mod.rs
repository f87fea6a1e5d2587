//! How many tokens a request can count as, before it is sent: never less than what is billed.
//!
//! A byte-level tokenizer makes no more tokens than bytes, so the bytes of a text are a bound for every
//! model. With the feature `tokens` a text is counted exactly where the encoding of the model is known;
//! what a provider writes around texts stays a bound.

#[cfg(feature = "tokens")]
mod exact;

use serde_json::{Map, Value};

use super::{EmbeddingRequest, profile, wire};
use crate::domain::{Message, ModelRequest, Part};

/// Tokens that a message, tool or request may add around its text.
const OVERHEAD: u64 = 16;
/// Tokens that a file may count as where its bytes are elsewhere: a hundred pages, each as text and image.
const FILE: u64 = 700_000;

/// The most tokens that the input of a request can count as.
///
/// `family` is the model behind the request's name, where the provider knows it; what the settings say goes before.
pub(super) fn input_bound(request: &ModelRequest, family: Option<&str>) -> u64 {
    let own = request.settings.profile.as_ref().and_then(|own| own.family.as_deref());
    let family = own.or(family).unwrap_or(&request.model_name);
    let count = Counter::of(family);
    let image = profile::image_bound(family);
    let message = |message: &Message| {
        message.parts.iter().fold(OVERHEAD, |sum, part| {
            sum + OVERHEAD
                + match part {
                    Part::Text { text } | Part::Refusal { text } => count.text(text),
                    Part::Thinking { text, signature, .. } => count.text(text) + count.opaque(signature.as_deref()),
                    Part::ToolCall(call) => {
                        count.text(&call.id)
                            + count.text(&call.name)
                            + count.text(&call.arguments)
                            + count.opaque(call.signature.as_deref())
                    }
                    Part::ToolResult(result) => {
                        count.text(&result.id) + count.text(&result.name) + count.text(&result.as_text())
                    }
                    Part::Image { .. } => image,
                    Part::File { media_type, data, .. } if wire::media::text(media_type, data).is_some() => {
                        data.len() as u64
                    }
                    Part::File { data, .. } => (data.len() as u64).max(FILE),
                    Part::Opaque { data, .. } => json_len(data),
                    Part::CachePoint { .. } => 0,
                }
        })
    };
    let messages: u64 = request.messages.iter().map(message).sum();
    let tools: u64 = request
        .tools
        .iter()
        .map(|tool| OVERHEAD + count.text(&tool.name) + count.text(&tool.description) + count.json(&tool.input_schema))
        .sum();
    let schema = request.output_schema.as_ref().map_or(0, |schema| OVERHEAD + count.json(&schema.schema));
    let passed = &request.settings.extra;
    let has_tools = !request.tools.is_empty() || passed.contains_key("tools");
    let tools_prompt = if has_tools { profile::TOOLS_PROMPT } else { 0 };
    let extra = extra_bound(passed);
    OVERHEAD + messages + tools + tools_prompt + schema + extra
}

/// Fields of `settings.extra` by which one call gives several answers: OpenAI's, vLLM's, Gemini's.
pub(super) const CHOICES: &[&str] = &["n", "best_of", "generationConfig.candidateCount"];

/// How many answers a request asks for at once: each may be as long as the output cap.
pub(crate) fn choice_bound(request: &ModelRequest) -> u64 {
    let extra = &request.settings.extra;
    let asked = CHOICES.iter().flat_map(|field| wire::extra::found(extra, field));
    asked.filter_map(Value::as_u64).max().unwrap_or(1).max(1)
}

/// Whether a model searches at every call, as its name says: OpenAI has some that do, and others give a model or a
/// deployment what name they like.
pub(super) fn is_search_model(model_name: &str) -> bool {
    let name = model_name.to_ascii_lowercase();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.starts_with("gpt-") && ["-search-preview", "-search-api"].iter().any(|part| name.contains(part))
}

/// Whether every call of a request is a search: by its model, or by the field that OpenAI's chat has for it.
pub(super) fn always_searches(request: &ModelRequest) -> bool {
    let asked = wire::extra::found(&request.settings.extra, "web_search_options");
    asked.iter().any(|options| !options.is_null()) || is_search_model(&request.model_name)
}

/// How provider's own tools are named in a request: by their `type`, or as the one field that they have.
fn own_tools(request: &ModelRequest) -> impl Iterator<Item = &str> {
    let tools = wire::extra::found(&request.settings.extra, "tools").into_iter().filter_map(Value::as_array).flatten();
    tools.filter_map(Value::as_object).flat_map(|tool| {
        let fields = tool.keys().map(String::as_str).filter(|_| !tool.contains_key("type"));
        tool.get("type").and_then(Value::as_str).into_iter().chain(fields)
    })
}

/// Whether a request lets its provider search, or the model does so by itself.
pub(crate) fn may_search(request: &ModelRequest) -> bool {
    let searches = |tool: &str| {
        let tool = tool.to_ascii_lowercase();
        ["web_search", "x_search", "google_search", "googlesearch"].iter().any(|name| tool.starts_with(name))
    };
    always_searches(request) || own_tools(request).any(searches)
}

/// Providers' own tools that cost something by the call or the hour, and are no search.
const PAID_TOOLS: [&str; 6] =
    ["file_search", "code_interpreter", "code_execution_", "collections_search", "document_search", "image_generation"];

/// Whether a provider's own tool, or a report of it, is one that costs something by the call or the hour.
pub(super) fn is_paid_tool(name: &str) -> bool {
    PAID_TOOLS.iter().any(|paid| name.starts_with(paid))
}

/// Whether a request lets its provider run tools that cost something by the call or the hour, and are no search.
pub(crate) fn may_run_others(request: &ModelRequest) -> bool {
    own_tools(request).any(is_paid_tool)
}

/// The most searches of its own that a request allows its provider: as many as its search tools may be
/// used, by their `max_uses` (Anthropic) or by `max_tool_calls` for all tools (OpenAI's Responses).
///
/// Nothing else bounds them: then it is 0. A search that no money was held for is booked all the same, as
/// an overage, which stops the next call.
pub(crate) fn search_bound(request: &ModelRequest) -> u64 {
    let extra = &request.settings.extra;
    let tools = extra.get("tools").and_then(Value::as_array).into_iter().flatten();
    let searching = tools.filter(|tool| tool["type"].as_str().is_some_and(|kind| kind.starts_with("web_search")));
    let uses: Vec<Option<u64>> = searching.map(|tool| tool["max_uses"].as_u64()).collect();
    if uses.is_empty() {
        return u64::from(always_searches(request));
    }
    let by_tool = uses.into_iter().try_fold(0u64, |sum, uses| Some(sum.saturating_add(uses?)));
    let in_all = extra.get("max_tool_calls").and_then(Value::as_u64);
    by_tool.into_iter().chain(in_all).min().unwrap_or(0)
}

/// The most tokens that what is to be embedded can count as.
pub(super) fn embedding_bound(request: &EmbeddingRequest) -> u64 {
    let count = Counter::of(&request.model_name);
    let bound = |part: &Part| match part {
        Part::Text { text } => count.text(text),
        _ => profile::image_bound(&request.model_name),
    };
    // Some servers put what a field says before each input.
    let extra = extra_bound(&request.extra);
    request.inputs.iter().map(|part| OVERHEAD + bound(part) + extra).sum()
}

/// Fields of `settings.extra` that ask for a class of service, in any provider's words: no model reads them.
pub(crate) const CLASS_FIELDS: [&str; 3] = ["service_tier", "serviceTier", "speed"];

/// The most tokens that fields count as which the engine does not know (tools of the provider's own, documents): the
/// provider reads them in its own way, so their bytes.
fn extra_bound(extra: &Map<String, Value>) -> u64 {
    let read = extra.iter().filter(|(name, _)| !CLASS_FIELDS.contains(&name.as_str()));
    read.map(|(name, value)| OVERHEAD + name.len() as u64 + json_len(value)).sum()
}

/// Counts the tokens of texts, exactly or at most.
struct Counter {
    #[cfg(feature = "tokens")]
    exact: Option<exact::Encoding>,
}

impl Counter {
    /// The one for a model.
    #[cfg_attr(not(feature = "tokens"), allow(unused_variables, reason = "bytes are bytes for every model"))]
    fn of(model_name: &str) -> Self {
        Self {
            #[cfg(feature = "tokens")]
            exact: exact::Encoding::of(model_name),
        }
    }

    /// The tokens of a text that the model reads.
    #[allow(clippy::unused_self, reason = "without the feature there is nothing to ask")]
    fn text(&self, text: &str) -> u64 {
        #[cfg(feature = "tokens")]
        if let Some(encoding) = &self.exact {
            return encoding.count(text);
        }
        text.len() as u64
    }

    /// The same of a value that is shown as JSON.
    fn json(&self, value: &Value) -> u64 {
        #[cfg(feature = "tokens")]
        if self.exact.is_some() {
            return self.text(&value.to_string());
        }
        json_len(value)
    }

    /// The same of what the provider reads in its own way: by its bytes.
    #[allow(clippy::unused_self, reason = "it stands beside the others")]
    fn opaque(&self, data: Option<&str>) -> u64 {
        data.map_or(0, |data| data.len() as u64)
    }
}

/// How many bytes a value has as JSON, without making them.
fn json_len(value: &Value) -> u64 {
    struct Counted(u64);

    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    // A counter takes every write, and a `Value` always has a JSON form.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn searches_are_bound_by_what_the_request_says() {
        let bound = |extra: Value| {
            let mut request = ModelRequest::new("m", vec![]);
            request.settings.extra = extra.as_object().cloned().unwrap_or_default();
            search_bound(&request)
        };
        let tool = |uses: Value| json!({"type": "web_search_20250305", "name": "web_search", "max_uses": uses});
        assert_eq!(bound(json!({})), 0);
        assert_eq!(bound(json!({"max_tool_calls": 4, "tools": [{"type": "code_interpreter"}]})), 0);
        assert_eq!(bound(json!({"tools": [tool(json!(3)), {"type": "other", "max_uses": 9}]})), 3);
        assert_eq!(bound(json!({"max_tool_calls": 2, "tools": [{"type": "web_search"}]})), 2);
        assert_eq!(bound(json!({"tools": [tool(json!(3)), tool(json!(null))]})), 0, "nothing bounds the second");
        assert_eq!(bound(json!({"tools": "none"})), 0);
        assert_eq!(bound(json!({"web_search_options": {}})), 1, "each call is one");
        assert_eq!(search_bound(&ModelRequest::new("gpt-4o-search-preview", vec![])), 1);
    }

    #[test]
    fn tools_of_the_provider_are_known_by_how_they_are_priced() {
        let asked = |extra: Value| {
            let mut request = ModelRequest::new("m", vec![]);
            request.settings.extra = extra.as_object().cloned().unwrap_or_default();
            (may_search(&request), may_run_others(&request))
        };
        let tools = |tool: Value| asked(json!({"tools": [tool]}));
        for kind in ["web_search", "web_search_preview", "web_search_20250305", "x_search"] {
            assert_eq!(tools(json!({"type": kind})), (true, false), "{kind}");
        }
        for name in ["googleSearch", "google_search", "googleSearchRetrieval"] {
            assert_eq!(tools(json!({name: {}})), (true, false), "{name}");
        }
        assert_eq!(tools(json!({"type": "file_search"})), (false, true));
        assert_eq!(tools(json!({"type": "code_interpreter", "container": {}})), (false, true));
        assert_eq!(tools(json!({"type": "function", "function": {"name": "web_search"}})), (false, false));
        assert_eq!(tools(json!({"codeExecution": {}})), (false, false), "Gemini's costs its tokens");
        assert_eq!(asked(json!({"web_search_options": {}})), (true, false));
        assert_eq!(asked(json!({"web_search_options": null})), (false, false));
    }
}
