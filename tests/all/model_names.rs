//! Models named `provider:model` wherever a model is named, without a record in the catalogue.

use std::sync::Arc;

use blitz::provider::{AzureOpenAi, FunctionProvider, Reply, Scripted, Token, TokenSource};
use blitz::{
    Engine, EngineSettings, Error, ErrorCode, Fallback, ModelRequest, NewAgent, NewModel, NewUser, Price, RetryPolicy,
    RunOptions, Secret, Session, Timestamp, Visibility,
};
use serde_json::{Value, json};

use crate::support::server::{self, Server};
use crate::support::variables;

const PASSWORD: &str = "sk-canary long passphrase";

/// An engine that serves `one` and `two`, each answering with its name and the model it was asked for.
async fn engine(allowed: bool) -> (Engine, Session) {
    let says = |provider: &'static str| {
        FunctionProvider::new(provider, move |request: ModelRequest, _| async move {
            Ok(Reply::text(format!("{provider} as {}", request.model_name)))
        })
    };
    let builder = Engine::builder(":memory:").with_provider(says("one")).with_provider(says("two"));
    let engine = builder.with_model_names_for_users(allowed).open().await.unwrap();
    let me = engine.root("test");
    (engine, me)
}

async fn said(me: &Session, agent: NewAgent, options: RunOptions) -> Value {
    let name = agent.name.clone();
    me.agents().put(agent).await.unwrap();
    me.agents().run_with(name.as_str(), "x", options).await.unwrap().output
}

#[tokio::test]
async fn an_agent_a_run_and_a_fallback_may_name_a_provider_and_its_model() {
    let (engine, me) = engine(false).await;
    let plain = RunOptions::default;
    assert_eq!(said(&me, NewAgent::new("a", "one:x/y:z"), plain()).await, "one as x/y:z");
    assert_eq!(said(&me, NewAgent::new("a", "one:x"), plain().with_model("two:y")).await, "two as y");
    me.models().put(NewModel::new("m", "two", "recorded")).await.unwrap();
    assert_eq!(said(&me, NewAgent::new("a", "one:x"), plain().with_model("m")).await, "two as recorded");
    assert!(said(&me, NewAgent::new("a", "offline:offline"), plain()).await.is_string());
    engine.register_provider(Scripted::from_fn(|_| Reply::error(blitz::Error::new(ErrorCode::Unavailable, "down"))));
    let falls = NewAgent::new("a", "scripted:any").retry(RetryPolicy::never()).fallback(Fallback::to(["one:z"]));
    assert_eq!(said(&me, falls, plain()).await, "one as z");
    let by_name = me.call("agents.run", json!({"agent": "a", "input": "x", "options": {"model": "two:w"}})).await;
    assert_eq!(by_name.unwrap()["output"], "two as w");
}

#[tokio::test]
async fn a_record_of_the_catalogue_wins_over_the_name() {
    let (_engine, me) = engine(false).await;
    assert_eq!(said(&me, NewAgent::new("a", "one:x"), RunOptions::default()).await, "one as x");
    me.models().put(NewModel::new("one:x", "two", "recorded")).await.unwrap();
    assert_eq!(said(&me, NewAgent::new("a", "one:x"), RunOptions::default()).await, "two as recorded");
}

#[tokio::test]
async fn a_name_that_nobody_serves_is_not_found() {
    let (_engine, me) = engine(false).await;
    for name in ["one:", ":x", "x"] {
        let error = me.agents().put(NewAgent::new("a", name)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound, "{name}");
    }
    for name in ["nobody:x", "one/x:y"] {
        me.agents().put(NewAgent::new("a", name)).await.unwrap();
        let error = me.run("a", "x").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound, "{name}");
        assert!(error.to_string().contains("gemini, "), "the providers that there are: {error}");
    }
}

/// A user with an agent of its own on `one:x`.
async fn user(engine: &Engine, me: &Session) -> Session {
    me.users().create(NewUser::new("ana@example.com", PASSWORD)).await.unwrap();
    let ana = engine.login("ana@example.com", PASSWORD).await.unwrap();
    ana.agents().put(NewAgent::new("hers", "one:x")).await.unwrap();
    ana
}

