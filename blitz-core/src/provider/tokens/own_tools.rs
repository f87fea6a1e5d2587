//! The tools that a request lets its provider run by itself: what they are counted by, and how often at most.
//!
//! One list names them for the request, for the items of an answer and for a report of usage. Those that are paid by
//! their tokens alone (Gemini's code, remote tools) are in none.

use serde_json::{Map, Value};

use super::super::wire;
use crate::domain::{Meter, Metered, ModelRequest};

/// Tools by their `type` and what one of their works is counted by.
///
/// Sources: the price pages of OpenAI (developers.openai.com/api/docs/pricing) and xAI (docs.x.ai/developers/pricing).
const BY_TYPE: [(&str, Meter); 10] = [
    ("web_search", Meter::Search),
    ("x_search", Meter::Search),
    ("google_search", Meter::Search),
    ("file_search", Meter::FileSearch),
    ("collections_search", Meter::FileSearch),
    ("document_search", Meter::DocumentSearch),
    ("attachment_search", Meter::DocumentSearch),
    ("code_interpreter", Meter::CodeSession),
    ("code_execution", Meter::CodeSession),
    ("image_generation", Meter::GeneratedImage),
];

/// Gemini's, which are the name of the one field that they have. Source: ai.google.dev/gemini-api/docs/pricing.
const BY_FIELD: [(&str, Meter); 4] = [
    ("googleSearch", Meter::Search),
    ("google_search", Meter::Search),
    ("googleMaps", Meter::MapSearch),
    ("google_maps", Meter::MapSearch),
];

/// Anthropic's tool that runs code: its containers are paid by the hour, which no report tells.
const BY_THE_HOUR: &str = "code_execution_";

/// What the works of a tool of this type are counted by; nothing for one that is paid by its tokens alone, or by what no
/// report tells. The type may have its version behind it.
pub(in super::super) fn meter_of(kind: &str) -> Option<Meter> {
    let known = BY_TYPE.iter().filter(|(name, _)| kind.starts_with(name));
    known.map(|(_, meter)| *meter).next().filter(|_| !kind.starts_with(BY_THE_HOUR))
}

/// What a call may use of its provider's own tools.
pub(crate) fn metered(request: &ModelRequest) -> Metered {
    let mut found = Metered::default();
    let in_all = request.settings.extra.get("max_tool_calls").and_then(Value::as_u64);
    let mut bounds: Vec<(Meter, Option<u64>)> = Vec::new();
    for tool in own_tools(request) {
        if has_no_known_price(tool, request) {
            found.at_most.other_tools = true;
            continue;
        }
        for meter in meters(tool) {
            found.may = found.may.with(meter);
            let more = own_bound(tool, meter, request);
            match bounds.iter_mut().find(|(known, _)| *known == meter) {
                Some((_, bound)) => *bound = bound.zip(more).map(|(bound, more)| bound.saturating_add(more)),
                None => bounds.push((meter, more)),
            }
        }
    }
    for (meter, bound) in bounds {
        *meter.of(&mut found.at_most) = bound.into_iter().chain(in_all).min().unwrap_or(0);
    }
    if always_searches(request) {
        found.may = found.may.with(Meter::Search);
        found.at_most.searches = found.at_most.searches.max(1);
    }
    found
}

/// The types of the tools that a request asks for whose works an answer shows and whose price no report tells.
pub(in super::super) fn without_known_price(request: &ModelRequest) -> Vec<String> {
    let tools = own_tools(request).filter(|tool| has_no_known_price(tool, request));
    tools.filter_map(|tool| tool.get("type")?.as_str().map(str::to_owned)).collect()
}

/// Whether a model's searches are billed by the prompt that is grounded, and not by the query: those before Gemini 3.
pub(in super::super) fn is_billed_by_the_prompt(model_name: &str) -> bool {
    let name = model_name.rsplit('/').next().unwrap_or(model_name);
    ["gemini-1", "gemini-2"].iter().any(|old| name.starts_with(old))
}

/// Whether every call of a request is a search: by its model, or by the field that OpenAI's chat has for it.
pub(in super::super) fn always_searches(request: &ModelRequest) -> bool {
    let asked = wire::extra::found(&request.settings.extra, "web_search_options");
    asked.iter().any(|options| !options.is_null()) || is_search_model(&request.model_name)
}

/// Whether a model searches at every call, as its name says: OpenAI has some that do, and others give a model or a
/// deployment what name they like.
fn is_search_model(model_name: &str) -> bool {
    let name = model_name.to_ascii_lowercase();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.starts_with("gpt-") && ["-search-preview", "-search-api"].iter().any(|part| name.contains(part))
}

fn own_tools(request: &ModelRequest) -> impl Iterator<Item = &Map<String, Value>> {
    let lists = wire::extra::found(&request.settings.extra, "tools").into_iter();
    lists.filter_map(Value::as_array).flatten().filter_map(Value::as_object)
}

/// What the works of a tool are counted by: of one without a type, by each of its fields.
fn meters(tool: &Map<String, Value>) -> Vec<Meter> {
    let Some(kind) = tool.get("type") else {
        let known = |field: &String| BY_FIELD.iter().find(|(name, _)| field.starts_with(name)).map(|(_, meter)| *meter);
        return tool.keys().filter_map(known).collect();
    };
    kind.as_str().and_then(meter_of).into_iter().collect()
}

