//! Checking the arguments of a tool call against a schema that is prepared.

use std::hint::black_box;

use blitz::test_support::SchemaCheck;
use serde_json::{Value, json};

use crate::measure::{Meter, Sample};
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const ROW: Row = Row {
    name: "schema",
    about: "a schema check of a tool's arguments, prepared",
    metric: Metric::CpuPerItem,
    variants: &[
        Variant { name: "jsonschema", bar: None, run: floor },
        Variant { name: "blitz", bar: Some(Bar::Ratio(1.5)), run: ours },
    ],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 100},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "hours": {"type": "array", "items": {"type": "integer"}, "maxItems": 24},
        },
        "required": ["city", "days"],
        "additionalProperties": false,
    })
}

fn arguments() -> Value {
    json!({"city": "Lisbon", "days": 3, "unit": "celsius", "hours": [6, 12, 18]})
}

fn floor(context: &Context) -> Result<Sample> {
    let validator = jsonschema::validator_for(&schema())?;
    let (arguments, items) = (arguments(), context.items(1_000_000));
    let meter = Meter::start();
    for _ in 0..items {
        if !validator.is_valid(black_box(&arguments)) {
            return Err("the arguments do not fit their schema".into());
        }
    }
    Ok(meter.stop(items))
}

fn ours(context: &Context) -> Result<Sample> {
    let check = SchemaCheck::new(&schema())?;
    let (arguments, items) = (arguments(), context.items(1_000_000));
    let meter = Meter::start();
    for _ in 0..items {
        check.check(black_box(&arguments))?;
    }
    Ok(meter.stop(items))
}
