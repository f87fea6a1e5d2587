//! What values cost: nothing is copied that nobody reads.

use serde_json::{Value, json};

use super::*;
use crate::domain::EventData;
use crate::workflow::expr::reads;
use crate::workflow::validate::validate;

fn values(definition: Value, input: Value) -> (Arc<Plan>, Values) {
    let definition = serde_json::from_value(definition).unwrap();
    let plan = Arc::new(validate(&definition, &[]).into_plan().unwrap());
    let mut values = Values::new(Arc::clone(&plan));
    values.begin(Timestamp(1), &Queued::new("w".into(), input, String::new(), 0, None, None, None));
    (plan, values)
}

fn ended(node: &str, output: Value) -> NodeFinished {
    let mut finished = NodeFinished::new(node.to_owned(), NodeStatus::Completed, 1);
    (finished.port, finished.output) = (Some("out".to_owned()), output);
    finished
}

#[test]
fn w41_an_expression_is_handed_what_it_reads_and_no_more() {
    let big: Vec<u32> = (0..10_000).collect();
    let (plan, mut values) = values(
        json!({"name": "w", "nodes": [
            {"id": "s", "type": "start"}, {"id": "a", "type": "code", "config": {"expr": "1"}},
            {"id": "b", "type": "code", "config": {"expr": "inputs.n + nodes.a.output.n + nodes.a.output.big[3]"}},
            {"id": "c", "type": "code", "config": {"expr": "inputs.big | length + inputs.big[5:7] | length"}}],
            "edges": [{"from": "s", "to": "a"}, {"from": "a", "to": "b"}, {"from": "b", "to": "c"}]}),
        json!({"n": 1, "big": big}),
    );
    values.finished("", &ended("a", json!({"n": 2, "big": big})));
    for (id, expected) in [("b", json!(6)), ("c", json!(10_002))] {
        let node = &plan.nodes[plan.index(id).unwrap()];
        reads::taken();
        let scope = values.scope("", &node.reads, ExecutionId(1)).unwrap();
        let Task::Code { expr } = &node.task else { panic!("{node:?}") };
        assert_eq!(expr.evaluate(&scope).unwrap(), expected);
        let read = reads::taken();
        assert!(read < 30, "{id} was handed {read} values");
    }
    // What is given whole is given as it is.
    let expr = crate::workflow::expr::Expr::compile("inputs").unwrap();
    let reads = Reads { nodes: Vec::new(), names: expr.names().clone() };
    let scope = values.scope("", &reads, ExecutionId(1)).unwrap();
    assert_eq!(expr.evaluate(&scope).unwrap(), json!({"n": 1, "big": big}));
}

/// A map of so many items, each of which appends its number to `log` and reads it.
fn appending(items: u64, before: usize) -> (Arc<Plan>, Values) {
    let (plan, mut values) = values(
        json!({"name": "w", "vars": {"log": {"default": vec![0; before], "merge": "append"}}, "nodes": [
            {"id": "m", "type": "map", "config": {"items": "{{ inputs }}"}},
            {"id": "set", "type": "set", "parent": "m", "config": {"vars": {"log": "{{ item }}"}}},
            {"id": "read", "type": "code", "parent": "m", "config": {"expr": "vars.log | length"}}],
            "edges": [{"from": "set", "to": "read"}]}),
        json!([]),
    );
    let mut started = NodeStarted::new("m".to_owned(), 1);
    (started.input, started.items) = (json!((0..items).collect::<Vec<_>>()), Some(items));
    values.started(Timestamp(1), "", &started);
    (plan, values)
}

#[test]
fn w25_the_items_of_a_map_share_what_they_append_to() {
    let (plan, mut values) = appending(200, 5_000);
    for item in 0..200 {
        let path = format!("m/{item}");
        let finished = ended("set", json!({"log": item}));
        values.admit(&path, [(&"log".to_owned(), &json!(item))]).unwrap();
        let writes = values.writes_of(&path, &finished);
        values.finished(&path, &finished);
        let told = values.told(&path, writes);
        let EventData::VarSet { value, rule, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!((value, *rule), (&json!(item), Some(crate::domain::MergeRule::Append)), "the write, not the list");
    }
    let all = &values.vars["log"];
    let copies = &values.contents["m"].copies;
    assert!(copies.values().all(|copy| Arc::ptr_eq(&copy.base["log"], all)), "a list of its own for an item");
    // Each sees the list with its own write behind it, the whole those of all in their order.
    let node = &plan.nodes[plan.index("read").unwrap()];
    let Task::Code { expr } = &node.task else { panic!("{node:?}") };
    let scope = values.scope("m/7", &node.reads, ExecutionId(1)).unwrap();
    assert_eq!(expr.evaluate(&scope).unwrap(), json!(5_001));
    drop(scope);
    values.finished("", &ended("m", json!([])));
    let log = values.vars["log"].as_array().unwrap();
    assert_eq!((log.len(), &log[5_000], &log[5_199]), (5_200, &json!(0), &json!(199)));
}

#[test]
fn w25_a_small_variable_is_told_whole_and_a_large_one_by_what_was_written() {
    let (_, mut values) = appending(0, 0);
    let mut told = Vec::new();
    for round in 0..1_000 {
        let finished = ended("set", json!({"log": format!("entry {round}")}));
        let writes = values.writes_of("", &finished);
        values.finished("", &finished);
        told.extend(values.told("", writes));
    }
    let bytes: usize = told.iter().map(|data| serde_json::to_string(data).unwrap().len()).sum();
    assert!(bytes < 200_000, "{bytes} bytes for 1,000 writes");
    // A reader has the variable all the same.
    let mut log = Value::Null;
    for data in told {
        match data {
            EventData::VarSet { value, rule: None, .. } => log = value,
            EventData::VarSet { value, rule: Some(_), .. } => log.as_array_mut().unwrap().push(value),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(log, *values.vars["log"]);
}
