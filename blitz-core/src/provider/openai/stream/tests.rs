use std::collections::VecDeque;

use super::super::super::wire::body::Reader;
use super::super::super::wire::schema;
use super::*;
use crate::domain::{ToolCall, Usage};
use proptest::prelude::*;
use serde_json::json;

type Read = Result<(ModelResponse, Vec<Delta>), Unreadable>;

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let request = ModelRequest::new("m", vec![]);
    let (mut reader, mut out) = (Reader::new(Box::new(Assembly::new("p", &request, None))), VecDeque::new());
    for chunk in chunks {
        reader.push(chunk, &mut out)?;
    }
    let response = reader.finish(&mut out)?;
    let delta = |item| match item {
        StreamItem::Delta(delta) => Some(delta),
        StreamItem::Done(_) => None,
    };
    Ok((response, out.into_iter().filter_map(delta).collect()))
}

fn sse(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn events(chunks: &[Value]) -> Read {
    read([sse(chunks).as_bytes()])
}

fn delta(delta: Value) -> Value {
    json!({"id": "r", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn stop(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn text(read: Read) -> String {
    read.unwrap().0.message.text_content()
}

#[test]
fn b08_what_a_server_wants_back_with_a_call_is_kept() {
    let call = json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "sig"}}});
    let more = json!({"index": 1, "id": "d", "function": {"name": "g", "arguments": "{}"}});
    let (response, _) = events(&[delta(json!({"tool_calls": [call, more]})), stop("tool_calls")]).unwrap();
    let kept: Vec<_> = response.message.tool_calls().map(|call| call.signature.as_deref()).collect();
    assert_eq!(kept, [Some(r#"{"google":{"thought_signature":"sig"}}"#), None]);
}

#[test]
fn b22_chunks_without_choices_or_delta_are_no_error() {
    let chunks = [
        json!({"choices": [], "model": "", "prompt_filter_results": [{"index": 0}]}),
        json!({"model": "m-1"}),
        json!({"choices": [{"index": 0, "delta": null, "finish_reason": null}]}),
        json!({"choices": [{"index": 0, "finish_reason": "", "content_filter_results": {}}]}),
        delta(json!({"content": "hi"})),
        stop("stop"),
    ];
    let (response, _) = events(&chunks).unwrap();
    assert_eq!((response.message.text_content().as_str(), response.model_name.as_str()), ("hi", "m-1"));
    assert_eq!(response.finish_reason, FinishReason::Stop);
}

#[test]
fn b23_usage_behind_the_finish_reason_counts_and_the_last_report_wins() {
    let usage = |output: u64| json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": output}});
    let chunks = [
        usage(1),
        delta(json!({"content": "hi"})),
        usage(2),
        stop("stop"),
        usage(4),
        json!({"choices": [], "usage": null}),
    ];
    let (response, _) = events(&chunks).unwrap();
    assert_eq!(response.usage, Some(Usage::new(3, 4)));
    assert_eq!(response.raw_usage, json!({"prompt_tokens": 3, "completion_tokens": 4}));
}

#[test]
fn b21_the_end_is_known_by_finish_reason_or_done() {
    let hi = delta(json!({"content": "hi"}));
    assert_eq!(text(events(&[hi.clone(), stop("stop")])), "hi");
    let done = format!("{}data: [DONE]\n\ndata: never read\n\n", sse(std::slice::from_ref(&hi)));
    let (response, _) = read([done.as_bytes()]).unwrap();
    assert_eq!(response.finish_reason, FinishReason::Other);
    assert!(matches!(events(&[hi]), Err(Unreadable::Cut)));
    assert!(matches!(events(&[]), Err(Unreadable::Cut)));
    assert!(matches!(read([b"data: [DONE]\n\n".as_slice()]), Err(Unreadable::Empty(_))));
    assert!(matches!(read([br#"data: {"choices":[{"#.as_slice()]), Err(Unreadable::Cut)));
}

#[test]
fn b21_an_error_object_ends_the_stream() {
    let hi = delta(json!({"content": "hi"}));
    let broken = [hi.clone(), json!({"error": {"code": 502, "message": "m"}})];
    assert!(matches!(events(&broken), Err(Unreadable::ErrorObject(_))));
    let named = format!("{}event: error\ndata: {{\"message\":\"m\"}}\n\n", sse(&[hi]));
    assert!(matches!(read([named.as_bytes()]), Err(Unreadable::ErrorObject(_))));
    assert!(matches!(read([br#"{"error":"no"}"#.as_slice()]), Err(Unreadable::ErrorObject(_))));
}

#[test]
fn b21_unknown_event_types_are_skipped() {
    let text_of = format!(
        ": hi\n\nevent: ping\ndata: {{\"type\":\"ping\"}}\n\n{}",
        sse(&[delta(json!({"content": "a"})), stop("stop")])
    );
    assert_eq!(text(read([text_of.as_bytes()])), "a");
}

#[test]
fn a_duplicate_final_chunk_adds_nothing() {
    let last = json!({"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]});
    assert_eq!(text(events(&[delta(json!({"content": "hi"})), last.clone(), last])), "hi!");
}

#[test]
fn only_the_first_candidate_is_read() {
    let other = json!({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]});
    let (response, _) =
        events(&[delta(json!({"content": "y"})), other, delta(json!({"content": "es"})), stop("stop")]).unwrap();
    assert_eq!((response.message.text_content().as_str(), response.finish_reason), ("yes", FinishReason::Stop));
}

#[test]
fn b18_refusal_and_filter_are_told_apart_from_text() {
    let (response, deltas) =
        events(&[delta(json!({"refusal": "I "})), delta(json!({"refusal": "won't"})), stop("stop")]).unwrap();
    assert_eq!(response.message.parts, [Part::Refusal { text: "I won't".into() }]);
    assert_eq!(deltas[0], Delta::Refusal { text: "I ".into() });
    let (response, _) = events(&[delta(json!({"content": ""})), stop("content_filter")]).unwrap();
    assert_eq!((response.finish_reason, response.message.parts.len()), (FinishReason::ContentFilter, 0));
}

#[test]
fn b26_thinking_comes_under_either_name_and_once() {
    let both = json!({"reasoning": "hm", "reasoning_content": "hm"});
    let (response, _) =
        events(&[delta(both), delta(json!({"reasoning": "."})), delta(json!({"content": " a"})), stop("stop")])
            .unwrap();
    let thought = Part::Thinking { text: "hm.".into(), signature: None, provider: Some("p".into()), id: None };
    assert_eq!(response.message.parts, [thought, Part::text(" a")]);
}

#[test]
fn b29_sealed_thoughts_of_different_ids_stay_apart() {
    let sealed = |id: Value, data: &str| json!({"type": "reasoning.encrypted", "index": 0, "id": id, "data": data});
    let pieces = [sealed(json!("r1"), "AA"), sealed(json!("r2"), "BB"), sealed(json!(null), "CC")];
    let pieces = pieces.map(|piece| delta(json!({"reasoning_details": [piece]})));
    let (response, _) = events(&[pieces.as_slice(), &[stop("stop")]].concat()).unwrap();
    let Part::Opaque { data, .. } = &response.message.parts[0] else { panic!("{response:?}") };
    assert_eq!(data["reasoning_details"], json!([sealed(json!("r1"), "AA"), sealed(json!("r2"), "BBCC")]));
}

#[test]
fn b29_the_name_of_a_thought_is_kept_with_it() {
    for (said, name) in [
        (json!({"reasoning_content": "hm"}), None),
        (json!({"reasoning": "hm"}), Some("reasoning")),
        (json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), Some("thinking")),
    ] {
        let (response, _) = events(&[delta(said), delta(json!({"content": "a"})), stop("stop")]).unwrap();
        let Part::Thinking { text, id, .. } = &response.message.parts[0] else { panic!("{response:?}") };
        assert_eq!((text.as_str(), id.as_deref()), ("hm", name));
    }
}

#[test]
fn a_whole_answer_reads_like_a_streamed_one() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let whole = json!({"id": "r", "object": "chat.completion", "created": 1, "model": "m-1", "system_fingerprint": "fp",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [1, 2], "refusal": null},
            "message": {"role": "assistant", "content": "ok", "refusal": null, "annotations": [], "tool_calls": [call]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let piece = |delta: Value, logprobs: Value| {
        json!({"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "system_fingerprint": "fp",
            "obfuscation": "x", "choices": [{"index": 0, "delta": delta, "logprobs": logprobs}]})
    };
    let pieces = [
        piece(json!({"role": "assistant", "content": "o"}), json!({"content": [1], "refusal": null})),
        piece(json!({"content": "k"}), json!({"content": [2], "refusal": null})),
        piece(
            json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
            json!(null),
        ),
        piece(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":1}"}}]}), json!(null)),
        stop("tool_calls"),
        json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
    ];
    let (from_whole, _) = read([whole.to_string().as_bytes()]).unwrap();
    let (from_pieces, _) = events(&pieces).unwrap();
    assert_eq!(from_whole, from_pieces);
    assert_eq!(from_whole.message.parts[1], Part::ToolCall(ToolCall::new("c", "f", "{\"a\":1}")));
    assert_eq!(
        Value::from(from_whole.extra),
        json!({"system_fingerprint": "fp", "logprobs": {"content": [1, 2], "refusal": null}})
    );
}

#[test]
fn a_whole_answer_without_choices_is_none() {
    for body in [r#"{"choices":[]}"#, r#"{"choices":null}"#, "{}", r#"[{"a":1}]"#, r#"{"choices":7}"#] {
        assert!(matches!(read([body.as_bytes()]), Err(Unreadable::Malformed(_) | Unreadable::Empty(_))), "{body}");
    }
    assert!(matches!(read([br#"{"choices":[{"mess"#.as_slice()]), Err(Unreadable::Cut)));
    assert!(matches!(read([b" \n <!doctype html>".as_slice()]), Err(Unreadable::Empty(_))));
    assert!(matches!(read([b"all is well".as_slice()]), Err(Unreadable::Cut)));
}

#[test]
fn added_nulls_are_taken_out_of_the_answer() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let request = ModelRequest::new("m", vec![]);
    let reading = schema::sent(&schema).reading;
    let mut reader = Reader::new(Box::new(Assembly::new("p", &request, reading)));
    let mut out = VecDeque::new();
    let body = sse(&[delta(json!({"content": "{\"a\":null}"})), stop("stop")]);
    reader.push(body.as_bytes(), &mut out).unwrap();
    assert_eq!(reader.finish(&mut out).unwrap().message.text_content(), "{}");
}

#[test]
fn b26_think_tags_split_over_pieces_are_no_text() {
    let request = ModelRequest::new("m", vec![]);
    let assembly = Assembly::new("p", &request, None).with_think_tags(true);
    let (mut reader, mut out) = (Reader::new(Box::new(assembly)), VecDeque::new());
    let pieces = ["\n<th", "ink>h", "m</th", "ink>\n", "\na<"].map(|piece| delta(json!({"content": piece})));
    reader.push(sse(&[pieces.as_slice(), &[stop("stop")]].concat()).as_bytes(), &mut out).unwrap();
    let response = reader.finish(&mut out).unwrap();
    assert_eq!(response.message.text_content(), "a<");
    assert!(matches!(&response.message.parts[0], Part::Thinking { text, .. } if text == "hm"));
    let shown = |item: &StreamItem| matches!(item, StreamItem::Delta(Delta::Text { .. }));
    assert_eq!(out.iter().filter(|item| shown(item)).count(), 1);
}

proptest! {
    #[test]
    fn b21_any_split_reads_the_same(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let body = sse(&[
            delta(json!({"content": "Grüße ☃"})),
            delta(json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{\"s\":\"é"}}]})),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "🦀\"}"}}]})),
            stop("tool_calls"),
        ]);
        let body = body.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
        cuts.sort_unstable();
        let cut = read(cuts.windows(2).map(|cut| &body[cut[0]..cut[1]])).unwrap();
        prop_assert_eq!(cut, read([body]).unwrap());
    }

    #[test]
    fn no_body_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200), head in "(data: |\\{\"choices\":\\[|)") {
        let body = [head.as_bytes(), &body].concat();
        drop(read([body.as_slice()]));
    }
}