#[tokio::test]
async fn only_the_host_may_use_such_a_name_unless_it_lets_users_too() {
    let (closed, me) = engine(false).await;
    let ana = user(&closed, &me).await;
    let error = ana.run("hers", "x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied);
    me.models().put(NewModel::new("m", "one", "y")).await.unwrap();
    me.models().set_visibility("m", Visibility::Shared).await.unwrap();
    let by_option = RunOptions::default().with_model("two:y");
    ana.agents().put(NewAgent::new("own", "m")).await.unwrap();
    assert_eq!(ana.agents().run_with("own", "x", by_option).await.unwrap_err().code(), ErrorCode::PermissionDenied);
    assert_eq!(ana.models().embed("one:y", ["x"]).await.unwrap_err().code(), ErrorCode::PermissionDenied);
    assert_eq!(ana.run("own", "x").await.unwrap().output, "one as y");

    let (open, me) = engine(true).await;
    assert_eq!(user(&open, &me).await.run("hers", "x").await.unwrap().output, "one as x");
    let settings = json!({"database_url": ":memory:", "model_names_for_users": true});
    assert!(EngineSettings::from_json(settings).unwrap().model_names_for_users);
}

#[tokio::test]
async fn real_requests_that_are_off_are_off_for_names_too() {
    let engine = Engine::builder(":memory:").with_real_requests(false).open().await.unwrap();
    let me = engine.root("test");
    // Nobody listens there, and nobody is asked.
    me.agents().put(NewAgent::new("a", "ollama:x").retry(RetryPolicy::never())).await.unwrap();
    let error = me.run("a", "x").await.unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::PermissionDenied);
}

fn answer() -> server::Reply {
    server::Reply::json(
        200,
        &json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}),
    )
}

/// Runs an agent on a model of that name, and gives what it cost.
async fn cost_of(name: &str) -> Option<String> {
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    me.agents().put(NewAgent::new("a", name)).await.unwrap();
    let done = me.run("a", "x").await.unwrap();
    assert_eq!(done.output, "hello", "{:?}", done.error);
    let shown = format!("{done:?} {:?}", me.executions().steps(done.execution_id, Default::default()).await.unwrap());
    assert!(!shown.contains("canary"), "the key is kept: {shown}");
    done.cost.map(|cost| cost.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b35_azure_is_reached_priced_and_asked_by_its_own_variables() {
    let server = Server::start([answer(), answer()]).await;
    let variables = [
        ("AZURE_OPENAI_ENDPOINT", server.url()),
        ("AZURE_OPENAI_API_KEY", "sk-canary"),
        ("AZURE_OPENAI_API_VERSION", "2024-10-21"),
        ("AZURE_OPENAI_DEPLOYMENT", "my-dep"),
        ("AZURE_OPENAI_MODEL", "gpt-4o"),
    ];
    if variables::set("model_names::b35_azure_is_reached_priced_and_asked_by_its_own_variables", &variables) {
        assert_eq!(blitz::provider::name_in_environment().as_deref(), Some("azure:my-dep"));
        // The server is nobody's that a price is known of.
        assert_eq!(cost_of("azure:my-dep").await, None);
        assert_eq!(cost_of("azure:gpt-4o").await, None);
        return;
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.path, "/openai/deployments/my-dep/chat/completions?api-version=2024-10-21");
        assert_eq!(request.header("api-key"), Some("sk-canary"));
    }
}

/// The answer of Responses.
fn responded() -> server::Reply {
    let said = json!([{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]}]);
    server::Reply::json(200, &json!({"object": "response", "id": "r", "status": "completed", "output": said}))
}

