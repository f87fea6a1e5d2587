//! A workflow as the generator makes it and the model reads it, and the definition that it stands for.

use serde_json::{Map, Value, json};

/// A workflow.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Flow {
    pub(in super::super) nodes: Vec<Step>,
    /// Their order counts.
    pub(in super::super) links: Vec<Link>,
    pub(in super::super) vars: Vec<Var>,
    /// Whether the result is the variables, not what the ends give.
    pub(in super::super) shows_vars: bool,
}

#[derive(Debug, Clone)]
pub(in super::super) struct Var {
    pub(in super::super) name: String,
    pub(in super::super) rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Rule {
    Replace,
    Add,
    Append,
    MergeKeys,
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Link {
    pub(in super::super) from: String,
    pub(in super::super) out: String,
    pub(in super::super) to: String,
}

#[derive(Debug, Clone)]
pub(in super::super) struct Step {
    pub(in super::super) id: String,
    pub(in super::super) parent: Option<String>,
    pub(in super::super) kind: Kind,
    pub(in super::super) when: Option<Test>,
    pub(in super::super) disabled: bool,
    pub(in super::super) join: Join,
    pub(in super::super) attempts: u32,
    pub(in super::super) on_error: OnError,
    pub(in super::super) input: Vec<(String, Source)>,
    /// What host code gives with other settings, where its own have failed for good.
    pub(in super::super) fallback: Option<i64>,
}

#[derive(Debug, Clone)]
pub(in super::super) enum Kind {
    Start,
    /// Host code: it fails so many times, then gives a value, or else its input; it takes its time.
    Work {
        give: Option<Source>,
        fails: u32,
        ms: u64,
    },
    Code(Source),
    Set(Vec<(String, Source)>),
    If(Test),
    Switch {
        value: Source,
        cases: Vec<i64>,
    },
    Map {
        items: Items,
        concurrency: Option<u32>,
        fail: MapFail,
        batch: Option<u32>,
        output: Option<Source>,
    },
    Loop {
        max: u32,
        until: Option<Test>,
        cap_port: bool,
    },
    Parallel,
    Ask(String),
    Fail,
    End(Option<Source>),
    /// A field of the input, or 7 where there is none.
    Input(String),
    /// A field of the result.
    Output(String, Option<Source>),
    /// A text with a number in it.
    Template(Source),
    /// The tool `twice`.
    Tool(Source),
    /// The agent `aide`.
    Agent,
    /// The workflow `plus`, which adds one; what it is given is the node's input.
    Sub,
    /// A wait for nothing; until a moment long ago, or for no seconds.
    Wait {
        until: bool,
    },
    /// A person is asked: see [`verdict`].
    Approve,
    Note,
}

/// What a person answers to the question of a node.
pub(in super::super) fn verdict(key: &str) -> &'static str {
    let number = key.rsplit('/').next().and_then(|id| id.strip_prefix('n')).and_then(|id| id.parse::<u32>().ok());
    if number.is_some_and(|number| number % 2 == 1) { "rejected" } else { "approved" }
}

/// What flows call that is no part of them: `plus`.
pub(in super::super) fn plus() -> Value {
    json!({"name": "plus", "nodes": [{"id": "i", "type": "code", "config": {"expr": "inputs.n + 1"}}]})
}

#[derive(Debug, Clone)]
pub(in super::super) enum Items {
    Few(u64),
    Input,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum MapFail {
    Stop,
    Null,
    Drop,
    Count(u64),
    Percent(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Join {
    AnyTaken,
    All,
    First { cancels: bool },
    N { n: u32, cancels: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum OnError {
    Fail,
    Branch,
    Continue,
    Value(i64),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Source {
    Lit(i64),
    /// A field of the workflow's input.
    Input,
    /// A node's output, or `-` where it has none.
    Node(String),
    /// A node's output; an error where it has none.
    Strict(String),
    /// How a node ended.
    Status(String),
    Var(String),
    /// A variable that is a number, and one more.
    Next(String),
    Item,
    Index,
    Count,
    /// An object of one field.
    Field(String, Box<Source>),
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Test {
    Is(bool),
    Flag,
    EvenIndex,
    CountAtLeast(u64),
    VarAtLeast(String, i64),
}

impl Source {
    pub(in super::super) fn json(&self) -> Value {
        match self {
            Self::Lit(number) => json!(number),
            Self::Field(name, value) => json!({ name.as_str(): value.json() }),
            other => json!(format!("{{{{ {} }}}}", other.expr())),
        }
    }

    fn expr(&self) -> String {
        match self {
            Self::Lit(number) => number.to_string(),
            Self::Input => "inputs.k".to_owned(),
            Self::Node(id) => format!("nodes.{id}.output | default('-')"),
            Self::Strict(id) => format!("nodes.{id}.output"),
            Self::Status(id) => format!("nodes.{id}.status"),
            Self::Var(name) => format!("vars.{name}"),
            Self::Next(name) => format!("vars.{name} + 1"),
            Self::Item => "item".to_owned(),
            Self::Index => "index".to_owned(),
            Self::Count => "loop.count".to_owned(),
            Self::Field(name, value) => format!("{{'{name}': {}}}", value.expr()),
        }
    }
}

impl Test {
    pub(in super::super) fn json(&self) -> Value {
        match self {
            Self::Is(is) => json!(is),
            other => json!(other.expr()),
        }
    }

    pub(in super::super) fn expr(&self) -> String {
        match self {
            Self::Is(is) => is.to_string(),
            Self::Flag => "inputs.flag".to_owned(),
            Self::EvenIndex => "index % 2 == 0".to_owned(),
            Self::CountAtLeast(count) => format!("loop.count >= {count}"),
            Self::VarAtLeast(name, least) => format!("vars.{name} >= {least}"),
        }
    }
}

impl Kind {
    pub(in super::super) fn is_container(&self) -> bool {
        matches!(self, Self::Map { .. } | Self::Loop { .. } | Self::Parallel)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Work { .. } => "work",
            Self::Code(_) => "code",
            Self::Set(_) => "set",
            Self::If(_) => "if",
            Self::Switch { .. } => "switch",
            Self::Map { .. } => "map",
            Self::Loop { .. } => "loop",
            Self::Parallel => "parallel",
            Self::Ask(_) => "llm",
            Self::Fail => "fail",
            Self::End(_) => "end",
            Self::Input(_) => "input",
            Self::Output(..) => "output",
            Self::Template(_) => "template",
            Self::Tool(_) => "tool",
            Self::Agent => "agent",
            Self::Sub => "subflow",
            Self::Wait { .. } => "wait",
            Self::Approve => "approval",
            Self::Note => "note",
        }
    }

    fn config(&self) -> Map<String, Value> {
        let config = match self {
            Self::Start | Self::Parallel => json!({}),
            Self::Work { give, fails, ms } => {
                let mut config = json!({});
                if let Some(give) = give {
                    config["give"] = give.json();
                }
                if *fails > 0 {
                    config["fail"] = json!("unavailable");
                    config["fail_until"] = json!(fails + 1);
                }
                if *ms > 0 {
                    config["ms"] = json!(ms);
                }
                config
            }
            Self::Code(source) => json!({"expr": source.expr()}),
            Self::Set(vars) => {
                let vars: Map<String, Value> = vars.iter().map(|(name, value)| (name.clone(), value.json())).collect();
                json!({ "vars": vars })
            }
            Self::If(test) => json!({"expr": test.expr()}),
            Self::Switch { value, cases } => {
                let cases: Vec<Value> =
                    cases.iter().map(|case| json!({"value": case, "port": format!("p{case}")})).collect();
                json!({"value": value.expr(), "cases": cases})
            }
            Self::Map { items, concurrency, fail, batch, output } => {
                let items = match items {
                    Items::Few(count) => json!((0..*count).collect::<Vec<u64>>()),
                    Items::Input => json!("{{ inputs.items }}"),
                };
                let fail = match fail {
                    MapFail::Stop => json!("stop"),
                    MapFail::Null => json!("null"),
                    MapFail::Drop => json!("drop"),
                    MapFail::Count(count) => json!({ "threshold": count }),
                    MapFail::Percent(percent) => json!({ "threshold": format!("{percent}%") }),
                };
                let mut config = json!({"items": items, "fail": fail});
                for (name, number) in [("concurrency", concurrency), ("batch", batch)] {
                    if let Some(number) = number {
                        config[name] = json!(number);
                    }
                }
                if let Some(output) = output {
                    config["output"] = output.json();
                }
                config
            }
            Self::Loop { max, until, cap_port } => {
                let mut config = json!({ "max_iterations": max });
                if let Some(until) = until {
                    config["until"] = json!(until.expr());
                }
                if *cap_port {
                    config["on_cap"] = json!("port");
                }
                config
            }
            Self::Ask(prompt) => json!({"model": "m", "prompt": prompt}),
            Self::Fail => json!({"message": "no"}),
            Self::End(Some(output)) => json!({"output": output.json()}),
            Self::End(None) => json!({}),
            Self::Input(name) => json!({"name": name, "default": 7}),
            Self::Output(name, Some(value)) => json!({"name": name, "value": value.json()}),
            Self::Output(name, None) => json!({ "name": name }),
            Self::Template(number) => json!({"template": format!("<{{{{ {} }}}}>", number.expr())}),
            Self::Tool(number) => json!({"tool": "twice", "arguments": {"n": number.json()}}),
            Self::Agent => json!({"agent": "aide"}),
            Self::Sub => json!({"workflow": "plus"}),
            Self::Wait { until: true } => json!({"until": "2020-01-01T00:00:00Z"}),
            Self::Wait { until: false } => json!({"seconds": 0}),
            Self::Approve => json!({"message": "Go on?"}),
            Self::Note => json!({"text": "nothing runs here"}),
        };
        config.as_object().cloned().unwrap_or_default()
    }
}

impl Flow {
    pub(in super::super) fn node(&self, id: &str) -> &Step {
        self.nodes.iter().find(|node| node.id == id).expect("a node")
    }

    /// The definition, with so many effects at once.
    pub(in super::super) fn definition(&self, name: &str, max_parallel: u32) -> Value {
        let nodes: Vec<Value> = self.nodes.iter().map(Step::json).collect();
        let edge = |link: &Link| json!({"from": link.from, "out": link.out, "to": link.to});
        let edges: Vec<Value> = self.links.iter().map(edge).collect();
        let mut definition =
            json!({"name": name, "nodes": nodes, "edges": edges, "limits": {"max_parallel": max_parallel}});
        for Var { name, rule } in &self.vars {
            let (default, merge) = match rule {
                Rule::Replace => (json!(0), "replace"),
                Rule::Add => (json!(0), "add"),
                Rule::Append => (json!([]), "append"),
                Rule::MergeKeys => (json!({}), "merge_keys"),
            };
            definition["vars"][name] = json!({"default": default, "merge": merge});
        }
        if self.shows_vars {
            for Var { name, .. } in &self.vars {
                definition["outputs"]["properties"][name] = json!({"value": format!("{{{{ vars.{name} }}}}")});
            }
        }
        definition
    }

    /// The flow without a node, what is in it and what leads to and from it.
    pub(in super::super) fn without(&self, id: &str) -> Self {
        let mut gone = vec![id.to_owned()];
        loop {
            let more: Vec<String> = self
                .nodes
                .iter()
                .filter(|node| node.parent.as_ref().is_some_and(|parent| gone.contains(parent)))
                .map(|node| node.id.clone())
                .filter(|id| !gone.contains(id))
                .collect();
            if more.is_empty() {
                break;
            }
            gone.extend(more);
        }
        let mut less = self.clone();
        less.nodes.retain(|node| !gone.contains(&node.id));
        less.links.retain(|link| !gone.contains(&link.from) && !gone.contains(&link.to));
        less
    }
}

impl Step {
    fn json(&self) -> Value {
        let mut node = json!({"id": self.id, "type": self.kind.name()});
        let config = self.kind.config();
        if !config.is_empty() {
            node["config"] = Value::Object(config);
        }
        if let Some(parent) = &self.parent {
            node["parent"] = json!(parent);
        }
        if let Some(when) = &self.when {
            node["when"] = when.json();
        }
        if self.disabled {
            node["disabled"] = json!(true);
        }
        match self.join {
            Join::AnyTaken => {}
            Join::All => node["join"] = json!({"mode": "all"}),
            Join::First { cancels } => node["join"] = json!({"mode": "first", "cancel_rest": cancels}),
            Join::N { n, cancels } => node["join"] = json!({"mode": "n", "n": n, "cancel_rest": cancels}),
        }
        if self.attempts > 1 {
            node["retry"] = json!({"max_attempts": self.attempts, "initial_ms": 0, "jitter": "none"});
        }
        match &self.on_error {
            OnError::Fail => {}
            OnError::Branch => node["on_error"] = json!("branch"),
            OnError::Continue => node["on_error"] = json!("continue"),
            OnError::Value(value) => node["on_error"] = json!({ "value": value }),
        }
        if let Some(value) = self.fallback {
            // What it does not say stays as the node has it.
            node["fallback"] = json!([{"give": value, "fail_until": 0}]);
        }
        if !self.input.is_empty() {
            let fields: Map<String, Value> =
                self.input.iter().map(|(name, source)| (name.clone(), source.json())).collect();
            node["input"] = Value::Object(fields);
        }
        node
    }
}
