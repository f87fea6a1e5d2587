//! Rendering a prompt from its variables.

use std::hint::black_box;

use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Value, json};

use crate::measure::{Meter, Sample};
use crate::{Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "prompt",
    about: "a prompt rendered from its variables",
    metric: Metric::CpuPerItem,
    variants: &[Variant { name: "minijinja", bar: None, run: floor }],
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
