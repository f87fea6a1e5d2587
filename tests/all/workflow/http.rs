//! Nodes that send HTTP requests, against a server of the tests.

use blitz::tool::Egress;
use blitz::{Decision, Durability, Engine, ErrorCode, EventData, ExecutionStatus, Outcome, Session, Waiting};
use serde_json::{Value, json};

use super::stage::{edges, journal, put, run, start, until};
use crate::support::folder::Folder;
use crate::support::server::{Reply, Server};

/// An engine whose requests may go to this machine, and a server that gives these replies.
async fn stand(replies: Vec<Reply>) -> (Engine, Session, Server) {
    let server = Server::start(replies).await;
    let egress = Egress::hosts(["127.0.0.1"]).and_local();
    let engine = Engine::builder(":memory:").with_egress(egress).open().await.unwrap();
    let me = engine.root("test");
    (engine, me, server)
}

/// A workflow with one request, which gives what its node gave or how it failed.
fn asks(server: &Server, config: Value, more: Value) -> Value {
    let mut config = config;
    if config["url"].is_null() {
        config["url"] = json!(format!("{}/it", server.url()));
    }
    let mut node = json!({"id": "h", "type": "http", "config": config});
    node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "asks", "nodes": [{"id": "s", "type": "start"}, node,
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.h.output }}"}}], "edges": edges("s>h h>e")})
}

fn failed(done: &Outcome) -> (ErrorCode, Value) {
    assert_eq!(done.status, ExecutionStatus::Failed, "it gave {}", done.output);
    let error = done.error.clone().unwrap();
    (error.code, error.details)
}

#[tokio::test]
async fn a_request_is_sent_as_its_settings_say() {
    for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
        let (_engine, me, server) = stand(vec![Reply::head(200, &[("content-length", "0")])]).await;
        let config =
            json!({"method": method, "query": {"q": "{{ inputs.q }}", "n": 1}, "headers": {"X-Id": "{{ inputs.id }}"}});
        let done = run(&me, asks(&server, config, json!({})), json!({"q": "a b&c", "id": "seven"})).await;
        assert_eq!(done.output["status"], json!(200), "{method}: {:?}", done.error);
        let asked = server.last_request();
        assert_eq!((asked.method.as_str(), asked.path.as_str()), (method, "/it?q=a+b%26c&n=1"), "{method}");
        assert_eq!((asked.header("x-id"), asked.body.is_empty()), (Some("seven"), true), "{method}");
    }
    for (body, sent, kind) in [
        (json!({"a": "{{ inputs.q }}"}), "{\"a\":\"x\"}", Some("application/json")),
        (json!([1, null]), "[1,null]", Some("application/json")),
        (json!("a={{ inputs.q }}"), "a=x", None),
    ] {
        let (_engine, me, server) = stand(vec![Reply::json(200, &json!(1))]).await;
        run(&me, asks(&server, json!({"method": "POST", "body": body}), json!({})), json!({"q": "x"})).await;
        let asked = server.last_request();
        assert_eq!((String::from_utf8_lossy(&asked.body).as_ref(), asked.header("content-type")), (sent, kind));
    }
}

#[tokio::test]
async fn an_answer_is_read_as_it_says_or_as_the_node_says() {
    let body = |response: Value| json!({"response": response});
    for (config, kind, text, gives) in [
        (json!({}), "application/json", "{\"a\": 1}", json!({"a": 1})),
        (json!({}), "application/problem+json", "[1]", json!([1])),
        (json!({}), "text/plain", "{\"a\": 1}", json!("{\"a\": 1}")),
        (body(json!("text")), "application/json", "{\"a\": 1}", json!("{\"a\": 1}")),
        (body(json!("json")), "text/plain", "{\"a\": 1}", json!({"a": 1})),
    ] {
        let (_engine, me, server) = stand(vec![Reply::body(200, kind, text)]).await;
        let done = run(&me, asks(&server, config.clone(), json!({})), json!({})).await;
        assert_eq!(
            done.output,
            json!({"status": 200, "content_type": kind, "body": gives}),
            "{config}: {:?}",
            done.error
        );
    }
    let (_engine, me, server) = stand(vec![Reply::body(200, "application/json", "no JSON")]).await;
    assert_eq!(failed(&run(&me, asks(&server, json!({}), json!({})), json!({})).await).0, ErrorCode::BadOutput);
}

