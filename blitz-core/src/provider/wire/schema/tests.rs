use super::*;

#[test]
fn b13_a_strict_schema_stays_as_it_is() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "T", "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"type": ["integer", "null"]}},
        "$defs": {"A": {"type": "object", "properties": {"x": {"type": "string", "format": "date"}},
            "required": ["x"], "additionalProperties": false}},
        "required": ["a", "b"], "additionalProperties": false
    });
    assert_eq!(strict(&schema).unwrap(), Strict { schema, made_nullable: false });
}

#[test]
fn b13_objects_are_closed_and_optional_properties_nullable() {
    let schema = json!({"type": "object", "required": ["list"], "properties": {
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "ref": {"$ref": "#/properties/kind"},
        "either": {"oneOf": [{"type": "string", "minLength": 2}, {"type": "number", "format": "double"}]},
    }});
    let expected = json!({"type": "object", "required": ["list", "kind", "ref", "either"], "additionalProperties": false,
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "required": ["n"], "additionalProperties": false,
                "properties": {"n": {"type": ["integer", "null"]}}}},
            "kind": {"type": ["string", "null"], "enum": ["a", "b", null]},
            "ref": {"anyOf": [{"$ref": "#/properties/kind"}, {"type": "null"}]},
            "either": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
    }});
    assert_eq!(strict(&schema).unwrap(), Strict { schema: expected, made_nullable: true });
}

#[test]
fn b14_anthropic_closes_objects_and_leaves_the_rest_optional() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "integer", "minimum": 1}, "b": {"type": "string", "pattern": "x", "format": "date"}}});
    let expected = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
        "a": {"type": "integer"}, "b": {"type": "string", "format": "date"}}});
    assert_eq!(closed(&schema).unwrap().schema, expected);
}

