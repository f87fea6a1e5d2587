//! Templates that lack a value, walk where they should not, or never end.

use std::time::{Duration, Instant};

use blitz::provider::Reply;
use blitz::{ErrorCode, NewPrompt, PromptRef, TemplateFormat};
use serde_json::{Map, Value, json};

use super::{code, executions};
use crate::support::engine::{agent, scripted};

/// The longest that a bomb may keep a core busy, in an unoptimised build on a busy machine.
const FUSE: Duration = Duration::from_secs(5);

fn values(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_missing_variable_is_named_and_nothing_is_asked() {
    let (_engine, me, provider) = scripted(vec![]).await;
    for (name, template) in [("braces", "Hello {name}, {greeting}"), ("jinja", "Hello {{ name }}, {{ greeting }}")] {
        me.prompts().put(NewPrompt::new(name, template)).await.unwrap();
        me.agents().put(agent(name, &[]).prompt(PromptRef::latest(name))).await.unwrap();

        let rendered = me.prompts().render(name, None, values(json!({"name": "canary value"}))).await.unwrap_err();
        let run = me.run(name, json!({"name": "canary value"})).await.unwrap_err();

        for error in [rendered, run] {
            assert_eq!(error.code(), ErrorCode::Expression, "{error}");
            let shown = format!("{error} {error:?} {}", error.details());
            assert!(shown.contains("greeting"), "the message names what is missing: {shown}");
            assert!(!shown.contains("canary"), "a value is in the error: {shown}");
        }
    }
    assert_eq!((executions(&me).await, provider.requests().len()), (0, 0));
}

#[tokio::test]
async fn t50_a_template_walks_nowhere() {
    let (_engine, me, _) = scripted(vec![]).await;
    for template in [
        "{{ text.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ self }}",
        "{{ debug() }}",
        "{% include '/etc/passwd' %}",
        "{% extends 'base' %}",
        "{% import 'x' as x %}{{ x }}",
        "{% from 'x' import y %}{{ y }}",
        "{{ config.items() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ text|attr('__class__') }}",
    ] {
        let prompt = NewPrompt::new("p", template).with_format(TemplateFormat::Jinja);
        let outcome = match me.prompts().put(prompt).await {
            Ok(_) => me.prompts().render("p", None, values(json!({"text": "t"}))).await,
            Err(error) => Err(error),
        };
        assert_eq!(code(outcome), ErrorCode::Expression, "{template}");
    }
}

#[tokio::test]
async fn t50_a_template_bomb_is_cut_off_in_a_render_and_in_a_run() {
    let (_engine, me, provider) = scripted(vec![]).await;
    for template in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ range(1000000000) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ ('x' * 100000) * 100000 }}",
        "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ text|replace('t', 'tttttttttt' * 100000)|replace('t', 'tttttttttt' * 100000) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ text|indent(1000000000) }}",
        "{{ [[1] * 10000] * 10000 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
    ] {
        let prompt = NewPrompt::new("bomb", template).with_format(TemplateFormat::Jinja);
        let began = Instant::now();
        let failures = match me.prompts().put(prompt).await {
            Err(error) => vec![error],
            Ok(_) => {
                me.agents().put(agent("a", &[]).prompt(PromptRef::latest("bomb"))).await.unwrap();
                let rendered = me.prompts().render("bomb", None, values(json!({"text": "t"}))).await.map(drop);
                let run = me.run("a", json!({"text": "t"})).await.map(drop);
                vec![rendered.expect_err(template), run.expect_err(template)]
            }
        };
        for error in failures {
            assert!(matches!(error.code(), ErrorCode::Expression | ErrorCode::TooLarge), "{template}: {error:?}");
        }
        assert!(began.elapsed() < FUSE, "{template} took {:?}", began.elapsed());
    }
    assert_eq!((executions(&me).await, provider.requests().len()), (0, 0));
}

#[tokio::test]
async fn what_is_no_template_is_refused_when_it_is_saved() {
    let (_engine, me, _) = scripted(vec![]).await;
    for template in ["{% for x in y %}", "{{ a", "{% endif %}", "{{ a|nope }}{% if %}"] {
        let prompt = NewPrompt::new("p", template).with_format(TemplateFormat::Jinja);
        assert_eq!(code(me.prompts().create(prompt).await), ErrorCode::Expression, "{template}");
    }
    let endless = NewPrompt::new("p", "x".repeat((1 << 20) + 1));
    assert_eq!(code(me.prompts().create(endless).await), ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_value_is_never_read_as_a_template() {
    let (_engine, me, provider) = scripted(vec![Reply::text("ok")]).await;
    me.prompts().put(NewPrompt::new("p", "Say {{ text }}")).await.unwrap();
    me.agents().put(agent("a", &[]).prompt(PromptRef::latest("p"))).await.unwrap();
    me.run("a", json!({"text": "{{ 7 * 7 }} {text} {% raw %}"})).await.unwrap();
    assert_eq!(provider.requests()[0].messages[1].text_content(), "Say {{ 7 * 7 }} {text} {% raw %}");
}
