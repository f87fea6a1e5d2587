use super::*;
use crate::domain::{OutputSchema, ToolCall};
use crate::error::ErrorCode;

use crate::provider::ChatServer;
use crate::provider::openai::Chat;
use crate::provider::wire::Dialect as _;

const LOCAL: Dialect<'_> = Dialect { provider: "openai", quirks: ChatServer::Other.quirks(), family: None };
const OFFICIAL: Dialect<'_> = Dialect { provider: "openai", quirks: ChatServer::OpenAi.quirks(), family: None };

fn body_for(dialect: &Dialect<'_>, request: &ModelRequest) -> Value {
    serde_json::from_slice(&encode(request, dialect, true).unwrap().body).unwrap()
}

fn body(request: &ModelRequest) -> Value {
    body_for(&LOCAL, request)
}

fn ask(messages: Vec<Message>) -> ModelRequest {
    ModelRequest::new("m", messages)
}

fn wire(messages: Vec<Message>) -> Value {
    body(&ask(messages))["messages"].clone()
}

fn calling(calls: Vec<ToolCall>) -> Message {
    Message::new(MessageRole::Assistant, calls.into_iter().map(Part::ToolCall).collect())
}

fn results(results: Vec<ToolResult>) -> Message {
    Message::new(MessageRole::Tool, results.into_iter().map(Part::ToolResult).collect())
}

#[test]
fn a_plain_request_holds_nothing_more_than_it_must() {
    let expected = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
        "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(body(&ask(vec![Message::user("hi")])), expected);
}

#[test]
fn settings_and_tools_have_their_fields() {
    let settings = ModelSettings {
        temperature: Some(0.5),
        top_p: Some(0.9),
        max_output_tokens: Some(7),
        stop: vec!["END".into()],
        seed: Some(3),
        reasoning_effort: Some("low".into()),
        parallel_tool_calls: Some(false),
        stream: Some(false),
        prompt_cache: None,
        profile: None,
        output_mode: None,
        unsupported: None,
        extra: Map::from_iter([("top_k".to_owned(), json!(5))]),
    };
    let tool = ToolSpec::new("add", "Adds.", json!({"type": "object"}));
    let request = ask(vec![]).with_settings(settings).with_tools(vec![tool]);
    let request = request.with_tool_choice(ToolChoice::Tool("add".into()));
    assert_eq!(
        body(&request),
        json!({"model": "m", "messages": [],
            "tools": [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "add"}}, "parallel_tool_calls": false,
            "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": 3, "reasoning_effort": "low", "top_k": 5})
    );
}

#[test]
fn b11_a_tool_choice_without_tools_is_not_sent() {
    assert_eq!(body(&ask(vec![]).with_tool_choice(ToolChoice::Required)).get("tool_choice"), None);
}

#[test]
fn b11_a_server_that_reads_a_named_choice_as_auto_is_shown_that_tool_alone() {
    let tools = ["add", "sub"].map(|name| ToolSpec::new(name, "", json!({"type": "object"})));
    let request = ask(vec![]).with_tools(tools.to_vec()).with_tool_choice(ToolChoice::Tool("sub".into()));
    let llamacpp = Dialect { provider: "llamacpp", quirks: ChatServer::LlamaCpp.quirks(), family: None };
    let wire = body_for(&llamacpp, &request);
    assert_eq!((&wire["tool_choice"], wire["tools"].as_array().unwrap().len()), (&json!("required"), 1));
    assert_eq!(wire["tools"][0]["function"]["name"], "sub");
    assert_eq!(body(&request)["tools"].as_array().unwrap().len(), 2);
    assert_eq!(body(&request)["tool_choice"]["function"]["name"], "sub");
    let free = body_for(&llamacpp, &request.clone().with_tool_choice(ToolChoice::Auto));
    assert_eq!((free["tools"].as_array().unwrap().len(), free.get("tool_choice")), (2, None));
    let nobody = body_for(&llamacpp, &request.with_tool_choice(ToolChoice::Tool("none such".into())));
    assert_eq!((nobody.get("tools"), nobody.get("tool_choice")), (None, None));
}