#[tokio::test]
async fn w41_an_answer_that_is_no_text_harms_nothing() {
    let (_engine, me, server) = stand(vec![Reply::body(200, "text/plain", b"a\xff\x00b")]).await;
    let done = run(&me, asks(&server, json!({}), json!({})), json!({})).await;
    // It comes whole, and says that it is no text.
    assert_eq!(done.output["body"], json!("Yf8AYg=="), "{:?}", done.error);
    assert_eq!(done.output["encoding"], json!("base64"));
    let (_engine, me, server) = stand(vec![Reply::body(200, "application/json", b"\"\xff\"")]).await;
    assert_eq!(failed(&run(&me, asks(&server, json!({}), json!({})), json!({})).await).0, ErrorCode::BadOutput);
}

#[tokio::test]
async fn a_status_is_an_error_of_its_kind_unless_it_is_accepted() {
    for (status, code) in [
        (400, ErrorCode::ToolFailed),
        (401, ErrorCode::ProviderAuth),
        (403, ErrorCode::ProviderAuth),
        (404, ErrorCode::NotFound),
        (408, ErrorCode::Timeout),
        (429, ErrorCode::RateLimited),
        (500, ErrorCode::Unavailable),
        (503, ErrorCode::Unavailable),
    ] {
        let answer = || Reply::json(status, &json!({"why": "no"}));
        let (_engine, me, server) = stand(vec![answer(), answer()]).await;
        let (given, details) = failed(&run(&me, asks(&server, json!({}), json!({})), json!({})).await);
        assert_eq!((given, &details["status"]), (code, &json!(status)));
        let done = run(&me, asks(&server, json!({"accept": [status]}), json!({})), json!({})).await;
        assert_eq!((&done.output["status"], &done.output["body"]), (&json!(status), &json!({"why": "no"})));
    }
}

#[tokio::test]
async fn w21_a_server_that_asks_for_longer_than_there_is_time_fails_the_node_now() {
    let busy = || Reply::head(429, &[("retry-after", "3600"), ("content-length", "0")]);
    for more in [json!({"retry": {"max_attempts": 3}}), json!({"retry": {"max_attempts": 3, "max_elapsed_s": 60}})] {
        let (_engine, me, server) = stand(vec![busy()]).await;
        let mut definition = asks(&server, json!({}), more.clone());
        let timeout = if more["retry"]["max_elapsed_s"].is_null() { 60 } else { 86_400 };
        definition["limits"] = json!({ "timeout_s": timeout });
        // It does not come back within the half minute that `run` waits where it waits for the server.
        let (code, details) = failed(&run(&me, definition, json!({})).await);
        assert_eq!((code, &details["status"]), (ErrorCode::RateLimited, &json!(429)));
    }
}

