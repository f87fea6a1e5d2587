use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{Message, ModelRequest};
use crate::provider::offline::conversation::Conversation;
use crate::provider::offline::facts::Material;

const LEASE: &str = "# Lease of the flat\n\n1. Rent. The tenant pays the rent on the first day of each month. \
    2. Liability. The tenant is liable for all damages to the flat and must repair them. \
    3. End. The landlord may terminate the lease without notice after a breach of it. \
    The flat is let as is, in the state in which the tenant has seen it.";

fn material(text: &str) -> Material {
    let request = ModelRequest::new("m", vec![Message::user(text)]);
    Material::of(&Conversation::of(&request))
}

fn filled(schema: &Value) -> Value {
    let material = material(LEASE);
    output(schema, &Facts::of(&material), 30)
}

fn fits(schema: &Value) -> Value {
    let value = filled(schema);
    let check = SchemaCheck::new(schema).unwrap();
    assert!(check.check(&value).is_ok(), "{schema}\n{value}\n{:?}", check.check(&value));
    value
}

#[test]
fn a_report_on_a_document_is_filled_from_it() {
    let report = fits(&json!({
        "type": "object",
        "$defs": {"Issue": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "severity": {"enum": ["low", "medium", "high"]},
                "quote": {"type": "string"},
                "clause": {"type": ["string", "null"]},
                "explanation": {"type": "string", "maxLength": 60},
                "recommendation": {"type": "string"}
            },
            "required": ["title", "severity", "quote", "clause", "explanation", "recommendation"],
            "additionalProperties": false
        }},
        "properties": {
            "document_title": {"type": "string"},
            "summary": {"type": "string", "minLength": 10},
            "risk_score": {"type": "integer", "minimum": 0, "maximum": 100},
            "overall_risk": {"type": "string", "enum": ["LOW", "MEDIUM", "HIGH", "CRITICAL"]},
            "issues": {"type": "array", "items": {"$ref": "#/$defs/Issue"}, "minItems": 1},
            "issues_found": {"type": "integer"},
            "needs_review": {"type": "boolean"},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "key_points": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": true},
            "counts": {"type": "object", "properties": {"high": {"type": "integer"}, "low": {"type": "integer"}}, "required": ["high", "low"]},
            "comment_by_hand": {"type": "string"}
        },
        "required": ["document_title", "summary", "risk_score", "overall_risk", "issues", "issues_found", "needs_review", "counts"]
    }));
    assert_eq!(report["document_title"], "Lease of the flat");
    assert!(report["summary"].as_str().unwrap().contains("tenant"));
    assert!(report["risk_score"].as_i64().unwrap() > 0);
    assert_eq!((&report["overall_risk"], &report["needs_review"]), (&json!("HIGH"), &json!(true)));
    assert_eq!(report["issues_found"], report["issues"].as_array().unwrap().len());
    assert_eq!((&report["counts"]["high"], &report["confidence"]), (&json!(2), &json!(0.5)));
    assert_eq!(report["key_points"].as_array().unwrap().len(), 2);
    let first = &report["issues"][0];
    assert_eq!((&first["severity"], &first["clause"]), (&json!("high"), &json!("3. End")));
    for issue in report["issues"].as_array().unwrap() {
        assert!(LEASE.contains(issue["quote"].as_str().unwrap()));
    }
}

#[test]
fn names_count_in_any_spelling_and_only_where_something_is_known() {
    let schema = json!({"type": "object", "properties": {
        "shortSummary": {"type": "string"}, "phone": {"type": "string"}, "Findings": {"type": "array", "items": {"type": "string"}}
    }});
    let value = fits(&schema);
    assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["shortSummary", "Findings"]);
    assert!(value["Findings"][0].as_str().unwrap().contains("terminate"));
}

