//! How a model is asked to think.

use serde_json::{Map, Value, json};

use super::super::profile::{self, claude_version};
use super::super::wire::{family, lay_over};
use crate::domain::{ModelRequest, ModelSettings, ThinkingRule};

/// The least that a model may be given to think with.
const LEAST_BUDGET: u64 = 1_024;

/// The effort to think with, where there is to be any.
pub(super) fn effort(settings: &ModelSettings) -> Option<&str> {
    settings.reasoning_effort.as_deref().filter(|effort| !matches!(*effort, "none" | "off"))
}

/// Asks for thinking as the effort says, or as the nearest word that the model knows; whether the model will think.
pub(super) fn ask(request: &ModelRequest, cap: u64, body: &mut Value, extra: &Map<String, Value>) -> bool {
    if let Some(asked) = extra.get("thinking") {
        return asked["type"] != "disabled";
    }
    let Some(effort) = effort(&request.settings) else { return false };
    let rule = profile::of_request(request, None).thinking;
    if rule == Some(ThinkingRule::Never) {
        return false;
    }
    if rule == Some(ThinkingRule::Adaptive) {
        let is_early = claude_version(&family(request)).is_some_and(|version| version < (4, 7));
        let effort = match effort {
            "minimal" => "low",
            "xhigh" if is_early => "high",
            effort => effort,
        };
        body["thinking"] = json!({"type": "adaptive"});
        lay_over(body, &Map::from_iter([("output_config".to_owned(), json!({"effort": effort}))]));
        return true;
    }
    let wanted = match effort {
        "minimal" => LEAST_BUDGET,
        "low" => 2_048,
        "high" => 16_384,
        "xhigh" | "max" => 32_768,
        _ => 8_192,
    };
    if has_thoughtless_calls(&body["messages"]) {
        return false;
    }
    // Thinking is part of the capped output, and something must be left for the answer.
    let budget = wanted.min(cap.saturating_sub(LEAST_BUDGET / 2));
    if budget < LEAST_BUDGET {
        return false;
    }
    body["thinking"] = json!({"type": "enabled", "budget_tokens": budget});
    true
}

/// Whether the calls that are being answered were made without a thought, as by another model: a model with a budget
/// cannot begin to think behind them.
fn has_thoughtless_calls(messages: &Value) -> bool {
    let holds = |message: &Value, kinds: &[&str]| {
        let blocks = message["content"].as_array().into_iter().flatten();
        blocks.filter_map(|block| block["type"].as_str()).any(|kind| kinds.contains(&kind))
    };
    let mut has_results = false;
    for message in messages.as_array().into_iter().flatten().rev() {
        match message["role"].as_str() {
            Some("user") if holds(message, &["tool_result"]) => has_results = true,
            Some("assistant") if has_results && holds(message, &["thinking", "redacted_thinking"]) => return false,
            Some("assistant") if has_results => {}
            _ => break,
        }
    }
    has_results
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::request;
    use super::*;
    use crate::domain::{Message, MessageRole, Part, ToolCall, ToolResult};

    #[test]
    fn b34_effort_is_a_word_or_a_number_of_tokens_and_the_nearest_is_named() {
        let asked = |model: &str, effort: &str| {
            let mut request = ModelRequest::new(model, vec![Message::user("?")]);
            (request.settings.reasoning_effort, request.settings.max_output_tokens) =
                (Some(effort.into()), Some(64_000));
            let wire = request::encode("anthropic", &request).unwrap();
            let body: Value = serde_json::from_slice(&wire.body).unwrap();
            let said = body.pointer("/output_config/effort").or_else(|| body.pointer("/thinking/budget_tokens"));
            (said.cloned().unwrap_or_default(), wire.left_out == ["reasoning_effort"])
        };
        for (effort, new, early, budget) in [
            ("none", json!(null), json!(null), json!(null)),
            ("minimal", json!("low"), json!("low"), json!(1_024)),
            ("low", json!("low"), json!("low"), json!(2_048)),
            ("medium", json!("medium"), json!("medium"), json!(8_192)),
            ("high", json!("high"), json!("high"), json!(16_384)),
            ("xhigh", json!("xhigh"), json!("high"), json!(32_768)),
            ("max", json!("max"), json!("max"), json!(32_768)),
        ] {
            let is_nearest = |said: &Value| !said.is_null() && said != effort;
            assert_eq!(asked("claude-opus-4-8", effort), (new.clone(), is_nearest(&new)), "{effort}");
            assert_eq!(asked("claude-sonnet-4-6", effort), (early.clone(), is_nearest(&early)), "{effort}");
            assert_eq!(asked("claude-sonnet-4-5", effort), (budget, false), "{effort}");
            assert_eq!(asked("claude-3-5-haiku", effort), (json!(null), effort != "none"), "{effort}");
        }
    }

    #[test]
    fn b29_b44_a_budget_is_left_out_behind_the_calls_of_another_model() {
        let turn = |id: &str, maker: Option<&str>| {
            let thought = maker.map(|maker| Part::Thinking {
                text: "hm".into(),
                signature: Some("s".into()),
                provider: Some(maker.into()),
                id: None,
            });
            let call = Part::ToolCall(ToolCall::new(id, "f", ""));
            let result = Part::ToolResult(ToolResult::new(id, "f", json!(1)));
            let said = thought.into_iter().chain([call]).collect();
            [Message::new(MessageRole::Assistant, said), Message::new(MessageRole::Tool, vec![result])]
        };
        let asked = |model: &str, rest: Vec<[Message; 2]>| {
            let first = Message::user("go");
            let messages = [first].into_iter().chain(rest.into_iter().flatten()).collect();
            let mut request = ModelRequest::new(model, messages);
            request.settings.reasoning_effort = Some("medium".into());
            request.settings.max_output_tokens = Some(16_000);
            let wire = request::encode("anthropic", &request).unwrap();
            let body: Value = serde_json::from_slice(&wire.body).unwrap();
            let thinks = body.get("thinking").is_some();
            assert_eq!(wire.left_out.is_empty(), thinks, "what is left out is named");
            thinks
        };
        let (own, other, none) = (Some("anthropic"), Some("openai"), None);
        assert!(!asked("claude-sonnet-4-5", vec![turn("a", other)]));
        assert!(!asked("claude-sonnet-4-5", vec![turn("a", none), turn("b", none)]));
        assert!(asked("claude-sonnet-4-6", vec![turn("a", other)]), "nothing is asked of its older turns");
        assert!(asked("claude-sonnet-4-5", vec![turn("a", own)]));
        assert!(asked("claude-sonnet-4-5", vec![turn("a", own), turn("b", none)]), "it thinks before its first call");
        let text = [Message::new(MessageRole::Assistant, vec![Part::text("done")]), Message::user("and?")];
        assert!(asked("claude-sonnet-4-5", vec![turn("a", other), text]), "those calls are over");
    }
}