#[tokio::test]
async fn w21_a_node_waits_as_long_as_the_server_asks_it_to() {
    let busy = || Reply::head(429, &[("retry-after", "1"), ("content-length", "0")]);
    let (_engine, me, server) = stand(vec![busy(), Reply::json(200, &json!("now"))]).await;
    let retry = json!({"retry": {"max_attempts": 3, "initial_ms": 1, "jitter": "none"}});
    let done = run(&me, asks(&server, json!({}), retry), json!({})).await;
    assert_eq!(done.output["body"], json!("now"), "{:?}", done.error);
    let waits: Vec<_> = journal(&me, done.execution_id)
        .await
        .into_iter()
        .filter_map(|event| match event.data {
            EventData::NodeRetrying(retrying) => Some((retrying.error.code, retrying.at.since(event.ts))),
            _ => None,
        })
        .collect();
    let [(code, wait)] = waits[..] else { panic!("{waits:?}") };
    assert_eq!(code, ErrorCode::RateLimited);
    assert!(wait.as_millis() >= 900, "{wait:?}: a second, less what it took to write it down");
    // Longer than the whole may take: it fails now.
    let (_engine, me, server) = stand(vec![Reply::head(429, &[("retry-after", "900"), ("content-length", "0")])]).await;
    let mut late = asks(&server, json!({}), json!({"retry": {"max_attempts": 3, "initial_ms": 1}}));
    late["limits"] = json!({"timeout_s": 60});
    assert_eq!(failed(&run(&me, late, json!({})).await).0, ErrorCode::RateLimited);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn attempts_of_a_request_share_one_idempotency_key() {
    let busy = || Reply::head(503, &[("content-length", "0")]);
    let (_engine, me, server) =
        stand(vec![busy(), busy(), Reply::json(200, &json!(1)), Reply::json(200, &json!(2))]).await;
    let retry = json!({"retry": {"max_attempts": 3, "initial_ms": 1}, "effect": "idempotent"});
    let post = asks(&server, json!({"method": "POST"}), retry);
    assert_eq!(run(&me, post.clone(), json!({})).await.output["body"], json!(1));
    run(&me, post, json!({})).await;
    let keys: Vec<_> =
        server.requests().iter().map(|asked| asked.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys[0].is_some() && keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
    // One of the caller's own stays, and what changes nothing needs none.
    let (_engine, me, server) = stand(vec![Reply::json(200, &json!(1)), Reply::json(200, &json!(2))]).await;
    let own = json!({"method": "POST", "headers": {"Idempotency-Key": "mine"}});
    run(&me, asks(&server, own, json!({})), json!({})).await;
    assert_eq!(server.last_request().header("idempotency-key"), Some("mine"));
    run(&me, asks(&server, json!({"method": "GET"}), json!({})), json!({})).await;
    assert_eq!(server.last_request().header("idempotency-key"), None);
}

#[tokio::test]
async fn w36_a_post_that_was_cut_off_waits_for_a_decision() {
    let folder = Folder::new();
    let path = folder.path().join("blitz.db");
    let server = Server::start([Reply::default().hang()]).await;
    let open = async || {
        let builder = Engine::builder(path.to_string_lossy()).with_durability(Durability::Process);
        let engine = builder.with_egress(Egress::hosts(["127.0.0.1"]).and_local()).open().await.unwrap();
        let me = engine.root("test");
        (engine, me)
    };
    let (engine, me) = open().await;
    let handle = start(&me, asks(&server, json!({"method": "POST", "body": {"n": 1}}), json!({})), json!({})).await;
    server.asked(1).await;
    engine.close_within(std::time::Duration::ZERO).await.unwrap();
    let (engine, me) = open().await;
    assert_eq!(engine.recover().await.unwrap(), [handle.id()]);
    let waiting = until(&me, handle.id(), |execution| execution.status == ExecutionStatus::Waiting).await;
    assert!(matches!(&waiting.waiting_for[..], [Waiting::Decision { key, .. }] if key == "h"), "{waiting:?}");
    assert_eq!(server.requests().len(), 1, "it is not sent again by itself");
    server.push(Reply::json(200, &json!("sent")));
    me.executions().decide(handle.id(), "h", Decision::Rerun).await.unwrap();
    let done = me.executions().wait(handle.id()).await.unwrap();
    assert_eq!(done.output["body"], json!("sent"), "{:?}", done.error);
    let keys: Vec<_> =
        server.requests().iter().map(|asked| asked.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys.len() == 2 && keys[0].is_some() && keys[0] == keys[1], "{keys:?}");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn w43_a_secret_in_a_header_is_sent_and_its_echo_is_masked() {
    const CANARY: &str = "sk-canary-77e1";
    let echo = Reply::json(200, &json!({"you_sent": format!("Bearer {CANARY}")}));
    let refused = Reply::json(404, &json!({"no": CANARY}));
    let (_engine, me, server) = stand(vec![echo, refused]).await;
    me.call("secrets.set", json!({"name": "key", "value": CANARY})).await.unwrap();
    let config = json!({"headers": {"Authorization": "Bearer {{ secrets.key }}"}, "query": {"k": "{{ secrets.key }}"}});
    let definition = asks(&server, config, json!({}));
    put(&me, definition).await;
    me.workflows().publish("asks").await.unwrap();
    for _ in 0..2 {
        let done = me.run("asks", json!({})).await.unwrap();
        let asked = server.last_request();
        assert_eq!(asked.header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
        assert!(asked.path.ends_with(&format!("?k={CANARY}")), "{}", asked.path);
        if done.status == ExecutionStatus::Completed {
            assert_eq!(done.output["body"], json!({"you_sent": "Bearer ***"}));
        }
        let kept = json!([
            journal(&me, done.execution_id).await,
            me.executions().nodes(done.execution_id, "").await.unwrap(),
            me.executions().outcome(done.execution_id).await.unwrap(),
        ]);
        assert!(!kept.to_string().contains("canary"), "{kept}");
    }
}

#[tokio::test]
async fn a_request_goes_nowhere_until_the_host_says_where() {
    let server = Server::start([]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let done = run(&me, asks(&server, json!({}), json!({})), json!({})).await;
    assert_eq!(failed(&done).0, ErrorCode::PermissionDenied);
    let (_engine, me, server) = stand(vec![]).await;
    let elsewhere = json!({"url": "http://localhost.example/"});
    let done = run(&me, asks(&server, elsewhere, json!({})), json!({})).await;
    assert_eq!(failed(&done).0, ErrorCode::PermissionDenied);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_request_that_is_not_answered_ends_with_its_node() {
    let (_engine, me, server) = stand(vec![Reply::default().hang()]).await;
    let done = run(&me, asks(&server, json!({}), json!({"timeout_s": 1})), json!({})).await;
    assert_eq!(failed(&done).0, ErrorCode::Timeout);
}
