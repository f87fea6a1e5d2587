//! Puts an answer together from its blocks, streamed or whole.

use serde_json::{Value, json};

use super::super::wire::body::{Decode, Framing, Out, Unreadable, parse};
use super::super::wire::counts::Counts;
use super::super::wire::draft::Draft;
use super::super::wire::lay_over;
use crate::domain::{FinishReason, ModelRequest, ModelResponse, ServiceTier, Usage};

pub(super) struct Decoder {
    draft: Draft,
    done: bool,
}

impl Decoder {
    pub(super) fn new(provider: &str, request: &ModelRequest) -> Self {
        Self { draft: Draft::new(provider, request), done: false }
    }

    /// A block, whole or a piece of one.
    fn block(&mut self, index: u64, block: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let key = (index, 0);
        if let Some(text) = block["text"].as_str() {
            return if text.is_empty() { Ok(()) } else { self.draft.text(key, text, out) };
        }
        if let Some(call) = block.get("toolUse") {
            let text = |name: &str| call[name].as_str().unwrap_or_default();
            if !self.draft.has(key) {
                self.draft.call(key, text("toolUseId"), text("name"), out)?;
            }
            let input = match &call["input"] {
                Value::String(piece) => piece.clone(),
                Value::Null => String::new(),
                whole => whole.to_string(),
            };
            return self.draft.arguments(key, &input, out);
        }
        if let Some(citation) = block.get("citation") {
            return self.cite(index, citation, out);
        }
        if let Some(cited) = block.get("citationsContent") {
            for said in cited["content"].as_array().into_iter().flatten() {
                self.draft.text(key, said["text"].as_str().unwrap_or_default(), out)?;
            }
            let mut citations = cited["citations"].as_array().into_iter().flatten();
            return citations.try_for_each(|citation| self.cite(index, citation, out));
        }
        let Some(thought) = block.get("reasoningContent") else { return self.unknown(index, block) };
        if let Some(hidden) = thought.get("redactedContent") {
            return self.draft.opaque((index, 1), json!({"reasoningContent": {"redactedContent": hidden}}));
        }
        let thought = thought.get("reasoningText").unwrap_or(thought);
        if let Some(text) = thought["text"].as_str() {
            self.draft.thinking(key, text, out)?;
        }
        thought["signature"].as_str().map_or(Ok(()), |signature| self.draft.signature(key, signature))
    }

    /// A citation of a block's text, which it stands behind.
    fn cite(&mut self, index: u64, citation: &Value, out: &mut Out) -> Result<(), Unreadable> {
        let key = (index, 1);
        match self.draft.opaque_mut(key).and_then(|data| data["citations"].as_array_mut()) {
            Some(list) => list.push(citation.clone()),
            None => {
                self.draft.text((index, 0), "", out)?;
                self.draft.opaque(key, json!({"citations": [citation]}))?;
            }
        }
        Ok(())
    }

    /// A block that only the provider understands, whose pieces are laid over each other.
    fn unknown(&mut self, index: u64, block: &Value) -> Result<(), Unreadable> {
        let Some(fields) = block.as_object().filter(|fields| !fields.is_empty()) else { return Ok(()) };
        match self.draft.opaque_mut((index, 1)) {
            Some(whole) => lay_over(whole, fields),
            None => self.draft.opaque((index, 1), block.clone())?,
        }
        Ok(())
    }

    fn stop(&mut self, answer: &Value) {
        if let Some(reason) = answer["stopReason"].as_str() {
            self.draft.finish_reason = Some(finish_reason(reason));
        }
        let fields = answer.get("additionalModelResponseFields").filter(|fields| !fields.is_null());
        self.draft.extra.extend(fields.map(|fields| ("additionalModelResponseFields".to_owned(), fields.clone())));
    }

    fn count(&mut self, answer: &Value) {
        let named = answer["serviceTier"]["type"].as_str().map_or(ServiceTier::Standard, ServiceTier::of);
        self.draft.usage = usage(&answer["usage"]).map(|usage| usage.with_service_tier(named));
        self.draft.raw_usage = answer["usage"].clone();
        for name in ["metrics", "trace", "performanceConfig", "serviceTier"] {
            let found = answer.get(name).filter(|found| !found.is_null());
            self.draft.extra.extend(found.map(|found| (name.to_owned(), found.clone())));
        }
    }
}

impl Decode for Decoder {
    fn framing(&self) -> Framing {
        Framing::Frames
    }

