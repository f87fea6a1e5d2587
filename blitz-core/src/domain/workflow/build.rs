//! A workflow written in Rust: the same definition as its JSON.

use serde_json::{Map, Value, json};

use super::{
    Edge, JoinMode, MergeRule, Node, NodeRetry, NodeType, OnError, Trigger, Var, WorkflowDefinition, WorkflowLimits,
};

/// Builds a definition, node by node.
///
/// A method that makes a node makes it the current one; `input`, `retry` and the like change the
/// current node. Behind the body of a container the container is the current one again. Nothing is checked here: `workflows().validate(…)` says everything that is wrong.
///
/// ```
/// use blitz::Workflow;
/// use serde_json::json;
///
/// let triage = Workflow::new("triage")
///     .start("s")
///     .agent("risk", "risk_analyzer").input(json!({"text": "{{ inputs.text }}"})).attempts(3)
///     .choose("high", "nodes.risk.output.score >= 7")
///     .approval("ask", "Let it pass?").timeout_s(86_400)
///     .end("e")
///     .edge("s", "risk").edge("risk", "high")
///     .port("high", "true", "ask").port("high", "false", "e").port("ask", "approved", "e")
///     .build();
/// assert_eq!(triage.nodes.len(), 5);
/// ```
#[derive(Debug, Clone)]
pub struct Workflow {
    definition: WorkflowDefinition,
    /// The containers that are open, the innermost last.
    open: Vec<String>,
    /// The place of the current node.
    current: usize,
}

impl Workflow {
    /// An empty workflow.
    pub fn new(name: impl Into<String>) -> Self {
        Self { definition: WorkflowDefinition::new(name), open: Vec::new(), current: 0 }
    }

    /// The definition.
    pub fn build(self) -> WorkflowDefinition {
        self.definition
    }

