//! The catalogue from end to end: prompts in both formats, versions, names, pages.

use blitz::provider::{Reply, Scripted};
use blitz::{ErrorCode, ListOptions, NewAgent, NewPrompt, NewTool, PromptRef, TemplateFormat};
use serde_json::{Map, Value, json};

use crate::bad_input::code;
use crate::support::engine::{agent, priced, scripted, with_provider};

fn map(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn both_formats_of_a_prompt_reach_the_model() {
    let (_engine, me, provider) = with_provider(Scripted::from_fn(|_| Reply::text("ok"))).await;
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}, "items": {"type": "array"}}, "required": ["name"]});
    for (name, template, detected) in [
        ("braces", "Dear {name}: {items}", TemplateFormat::Braces),
        ("jinja", "Dear {{ name }}: {% for item in items %}<{{ item }}>{% endfor %}", TemplateFormat::Jinja),
    ] {
        let stored = me.prompts().put(NewPrompt::new(name, template).with_input_schema(schema.clone())).await.unwrap();
        assert_eq!(stored.spec.format, detected);
        me.agents().put(agent(name, &[]).prompt(PromptRef::latest(name))).await.unwrap();
    }
    let input = json!({"name": "Ana", "items": [1, "b"]});
    let expected = [("braces", "Dear Ana: [1,\"b\"]"), ("jinja", "Dear Ana: <1><b>")];
    for (name, text) in expected {
        assert_eq!(me.prompts().render(name, None, map(input.clone())).await.unwrap(), text);
        me.run(name, input.clone()).await.unwrap();
        assert_eq!(provider.requests().last().unwrap().messages[1].text_content(), text);
    }
}