    fn take(&mut self, event: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        let answer = Value::Object(parse(json)?);
        let index = answer["contentBlockIndex"].as_u64().unwrap_or(0);
        match event {
            "contentBlockStart" => self.block(index, &answer["start"], out)?,
            "contentBlockDelta" => self.block(index, &answer["delta"], out)?,
            "messageStop" => self.stop(&answer),
            "metadata" => {
                self.count(&answer);
                self.done = self.has_stopped();
            }
            "" => {
                let Some(content) = answer["output"]["message"]["content"].as_array() else {
                    return Err(Unreadable::Empty("an answer that is no message"));
                };
                for (index, block) in (0..).zip(content) {
                    self.block(index, block, out)?;
                }
                self.stop(&answer);
                self.count(&answer);
            }
            _ => {}
        }
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        self.draft.finish_reason.is_some()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn has_begun(&self) -> bool {
        self.draft.has_begun()
    }

    fn usage(&self) -> Option<(Usage, Value)> {
        self.draft.reported()
    }

    fn finish(&mut self) -> Result<ModelResponse, Unreadable> {
        self.draft.finish_some()
    }
}

fn finish_reason(text: &str) -> FinishReason {
    match text {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

/// Usage in the engine's terms: what was read from and written to the cache is put inside the input.
fn usage(raw: &Value) -> Option<Usage> {
    let counts = Counts::new(raw);
    let count = |pointer: &str| counts.first(&[pointer]);
    let mut usage = counts.usage(count("/inputTokens"), count("/outputTokens"))?;
    let read = count("/cacheReadInputTokens").unwrap_or(0);
    let written = count("/cacheWriteInputTokens").unwrap_or(0);
    let details = raw["cacheDetails"].as_array().into_iter().flatten();
    let for_an_hour =
        details.filter(|detail| detail["ttl"] == "1h").filter_map(|detail| counts.count(&detail["inputTokens"]));
    let for_an_hour = counts.part(for_an_hour.sum(), written);
    let without_cache = usage.total_tokens();
    usage.input_tokens += read + written;
    let sums = [without_cache, usage.total_tokens()];
    let is_whole = !usage.open.input && !usage.open.output;
    counts.note(is_whole && count("/totalTokens").is_some_and(|total| !sums.contains(&total)));
    Some(counts.checked(usage.with_cache(read, written).with_cache_write_1h(for_an_hour)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::Part;

    #[test]
    fn b38_the_class_of_service_that_the_answer_names_is_in_the_usage() {
        let mut decoder = Decoder::new("bedrock", &ModelRequest::new("m", vec![]));
        let answer = json!({"output": {"message": {"content": [{"text": "hi"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 1}, "serviceTier": {"type": "flex"}});
        decoder.take("", &answer.to_string(), &mut Out::new()).unwrap();
        assert_eq!(decoder.finish().unwrap().usage.unwrap().details.service_tier, ServiceTier::Flex);
    }

    /// The parts of an answer that comes as these events.
    fn parts(events: &[(&str, Value)]) -> Vec<Part> {
        let (mut decoder, mut out) = (Decoder::new("bedrock", &ModelRequest::new("m", vec![])), Out::new());
        events.iter().for_each(|(event, data)| decoder.take(event, &data.to_string(), &mut out).unwrap());
        decoder.finish().unwrap().message.parts
    }

    fn opaque(data: Value) -> Part {
        Part::Opaque { provider: "bedrock".to_owned(), data }
    }

    #[test]
    fn b29_cited_text_is_text_with_its_citations_behind_it() {
        let (one, two) = (json!({"title": "a", "location": {"documentPage": {"start": 1}}}), json!({"title": "b"}));
        let cited = json!({"content": [{"text": "Par"}, {"text": "is."}], "citations": [one, two]});
        let blocks = json!([{"text": "It is "}, {"citationsContent": cited}]);
        let whole = json!({"output": {"message": {"content": blocks}}, "stopReason": "end_turn"});
        let expected = [Part::text("It is "), Part::text("Paris."), opaque(json!({"citations": [one, two]}))];
        assert_eq!(parts(&[("", whole)]), expected);
        let delta =
            |index: u64, delta: Value| ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
        let pieces = [
            delta(0, json!({"text": "It is "})),
            delta(1, json!({"citation": one})),
            delta(1, json!({"text": "Par"})),
            delta(1, json!({"text": "is."})),
            delta(1, json!({"citation": two})),
            ("messageStop", json!({"stopReason": "end_turn"})),
        ];
        assert_eq!(parts(&pieces), expected);
    }

    #[test]
    fn b29_the_pieces_of_an_unknown_block_make_one() {
        let events = [
            ("contentBlockStart", json!({"contentBlockIndex": 0, "start": {"image": {"format": "png"}}})),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"image": {"source": {"bytes": "AAAA"}}}})),
            ("messageStop", json!({"stopReason": "end_turn"})),
        ];
        assert_eq!(parts(&events), [opaque(json!({"image": {"format": "png", "source": {"bytes": "AAAA"}}}))]);
    }

    #[test]
    fn what_the_cache_keeps_for_an_hour_is_counted_apart() {
        let raw = json!({"inputTokens": 3, "outputTokens": 1, "cacheReadInputTokens": 2, "cacheWriteInputTokens": 5,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 1}]});
        assert_eq!(usage(&raw).unwrap(), Usage::new(10, 1).with_cache(2, 5).with_cache_write_1h(4));
    }
}
