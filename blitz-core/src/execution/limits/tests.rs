//! Lines and the breaker, on a clock that stands still.

use super::*;
use crate::domain::Usage;

fn line(limits: ModelLimits) -> Vec<LineKey> {
    vec![LineKey::new(LimitScope::Model, "m".into(), limits)]
}

fn answer(tokens: u64) -> Result<Option<Usage>, &'static Error> {
    Ok(Some(Usage::new(tokens, 0)))
}

fn failure() -> Error {
    Error::Provider {
        code: ErrorCode::Unavailable,
        provider: "p".into(),
        status: Some(503),
        retry_after: None,
        retryable: true,
        charged: Charged::No,
        usage: None,
        message: String::new(),
        source: None,
    }
}

async fn call(all: &Deployments, keys: &[LineKey], tokens: u64, used: u64) {
    let mut pass = all.queue(keys, tokens, LONG).wait().await.unwrap();
    pass.sent();
    pass.ended(answer(used));
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn b42_requests_come_no_faster_than_their_limit() {
    let (all, keys) = (Deployments::default(), line(ModelLimits::default().requests(60)));
    let began = Instant::now();
    for _ in 0..60 {
        call(&all, &keys, 1, 1).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "the limit itself comes at once");
    for _ in 0..60 {
        call(&all, &keys, 1, 1).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(59), "{:?}", began.elapsed());
    assert!(began.elapsed() <= Duration::from_secs(61), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn b42_two_requests_a_minute_are_two_at_once_and_the_next_half_a_minute_later() {
    let (all, keys) = (Deployments::default(), line(ModelLimits::default().requests(2)));
    let began = Instant::now();
    let mut came = Vec::new();
    for _ in 0..4 {
        call(&all, &keys, 1, 1).await;
        came.push(began.elapsed().as_secs_f64().round() as u64);
    }
    assert_eq!(came, [0, 0, 30, 60]);
}

#[tokio::test(start_paused = true)]
async fn b42_tokens_are_held_then_corrected_by_what_was_used() {
    let (all, keys) = (Deployments::default(), line(ModelLimits::default().tokens(6_000)));
    let began = Instant::now();
    // Ten seconds' worth is held for each, a hundredth of it used.
    for _ in 0..10 {
        call(&all, &keys, 1_000, 10).await;
    }
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    call(&all, &keys, 6_000, 6_000).await;
    let began = Instant::now();
    call(&all, &keys, 6_000, 6_000).await;
    assert!(began.elapsed() >= Duration::from_secs(58), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_too_late_is_refused_with_its_scope_and_given_back() {
    let (all, keys) = (Deployments::default(), line(ModelLimits::default().tokens(60)));
    call(&all, &keys, 600, 600).await;
    for _ in 0..3 {
        let error = all.queue(&keys, 600, Duration::from_secs(1)).wait().await.err().unwrap();
        assert_eq!((error.code(), error.is_retryable()), (ErrorCode::RateLimited, true));
        let details = error.details();
        assert_eq!((details["scope"].as_str(), details["limit"].as_str()), (Some("model"), Some("60 tokens a minute")));
        let wait = error.retry_after().unwrap();
        assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(600), "{wait:?}");
        assert_eq!(details["retry_after_ms"], wait.as_millis() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_one_line_books_nothing_in_the_others() {
    let all = Deployments::default();
    let roomy = LineKey::new(LimitScope::All, String::new(), ModelLimits::default().requests(2));
    let full = LineKey::new(LimitScope::User, "7".into(), ModelLimits::default().tokens(60));
    let both = [roomy.clone(), full.clone()];
    call(&all, &[full], 600, 600).await;
    for _ in 0..50 {
        let error = all.queue(&both, 600, Duration::from_secs(1)).wait().await.err().unwrap();
        assert_eq!(error.details()["scope"], "user");
    }
    assert!(matches!(all.queue(&[roomy], 1, Duration::ZERO), Admission::Now(_)));
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_at_once_and_the_next_when_one_ends() {
    let (all, keys) = (Deployments::default(), line(ModelLimits::default().concurrent(2)));
    let one = all.queue(&keys, 1, LONG).wait().await.unwrap();
    let _two = all.queue(&keys, 1, LONG).wait().await.unwrap();
    let third = tokio::time::timeout(Duration::from_secs(60), all.queue(&keys, 1, LONG).wait()).await;
    assert!(third.is_err(), "it waits");
    drop(one);
    assert!(all.queue(&keys, 1, LONG).wait().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn b42_what_keeps_failing_is_left_alone_then_tried_by_one() {
    let key = Arc::new(DeploymentKey::new(&NewModel::new("m", "p", "x")));
    let deployment = Deployments::default().of(&key);
    for _ in 0..breaker::THRESHOLD {
        deployment.enter().unwrap().ended(Some(&failure()));
    }
    let error = deployment.enter().err().unwrap();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    tokio::time::sleep(error.retry_after().unwrap()).await;
    let probe = deployment.enter().unwrap();
    assert!(deployment.enter().is_err(), "one tries");
    drop(probe);
    deployment.enter().unwrap().ended(Some(&failure()));
    let longer = deployment.enter().err().unwrap().retry_after().unwrap();
    assert!(longer > error.retry_after().unwrap(), "each pause is longer");
    tokio::time::sleep(longer).await;
    deployment.enter().unwrap().ended(None);
    for _ in 0..3 {
        deployment.enter().unwrap().ended(None);
    }
}
