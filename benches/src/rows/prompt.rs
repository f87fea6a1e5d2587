//! Rendering a prompt from its variables.

use std::hint::black_box;

use blitz::test_support::render;
use blitz::{Engine, NewPrompt, TemplateFormat};
use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};

use super::runtime;
use crate::measure::{Meter, Sample};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "prompt",
    about: "a prompt rendered from its variables",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "minijinja", bar: None, run: floor },
        Variant { name: "blitz", bar: Some(Bar::Ratio(1.5)), run: ours },
        Variant { name: "blitz prompts.render", bar: None, run: by_name },
    ],
};

const TEMPLATE: &str = "You are a {{ role }} for {{ customer.name }}.\n\
    {% for rule in rules %}{{ loop.index }}. {{ rule }}\n{% endfor %}\
    {% if formal %}Write formally.{% else %}Write as you talk.{% endif %}\n\nQuestion: {{ question }}";

fn variables() -> Value {
    json!({
        "role": "support agent", "customer": {"name": "Ana"}, "formal": true,
        "rules": ["Answer in one paragraph.", "Name your sources.", "Say so when you do not know."],
        "question": "How do I reset my password?",
    })
}

fn floor(context: &Context) -> Result<Sample> {
    let mut environment = Environment::new();
    environment.add_template("prompt", TEMPLATE)?;
    let template = environment.get_template("prompt")?;
    let (variables, items) = (variables(), context.items(100_000));
    let meter = Meter::start();
    for _ in 0..items {
        black_box(template.render(Serde(black_box(&variables)))?);
    }
    Ok(meter.stop(items))
}

fn variables_map() -> Result<Map<String, Value>> {
    Ok(serde_json::from_value(variables())?)
}

fn ours(context: &Context) -> Result<Sample> {
    let (variables, items) = (variables_map()?, context.items(100_000));
    let meter = Meter::start();
    for _ in 0..items {
        black_box(render(TemplateFormat::Jinja, black_box(TEMPLATE), black_box(&variables))?);
    }
    Ok(meter.stop(items))
}

/// With all that a call is: the gate, the lookup, the newest version.
fn by_name(context: &Context) -> Result<Sample> {
    let (variables, items) = (variables_map()?, context.items(20_000));
    runtime()?.block_on(async {
        let engine = Engine::open(":memory:").await?;
        let me = engine.root("benchmark");
        me.prompts().put(NewPrompt::new("p", TEMPLATE)).await?;
        let meter = Meter::start();
        for _ in 0..items {
            black_box(me.prompts().render("p", None, variables.clone()).await?);
        }
        Ok(meter.stop(items))
    })
}
