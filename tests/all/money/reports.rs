//! What a call is booked at whose provider reports its usage by half, or oddly.

use blitz::{EntryFlag, LedgerEntry, Provenance};
use serde_json::{Value, json};

use super::failed::run;
use crate::support::server::Reply;

/// An answer of 600 bytes with this report of usage.
fn answer(usage: &Value) -> Value {
    let message = json!({"role": "assistant", "content": "x".repeat(600)});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
}

async fn chat(usage: Value) -> LedgerEntry {
    run("openai", false, Reply::json(200, &answer(&usage))).await.1
}

#[tokio::test]
async fn t06_the_half_of_a_report_that_is_missing_is_estimated() {
    // What came is more than the 50 tokens that the call may make.
    let entry = chat(json!({"prompt_tokens": 10})).await;
    let usage = entry.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.provenance), (10, 50, Provenance::Estimated));
    assert_eq!((entry.amount.unwrap().nanos(), entry.flag), (60_000, None));

    let anthropic = json!({"type": "message", "id": "m", "content": [{"type": "text", "text": "twelve bytes"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 10}});
    let (_, entry) = run("anthropic", false, Reply::json(200, &anthropic)).await;
    let usage = entry.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.provenance), (10, 12, Provenance::Estimated));

    let ollama = json!({"message": {"content": "hello"}, "done": true, "done_reason": "stop", "eval_count": 3});
    let (_, entry) = run("ollama", false, Reply::json(200, &ollama)).await;
    let usage = entry.usage.unwrap();
    assert!(usage.input_tokens >= "a question".len() as u64, "all that it may have read: {}", usage.input_tokens);
    assert_eq!((usage.output_tokens, usage.provenance), (3, Provenance::Estimated));
}

#[tokio::test]
async fn t05_t08_odd_reports_are_flagged_and_never_cost_less_than_nothing() {
    let cached = |count: i64| json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": count}});
    for (usage, nanos) in [
        (json!({"prompt_tokens": 10.0, "completion_tokens": 5}), 15_000),
        (json!({"prompt_tokens": "10", "completion_tokens": "5"}), 15_000),
        (json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 999}), 15_000),
        (cached(100), 15_000),
        (cached(-1), 15_000),
    ] {
        let entry = chat(usage.clone()).await;
        assert_eq!((entry.flag, entry.amount.unwrap().nanos()), (Some(EntryFlag::InconsistentUsage), nanos), "{usage}");
    }
    for odd in [json!(-10), json!(true), json!("many")] {
        let entry = chat(json!({"prompt_tokens": odd, "completion_tokens": 5})).await;
        let usage = entry.usage.unwrap();
        assert_eq!(
            (entry.flag, usage.provenance),
            (Some(EntryFlag::InconsistentUsage), Provenance::Estimated),
            "{odd}"
        );
        assert!(usage.input_tokens >= "a question".len() as u64, "what is no count is what it may have read");
    }
    for plain in [
        json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}),
        json!({"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 2}}),
        json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": null}),
    ] {
        let entry = chat(plain.clone()).await;
        assert_eq!((entry.flag, entry.amount.unwrap().nanos()), (None, 15_000), "{plain}");
    }
}