#[tokio::test]
async fn a_prompt_with_one_variable_takes_a_plain_text() {
    let (_engine, me, provider) = with_provider(Scripted::from_fn(|_| Reply::text("ok"))).await;
    me.prompts().put(NewPrompt::new("one", "Translate: {text}")).await.unwrap();
    me.prompts().put(NewPrompt::new("two", "{a} {b}")).await.unwrap();
    for name in ["one", "two"] {
        me.agents().put(agent(name, &[]).prompt(PromptRef::latest(name))).await.unwrap();
    }
    me.run("one", "hello").await.unwrap();
    assert_eq!(provider.requests()[0].messages[1].text_content(), "Translate: hello");
    assert_eq!(code(me.run("two", "hello").await), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn putting_twice_makes_no_new_revision() {
    let (_engine, me, _) = scripted(vec![]).await;
    let put = async || {
        let prompt = me.prompts().put(NewPrompt::new("p", "Hello {name}")).await.unwrap();
        let model = me.models().put(priced("other")).await.unwrap();
        let tool = me.tools().put(NewTool::builtin("calculator")).await.unwrap();
        let agent = me.agents().put(agent("a", &["calculator"]).prompt(PromptRef::latest("p"))).await.unwrap();
        [
            (prompt.id, prompt.revision, prompt.hash),
            (model.id, model.revision, model.hash),
            (tool.id, tool.revision, tool.hash),
            (agent.id, agent.revision, agent.hash),
        ]
    };
    let first = put().await;
    assert_eq!(put().await, first);
    assert!(first.iter().all(|(_, revision, _)| *revision == 1));
    assert_eq!(me.prompts().versions("p", ListOptions::default()).await.unwrap().items.len(), 1);
    // A change and back again are two revisions, and the content is known by its hash.
    let second = me.prompts().put(NewPrompt::new("p", "Bye {name}")).await.unwrap();
    let third = me.prompts().put(NewPrompt::new("p", "Hello {name}")).await.unwrap();
    assert_eq!((second.revision, third.revision, &third.hash), (2, 3, &first[0].2));
}

#[tokio::test]
async fn an_agent_keeps_the_version_it_is_pinned_to() {
    let (_engine, me, provider) = with_provider(Scripted::from_fn(|_| Reply::text("ok"))).await;
    me.prompts().put(NewPrompt::new("p", "one {x}")).await.unwrap();
    me.prompts().put(NewPrompt::new("p", "two {x}")).await.unwrap();
    me.agents().put(agent("pinned", &[]).prompt(PromptRef::at("p", 1))).await.unwrap();
    me.agents().put(agent("newest", &[]).prompt(PromptRef::latest("p"))).await.unwrap();
    let asked = async |name: &str| {
        me.run(name, "x").await.unwrap();
        provider.requests().last().unwrap().messages[1].text_content()
    };
    assert_eq!((asked("pinned").await.as_str(), asked("newest").await.as_str()), ("one x", "two x"));
    me.prompts().put(NewPrompt::new("p", "three {x}")).await.unwrap();
    assert_eq!((asked("pinned").await.as_str(), asked("newest").await.as_str()), ("one x", "three x"));
    let versions = me.prompts().versions("p", ListOptions::default()).await.unwrap().items;
    let texts: Vec<_> = versions.iter().map(|version| (version.version, version.spec.template.as_str())).collect();
    assert_eq!(texts, [(1, "one {x}"), (2, "two {x}"), (3, "three {x}")]);
    assert_eq!(me.prompts().render("p", Some(1), map(json!({"x": 1}))).await.unwrap(), "one 1");
    for version in [0, 4, u32::MAX] {
        assert_eq!(code(me.prompts().version("p", version).await), ErrorCode::NotFound, "{version}");
    }
}

#[tokio::test]
async fn a_list_is_paged_to_its_end_without_a_gap() {
    let (_engine, me, _) = scripted(vec![]).await;
    for number in 0..250 {
        me.prompts().create(NewPrompt::new(format!("p{number:03}"), "x")).await.unwrap();
    }
    let mut names = Vec::new();
    let mut sizes = Vec::new();
    let mut page = ListOptions::limit(100);
    loop {
        let found = me.prompts().list(page).await.unwrap();
        sizes.push(found.items.len());
        names.extend(found.items.into_iter().map(|prompt| prompt.spec.name));
        match found.next_cursor {
            Some(cursor) => page = ListOptions::limit(100).after(cursor),
            None => break,
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(names, (0..250).map(|number| format!("p{number:03}")).collect::<Vec<_>>());
    let exact = me.prompts().list(ListOptions::limit(250)).await.unwrap();
    assert_eq!((exact.items.len(), exact.next_cursor), (250, None), "the last page says so");
}

#[tokio::test]
async fn the_pages_of_executions_and_steps_end_too() {
    let (_engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text("ok"))).await;
    me.agents().put(agent("a", &[])).await.unwrap();
    for _ in 0..6 {
        me.run("a", "x").await.unwrap();
    }
    let newest = me.executions().list(Default::default(), ListOptions::limit(3)).await.unwrap();
    let cursor = newest.next_cursor.clone().expect("there are more");
    let oldest = me.executions().list(Default::default(), ListOptions::limit(3).after(cursor)).await.unwrap();
    let ids: Vec<i64> = newest.items.iter().chain(&oldest.items).map(|execution| execution.id.0).collect();
    assert_eq!(ids, (1..=6).rev().collect::<Vec<_>>(), "newest first");
    assert_eq!(oldest.next_cursor, None, "the last page says so");
    let steps = me.executions().steps(newest.items[0].id, ListOptions::limit(1)).await.unwrap();
    assert_eq!((steps.items.len(), steps.next_cursor), (1, None), "the last page says so");
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict_and_deleting_frees_it() {
    let (_engine, me, _) = scripted(vec![]).await;
    let first = me.agents().create(NewAgent::new("a", "m")).await.unwrap();
    me.agents().create(NewAgent::new("b", "m")).await.unwrap();
    assert_eq!(code(me.agents().create(NewAgent::new("a", "m")).await), ErrorCode::Conflict);
    assert_eq!(code(me.agents().update("b", map(json!({"name": "a"}))).await), ErrorCode::Conflict);
    me.agents().delete("a").await.unwrap();
    assert_eq!(code(me.agents().get("a").await), ErrorCode::NotFound);
    assert_eq!(code(me.agents().delete(first.id).await), ErrorCode::NotFound);
    let second = me.agents().create(NewAgent::new("a", "m")).await.unwrap();
    assert_ne!(second.id, first.id, "a new record is a new one");
    me.agents().update("b", map(json!({"name": "c"}))).await.unwrap();
    assert_eq!(code(me.agents().get("b").await), ErrorCode::NotFound);
}

#[tokio::test]
async fn names_that_nobody_could_tell_apart_are_refused() {
    let (_engine, me, _) = scripted(vec![]).await;
    for name in ["", " ", " a", "a ", "a/b", "a\nb", "a\0b", "a\u{200b}b", "e\u{301}", &"x".repeat(129)] {
        assert_eq!(code(me.agents().create(NewAgent::new(name, "m")).await), ErrorCode::InvalidInput, "{name:?}");
        assert_eq!(code(me.prompts().put(NewPrompt::new(name, "x")).await), ErrorCode::InvalidInput, "{name:?}");
    }
    for name in ["é", "Größe", "日本", "a.b-c_d e", &"x".repeat(128)] {
        me.agents().create(NewAgent::new(name, "m")).await.unwrap();
    }
}

#[tokio::test]
async fn fields_that_cannot_be_are_refused() {
    let (_engine, me, _) = scripted(vec![]).await;
    me.tools().put(NewTool::builtin("calculator")).await.unwrap();
    let agent = |field: &str, value: Value| json!({"name": "x", "model": "m", field: value});
    for (field, value) in [
        ("limits", json!({"max_turns": 0})),
        ("limits", json!({"max_turns": -1})),
        ("limits", json!({"timeout_ms": 0})),
        ("limits", json!({"timeout_ms": u64::MAX})),
        ("limits", json!({"max_parallel_tools": 0})),
        ("limits", json!({"max_cost": "-1"})),
        ("limits", json!({"max_cost": "much"})),
        ("limits", json!({"max_cost": "1e400"})),
        ("limits", json!({"unknown": 1})),
        ("retry", json!({"max_attempts": 0})),
        ("settings", json!({"max_output_tokens": 0})),
        ("settings", json!({"max_output_tokens": -1})),
        ("settings", json!({"max_output_tokens": "many"})),
        ("tools", json!(["calculator", "calculator"])),
        ("agents", json!(["x"])),
        ("tool_choice", json!({"tool": 5})),
        ("tool_choice", json!({"tool": "calculator"})),
        ("agents", json!(["someone@example.com/a", "a"])),
        ("agents", json!(["Größe"])),
        ("prompt", json!({"name": 5})),
    ] {
        assert_eq!(
            code(me.call("agents.put", agent(field, value.clone())).await),
            ErrorCode::InvalidInput,
            "{field}: {value}"
        );
    }
    let model = |field: &str, value: Value| {
        let mut model = json!({"name": "x", "provider": "openai", "model_name": "x"});
        model[field] = value;
        model
    };
    for (field, value) in [
        ("provider", json!(" ")),
        ("model_name", json!("")),
        ("base_url", json!("ftp://x")),
        ("base_url", json!("http://user:password@x")),
        ("max_output_tokens", json!(0)),
        ("price", json!({"input": "NaN", "output": "1"})),
        ("price", json!({"input": "-5", "output": "1"})),
        ("price", json!({"input": "1e400", "output": "1"})),
        ("price", json!({"input": "1,5", "output": "1"})),
        ("price", json!({"input": "0.00000000000000000001", "output": "1"})),
        ("price", json!({"input": "1"})),
        ("api_key", json!(5)),
    ] {
        assert_eq!(
            code(me.call("models.put", model(field, value.clone())).await),
            ErrorCode::InvalidInput,
            "{field}: {value}"
        );
    }
    let budget = |field: &str, value: Value| {
        let mut budget = json!({"name": "b", "scope": "user", "limit": "1"});
        budget[field] = value;
        budget
    };
    for (field, value) in
        [("limit", json!("-1")), ("limit", json!("x")), ("scope", json!("planet")), ("name", json!(""))]
    {
        assert_eq!(
            code(me.call("budgets.put", budget(field, value.clone())).await),
            ErrorCode::InvalidInput,
            "{field}: {value}"
        );
    }
}

#[tokio::test]
async fn a_model_that_nobody_serves_says_so_when_it_runs() {
    let (_engine, me, _) = scripted(vec![]).await;
    me.call("models.put", json!({"name": "x", "provider": "unheard-of", "model_name": "x"})).await.unwrap();
    me.agents().put(NewAgent::new("a", "x")).await.unwrap();
    let error = me.run("a", "x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.to_string().contains("unheard-of"), "{error}");
    me.call("models.put", json!({"name": "y", "provider": "openai", "model_name": "gpt-4o"})).await.unwrap();
    me.agents().put(NewAgent::new("b", "y")).await.unwrap();
    assert_eq!(code(me.run("b", "x").await), ErrorCode::ProviderAuth);
}

#[tokio::test]
async fn a_function_that_changed_its_arguments_does_not_run_under_its_old_record() {
    let (_engine, me, _) = scripted(vec![]).await;
    let stale = NewTool::function("t", "", json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    me.tools().register(blitz::tool_fn!("t", "", |_: ()| async { Ok(1) })).await.unwrap();
    me.tools().put(stale.clone()).await.unwrap();
    me.agents().put(agent("a", &["t"])).await.unwrap();
    assert_eq!(code(me.run("a", "x").await), ErrorCode::InvalidInput);
    me.tools().put(NewTool::function("never", "", json!({"type": "object"}))).await.unwrap();
    me.agents().put(agent("b", &["never"])).await.unwrap();
    let error = me.run("b", "x").await.unwrap_err();
    assert!(error.code() == ErrorCode::InvalidInput && error.to_string().contains("not registered"), "{error}");
}