#[test]
fn b13_b14_what_is_no_object_is_sent_inside_one_and_taken_out_again() {
    for schema in [
        json!({"type": "array", "items": {"type": "integer"}}),
        json!({"type": "string", "enum": ["a", "b"]}),
        json!({"type": "integer"}),
        json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    ] {
        for sent in [sent(&schema), closed(&schema).unwrap()] {
            let expected = json!({"type": "object", "properties": {"answer": schema},
                "required": ["answer"], "additionalProperties": false});
            assert!(sent.strict, "{schema}");
            assert_eq!(sent.schema, expected, "{schema}");
            let reading = sent.reading.unwrap();
            assert_eq!(reading.read(r#"{"answer":[1,"b"]}"#).unwrap(), r#"[1,"b"]"#);
            assert_eq!(reading.read("[1]"), None, "a server that ignores the schema");
        }
    }
    let either = json!({"type": "object", "anyOf": [{"required": ["a"]}]});
    assert_eq!(sent(&either).schema["type"], "object");
    assert_eq!(sent(&either).schema["properties"]["answer"], either);
    let object = json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
    assert_eq!(sent(&object).reading, None);
}

#[test]
fn b13_references_of_what_is_wrapped_still_lead_where_they_did() {
    let tree = json!({"type": "array", "items": {"$ref": "#"}, "$defs": {"N": {"$ref": "#/items"}}});
    let whole = wrapped(&tree);
    assert_eq!(whole["properties"]["answer"], json!({"type": "array", "items": {"$ref": "#/properties/answer"}}));
    assert_eq!(whole["$defs"]["N"]["$ref"], "#/properties/answer/items");
    let node = json!({"$ref": "#/$defs/N", "$defs": {"N": {"type": "string"}}});
    let expected = json!({"type": "object", "properties": {"answer": {"$ref": "#/$defs/N"}}, "required": ["answer"],
        "additionalProperties": false, "$defs": {"N": {"type": "string"}}});
    assert_eq!(wrapped(&node), expected);
}

#[test]
fn b13_what_says_no_type_gets_that_of_its_values() {
    let schema = json!({"type": "object", "required": ["word", "any"], "properties": {
        "word": {"enum": ["a", "b"]}, "one": {"const": 1}, "any": {"enum": ["a", 2, 0.5, true, null]},
        "maybe": {"enum": [1, 2], "description": "d"}, "list": {"items": {"const": "x"}},
        "inner": {"properties": {"n": {"type": "integer"}}, "required": ["n"]}}});
    let expected = json!({
        "word": {"enum": ["a", "b"], "type": "string"},
        "one": {"anyOf": [{"const": 1, "type": "integer"}, {"type": "null"}]},
        "any": {"enum": ["a", 2, 0.5, true, null], "type": ["string", "integer", "number", "boolean", "null"]},
        "maybe": {"enum": [1, 2, null], "description": "d", "type": ["integer", "null"]},
        "list": {"items": {"const": "x", "type": "string"}, "type": ["array", "null"]},
        "inner": {"type": ["object", "null"], "required": ["n"], "properties": {"n": {"type": "integer"}},
            "additionalProperties": false}});
    let sent = sent(&schema);
    assert_eq!(sent.schema["properties"], expected);
    // What the caller's own schema lets be null stays so, what was made nullable does not.
    let answer = r#"{"word":"a","one":null,"any":null,"maybe":null,"list":["x"],"inner":{"n":1}}"#;
    let read = sent.reading.unwrap().read(answer).unwrap();
    assert_eq!(read, r#"{"word":"a","any":null,"list":["x"],"inner":{"n":1}}"#);
    assert_eq!(closed(&schema).unwrap().schema["properties"]["word"]["type"], "string");
}

#[test]
fn b13_added_nulls_inside_a_wrapped_answer_are_taken_out() {
    let list = json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}});
    let reading = sent(&list).reading.unwrap();
    assert_eq!(reading.read(r#"{"answer":[{"n":null},{"n":1}]}"#).unwrap(), r#"[{},{"n":1}]"#);
}

#[test]
fn b13_what_has_no_strict_form_says_so() {
    let property = |schema: Value| json!({"type": "object", "properties": {"p": schema}, "required": ["p"]});
    for schema in [
        json!(true),
        json!({"type": "array", "items": {"type": "string"}}),
        json!({"type": "object"}),
        json!({"type": "object", "anyOf": [{"type": "object"}]}),
        property(json!(true)),
        property(json!({"type": "object", "additionalProperties": {"type": "string"}})),
        property(json!({"allOf": [{"type": "string"}]})),
        property(json!({"not": {"type": "string"}})),
        property(json!({"$ref": "https://example.com/schema"})),
        property(json!({"type": "string", "format": 7})),
        json!({"type": "object", "properties": {"anything": {}}}),
        property(json!({})),
        property(json!({"description": "anything"})),
        property(json!({"minimum": 1})),
        property(json!({"enum": []})),
        property(json!({"enum": ["a", {"b": 1}]})),
        property(json!({"type": "array", "items": {}})),
        json!({"type": "object", "properties": {"p": {"type": "string"}}, "required": ["q"]}),
    ] {
        assert_eq!(strict(&schema), None, "{schema}");
    }
    let deep = (0..20).fold(json!({"type": "string"}), |inner, _| property(inner));
    assert_eq!(strict(&deep), None);
}

#[test]
fn b13_added_nulls_are_taken_out_and_others_stay() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": ["string", "null"]}, "b": {"type": "string"}, "c": {"type": ["string", "null"]},
        "list": {"type": "array", "items": {"$ref": "#/$defs/I"}},
        "one": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/I"}]}},
        "$defs": {"I": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    let answer = r#"{"a":null,"b":null,"c":null,"list":[{"n":null},{"n":1}],"one":{"n":null}}"#;
    let cleaned = without_added_nulls(&schema, answer).unwrap();
    assert_eq!(cleaned, r#"{"a":null,"c":null,"list":[{},{"n":1}],"one":{}}"#);
    assert_eq!(without_added_nulls(&schema, &cleaned), None);
    assert_eq!(without_added_nulls(&schema, "not json"), None);
}

#[test]
fn b13_a_reference_stands_alone() {
    let hero = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let schema = json!({"type": "object", "$defs": {"Hero": hero}, "required": ["first"], "properties": {
        "first": {"$ref": "#/$defs/Hero", "description": "the first", "title": "First"},
        "second": {"$ref": "#/$defs/Hero", "description": "maybe a second"}}});
    let properties = &sent(&schema).schema["properties"];
    assert_eq!(properties["first"], json!({"$ref": "#/$defs/Hero"}));
    assert_eq!(properties["second"], json!({"anyOf": [{"$ref": "#/$defs/Hero"}, {"type": "null"}]}));
    assert!(sent(&schema).strict);
}

#[test]
fn b14_anthropic_is_sent_no_schema_that_leads_back_to_itself() {
    let node = |next: &str| {
        json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"},
            "next": {"type": "array", "items": {"$ref": next}}}})
    };
    let with = |next: &str| {
        json!({"type": "object", "required": ["root"], "properties": {"root": {"$ref": "#/$defs/A"},
        "other": {"$ref": "#/$defs/A"}}, "$defs": {"A": node(next), "B": node("#/$defs/C"), "C": {"type": "string"}}})
    };
    assert_eq!(closed(&with("#/$defs/A")), None);
    assert_eq!(closed(&with("#")), None);
    assert!(closed(&with("#/$defs/B")).is_some(), "used twice is not within itself");
}
