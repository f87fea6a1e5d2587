//! By which ways a provider is reached: proxies of the settings and of the environment.

use std::sync::Arc;

use blitz::provider::{AzureOpenAi, Network, TokenSource};
use blitz::{Engine, EngineSettings, ErrorCode, NewAgent, NewModel, RetryPolicy, Secret, Session};
use serde_json::json;

use crate::support::canary::shown;
use crate::support::server::{Reply, Server};
use crate::support::variables;

fn answer() -> Reply {
    Reply::json(200, &json!({"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}))
}

/// What comes of asking a model at an address.
async fn ask(me: &Session, base_url: &str) -> Result<String, ErrorCode> {
    let model = NewModel::new("m", "openai", "any").with_base_url(base_url).with_api_key("sk-canary");
    me.models().put(model.with_header("X-Tenant", "acme")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").retry(RetryPolicy::never())).await.unwrap();
    let done = me.run("a", "x").await.unwrap();
    match &done.error {
        Some(error) => Err(error.code),
        None => Ok(done.text()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b36_a_proxy_of_the_settings_is_asked_for_every_host_but_this_machine() {
    let name = "network::b36_a_proxy_of_the_settings_is_asked_for_every_host_but_this_machine";
    if !variables::set(name, &[("NO_PROXY", "direct.invalid"), ("no_proxy", "direct.invalid")]) {
        return;
    }
    let (proxy, local) = (Server::start([answer()]).await, Server::start([answer()]).await);
    let address = proxy.url().replace("http://", "http://ana:canary@");
    let settings = json!({"database_url": ":memory:", "network": {"proxy": address}});
    let settings = EngineSettings::from_json(settings).unwrap();
    assert!(!format!("{settings:?} {}", json!(settings)).contains("canary"));
    let engine = Engine::open_with(settings).await.unwrap();
    let me = engine.root("test");
    assert_eq!(ask(&me, "http://models.invalid/v1").await, Ok("hello".to_owned()));
    let seen = proxy.last_request();
    assert_eq!(seen.path, "http://models.invalid/v1/chat/completions");
    assert_eq!(seen.header("proxy-authorization"), Some("Basic YW5hOmNhbmFyeQ=="));
    assert_eq!(seen.header("x-tenant"), Some("acme"));
    assert_eq!(ask(&me, local.url()).await, Ok("hello".to_owned()));
    assert_eq!(local.last_request().header("proxy-authorization"), None);
    assert_eq!(ask(&me, "http://direct.invalid/v1").await, Err(ErrorCode::Unavailable));
    assert_eq!(proxy.connections(), 1, "the hosts of NO_PROXY are asked directly");
}

#[tokio::test(flavor = "multi_thread")]
async fn b36_a_proxy_of_the_environment_is_asked_unless_the_settings_want_none() {
    let name = "network::b36_a_proxy_of_the_environment_is_asked_unless_the_settings_want_none";
    let proxy = Server::start([answer()]).await;
    let proxied = [("HTTP_PROXY", proxy.url()), ("http_proxy", proxy.url())];
    let none = [("NO_PROXY", "direct.invalid"), ("no_proxy", "direct.invalid"), ("ALL_PROXY", ""), ("all_proxy", "")];
    if !variables::set(name, &[proxied.as_slice(), &none].concat()) {
        // The other process asked this one's server.
        let asked: Vec<_> = proxy.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(asked, ["http://models.invalid/v1/chat/completions"]);
        return;
    }
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    assert_eq!(ask(&me, "http://models.invalid/v1").await, Ok("hello".to_owned()));
    assert_eq!(ask(&me, "http://direct.invalid/v1").await, Err(ErrorCode::Unavailable));
    let engine = Engine::builder(":memory:").with_network(Network::default().with_proxy("")).open().await.unwrap();
    assert_eq!(ask(&engine.root("test"), "http://models.invalid/v1").await, Err(ErrorCode::Unavailable));
}

#[tokio::test]
async fn b35_azure_by_a_hosts_tokens_is_reached_as_the_settings_say() {
    let proxy = Server::start([answer()]).await;
    let network = Network::default().with_proxy(proxy.url());
    let engine = Engine::builder(":memory:").with_network(network).open().await.unwrap();
    let source: TokenSource = Arc::new(|| Box::pin(std::future::ready(Ok(Secret::new("sk-canary").into()))));
    engine.register_azure(AzureOpenAi::new("http://azure.invalid", None).unwrap().with_token(source));
    let me = engine.root("test");
    me.agents().put(NewAgent::new("a", "azure:dep").retry(RetryPolicy::never())).await.unwrap();
    assert_eq!(me.run("a", "x").await.unwrap().text(), "hello");
    let seen = proxy.last_request();
    assert!(seen.path.starts_with("http://azure.invalid/"), "{}", seen.path);
    assert_eq!(seen.header("authorization"), Some("Bearer sk-canary"));
}

#[tokio::test]
async fn b36_a_network_that_is_none_opens_no_engine_and_is_not_repeated() {
    for network in
        [Network::default().with_proxy("ana:canary@proxy"), Network::default().with_root_certificates("canary")]
    {
        let error = Engine::builder(":memory:").with_network(network).open().await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(!shown(&error).contains("canary"), "{error}");
    }
}