#[tokio::test]
async fn b35_every_api_of_azure_is_reached_by_a_record() {
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    for (provider, address, reply, path) in [
        ("azure", "", answer(), "/openai/v1/chat/completions"),
        ("azure", "/openai/v1", answer(), "/openai/v1/chat/completions"),
        (
            "azure",
            "/openai?api-version=2024-10-21",
            answer(),
            "/openai/deployments/dep/chat/completions?api-version=2024-10-21",
        ),
        ("azure_responses", "", responded(), "/openai/v1/responses"),
        (
            "azure_responses",
            "?api-version=2025-04-01-preview",
            responded(),
            "/openai/responses?api-version=2025-04-01-preview",
        ),
        ("azure", "/models", answer(), "/models/chat/completions?api-version=2024-05-01-preview"),
    ] {
        let server = Server::start([reply]).await;
        let model = NewModel::new("m", provider, "dep").with_base_url(format!("{}{address}", server.url()));
        me.models().put(model.with_api_key("sk-canary")).await.unwrap();
        me.agents().put(NewAgent::new("a", "m")).await.unwrap();
        let done = me.run("a", "x").await.unwrap();
        assert_eq!(done.output, "hello", "{provider} {address}: {:?}", done.error);
        let request = server.last_request();
        assert_eq!((request.path.as_str(), request.header("api-key")), (path, Some("sk-canary")));
        assert_eq!(request.json()["model"], "dep");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b35_both_apis_of_azure_are_reached_by_the_environment() {
    let server = Server::start([answer(), responded()]).await;
    let variables = [("AZURE_OPENAI_ENDPOINT", server.url()), ("AZURE_OPENAI_API_KEY", "sk-canary")];
    if variables::set("model_names::b35_both_apis_of_azure_are_reached_by_the_environment", &variables) {
        cost_of("azure:dep").await;
        cost_of("azure_responses:dep").await;
        return;
    }
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/openai/v1/chat/completions", "/openai/v1/responses"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b35_a_token_of_entra_and_a_model_of_foundry_are_found_in_the_environment() {
    let server = Server::start([answer()]).await;
    let foundry = format!("{}/models", server.url());
    let variables = [
        ("AZURE_OPENAI_ENDPOINT", foundry.as_str()),
        ("AZURE_OPENAI_AD_TOKEN", "canary"),
        ("AZURE_OPENAI_MODEL", "phi"),
    ];
    let name = "model_names::b35_a_token_of_entra_and_a_model_of_foundry_are_found_in_the_environment";
    if variables::set(name, &variables) {
        let named = blitz::provider::name_in_environment().unwrap();
        assert_eq!(named, "azure:phi");
        cost_of(&named).await;
        return;
    }
    let request = server.last_request();
    assert_eq!(request.path, "/models/chat/completions?api-version=2024-05-01-preview");
    assert_eq!((request.header("authorization"), request.header("api-key")), (Some("Bearer canary"), None));
}

#[tokio::test]
async fn b35_a_hosts_token_is_asked_for_with_each_request_by_record_and_by_name() {
    let server = Server::start([answer(), answer(), answer()]).await;
    let count = std::sync::atomic::AtomicU32::new(0);
    let source: TokenSource = Arc::new(move || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move { Ok(Secret::new(&format!("t{number}")).into()) })
    });
    let azure = AzureOpenAi::new(server.url(), None).unwrap().with_token(source);
    let engine = Engine::builder(":memory:").with_provider(azure).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "azure", "dep")).await.unwrap();
    for model in ["m", "azure:dep", "m"] {
        me.agents().put(NewAgent::new("a", model)).await.unwrap();
        assert_eq!(me.run("a", "x").await.unwrap().output, "hello");
    }
    let sent: Vec<_> = server.requests().iter().map(|one| one.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer t0", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn b35_a_token_that_lasts_is_kept_and_a_refused_one_renewed_once_also_for_embeddings() {
    let refused =
        || server::Reply::json(401, &json!({"error": {"message": "sk-canary-t0 is over", "code": "sk-canary-t0"}}));
    let vectors = server::Reply::json(200, &json!({"data": [{"index": 0, "embedding": [0.5]}], "model": "dep"}));
    let replies = [answer(), refused(), answer(), vectors, refused(), refused()];
    let server = Server::start(replies).await;
    let count = std::sync::atomic::AtomicU32::new(0);
    let source: TokenSource = Arc::new(move || {
        let secret = Secret::new(&format!("sk-canary-t{}", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
        let end = Timestamp::now().plus(std::time::Duration::from_secs(3600));
        Box::pin(std::future::ready(Ok(Token::new(secret).until(end))))
    });
    let azure = AzureOpenAi::new(server.url(), None).unwrap().with_token(source);
    let engine = Engine::builder(":memory:").with_provider(azure).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "azure", "dep")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(me.run("a", "x").await.unwrap().output, "hello");
    }
    assert_eq!(me.models().embed("m", ["x"]).await.unwrap().vectors, [[0.5]]);
    let failed = me.run("a", "x").await.unwrap();
    let error = failed.error.unwrap();
    assert_eq!(error.code, ErrorCode::ProviderAuth);
    assert!(!format!("{error:?}").contains("canary"), "no message shows a token");
    let sent: Vec<_> = server.requests().iter().map(|one| one.header("authorization").unwrap().to_owned()).collect();
    let number = |sent: &String| sent.trim_start_matches("Bearer sk-canary-t").to_owned();
    assert_eq!(sent.iter().map(number).collect::<Vec<_>>(), ["0", "0", "1", "1", "1", "2"]);
}

