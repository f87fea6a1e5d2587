//! Structured output as a user meets it: each mode, the check that always follows, and the output while it streams.

use std::sync::{Arc, Mutex};

use blitz::provider::{FunctionProvider, Profile, ProviderCall, Reply};
use blitz::{
    Engine, ErrorCode, EventData, ExecutionStatus, ModelRequest, ModelSettings, NewAgent, NewModel, Outcome,
    OutputMode, Session, ToolChoice, tool_fn,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::server::{self, Server};

type Seen = Arc<Mutex<Vec<ModelRequest>>>;

fn schema() -> Value {
    json!({"type": "object", "required": ["city", "people"], "properties": {
        "city": {"type": "string"}, "people": {"type": "integer"}}})
}

/// An engine whose model `m` can do what `profile` says and answers in turn.
async fn engine(profile: Profile, replies: Vec<Reply>, mode: Option<OutputMode>) -> (Engine, Session, Seen) {
    let seen = Seen::default();
    let (kept, replies) = (Arc::clone(&seen), Mutex::new(replies.into_iter()));
    let own = FunctionProvider::new("own", move |request: ModelRequest, call: ProviderCall| {
        let reply = replies.lock().unwrap().next().expect("a reply is left");
        kept.lock().unwrap().push(request);
        drop(call);
        async move { Ok(reply) }
    });
    let engine = Engine::builder(":memory:").with_provider(own.with_profile(profile)).open().await.unwrap();
    let me = engine.root("test");
    let mut settings = ModelSettings::default();
    settings.output_mode = mode;
    me.models().put(NewModel::new("m", "own", "x").with_settings(settings)).await.unwrap();
    me.tools().register(tool_fn!("now", "Now.", |_: ()| async { Ok("noon") })).await.unwrap();
    (engine, me, seen)
}

async fn run(me: &Session, agent: NewAgent) -> Outcome {
    me.agents().put(agent).await.unwrap();
    me.run("a", "Oslo?").await.unwrap()
}

fn agent() -> NewAgent {
    NewAgent::new("a", "m").output_schema(schema())
}

fn without_schemas() -> Profile {
    let mut profile = Profile::default();
    profile.native_schema = false;
    profile
}

const OSLO: &str = r#"{"city": "Oslo", "people": 7}"#;

#[tokio::test]
async fn a_model_that_takes_schemas_gets_it_natively() {
    let (_engine, me, seen) = engine(Profile::default(), vec![Reply::text(OSLO)], None).await;
    assert_eq!(run(&me, agent()).await.output["city"], "Oslo");
    let seen = seen.lock().unwrap();
    assert!(seen[0].output_schema.is_some() && seen[0].tools.is_empty());
}

#[tokio::test]
async fn b15_a_model_that_does_not_gives_its_answer_to_a_tool() {
    let answer = Reply::tool_call("final_answer", json!({"city": "Oslo", "people": 7}));
    let (_engine, me, seen) = engine(without_schemas(), vec![answer], None).await;
    let done = run(&me, agent()).await;
    assert_eq!((done.output, done.steps), (json!({"city": "Oslo", "people": 7}), 1));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].tool_choice, ToolChoice::Tool("final_answer".into()));
    assert_eq!((seen[0].tools.len(), &seen[0].output_schema), (1, &None));
    assert!(done.messages.iter().all(|message| message.tool_calls().next().is_none()), "the tool is the engine's own");
}

#[tokio::test]
async fn b15_beside_other_tools_the_answer_waits_for_them() {
    let both = Reply::tool_calls(vec![("final_answer", json!({"city": "?", "people": 0})), ("now", json!(null))]);
    let answer = Reply::tool_call("final_answer", json!({"city": "Oslo", "people": 7}));
    let (_engine, me, seen) = engine(without_schemas(), vec![both, answer], None).await;
    let done = run(&me, agent().tool("now")).await;
    assert_eq!(done.output["people"], 7, "{:?}", done.error);
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].tools.len(), 2);
    assert_eq!(seen[0].tool_choice, ToolChoice::Auto, "other tools may come first");
}

#[tokio::test]
async fn what_is_no_object_is_wrapped_for_the_tool_and_unwrapped_again() {
    let answer = Reply::tool_call("final_answer", json!({"answer": [1, 2]}));
    let (_engine, me, seen) = engine(without_schemas(), vec![answer], None).await;
    let list = json!({"type": "array", "items": {"type": "integer"}});
    assert_eq!(run(&me, agent().output_schema(list)).await.output, json!([1, 2]));
    assert_eq!(seen.lock().unwrap()[0].tools[0].input_schema["required"], json!(["answer"]));
}