#[test]
fn b33_leading_instructions_are_one_message_where_a_template_may_take_one_only() {
    let two = Message::new(MessageRole::System, vec![Part::text("b"), Part::text("c")]);
    let messages = vec![Message::system("a"), two, Message::user("?"), Message::system("later")];
    let schema = OutputSchema::new("o", json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    let request = ask(messages).with_output_schema(schema);
    let wire = body(&request)["messages"].clone();
    assert_eq!(wire[0], json!({"role": "system", "content": "a\n\nb\n\nc"}));
    assert_eq!((&wire[1]["role"], &wire[2]["content"]), (&json!("user"), &json!("later")));
    let deepseek = Dialect { provider: "deepseek", quirks: ChatServer::DeepSeek.quirks(), family: None };
    let wire = body_for(&deepseek, &request)["messages"].clone();
    let told = wire[0]["content"].as_str().unwrap();
    assert!(told.contains("JSON Schema") && told.ends_with("a\n\nb\n\nc"), "{told}");
    assert_eq!(wire[1]["role"], "user");
    assert_eq!(body_for(&OFFICIAL, &request)["messages"].as_array().unwrap().len(), 4);
}

#[test]
fn b34_reasoning_models_get_their_own_cap_and_no_sampling() {
    let settings = ModelSettings {
        temperature: Some(0.0),
        top_p: Some(0.1),
        stop: vec!["x".into()],
        max_output_tokens: Some(9),
        ..ModelSettings::default()
    };
    let mut request = ask(vec![]).with_settings(settings);
    request.model_name = "o4-mini".into();
    let body = body(&request);
    assert_eq!(body["max_completion_tokens"], 9);
    for absent in ["max_tokens", "temperature", "top_p", "stop"] {
        assert_eq!(body.get(absent), None, "{absent}");
    }
}

#[test]
fn extra_fields_never_replace_the_engines_own() {
    for field in OWN_FIELDS {
        let mut request = ask(vec![]);
        request.settings.extra.insert((*field).to_owned(), json!("canary"));
        let error = encode(&request, &LOCAL, true).err().unwrap();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(error.to_string().contains(field) && !error.to_string().contains("canary"));
    }
}

#[test]
fn b23_usage_is_asked_for_only_where_a_stream_can_say_it() {
    let request = ask(vec![]);
    let plain: Value = serde_json::from_slice(&encode(&request, &LOCAL, false).unwrap().body).unwrap();
    assert_eq!((plain.get("stream"), plain.get("stream_options")), (Some(&json!(true)), None));
}

#[test]
fn a_schema_is_sent_in_strict_form_where_it_has_one() {
    let strict = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let request = ask(vec![]).with_output_schema(OutputSchema::new("my answer!", strict));
    let format = &body(&request)["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["name"], "my_answer_");
    assert_eq!(format["json_schema"]["strict"], true);
    assert_eq!(format["json_schema"]["schema"]["additionalProperties"], false);

    let free = json!({"type": "object", "additionalProperties": true});
    let format = &body(&ask(vec![]).with_output_schema(OutputSchema::new("", free.clone())))["response_format"];
    assert_eq!(format["json_schema"], json!({"name": "output", "schema": free, "strict": false}));
}

#[test]
fn every_role_has_its_form() {
    let image = |data: &str| Part::Image { media_type: "image/png".into(), data: data.into() };
    let user = Message::new(MessageRole::User, vec![Part::text("look"), image("AAAA"), image("https://h/i.png")]);
    let call = ToolCall::new("c1", "f", "{\"a\":1}");
    let wire = wire(vec![
        Message::system("be brief"),
        user,
        calling(vec![call]),
        results(vec![ToolResult::new("c1", "f", json!({"x": 1})), ToolResult::error("c1", "f", "no such file")]),
        Message::new(MessageRole::Assistant, vec![Part::Refusal { text: "I will not".into() }]),
        Message::new(MessageRole::Assistant, vec![]),
    ]);
    assert_eq!(
        wire,
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://h/i.png"}}]},
            {"role": "assistant", "content": null,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"x\":1}"},
            {"role": "tool", "tool_call_id": "c1", "content": "error: no such file"},
            {"role": "assistant", "content": "I will not"},
            {"role": "assistant", "content": ""},
        ])
    );
}

