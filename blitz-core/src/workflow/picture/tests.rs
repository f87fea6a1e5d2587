//! What a picture shows, and that nothing in it is more than text.

use serde_json::json;

use super::{NodeState, States, layout, mermaid, svg};
use crate::domain::{Workflow, WorkflowDefinition};

fn triage() -> WorkflowDefinition {
    Workflow::new("triage")
        .start("s")
        .agent("risk", "risk_analyzer")
        .choose("high", "nodes.risk.output.score >= 7")
        .map("each", "inputs.files", |body| body.template("one", "{{ item }}").template("two", "x").edge("one", "two"))
        .end("e")
        .edge("s", "risk")
        .edge("risk", "high")
        .port("high", "true", "each")
        .port("high", "false", "e")
        .edge("each", "e")
        .build()
}

#[test]
fn a_definition_is_text_for_mermaid() {
    let expected = "\
flowchart LR
    n0([\"s<br/><small>start</small>\"])
    n1[\"risk<br/><small>agent</small>\"]
    n2{\"high<br/><small>if</small>\"}
    subgraph n3[\"each<br/><small>map</small>\"]
        n4[\"one<br/><small>template</small>\"]
        n5[\"two<br/><small>template</small>\"]
    end
    n6([\"e<br/><small>end</small>\"])
    n4 --> n5
    n0 --> n1
    n1 --> n2
    n2 -->|\"true\"| n3
    n2 -->|\"false\"| n6
    n3 --> n6
";
    assert_eq!(mermaid(&triage(), &States::default()), expected);
}

#[test]
fn an_execution_shows_its_states() {
    let mut states = States::default();
    let state = |status: &str, detail: &str| NodeState { status: status.to_owned(), detail: detail.to_owned() };
    states.nodes.insert("risk".to_owned(), state("failed", "attempt 3 of 3"));
    states.nodes.insert("s".to_owned(), state("completed", ""));
    states.edges.insert(1, true);
    states.edges.insert(2, false);
    let text = mermaid(&triage(), &states);
    assert!(text.contains("failed · attempt 3 of 3"), "{text}");
    assert!(text.contains("class n1 failed") && text.contains("class n0 completed"), "{text}");
    assert!(text.contains("n1 -.-> n2") && text.contains("linkStyle 1 stroke"), "{text}");
    let drawing = svg(&triage(), &states);
    assert!(drawing.contains("failed · attempt 3 of 3") && drawing.contains("#fee2e2"), "{drawing}");
    assert!(drawing.contains("stroke-dasharray=\"4 4\""), "{drawing}");
}

#[test]
fn bodies_stand_inside_of_their_containers_and_nothing_overlaps() {
    let definition = triage();
    let areas = layout::areas(&definition);
    let parents = layout::parents(&definition);
    let inside = |inner: &layout::Area, outer: &layout::Area| {
        inner.x > outer.x
            && inner.y > outer.y
            && inner.x + inner.width < outer.x + outer.width
            && inner.y + inner.height < outer.y + outer.height
    };
    assert!(inside(&areas[4], &areas[3]) && inside(&areas[5], &areas[3]), "{areas:?}");
    for one in 0..areas.len() {
        for other in one + 1..areas.len() {
            if parents[one] != parents[other] {
                continue;
            }
            let (a, b) = (areas[one], areas[other]);
            let apart = a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
            assert!(apart, "{one} and {other}: {areas:?}");
        }
    }
    assert!(areas[0].x < areas[1].x && areas[1].x < areas[2].x && areas[3].x < areas[6].x, "{areas:?}");
}

#[test]
fn circles_and_edges_to_nowhere_are_drawn_too() {
    let broken = json!({"name": "b", "nodes": [{"id": "a", "type": "end"}, {"id": "b", "type": "end"}, {"id": "a", "type": "end"}],
        "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}, {"from": "a", "to": "gone"}, {"from": "a", "to": "a"}]});
    let broken: WorkflowDefinition = serde_json::from_value(broken).unwrap();
    assert_eq!(mermaid(&broken, &States::default()).matches("-->").count(), 3);
    assert_eq!(svg(&broken, &States::default()).matches("<rect").count(), 3);
}

#[test]
fn labels_are_text_and_nothing_more() {
    let mut evil = triage();
    evil.name = "</title><script>alert(1)</script>".to_owned();
    evil.nodes[1].label = "\"]<script>alert(1)</script>".to_owned();
    evil.edges[3].out = "\"| click n0 href javascript:alert(1)".to_owned();
    let drawing = svg(&evil, &States::default());
    assert!(!drawing.contains("<script") && drawing.contains("&lt;script"), "{drawing}");
    let text = mermaid(&evil, &States::default());
    assert!(!text.contains("<script") && !text.contains("\"] "), "{text}");
    assert_eq!(text.lines().count(), mermaid(&triage(), &States::default()).lines().count());
}
