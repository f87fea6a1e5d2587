//! The method table: each row whole, each handler as forgiving and as strict as its handle.

use std::collections::BTreeSet;

use blitz::provider::{Reply, Scripted};
use blitz::{
    CostFilter, ErrorCode, ListOptions, Method, MethodKind, NewAgent, NewBudget, NewPrompt, Permission, Session,
};
use serde_json::{Map, Value, json};

use crate::bad_input::code;
use crate::support::engine::with_provider;

async fn session() -> (blitz::Engine, Session) {
    let (engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
    (engine, me)
}

fn unary() -> impl Iterator<Item = &'static Method> {
    Method::all().filter(|method| method.kind == MethodKind::Unary)
}

#[test]
fn every_row_has_a_name_of_its_own_in_the_form_noun_verb() {
    let mut names = BTreeSet::new();
    for method in Method::all() {
        let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let (noun, verb) = method.name.split_once('.').expect(method.name);
        assert!(plain(noun) && plain(verb), "{}", method.name);
        assert!(names.insert(method.name), "{} stands twice", method.name);
        assert_eq!(Method::find(method.name).map(|found| found.name), Some(method.name));
        assert!(
            !method.since.is_empty() && method.permission.is_none_or(|one| Permission::ALL.contains(&one)),
            "{}",
            method.name
        );
    }
    assert!(names.len() >= 60, "{} rows", names.len());
}

#[test]
fn every_row_has_schemas_that_are_schemas() {
    for method in Method::all() {
        let (input, output) = (method.input_schema(), method.output_schema());
        assert_eq!(input["type"], "object", "the input of {}", method.name);
        for (which, schema) in [("input", &input), ("output", &output)] {
            assert!(schema.is_object(), "the {which} of {}", method.name);
            let text = schema.to_string();
            for reference in text.split("\"$ref\":\"").skip(1) {
                let target = reference.split('"').next().unwrap().trim_start_matches('#');
                assert!(schema.pointer(target).is_some(), "{}: {target} leads nowhere", method.name);
            }
        }
    }
}

#[tokio::test]
async fn the_engine_takes_each_input_schema_as_a_schema() {
    let (_engine, me) = session().await;
    for method in Method::all() {
        for schema in [method.input_schema(), method.output_schema()] {
            if schema.get("type") != Some(&json!("null")) {
                let prompt = NewPrompt::new("p", "x").with_output_schema(schema);
                me.prompts().put(prompt).await.unwrap_or_else(|error| panic!("{}: {error}", method.name));
            }
        }
    }
}

#[test]
fn inputs_are_closed_to_unknown_fields() {
    // A name that is given as a plain reference has a schema of its own; all else says that it is closed.
    for method in unary() {
        let schema = method.input_schema();
        assert_eq!(schema["additionalProperties"], false, "the input of {}", method.name);
    }
}