#[test]
fn fields_of_a_message_that_are_not_known_are_kept_whole() {
    let chunks = [
        delta(json!({"role": "assistant", "audio": {"id": "a1", "transcript": "Hel"}, "annotations": []})),
        delta(json!({"audio": {"data": "AAA"}, "executed_tools": [{"index": 0, "output": "1"}]})),
        delta(json!({"audio": {"data": "BBB", "transcript": "lo"}, "executed_tools": [{"index": 1}], "x": null})),
        delta(json!({"audio": {"expires_at": 9}, "annotations": [{"type": "url_citation"}], "function_call": null})),
        stop("stop"),
    ];
    let (response, _) = events(&chunks).unwrap();
    let audio = json!({"id": "a1", "transcript": "Hello", "data": "AAABBB", "expires_at": 9});
    assert_eq!(response.extra["audio"], audio);
    assert_eq!(response.extra["executed_tools"], json!([{"index": 0, "output": "1"}, {"index": 1}]));
    assert_eq!(response.extra["annotations"], json!([{"type": "url_citation"}]));
    assert_eq!(response.extra.len(), 3);
    let whole =
        json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": null, "audio": audio}}]});
    let (response, _) = read([whole.to_string().as_bytes()]).unwrap();
    assert_eq!(response.extra["audio"], audio);
}