    /// For people.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.definition.description = text.into();
        self
    }

    /// JSON Schema of the input.
    pub fn inputs(mut self, schema: Value) -> Self {
        self.definition.inputs = Some(schema);
        self
    }

    /// JSON Schema of the output; a property may hold `value`, an expression that gives it.
    pub fn outputs(mut self, schema: Value) -> Self {
        self.definition.outputs = Some(schema);
        self
    }

    /// A variable.
    pub fn var(mut self, name: impl Into<String>, default: impl Into<Value>, merge: MergeRule) -> Self {
        self.definition.vars.insert(name.into(), Var::new(default, merge));
        self
    }

    /// Where an execution must stop.
    pub fn limits(mut self, limits: WorkflowLimits) -> Self {
        self.definition.limits = limits;
        self
    }

    /// What starts it beside a call.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.definition.triggers.push(trigger);
        self
    }

    /// The node that runs where an execution fails.
    pub fn handler(mut self, node: impl Into<String>) -> Self {
        self.definition.on_error = Some(node.into());
        self
    }

    /// A node of any type, with the settings of that type.
    pub fn node(mut self, id: impl Into<String>, kind: impl Into<NodeType>, config: Value) -> Self {
        let mut node = Node::new(id, kind);
        if let Value::Object(config) = config {
            node.config = config;
        }
        node.parent = self.open.last().cloned();
        self.current = self.definition.nodes.len();
        self.definition.nodes.push(node);
        self
    }

    /// Where it begins.
    pub fn start(self, id: impl Into<String>) -> Self {
        self.node(id, NodeType::Start, Value::Null)
    }

    /// Where a path ends.
    pub fn end(self, id: impl Into<String>) -> Self {
        self.node(id, NodeType::End, Value::Null)
    }

    /// Runs an agent.
    pub fn agent(self, id: impl Into<String>, agent: impl Into<String>) -> Self {
        self.node(id, NodeType::Agent, json!({"agent": agent.into()}))
    }

    /// Asks a model once.
    pub fn llm(self, id: impl Into<String>, model: impl Into<String>, prompt: impl Into<String>) -> Self {
        self.node(id, NodeType::Llm, json!({"model": model.into(), "prompt": prompt.into()}))
    }

    /// Calls a tool.
    pub fn tool(self, id: impl Into<String>, tool: impl Into<String>) -> Self {
        self.node(id, NodeType::Tool, json!({"tool": tool.into()}))
    }

    /// Sends an HTTP request.
    pub fn http(self, id: impl Into<String>, url: impl Into<String>) -> Self {
        self.node(id, NodeType::Http, json!({"url": url.into()}))
    }

    /// Makes a text.
    pub fn template(self, id: impl Into<String>, template: impl Into<String>) -> Self {
        self.node(id, NodeType::Template, json!({"template": template.into()}))
    }

    /// Evaluates an expression.
    pub fn code(self, id: impl Into<String>, expr: impl Into<String>) -> Self {
        self.node(id, NodeType::Code, json!({"expr": expr.into()}))
    }

    /// Writes variables: an object of their names and new values.
    pub fn set(self, id: impl Into<String>, vars: Value) -> Self {
        self.node(id, NodeType::Set, json!({"vars": vars}))
    }

    /// Takes the port `true` or `false`: the type `if`.
    pub fn choose(self, id: impl Into<String>, expr: impl Into<String>) -> Self {
        self.node(id, NodeType::If, json!({"expr": expr.into()}))
    }

    /// Takes the port of the first value that fits, or `default`.
    pub fn switch<P: Into<String>, V: Into<Value>>(
        self,
        id: impl Into<String>,
        value: impl Into<String>,
        cases: impl IntoIterator<Item = (V, P)>,
    ) -> Self {
        let case = |(value, port): (V, P)| json!({"value": value.into(), "port": port.into()});
        let cases: Vec<Value> = cases.into_iter().map(case).collect();
        self.node(id, NodeType::Switch, json!({"value": value.into(), "cases": cases}))
    }

    /// Asks a person.
    pub fn approval(self, id: impl Into<String>, message: impl Into<String>) -> Self {
        self.node(id, NodeType::Approval, json!({"message": message.into()}))
    }

    /// Waits.
    pub fn wait(self, id: impl Into<String>, seconds: u64) -> Self {
        self.node(id, NodeType::Wait, json!({"seconds": seconds}))
    }

    /// Runs another workflow.
    pub fn subflow(self, id: impl Into<String>, workflow: impl Into<String>) -> Self {
        self.node(id, NodeType::Subflow, json!({"workflow": workflow.into()}))
    }

    /// Ends the execution with an error.
    pub fn fail(self, id: impl Into<String>, message: impl Into<String>) -> Self {
        self.node(id, NodeType::Fail, json!({"message": message.into()}))
    }

    /// A body for each item of a list; `body` builds it.
    pub fn map(self, id: impl Into<String>, items: impl Into<Value>, body: impl FnOnce(Self) -> Self) -> Self {
        self.container(id, NodeType::Map, json!({"items": items.into()}), body)
    }

    /// A body that runs again until an expression is true; `body` builds it.
    pub fn repeat(
        self,
        id: impl Into<String>,
        max_iterations: u32,
        until: impl Into<String>,
        body: impl FnOnce(Self) -> Self,
    ) -> Self {
        self.container(id, NodeType::Loop, json!({"max_iterations": max_iterations, "until": until.into()}), body)
    }

    /// Nodes that run side by side; `body` builds them.
    pub fn parallel(self, id: impl Into<String>, body: impl FnOnce(Self) -> Self) -> Self {
        self.container(id, NodeType::Parallel, Value::Null, body)
    }

    /// A container of any type. Afterwards it is the current node again.
    pub fn container(
        self,
        id: impl Into<String>,
        kind: impl Into<NodeType>,
        config: Value,
        body: impl FnOnce(Self) -> Self,
    ) -> Self {
        let id = id.into();
        let at = self.definition.nodes.len();
        let mut built = self.node(id.clone(), kind, config);
        built.open.push(id);
        let mut built = body(built);
        built.open.pop();
        built.current = at;
        built
    }

    /// An edge from the port `out`.
    pub fn edge(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.definition.edges.push(Edge::new(from, to));
        self
    }

    /// An edge from another port.
    pub fn port(mut self, from: impl Into<String>, out: impl Into<String>, to: impl Into<String>) -> Self {
        self.definition.edges.push(Edge::new(from, to).port(out));
        self
    }

    /// An edge from the port `error` of a node, which branches on errors from now on.
    pub fn on_failure(mut self, from: &str, to: impl Into<String>) -> Self {
        if let Some(node) = self.definition.nodes.iter_mut().find(|node| node.id == from) {
            node.on_error = OnError::Branch;
        }
        self.port(from, "error", to)
    }

    /// The input of the current node: an object of literals and `{{ expressions }}`.
    pub fn input(self, input: Value) -> Self {
        let input = match input {
            Value::Object(input) => input,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        self.with(|node| node.input = Some(input))
    }

    /// One more setting of the current node.
    pub fn config(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(|node| {
            node.config.insert(key.into(), value.into());
        })
    }

    /// What the current node is called on a page.
    pub fn label(self, label: impl Into<String>) -> Self {
        self.with(|node| node.label = label.into())
    }

    /// The current node is skipped where this is false.
    pub fn when(self, expr: impl Into<String>) -> Self {
        self.with(|node| node.when = Some(Value::String(expr.into())))
    }

    /// So many attempts of the current node in all.
    pub fn attempts(self, max_attempts: u32) -> Self {
        self.retry(NodeRetry::attempts(max_attempts))
    }

    /// When a failed attempt of the current node is tried again.
    pub fn retry(self, retry: NodeRetry) -> Self {
        self.with(|node| node.retry = Some(retry))
    }

    /// Time limit of one attempt of the current node.
    pub fn timeout_s(self, seconds: u64) -> Self {
        self.with(|node| node.timeout_s = Some(seconds))
    }

    /// What a failure of the current node means.
    pub fn on_error(self, on_error: OnError) -> Self {
        self.with(|node| node.on_error = on_error)
    }

    /// When the current node runs, where several edges come in.
    pub fn join(self, mode: JoinMode) -> Self {
        self.with(|node| node.join.mode = mode)
    }

    /// Any change of the current node.
    pub fn with(mut self, change: impl FnOnce(&mut Node)) -> Self {
        if let Some(node) = self.definition.nodes.get_mut(self.current) {
            change(node);
        }
        self
    }
}

impl From<Workflow> for WorkflowDefinition {
    fn from(workflow: Workflow) -> Self {
        workflow.build()
    }
}