#[tokio::test]
async fn b17_in_words_fences_and_prose_are_left_aside() {
    let mut profile = without_schemas();
    profile.tools = false;
    let fenced = Reply::text(format!("Sure!\n```json\n{OSLO}\n```"));
    let (_engine, me, seen) = engine(profile, vec![fenced], None).await;
    assert_eq!(run(&me, agent()).await.output["people"], 7);
    let seen = seen.lock().unwrap();
    assert!(seen[0].tools.is_empty() && seen[0].output_schema.is_none());
    assert!(seen[0].messages[0].text_content().contains("JSON Schema"));
}

#[tokio::test]
async fn a_mode_that_is_set_wins_over_what_the_model_can_do() {
    let answer = Reply::tool_call("final_answer", json!({"city": "Oslo", "people": 7}));
    let (_engine, me, seen) = engine(Profile::default(), vec![answer], Some(OutputMode::Tool)).await;
    assert_eq!(run(&me, agent()).await.output["city"], "Oslo");
    assert_eq!(seen.lock().unwrap()[0].tools[0].name, "final_answer");
    let (_engine, me, seen) = engine(Profile::default(), vec![Reply::text(OSLO)], Some(OutputMode::Prompted)).await;
    assert_eq!(run(&me, agent()).await.output["city"], "Oslo");
    assert!(seen.lock().unwrap()[0].output_schema.is_none());
}

#[tokio::test]
async fn b16_every_mode_is_checked_here_and_tried_again_three_times_in_all() {
    for mode in [OutputMode::Native, OutputMode::Tool, OutputMode::Prompted] {
        let wrong = || match mode {
            OutputMode::Tool => Reply::tool_call("final_answer", json!({"city": "Oslo"})),
            _ => Reply::text(r#"{"city": "Oslo"}"#),
        };
        let (_engine, me, seen) = engine(Profile::default(), vec![wrong(), wrong(), wrong()], Some(mode)).await;
        let done = run(&me, agent()).await;
        assert_eq!(done.status, ExecutionStatus::Failed, "{mode:?}");
        assert_eq!(done.error.unwrap().code, ErrorCode::BadOutput, "{mode:?}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3, "{mode:?}");
        let told = seen[1].messages.last().unwrap().text_content();
        assert!(told.contains("people"), "{mode:?}: {told}");
    }
}

/// Streams the answer in small pieces and gives the outputs that were shown on the way.
async fn shown(profile: Profile, piece: usize) -> (Vec<Value>, Value) {
    let by_tool = !profile.native_schema;
    let own = FunctionProvider::new("own", move |_: ModelRequest, call: ProviderCall| async move {
        let text: Vec<char> = OSLO.chars().collect();
        if by_tool {
            call.emit(blitz::Delta::ToolCall { index: 0, name: "final_answer".into() });
        }
        for piece in text.chunks(piece) {
            let text: String = piece.iter().collect();
            let delta = if by_tool { blitz::Delta::Arguments { index: 0, text } } else { blitz::Delta::Text { text } };
            call.emit(delta);
        }
        let arguments: Value = serde_json::from_str(OSLO).unwrap();
        Ok(if by_tool { Reply::tool_call("final_answer", arguments) } else { Reply::text(OSLO) })
    });
    let engine = Engine::builder(":memory:").with_provider(own.with_profile(profile)).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "own", "x")).await.unwrap();
    me.agents().put(agent()).await.unwrap();
    let mut stream = me.stream("a", "Oslo?").await.unwrap();
    let (mut partials, mut output) = (Vec::new(), Value::Null);
    while let Some(event) = stream.next().await {
        let event = event.unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap()["type"], event.data.type_name());
        match event.data {
            EventData::ModelPartial { output, .. } => partials.push(output),
            EventData::ExecutionFinished(finished) => output = finished.output,
            _ => {}
        }
    }
    (partials, output)
}