#[test]
fn an_image_elsewhere_is_refused_not_dropped() {
    for role in [MessageRole::System, MessageRole::Assistant] {
        let image = Part::Image { media_type: "image/png".into(), data: "AA".into() };
        let request = ask(vec![Message::new(role, vec![image])]);
        assert_eq!(encode(&request, &LOCAL, true).err().unwrap().code(), ErrorCode::InvalidInput);
    }
}

#[test]
fn b03_results_are_bound_by_the_providers_id() {
    let theirs = |id: &str, provider_id: &str| ToolCall {
        provider_id: Some(provider_id.into()),
        ..ToolCall::new(id, "f", "{}")
    };
    let wire = wire(vec![
        calling(vec![theirs("call_0", "0")]),
        results(vec![ToolResult::new("call_0", "f", json!("a"))]),
        calling(vec![theirs("call_1", "0")]),
        results(vec![ToolResult::new("call_1", "f", json!("b"))]),
        calling(vec![theirs("call_2", "same"), theirs("call_3", "same")]),
        results(vec![ToolResult::new("call_2", "f", json!("c")), ToolResult::new("call_3", "f", json!("d"))]),
    ]);
    let bound: Vec<_> =
        wire.as_array().unwrap().iter().filter_map(|message| message["tool_call_id"].as_str()).collect();
    assert_eq!(bound, ["0", "call_1", "call_2", "call_3"], "no id stands for two calls");
    assert_eq!(wire[4]["tool_calls"][1]["id"], "call_3");
}

#[test]
fn b08_what_a_server_wants_back_with_a_call_goes_back_as_it_came() {
    let kept = r#"{"google":{"thought_signature":"sig"}}"#;
    let with = |signature: &str| ToolCall { signature: Some(signature.to_owned()), ..ToolCall::new("c", "f", "{}") };
    let wire = wire(vec![calling(vec![with(kept), with("of another dialect")])]);
    assert_eq!(wire[0]["tool_calls"][0]["extra_content"], json!({"google": {"thought_signature": "sig"}}));
    assert_eq!(wire[0]["tool_calls"][1].get("extra_content"), None);
}