#[test]
fn alternatives_are_tried_until_one_passes() {
    fits(&json!({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 0}]}));
    fits(&json!({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 3}, {"const": 7}]}));
    fits(
        &json!({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": false, "b": {"const": 1}}}),
    );
    fits(&json!({"type": "array", "contains": {"const": 5}, "items": {"type": "integer"}, "minItems": 3}));
    fits(&json!({"not": {"type": "string"}, "type": ["string", "integer"]}));
}

#[test]
fn recursion_ends() {
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "issues": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
            },
            "required": ["title", "next"]
        }}
    });
    fits(&tree);
    let endless =
        json!({"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]});
    filled(&endless);
    filled(&json!({"$ref": "#"}));
}

#[test]
fn garbage_does_no_harm() {
    for schema in [
        json!(null),
        json!("text"),
        json!([1]),
        json!(false),
        json!({"type": 7}),
        json!({"type": []}),
        json!({"enum": []}),
        json!({"type": "object", "properties": [1], "required": "a", "minProperties": -1}),
        json!({"type": "array", "minItems": 1e300, "items": {"type": "string", "minLength": 1e300}}),
        json!({"allOf": [], "anyOf": {}, "$ref": "%%"}),
        json!({"type": "string", "minLength": 9, "maxLength": 1}),
    ] {
        filled(&schema);
    }
}

#[test]
fn formats_are_kept() {
    for format in [
        "date",
        "date-time",
        "time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uuid",
        "json-pointer",
        "regex",
    ] {
        fits(
            &json!({"type": "array", "items": {"type": "string", "format": format}, "minItems": 3, "uniqueItems": true}),
        );
    }
}

/// Names of which some mean something and some do not.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "summary",
        "title",
        "risk_score",
        "issues",
        "severity",
        "quote",
        "issues_found",
        "confidence",
        "keywords",
        "result",
        "high_count",
        "needs_review",
        "recommendations",
        "x",
        "zone",
        "path",
        "keyPoints",
        "Clauses",
    ])
    .prop_map(str::to_owned)
}

fn leaf() -> impl Strategy<Value = Value> {
    let unicode = prop::collection::vec(any::<String>(), 1..4);
    prop_oneof![
        (0u32..40, 0u32..40)
            .prop_map(|(min, more)| json!({"type": "string", "minLength": min, "maxLength": min + more})),
        (-1000i64..1000, 0i64..50)
            .prop_map(|(min, more)| json!({"type": "integer", "minimum": min, "maximum": min + more})),
        (-100i64..100, 1u32..9)
            .prop_map(|(min, step)| json!({"type": "integer", "exclusiveMinimum": min, "multipleOf": step})),
        (-100.0..100.0, 0.001..9.0)
            .prop_map(|(min, more)| json!({"type": "number", "minimum": min, "exclusiveMaximum": min + more})),
        (-50i64..50, 1u32..40)
            .prop_map(|(max, cents)| json!({"type": "number", "maximum": max, "multipleOf": f64::from(cents) / 100.0})),
        unicode.prop_map(|options| json!({"enum": options})),
        any::<String>().prop_map(|text| json!({"const": text})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": ["null", "string"]})),
        Just(json!({"type": "null"})),
        Just(json!({})),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        let properties = prop::collection::btree_map(name(), (inner.clone(), any::<bool>()), 0..6);
        let object = (properties, any::<bool>()).prop_map(|(properties, open)| {
            let required: Vec<&String> = properties.iter().filter(|(_, (_, required))| *required).map(|(name, _)| name).collect();
            let required = json!(required);
            let properties: Map<String, Value> = properties.into_iter().map(|(name, (schema, _))| (name, schema)).collect();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": open})
        });
        let array = (inner.clone(), 0u32..4, 0u32..4)
            .prop_map(|(items, min, more)| json!({"type": "array", "items": items, "minItems": min, "maxItems": min + more}));
        let unique = (1u32..12, 0u32..4).prop_map(|(min, more)| {
            json!({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": min + more}, "minItems": min, "uniqueItems": true})
        });
        let nullable = inner.clone().prop_map(|schema| json!({"anyOf": [{"type": "null"}, schema], "description": "may be absent"}));
        let part = inner.prop_map(|schema| json!({"allOf": [schema]}));
        prop_oneof![3 => object, 2 => array, 1 => unique, 1 => nullable, 1 => part]
    })
}

proptest! {
    #[test]
    fn every_schema_that_can_be_met_is_met(schema in schema(), text in prop_oneof![Just(LEASE.to_owned()), ".{0,80}"]) {
        let material = material(&text);
        let facts = Facts::of(&material);
        let value = output(&schema, &facts, 30);
        let check = SchemaCheck::new(&schema).unwrap();
        prop_assert!(check.check(&value).is_ok(), "{}\n{:?}", value, check.check(&value));
        prop_assert_eq!(output(&schema, &facts, 30), value);
    }

    #[test]
    fn any_json_as_a_schema_does_no_harm(schema in any_json()) {
        filled(&schema);
    }
}

/// JSON whose keys are often keywords.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["string", "object", "array", "number", "integer", "#", "#/a", "date"])
            .prop_map(Value::from),
    ];
    let keys = vec![
        "type",
        "properties",
        "items",
        "required",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "minProperties",
        "uniqueItems",
        "prefixItems",
        "contains",
        "format",
        "a",
        "summary",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(keys.clone()), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}