#[tokio::test]
async fn b36_what_a_hosts_token_function_says_of_its_failure_is_not_told_on() {
    for of_a_provider in [false, true] {
        let source: TokenSource = Arc::new(move || {
            let said = "POST /token client_secret=sk-canary failed";
            let error = if of_a_provider {
                Error::Provider {
                    code: ErrorCode::Unavailable,
                    provider: "entra".into(),
                    status: Some(503),
                    retry_after: None,
                    retryable: false,
                    charged: blitz::error::Charged::No,
                    usage: None,
                    message: said.into(),
                    source: None,
                }
            } else {
                Error::new(ErrorCode::ProviderAuth, said)
            };
            Box::pin(std::future::ready(Err(error)))
        });
        let azure = AzureOpenAi::new("http://azure.invalid", None).unwrap().with_token(source);
        let engine = Engine::builder(":memory:").with_provider(azure).open().await.unwrap();
        let me = engine.root("test");
        me.agents().put(NewAgent::new("a", "azure:dep")).await.unwrap();
        let error = me.run("a", "x").await.unwrap().error.unwrap();
        assert_eq!(error.code, if of_a_provider { ErrorCode::Unavailable } else { ErrorCode::ProviderAuth });
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert!(error.message.contains("no token could be had"), "{error:?}");
    }
}

#[tokio::test]
async fn b35_b44_a_profile_is_laid_over_the_records_field_by_field_and_holds_for_that_model_alone() {
    let server = Server::start([answer(), answer(), answer()]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let profile = |value| serde_json::from_value(json!({"profile": value, "max_output_tokens": 50})).unwrap();
    for name in ["one", "two"] {
        let mut model = NewModel::new(name, "openai_compatible", "dep").with_base_url(server.url());
        if name == "one" {
            model = model.with_settings(profile(json!({"family": "o3-mini"})));
        }
        me.models().put(model).await.unwrap();
    }
    let over = profile(json!({"stream_usage": false}));
    me.agents().put(NewAgent::new("a", "one").settings(over)).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().output, "hello");
    let over = profile(json!({"family": "o3-mini"}));
    me.agents().put(NewAgent::new("b", "one").settings(over)).await.unwrap();
    let options = RunOptions::default().with_model("two");
    assert_eq!(me.agents().run_with("b", "x", options).await.unwrap().output, "hello");
    let caps: Vec<bool> = server.requests().iter().map(|one| one.json()["max_completion_tokens"] == 50).collect();
    assert_eq!(caps, [true, false], "the record's family stays; the agent's is its own model's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_an_address_of_the_environment_has_no_listed_price_and_a_family_has() {
    let server = Server::start([answer(), answer()]).await;
    let variables = [("OPENAI_BASE_URL", server.url()), ("OPENAI_API_KEY", "sk-canary")];
    if variables::set("model_names::t10_an_address_of_the_environment_has_no_listed_price_and_a_family_has", &variables)
    {
        assert_eq!(cost_of("openai:gpt-4o").await, None);
        let engine = Engine::open(":memory:").await.unwrap();
        let me = engine.root("test");
        let priced = NewModel::new("m", "openai", "gpt-4o").with_price(Price::per_million("1", "1").unwrap());
        me.models().put(priced).await.unwrap();
        me.agents().put(NewAgent::new("a", "m")).await.unwrap();
        assert_eq!(me.run("a", "x").await.unwrap().cost.unwrap().to_string(), "0.0011");
        return;
    }
    assert!(server.requests().iter().all(|request| request.header("authorization") == Some("Bearer sk-canary")));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn b35_a_record_says_which_model_is_behind_its_name() {
    let (_engine, me) = {
        let own = FunctionProvider::new("mistral", |request: ModelRequest, _| async move {
            Ok(Reply::text(request.settings.max_output_tokens.unwrap().to_string())
                .with_usage(blitz::Usage::new(1_000, 100)))
        });
        let engine = Engine::builder(":memory:").with_provider(own).open().await.unwrap();
        let me = engine.root("test");
        (engine, me)
    };
    let settings = json!({"profile": {"family": "mistral-large-2512", "max_output_tokens": 77}});
    let model = json!({"name": "m", "provider": "mistral", "model_name": "my-alias", "settings": settings});
    me.call("models.put", model).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let done = me.run("a", "x").await.unwrap();
    // 1,000 × 0.50 + 100 × 1.50, USD per million
    assert_eq!((done.output, done.cost.unwrap().to_string()), (json!("77"), "0.00065".into()));
}