#[test]
fn b05_replayed_arguments_are_an_object_where_servers_need_one() {
    let sent = |dialect: &Dialect<'_>, text: &str| {
        let body = body_for(dialect, &ask(vec![calling(vec![ToolCall::new("c", "f", text)])]));
        body["messages"][0]["tool_calls"][0]["function"]["arguments"].as_str().unwrap().to_owned()
    };
    assert_eq!(sent(&LOCAL, " "), "{}");
    assert_eq!(sent(&LOCAL, r#"{ "a": 1 }"#), r#"{ "a": 1 }"#);
    assert_eq!(sent(&LOCAL, r#"{"a": "#), r#"{"invalid_arguments":"{\"a\": "}"#);
    assert_eq!(sent(&LOCAL, "[1]"), r#"{"invalid_arguments":"[1]"}"#);
    assert_eq!(sent(&OFFICIAL, r#"{"a": "#), r#"{"a": "#);
}

#[test]
fn b29_thinking_goes_back_only_to_its_maker() {
    let thought = |provider: Option<&str>| Part::Thinking {
        text: "hm".into(),
        signature: None,
        provider: provider.map(str::to_owned),
        id: None,
    };
    let sent = |dialect: &Dialect<'_>, provider| {
        let message = Message::new(MessageRole::Assistant, vec![thought(provider), Part::text("a")]);
        body_for(dialect, &ask(vec![message]))["messages"][0].get("reasoning_content").cloned()
    };
    assert_eq!(sent(&LOCAL, Some("openai")), Some(json!("hm")));
    assert_eq!(sent(&LOCAL, Some("other")), None);
    assert_eq!(sent(&LOCAL, None), None);
    assert_eq!(sent(&OFFICIAL, Some("openai")), None);
}

#[test]
fn b29_thinking_goes_back_under_the_name_under_which_it_came() {
    let sent = |server: ChatServer, id: Option<&str>, said: Vec<Part>| {
        let thought = Part::Thinking {
            text: "hm".into(),
            signature: None,
            provider: Some("p".into()),
            id: id.map(str::to_owned),
        };
        let message = Message::new(MessageRole::Assistant, [vec![thought], said].concat());
        let dialect = Dialect { provider: "p", quirks: server.quirks(), family: None };
        let mut message = body_for(&dialect, &ask(vec![message]))["messages"][0].take();
        let fields = message.as_object_mut().unwrap();
        fields.retain(|name, _| name.starts_with("reasoning") || name == "content");
        message
    };
    let chunk = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": true});
    let text = || vec![Part::text("a")];
    for server in [ChatServer::Other, ChatServer::Vllm] {
        assert_eq!(sent(server, None, text()), json!({"content": "a", "reasoning_content": "hm"}));
        assert_eq!(sent(server, Some(REASONING), text()), json!({"content": "a", "reasoning": "hm"}));
        assert_eq!(sent(server, Some(CHUNKS), text()), json!({"content": [chunk, {"type": "text", "text": "a"}]}));
    }
    assert_eq!(sent(ChatServer::Mistral, None, text()), json!({"content": [chunk, {"type": "text", "text": "a"}]}));
    let call = vec![Part::ToolCall(ToolCall::new("c", "f", "{}"))];
    assert_eq!(sent(ChatServer::Mistral, Some(CHUNKS), call), json!({"content": [chunk]}));
    assert_eq!(sent(ChatServer::Groq, Some(REASONING), text()), json!({"content": "a"}));
}

#[test]
fn b30_mistral_gets_the_turns_in_the_order_that_it_takes() {
    let said = |parts: Vec<Part>| Message::new(MessageRole::Assistant, parts);
    let thought = |provider: &str| Part::Thinking {
        text: "hm".into(),
        signature: None,
        provider: Some(provider.into()),
        id: None,
    };
    let request = ask(vec![
        Message::user("?"),
        said(vec![]),
        Message::user("your answer is empty"),
        calling(vec![ToolCall::new("abcDEF123", "f", "{}")]),
        results(vec![ToolResult::new("abcDEF123", "f", json!(1))]),
        said(vec![thought("another")]),
        Message::user("this is the last turn"),
        said(vec![thought("mistral")]),
        calling(vec![ToolCall::new("abcDEF456", "f", "{}")]),
        results(vec![ToolResult::new("abcDEF456", "f", json!(2))]),
    ]);
    let roles = |server: ChatServer| {
        let dialect = Dialect { provider: "mistral", quirks: server.quirks(), family: None };
        let messages = body_for(&dialect, &request)["messages"].take();
        let role = |message: &Value| message["role"].as_str().unwrap()[..1].to_owned();
        (messages.as_array().unwrap().iter().map(role).collect::<String>(), messages)
    };
    let (order, messages) = roles(ChatServer::Mistral);
    assert_eq!(order, "uuatauaat");
    assert_eq!(messages[4]["content"], "OK.");
    assert_eq!(roles(ChatServer::Other).0, "uauatauaat");
}

#[test]
fn b44_calls_of_another_provider_have_a_thought_where_the_server_wants_one() {
    let thought = Part::Thinking { text: "hm".into(), signature: None, provider: Some("p".into()), id: None };
    let call = |id: &str| Part::ToolCall(ToolCall::new(id, "f", "{}"));
    let mut request = ask(vec![
        Message::assistant("hello"),
        Message::user("?"),
        Message::new(MessageRole::Assistant, vec![call("a")]),
        results(vec![ToolResult::new("a", "f", json!(1))]),
        Message::assistant("one"),
        Message::user("and?"),
        Message::new(MessageRole::Assistant, vec![thought, call("b")]),
        results(vec![ToolResult::new("b", "f", json!(2))]),
    ]);
    let thoughts = |server: ChatServer, request: &ModelRequest| {
        let dialect = Dialect { provider: "p", quirks: server.quirks(), family: None };
        let messages = body_for(&dialect, request)["messages"].take();
        let thought = |message: &Value| Some(message.get("reasoning_content")?.as_str()?.to_owned());
        messages.as_array().unwrap().iter().filter_map(thought).collect::<Vec<_>>()
    };
    assert_eq!(thoughts(ChatServer::DeepSeek, &request), [" ", " ", "hm"]);
    assert_eq!(thoughts(ChatServer::Other, &request), ["hm"]);
    request.settings.extra.insert("thinking".into(), json!({"type": "disabled"}));
    assert_eq!(thoughts(ChatServer::DeepSeek, &request), ["hm"]);
}

#[test]
fn b44_an_id_that_is_longer_than_openai_takes_is_another_in_call_and_result() {
    let long = format!("fc_{}", "0".repeat(50));
    let request =
        ask(vec![calling(vec![ToolCall::new(&long, "f", "{}")]), results(vec![ToolResult::new(&long, "f", json!(1))])]);
    for (server, is_kept) in [(ChatServer::OpenAi, false), (ChatServer::Azure, false), (ChatServer::Other, true)] {
        let dialect = Dialect { provider: "p", quirks: server.quirks(), family: None };
        let messages = body_for(&dialect, &request)["messages"].take();
        let id = messages[0]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!((id == long, id.len() <= 40), (is_kept, !is_kept), "{server:?}");
        assert_eq!(messages[1]["tool_call_id"], id);
    }
}

#[test]
fn b04_b15_a_schema_that_a_server_cannot_take_is_said_in_words() {
    let schema = OutputSchema::new("o", json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    let mut request = ask(vec![Message::user("?")]).with_output_schema(schema);
    let deepseek = Dialect { provider: "deepseek", quirks: ChatServer::DeepSeek.quirks(), family: None };
    let prompted = |body: &Value| body["messages"][0]["content"].as_str().unwrap().contains("JSON Schema");
    assert_eq!(body_for(&deepseek, &request)["response_format"], json!({"type": "json_object"}));
    assert!(prompted(&body_for(&deepseek, &request)) && !prompted(&body(&request)));
    request.tools = vec![ToolSpec::new("f", "", json!({"type": "object"}))].into();
    assert!(body_for(&OFFICIAL, &request).get("response_format").is_some());
    let profile = crate::domain::ProfileOverride { schema_with_tools: Some(false), ..Default::default() };
    request.settings.profile = Some(profile);
    let sent = body_for(&OFFICIAL, &request);
    assert!(sent.get("response_format").is_none() && prompted(&sent));
}

#[test]
fn b15_a_schema_goes_beside_tools_only_where_the_server_can_take_both() {
    let schema = OutputSchema::new("o", json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    let request = ask(vec![Message::user("?")]).with_output_schema(schema);
    let with_tools = request.clone().with_tools(vec![ToolSpec::new("f", "", json!({"type": "object"}))]);
    let uncalled = with_tools.clone().with_tool_choice(ToolChoice::None);
    let held = |server: ChatServer, request: &ModelRequest| {
        let dialect = Dialect { provider: "p", quirks: server.quirks(), family: None };
        body_for(&dialect, request).get("response_format").is_some()
    };
    for (server, beside_tools, beside_uncalled) in [
        (ChatServer::OpenAi, true, true),
        (ChatServer::Mistral, true, true),
        (ChatServer::OpenRouter, true, true),
        (ChatServer::Xai, true, true),
        (ChatServer::Groq, false, false),
        (ChatServer::Vllm, false, true),
        (ChatServer::LlamaCpp, false, true),
        (ChatServer::Other, false, false),
    ] {
        let sent = [held(server, &request), held(server, &with_tools), held(server, &uncalled)];
        assert_eq!(sent, [true, beside_tools, beside_uncalled], "{server:?}");
        // So the agent's answer comes by a tool of its own there.
        let profile = Chat { server, family: None }.profile("m");
        let mut prepared = with_tools.clone();
        crate::provider::structured::prepare(&mut prepared, &profile);
        assert_eq!(prepared.output_tool.is_none(), beside_tools, "{server:?}");
    }
    let profile = crate::domain::ProfileOverride { schema_with_tools: Some(true), ..Default::default() };
    let told = ModelRequest {
        settings: ModelSettings { profile: Some(profile), ..with_tools.settings.clone() },
        ..with_tools
    };
    assert!(held(ChatServer::Vllm, &told), "what a user says of the model holds");
}