#[tokio::test]
async fn b20_the_output_is_shown_while_it_streams() {
    for profile in [Profile::default(), without_schemas()] {
        let (partials, output) = shown(profile, 1).await;
        assert_eq!(output, serde_json::from_str::<Value>(OSLO).unwrap());
        assert_eq!(partials.first(), Some(&json!({})));
        assert!(partials.contains(&json!({"city": "Os"})), "{partials:?}");
        assert_eq!(partials.last(), Some(&output));
        assert!(partials.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

/// What a provider of this name is sent for an output of this schema, its outputs on the way, and the last one.
async fn over_the_wire(provider: &str, model: &str, schema: Value, answer: &Value) -> (Value, Vec<Value>, Value) {
    let text = answer.to_string();
    let (begin, end) = text.split_at(text.len() - 2);
    let reply = match provider {
        "openai" => [begin, end].iter().fold(server::Reply::events(), |reply, piece| {
            reply.event(&json!({"choices": [{"index": 0, "delta": {"content": piece}}]}))
        }),
        "openai_responses" => {
            let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
            let item = json!({"type": "message", "id": "m", "role": "assistant", "content": content});
            let response = json!({"id": "r", "status": "completed", "output": [item], "model": "x"});
            let whole = json!({"type": "response.completed", "response": response});
            server::Reply::events().event(&whole)
        }
        "cohere" => {
            let message = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
            server::Reply::json(200, &json!({"id": "c", "finish_reason": "COMPLETE", "message": message}))
        }
        _ => {
            let content = json!([{"type": "text", "text": text}]);
            let message = json!({"type": "message", "role": "assistant", "id": "m", "model": model,
                "content": content, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
            server::Reply::json(200, &message)
        }
    };
    let reply = match provider {
        "openai" => reply
            .event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
            .send("data: [DONE]\n\n"),
        _ => reply,
    };
    let server = Server::start([reply]).await;
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("test");
    let model = NewModel::new("m", provider, model).with_base_url(server.url()).with_api_key("sk-canary");
    me.models().put(model).await.unwrap();
    me.agents().put(NewAgent::new("a", "m").output_schema(schema)).await.unwrap();
    let mut stream = me.stream("a", "?").await.unwrap();
    let (mut partials, mut output) = (Vec::new(), Value::Null);
    while let Some(event) = stream.next().await {
        match event.unwrap().data {
            EventData::ModelPartial { output, .. } => partials.push(output),
            EventData::ExecutionFinished(finished) => {
                assert_eq!(finished.error, None, "{provider}");
                output = finished.output;
            }
            _ => {}
        }
    }
    (server.last_request().json(), partials, output)
}

#[tokio::test]
async fn b13_b14_what_is_no_object_goes_out_inside_one_and_comes_back_as_itself() {
    for (provider, model, place) in [
        ("openai", "gpt-4o", "/response_format/json_schema"),
        ("openai_responses", "gpt-4o", "/text/format"),
        ("anthropic", "claude-sonnet-4-6", "/output_config/format"),
        ("cohere", "command-a", "/response_format"),
    ] {
        for (schema, answer) in [
            (json!({"type": "array", "items": {"type": "integer"}}), json!([1, 2])),
            (json!({"type": "string", "enum": ["red", "blue"]}), json!("red")),
            (json!({"type": "integer"}), json!(7)),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), Value::Null),
        ] {
            let (sent, partials, output) =
                over_the_wire(provider, model, schema.clone(), &json!({"answer": answer})).await;
            let format = sent.pointer(place).unwrap_or_else(|| panic!("{provider}: {sent}"));
            let root = format.get("schema").or(format.get("json_schema")).unwrap();
            assert_eq!((&root["type"], &root["properties"]["answer"]), (&json!("object"), &schema), "{provider}");
            assert_eq!(root["required"], json!(["answer"]), "{provider}");
            if let Some(strict) = format.get("strict") {
                assert_eq!(strict, true, "{provider}: {schema}");
            }
            assert_eq!(output, answer, "{provider}: {schema}");
            if (provider, &answer) == ("openai", &json!([1, 2])) {
                assert_eq!(partials.last(), Some(&answer), "{partials:?}");
            }
        }
    }
}

#[tokio::test]
async fn b14_a_server_that_wraps_nothing_is_read_all_the_same() {
    let list = json!({"type": "array", "items": {"type": "integer"}});
    assert_eq!(over_the_wire("openai", "m", list, &json!([1, 2])).await.2, json!([1, 2]));
}

#[tokio::test]
async fn b11_the_tool_of_the_answer_is_offered_where_no_other_may_be_called() {
    let answer = Reply::tool_call("final_answer", json!({"city": "Oslo", "people": 7}));
    let (_engine, me, seen) = engine(Profile::default(), vec![answer], Some(OutputMode::Tool)).await;
    let agent = agent().tool("now").tool_choice(ToolChoice::None);
    assert_eq!(run(&me, agent).await.output["city"], "Oslo");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].tool_choice, ToolChoice::Tool("final_answer".into()));
    assert_eq!(seen[0].tools.len(), 1);
}

#[tokio::test]
async fn an_integer_past_64_bits_is_asked_for_again_and_not_rounded() {
    let past = r#"The 123456789012345678901234567890th: {"city": "Oslo", "people": 123456789012345678901234567890}"#;
    let (_engine, me, seen) = engine(
        Profile::default(),
        vec![Reply::text(past), Reply::text(format!("9999999999999999999999: {OSLO}"))],
        None,
    )
    .await;
    let done = run(&me, agent()).await;
    assert_eq!((done.output["people"].as_i64(), done.steps), (Some(7), 2));
    let told = serde_json::to_string(&seen.lock().unwrap()[1].messages).unwrap();
    assert!(told.contains("past 64 bits"), "{told}");
}