/// Whether a tool costs something that neither its works nor a report tell: containers by the hour or of a size of
/// their own, and maps where each of Gemini's queries is paid.
fn has_no_known_price(tool: &Map<String, Value>, request: &ModelRequest) -> bool {
    let field = |name: &str| tool.get(name).unwrap_or(&Value::Null);
    match tool.get("type").and_then(Value::as_str) {
        Some("code_interpreter") => match &field("container") {
            Value::String(_) => true,
            Value::Object(container) => {
                container.get("memory_limit").is_some_and(|size| !size.is_null() && size != "1g")
            }
            _ => false,
        },
        Some("shell") => field("environment")["type"].as_str().is_some_and(|kind| kind.starts_with("container")),
        Some(kind) => kind.starts_with(BY_THE_HOUR),
        None => meters(tool).contains(&Meter::MapSearch) && !is_billed_by_the_prompt(&request.model_name),
    }
}

/// How often a tool works at most by what it says of itself.
fn own_bound(tool: &Map<String, Value>, meter: Meter, request: &ModelRequest) -> Option<u64> {
    match meter {
        Meter::Search | Meter::MapSearch if !tool.contains_key("type") => {
            is_billed_by_the_prompt(&request.model_name).then_some(1)
        }
        Meter::Search => tool.get("max_uses").and_then(Value::as_u64),
        // A call has one container that is made for it; where a tool has none, each run is paid.
        Meter::CodeSession => tool.contains_key("container").then_some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Meters, UsageDetails};

    fn of(model: &str, extra: Value) -> Metered {
        let mut request = ModelRequest::new(model, vec![]);
        request.settings.extra = extra.as_object().cloned().unwrap_or_default();
        metered(&request)
    }

    fn may(meter: Meter) -> Metered {
        Metered { may: Meters::default().with(meter), ..Metered::default() }
    }

    #[test]
    fn searches_are_bound_by_what_the_request_says() {
        let bound = |extra: Value| of("m", extra).at_most.searches;
        let tool = |uses: Value| json!({"type": "web_search_20250305", "name": "web_search", "max_uses": uses});
        assert_eq!(bound(json!({})), 0);
        assert_eq!(bound(json!({"max_tool_calls": 4, "tools": [{"type": "code_interpreter"}]})), 0);
        assert_eq!(bound(json!({"tools": [tool(json!(3)), {"type": "other", "max_uses": 9}]})), 3);
        assert_eq!(bound(json!({"max_tool_calls": 2, "tools": [{"type": "web_search"}]})), 2);
        assert_eq!(bound(json!({"tools": [tool(json!(3)), tool(json!(null))]})), 0, "nothing bounds the second");
        assert_eq!(bound(json!({"tools": "none"})), 0);
        assert_eq!(bound(json!({"web_search_options": {}})), 1, "each call is one");
        assert_eq!(of("gpt-4o-search-preview", json!({})).at_most.searches, 1);
    }

    #[test]
    fn other_tools_are_bound_by_all_calls_by_a_container_or_by_the_prompt() {
        let both = json!({"max_tool_calls": 5, "tools": [
            {"type": "file_search", "vector_store_ids": ["v"]}, {"type": "code_interpreter", "container": {"type": "auto"}}]});
        let expected = UsageDetails { file_searches: 5, code_sessions: 1, ..UsageDetails::default() };
        assert_eq!(of("gpt-5", both).at_most, expected);
        let runs = json!({"tools": [{"type": "code_interpreter"}]});
        assert_eq!(of("grok-4", runs).at_most, UsageDetails::default(), "each run is paid, and nothing bounds them");
        let grounded = || json!({"tools": [{"googleSearch": {}}, {"googleMaps": {}}]});
        let expected = UsageDetails { searches: 1, map_searches: 1, ..UsageDetails::default() };
        assert_eq!(of("gemini-2.5-flash", grounded()).at_most, expected);
        let by_the_query = UsageDetails { other_tools: true, ..UsageDetails::default() };
        assert_eq!(of("gemini-3-flash-preview", grounded()).at_most, by_the_query);
    }

    #[test]
    fn tools_of_the_provider_are_known_by_how_they_are_priced() {
        let tool = |tool: Value| of("m", json!({"tools": [tool]}));
        for (kind, meter) in [
            ("web_search", Meter::Search),
            ("web_search_preview", Meter::Search),
            ("web_search_20250305", Meter::Search),
            ("x_search", Meter::Search),
            ("file_search", Meter::FileSearch),
            ("collections_search", Meter::FileSearch),
            ("attachment_search", Meter::DocumentSearch),
            ("code_execution", Meter::CodeSession),
            ("image_generation", Meter::GeneratedImage),
        ] {
            assert_eq!(tool(json!({"type": kind})), may(meter), "{kind}");
        }
        for name in ["googleSearch", "google_search", "googleSearchRetrieval"] {
            assert_eq!(tool(json!({name: {}})), may(Meter::Search), "{name}");
        }
        for unknown in [
            json!({"type": "code_execution_20250825", "name": "code_execution"}),
            json!({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}),
            json!({"type": "code_interpreter", "container": "cntr_1"}),
            json!({"type": "shell", "environment": {"type": "container_auto"}}),
        ] {
            let other = UsageDetails { other_tools: true, ..UsageDetails::default() };
            assert_eq!(tool(unknown.clone()), Metered { at_most: other, ..Metered::default() }, "{unknown}");
        }
        for free in [
            json!({"type": "function", "function": {"name": "web_search"}}),
            json!({"codeExecution": {}}),
            json!({"file_search": {}}),
            json!({"type": "shell", "environment": {"type": "local"}}),
            json!({"type": "mcp", "server_url": "https://x"}),
        ] {
            assert_eq!(tool(free.clone()), Metered::default(), "{free}");
        }
        assert_eq!(of("m", json!({"web_search_options": null})), Metered::default());
    }
}