#[test]
fn b38_the_class_of_service_that_the_answer_names_is_in_the_usage() {
    // Priority has another name since it was renamed; Ultrafast is a class of its own.
    for (word, class) in
        [("priority", ServiceTier::Priority), ("fast", ServiceTier::Priority), ("ultrafast", ServiceTier::Fast)]
    {
        let mut last = stop("stop");
        last["service_tier"] = word.into();
        last["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 1});
        let usage = events(&[delta(json!({"content": "hi"})), last]).unwrap().0.usage.unwrap();
        assert_eq!(usage, Usage::new(3, 1).with_service_tier(class), "{word}");
    }
}

#[test]
fn b22_fields_of_a_candidate_that_are_not_known_are_kept_from_its_end() {
    let mut last = stop("stop");
    last["choices"][0]["native_finish_reason"] = "STOP".into();
    last["choices"][0]["content_filter_results"] = json!({"hate": {"filtered": false}});
    last["choices"][0]["role"] = "assistant".into();
    let extra = events(&[delta(json!({"content": "hi"})), last]).unwrap().0.extra;
    assert_eq!(extra["native_finish_reason"], "STOP");
    assert_eq!(extra["content_filter_results"]["hate"]["filtered"], false);
    assert_eq!(extra.len(), 2);
}

#[test]
fn b23_usage_that_a_server_puts_among_its_own_fields_counts() {
    let mut last = stop("stop");
    last["x_groq"] = json!({"id": "r", "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    let response = events(&[delta(json!({"content": "hi"})), last]).unwrap().0;
    assert_eq!(response.usage, Some(Usage::new(3, 2)));
}