#[tokio::test]
async fn no_input_whatever_makes_a_method_panic_or_blame_the_engine() {
    let (_engine, me) = session().await;
    let odd = [
        json!({}),
        Value::Null,
        json!([]),
        json!("text"),
        json!(5),
        json!({"id": 7_000}),
        json!({"id": "gone"}),
        json!({"id": -1, "limit": 0}),
        json!({"id": 1.5}),
        json!({"id": u64::MAX}),
        json!({"id": null}),
        json!({"id": {"a": 1}}),
        json!({"name": ""}),
        json!({"name": "x".repeat(10_000)}),
        json!({"filter": {"status": "nope"}}),
        json!({"limit": -1}),
        json!({"cursor": "x"}),
        json!({"id": "m", "patch": {"name": 5}}),
        json!({"id": "m", "patch": {}, "update": {}}),
        json!({"agent": "gone", "input": {}}),
    ];
    for method in unary() {
        for input in &odd {
            if let Err(error) = me.call(method.name, input.clone()).await {
                let expected = [
                    ErrorCode::InvalidInput,
                    ErrorCode::NotFound,
                    ErrorCode::Conflict,
                    ErrorCode::PermissionDenied,
                    ErrorCode::Expression,
                ];
                let shown = input.to_string().chars().take(80).collect::<String>();
                assert!(expected.contains(&error.code()), "{} of {shown}: {error:?}", method.name);
                assert!(error.to_string().len() < 2_000, "{} of {shown}", method.name);
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_every_method() {
    let (_engine, me) = session().await;
    for method in unary() {
        let input = json!({"surely_unknown": 1});
        let error = me.call(method.name, input).await.expect_err(method.name);
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{}", method.name);
        assert!(error.to_string().contains("surely_unknown") || error.to_string().contains("missing field"), "{error}");
    }
}

#[tokio::test]
async fn a_call_by_name_is_the_same_as_the_handle() {
    let (_engine, me) = session().await;
    let same = |by_name: Value, by_handle: Value| assert_eq!(by_name, by_handle);
    let value = |value: &dyn erased::Serialize| value.to_json();

    let put = me.call("agents.put", json!({"name": "a", "model": "m", "instructions": "Help."})).await.unwrap();
    same(put.clone(), value(&me.agents().put(NewAgent::new("a", "m").instructions("Help.")).await.unwrap()));
    same(me.call("agents.get", json!({"id": "a"})).await.unwrap(), value(&me.agents().get("a").await.unwrap()));
    same(me.call("agents.get", json!({"id": put["id"]})).await.unwrap(), put.clone());
    let page = ListOptions::default;
    same(me.call("agents.list", json!({})).await.unwrap(), value(&me.agents().list(page()).await.unwrap()));
    same(me.call("agents.list", Value::Null).await.unwrap(), value(&me.agents().list(page()).await.unwrap()));
    same(
        me.call("models.list", json!({"limit": 1})).await.unwrap(),
        value(&me.models().list(ListOptions::limit(1)).await.unwrap()),
    );

    let done = me.call("agents.run", json!({"agent": "a", "input": "x"})).await.unwrap();
    let id: blitz::ExecutionId = serde_json::from_value(done["execution_id"].clone()).unwrap();
    same(done.clone(), value(&me.executions().outcome(id).await.unwrap()));
    for method in ["executions.outcome", "executions.wait"] {
        same(me.call(method, json!({"id": id})).await.unwrap(), done.clone());
    }
    same(me.call("executions.get", json!({"id": id})).await.unwrap(), value(&me.executions().get(id).await.unwrap()));
    same(
        me.call("executions.steps", json!({"id": id})).await.unwrap(),
        value(&me.executions().steps(id, page()).await.unwrap()),
    );
    let listed = value(&me.executions().list(Default::default(), page()).await.unwrap());
    same(me.call("executions.list", json!({"filter": {}, "page": {}})).await.unwrap(), listed);
    same(
        me.call("costs.summary", json!({})).await.unwrap(),
        value(&me.costs().summary(CostFilter::all()).await.unwrap()),
    );
    same(
        me.call("costs.list", json!({"filter": {"root_id": id}})).await.unwrap(),
        value(&me.costs().list(CostFilter::of_root(id), page()).await.unwrap()),
    );

    let budget = me.call("budgets.put", json!({"name": "b", "scope": "user", "limit": "1.5"})).await.unwrap();
    let limit = blitz::Money::parse("1.5").unwrap();
    same(budget.clone(), value(&me.budgets().put(NewBudget::per_user("b", limit)).await.unwrap()));

    let prompt = json!({"name": "p", "template": "Hello {{ name }}"});
    same(
        me.call("prompts.put", prompt).await.unwrap(),
        value(&me.prompts().put(NewPrompt::new("p", "Hello {{ name }}")).await.unwrap()),
    );
    let variables: Map<String, Value> = Map::from_iter([("name".to_owned(), json!("Ana"))]);
    let render = json!({"id": "p", "variables": variables});
    same(
        me.call("prompts.render", render).await.unwrap(),
        json!(me.prompts().render("p", None, variables).await.unwrap()),
    );
    same(me.call("prompts.delete", json!({"id": "p"})).await.unwrap(), Value::Null);

    let new = json!({"email": "ana@example.com", "password": "sk-canary long passphrase", "role": "business_user"});
    let user = me.call("users.create", new).await.unwrap();
    let id: blitz::UserId = serde_json::from_value(user["id"].clone()).unwrap();
    same(user.clone(), value(&me.users().get(id).await.unwrap()));
    assert!(user.get("password").is_none(), "{user}");
    let verified = value(&me.audit().verify(None).await.unwrap());
    same(me.call("audit.verify", json!({})).await.unwrap(), verified);
    let started = me.call("agents.start", json!({"agent": "a", "input": "x"})).await.unwrap();
    assert_eq!(me.call("executions.wait", json!({"id": started["execution_id"]})).await.unwrap()["output"], "hi");
}

/// What a handle gives, as JSON.
mod erased {
    pub(super) trait Serialize {
        fn to_json(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Serialize for T {
        fn to_json(&self) -> serde_json::Value {
            serde_json::to_value(self).expect("has a JSON form")
        }
    }
}

#[tokio::test]
async fn what_comes_out_of_a_method_follows_its_schema() {
    let (_engine, me) = session().await;
    me.call("agents.put", json!({"name": "a", "model": "m"})).await.unwrap();
    me.call("prompts.put", json!({"name": "p", "template": "Hello {name}"})).await.unwrap();
    me.call("budgets.put", json!({"name": "b", "scope": "execution", "limit": "1"})).await.unwrap();
    let done = me.call("agents.run", json!({"agent": "a", "input": {"deep": [1, {"x": null}]}})).await.unwrap();
    let id = done["execution_id"].clone();
    for (name, input) in [
        ("agents.get", json!({"id": "a"})),
        ("agents.list", json!({})),
        ("models.list", json!({})),
        ("prompts.versions", json!({"id": "p"})),
        ("executions.get", json!({"id": id})),
        ("executions.outcome", json!({"id": id})),
        ("executions.steps", json!({"id": id})),
        ("executions.list", json!({})),
        ("budgets.list", json!({})),
        ("budgets.windows", json!({"id": 1})),
        ("costs.list", json!({})),
        ("costs.summary", json!({})),
        ("audit.list", json!({})),
        ("audit.verify", json!({})),
    ] {
        let output = me.call(name, input).await.unwrap();
        // The engine's own check judges: an agent whose output schema is the method's must take it.
        let schema = Method::find(name).unwrap().output_schema();
        let (_engine, judge, _) = with_provider(Scripted::new([Reply::text(output.to_string())])).await;
        judge.agents().put(NewAgent::new("judge", "m").output_schema(schema)).await.unwrap();
        let judged = judge.run("judge", "x").await.unwrap();
        assert_eq!(judged.output, output, "{name}: {:?}", judged.error);
    }
}

#[tokio::test]
async fn a_secret_in_a_wrong_field_is_not_repeated() {
    let (_engine, me) = session().await;
    for (name, input) in [
        ("models.put", json!({"name": "x", "provider": "openai", "model_name": "x", "settings": "sk-canary"})),
        ("models.put", json!({"name": "x", "provider": "openai", "model_name": "x", "price": "sk-canary"})),
        ("models.put", json!({"name": "x", "provider": "openai", "model_name": "x", "base_url": "sk-canary"})),
        ("users.create", json!({"email": "sk-canary", "password": "sk-canary long passphrase"})),
        ("users.create", json!({"email": "ana@example.com", "password": "x", "role": "sk-canary"})),
        ("models.update", json!({"id": "m", "patch": {"settings": "sk-canary"}})),
        ("models.update", json!({"id": "m", "patch": {"api_key": ["sk-canary"]}})),
    ] {
        let error = me.call(name, input.clone()).await.unwrap_err();
        let shown = format!("{error} {error:?} {} {}", error.chain(), error.details());
        assert!(!shown.contains("canary"), "{name} {input}: {shown}");
        assert_eq!(code::<()>(Err(error)), ErrorCode::InvalidInput);
    }
}
