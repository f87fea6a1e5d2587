//! What a node is to do, worked out of its settings and the values it reads: pure functions.

use serde_json::{Map, Value, json};

use super::expr::{Scope, Secrets};
use super::plan::{Plan, PlanNode};
use super::task::{ApprovalTask, HttpTask, LlmTask, Task, WaitTask};
use super::values::{Values, length};
use crate::domain::schema::{SchemaCheck, describe};
use crate::domain::{ExecutionId, Message, MessageRole, NodeType, OnError, Place, Timestamp, input_message};
use crate::error::{Error, Result};

/// What follows from a node's settings and what it reads.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// Its condition does not hold.
    Skipped,
    /// It is done: nothing has to happen in the world.
    Done { output: Value, port: String },
    /// An agent or another workflow runs with this input.
    Child { input: Value },
    /// A model is asked this.
    Ask { messages: Vec<Message>, input: Value },
    /// A tool or a function of the host is called. What is shown of the arguments holds no secrets.
    Call { arguments: Value, shown: Value },
    /// A container opens.
    Enter { input: Value, items: u64 },
    /// A moment is waited for.
    Wait { until: Timestamp },
    /// A person is asked.
    Approve { message: String, details: Value, until: Option<Timestamp> },
}

/// Where a node is evaluated.
pub(crate) struct Desk<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) values: &'a Values,
    pub(crate) id: ExecutionId,
    pub(crate) now: Timestamp,
    pub(crate) secrets: Secrets<'a>,
}

impl Desk<'_> {
    /// What a node is to do. `fallback` says which of its other settings hold, from 1.
    ///
    /// Errors: `Expression` and `TooLarge` of its expressions; what its settings make invalid.
    pub(crate) fn prepare(&self, at: &Place, fallback: usize) -> Result<Prepared> {
        let node = &self.plan.nodes[at.node];
        if let Some(output) = &node.spec.pin {
            return Ok(Prepared::Done { output: output.clone(), port: first_port(node).to_owned() });
        }
        let mut scope = self.values.scope(&at.path, &node.reads, self.id)?;
        if let Some(when) = &node.when
            && !when.is_true(&scope)?
        {
            return Ok(Prepared::Skipped);
        }
        let task = node.at(fallback);
        let input = if wants_input(node, task) { self.input(node, at, &scope)? } else { Value::Null };
        if node.spec.disabled {
            return Ok(Prepared::Done { output: input, port: ALL_PORTS.to_owned() });
        }
        if node.reads.names.input {
            scope.insert("input", input.clone());
        }
        self.task(node, task, &scope, input)
    }

    /// What an output is kept by beside the node's settings, where it is kept at all: the rule's own
    /// key, or what the node's work is given. Secrets are masked.
    ///
    /// Errors: as [`Desk::prepare`].
    pub(crate) fn kept_by(&self, at: &Place, prepared: &Prepared) -> Result<Option<Value>> {
        let node = &self.plan.nodes[at.node];
        let given = match prepared {
            Prepared::Child { input } => input.clone(),
            Prepared::Ask { messages, .. } => json!(messages),
            Prepared::Call { shown, .. } => shown.clone(),
            _ => return Ok(None),
        };
        let Some(key) = &node.cache_key else { return Ok(node.spec.cache.is_some().then_some(given)) };
        let mut scope = self.values.scope(&at.path, &node.reads, self.id)?;
        if node.reads.names.input {
            scope.insert("input", self.input(node, at, &scope)?);
        }
        key.evaluate(&scope).map(Some)
    }

    fn input(&self, node: &PlanNode, at: &Place, scope: &Scope) -> Result<Value> {
        match &node.input {
            Some(shape) => shape.evaluate(scope),
            None => self.values.merged(&at.path, at.node),
        }
    }

    fn task(&self, node: &PlanNode, task: &Task, scope: &Scope, input: Value) -> Result<Prepared> {
        let done = |output| Ok(Prepared::Done { output, port: "out".to_owned() });
        match task {
            Task::Start => done(if node.input.is_some() { input } else { self.values.input().clone() }),
            Task::End { output: Some(shape) } | Task::Output { value: Some(shape), .. } => done(shape.evaluate(scope)?),
            Task::End { output: None } | Task::Output { value: None, .. } => done(input),
            Task::Input { name, default } => match (self.values.input().get(name), default) {
                (Some(value), _) | (None, Some(value)) => done(value.clone()),
                (None, None) => Err(Error::invalid(format!("the input {name:?} is missing"))),
            },
            Task::Template { template } => done(template.evaluate(scope)?),
            Task::Set { vars } => {
                let values = vars.iter().map(|(name, shape)| Ok((name.clone(), shape.evaluate(scope)?)));
                done(Value::Object(values.collect::<Result<Map<_, _>>>()?))
            }
            Task::Code { expr } => done(expr.evaluate(scope)?),
            Task::If { .. } | Task::Switch { .. } => match task.choose(scope)? {
                Some(port) => Ok(Prepared::Done { output: input, port }),
                None if node.ports.iter().any(|port| port == "default") && node.has_edge("default") => {
                    Ok(Prepared::Done { output: input, port: "default".to_owned() })
                }
                None => Err(Error::expression("no case of the switch fits, and its port default leads nowhere")),
            },
            Task::Fail { message, code } => {
                let message = text(message.evaluate(scope)?);
                Err(Error::new(*code, message))
            }
            Task::Agent { values, .. } => {
                let more = values.as_ref().map(|values| values.with_secrets(scope, &held_back)).transpose()?;
                Ok(Prepared::Child { input: joined(input, more) })
            }
            Task::Subflow { .. } => Ok(Prepared::Child { input }),
            Task::Llm(llm) => ask(llm, scope),
            Task::Tool { arguments: None, .. } => Ok(Prepared::Call { shown: input.clone(), arguments: input }),
            Task::Tool { arguments: Some(shape), .. } => {
                let shown = joined(input.clone(), Some(shape.with_secrets(scope, &masked)?));
                let arguments = joined(input, Some(shape.with_secrets(scope, self.secrets)?));
                Ok(Prepared::Call { arguments, shown })
            }
            Task::Http(http) => self.request(http, scope),
            Task::Host { config } => {
                let settings = config.with_secrets(scope, self.secrets)?;
                let shown = config.with_secrets(scope, &masked)?;
                Ok(Prepared::Call {
                    arguments: json!({"config": settings, "input": input}),
                    shown: json!({"config": shown, "input": input}),
                })
            }
            Task::Parallel => Ok(Prepared::Enter { input: Value::Null, items: 1 }),
            Task::Map(map) => self.items(map.items.evaluate(scope)?, map.batch),
            Task::Loop(rounds) => Ok(Prepared::Enter { input: Value::Null, items: u64::from(rounds.max_iterations) }),
            Task::Wait(wait) => self.wait(wait, scope),
            Task::Approval(approval) => self.approval(node, approval, scope),
        }
    }

    fn items(&self, items: Value, batch: Option<u32>) -> Result<Prepared> {
        let Value::Array(items) = items else {
            return Err(Error::expression("the items of a map must be a list"));
        };
        let limit = self.plan.limits.max_items;
        if items.len() as u64 > limit {
            return Err(Error::LimitExceeded { limit: "items", value: limit.to_string() });
        }
        let items: Vec<Value> = match batch {
            Some(size) if size > 1 => items.chunks(size as usize).map(|chunk| Value::Array(chunk.to_vec())).collect(),
            _ => items,
        };
        Ok(Prepared::Enter { items: items.len() as u64, input: Value::Array(items) })
    }

    fn request(&self, http: &HttpTask, scope: &Scope) -> Result<Prepared> {
        let mut fields = Map::new();
        let mut shown = Map::new();
        let parts = [
            ("url", Some(&http.url)),
            ("headers", http.headers.as_ref()),
            ("query", http.query.as_ref()),
            ("body", http.body.as_ref()),
        ];
        fields.insert("method".to_owned(), json!(http.method));
        shown.insert("method".to_owned(), json!(http.method));
        for (name, shape) in parts {
            let Some(shape) = shape else { continue };
            shown.insert(name.to_owned(), shape.with_secrets(scope, &masked)?);
            fields.insert(name.to_owned(), shape.with_secrets(scope, self.secrets)?);
        }
        Ok(Prepared::Call { arguments: Value::Object(fields), shown: Value::Object(shown) })
    }

    fn wait(&self, wait: &WaitTask, scope: &Scope) -> Result<Prepared> {
        let until = match wait {
            WaitTask::Seconds(shape) => {
                let seconds = shape.evaluate(scope)?;
                let seconds = whole_seconds(&seconds)
                    .ok_or_else(|| Error::expression("the seconds of a wait must be a whole number, 0 or more"))?;
                self.now.plus(std::time::Duration::from_secs(seconds))
            }
            WaitTask::Until(shape) => moment(&shape.evaluate(scope)?)?,
        };
        Ok(Prepared::Wait { until })
    }

    fn approval(&self, node: &PlanNode, approval: &ApprovalTask, scope: &Scope) -> Result<Prepared> {
        let message = text(approval.message.evaluate(scope)?);
        let details = approval.details.as_ref().map(|details| details.evaluate(scope)).transpose()?;
        let seconds = approval.expires_s.or(node.spec.timeout_s);
        let until = seconds.map(|seconds| self.now.plus(std::time::Duration::from_secs(seconds)));
        Ok(Prepared::Approve { message, details: details.unwrap_or_default(), until })
    }

    /// What a map gives once its items have ended, or a loop once its rounds have.
    pub(crate) fn container(&self, at: &Place) -> Result<Value> {
        let node = &self.plan.nodes[at.node];
        match &node.task {
            Task::Map(map) => self.values.collected(&at.key, map.fail),
            Task::Loop(_) => self.values.last_round(&at.key).map(std::sync::Arc::unwrap_or_clone),
            _ => {
                let ends = node.body.map(|scope| self.plan.scopes[scope].ends.as_slice()).unwrap_or_default();
                self.values.gathered(&at.key, ends)
            }
        }
    }

    /// What one item or round of a container gives.
    pub(crate) fn item(&self, container: usize, path: &str) -> Result<Value> {
        let node = &self.plan.nodes[container];
        if let Task::Map(map) = &node.task
            && let Some(shape) = &map.output
        {
            return shape.evaluate(&self.values.scope(path, &node.after, self.id)?);
        }
        let ends = node.body.map(|scope| self.plan.scopes[scope].ends.as_slice()).unwrap_or_default();
        self.values.gathered(path, ends)
    }

    /// What a round leaves for the next, and whether it was the last.
    pub(crate) fn round(&self, container: usize, path: &str) -> Result<(Vec<(String, Value)>, bool)> {
        let node = &self.plan.nodes[container];
        let Task::Loop(rounds) = &node.task else { return Ok((Vec::new(), false)) };
        let scope = self.values.scope(path, &node.after, self.id)?;
        let carried = rounds.carry.iter().map(|(name, shape)| Ok((name.clone(), shape.evaluate(&scope)?)));
        let carried = carried.collect::<Result<Vec<_>>>()?;
        let last = rounds.until.as_ref().map(|until| until.is_true(&scope)).transpose()?;
        Ok((carried, last.unwrap_or(false)))
    }

    /// What the whole gives.
    pub(crate) fn output(&self) -> Result<Value> {
        if self.plan.outputs.is_empty() {
            let ends = self.plan.scopes.first().map(|scope| scope.ends.as_slice()).unwrap_or_default();
            return self.values.gathered("", ends);
        }
        let scope = self.values.scope("", &self.plan.output_reads, self.id)?;
        let fields = self.plan.outputs.iter().map(|(name, shape)| Ok((name.clone(), shape.evaluate(&scope)?)));
        Ok(Value::Object(fields.collect::<Result<Map<_, _>>>()?))
    }
}

/// Whether a node's own input is asked for, where it is what the edges bring: it is merged of whole outputs.
pub(super) fn wants_input(node: &PlanNode, task: &Task) -> bool {
    node.input.is_some()
        || node.spec.disabled
        || node.reads.names.input
        || !matches!(
            task,
            Task::Start
                | Task::End { output: Some(_) }
                | Task::Output { value: Some(_), .. }
                | Task::Input { .. }
                | Task::Template { .. }
                | Task::Set { .. }
                | Task::Code { .. }
                | Task::Fail { .. }
                | Task::Llm(_)
                | Task::Http(_)
                | Task::Parallel
                | Task::Map(_)
                | Task::Loop(_)
                | Task::Wait(_)
                | Task::Approval(_)
        )
}

/// How a node ends that has failed for good.
#[derive(Debug, PartialEq)]
pub(crate) enum Handled {
    /// By this port, with this output.
    Port { port: String, output: Value },
    /// Nothing handles it.
    Not,
}

/// What a node makes of its failure. A port `error` that leads nowhere handles nothing.
pub(crate) fn handled(node: &PlanNode) -> Handled {
    let out = |output: &Value| Handled::Port { port: first_port(node).to_owned(), output: output.clone() };
    match &node.spec.on_error {
        OnError::Branch if node.has_edge("error") => Handled::Port { port: "error".to_owned(), output: Value::Null },
        OnError::Continue => out(&Value::Null),
        OnError::Value(value) => out(value),
        _ => Handled::Not,
    }
}

/// Whether an output is as the node promises. Errors: `BadOutput`, `TooLarge`.
pub(crate) fn check_output(plan: &Plan, node: &PlanNode, output: &Value) -> Result<()> {
    let (bytes, limit) = (length(output), plan.limits.output_bytes);
    if bytes > limit {
        return Err(Error::too_large(format!("the output of the node has {bytes} bytes: {limit} are allowed")));
    }
    let Some(schema) = &node.spec.output_schema else { return Ok(()) };
    SchemaCheck::new(schema)?
        .check(output)
        .map_err(|problems| Error::bad_output(format!("the output is off its schema: {}", describe(&problems))))
}

/// What stands for a secret where its value is not wanted.
fn masked(_: &str) -> Result<String> {
    Ok("***".to_owned())
}

/// What a model reads in the place of a secret: a tool that it hands this to gets the value.
pub(crate) const HELD_BACK: (&str, &str) = ("[[secret:", "]]");

fn held_back(name: &str) -> Result<String> {
    Ok(format!("{}{name}{}", HELD_BACK.0, HELD_BACK.1))
}

/// What a disabled node leaves by.
pub(crate) const ALL_PORTS: &str = "*";

fn first_port(node: &PlanNode) -> &str {
    node.ports.first().map_or("out", String::as_str)
}

fn ask(llm: &LlmTask, scope: &Scope) -> Result<Prepared> {
    let system = llm.system.as_ref().map(|system| system.evaluate(scope)).transpose()?.map(text);
    let prompt = llm.prompt.evaluate(scope)?;
    let mut messages: Vec<Message> = system.filter(|text| !text.is_empty()).map(Message::system).into_iter().collect();
    match &prompt {
        Value::Array(list) if !list.is_empty() && list.iter().all(|item| item.get("role").is_some()) => {
            for item in list {
                messages.push(message(item)?);
            }
        }
        // Text, images and files, in the shape that an agent's input has.
        other @ Value::Object(_) => messages.push(input_message(other)?),
        other => messages.push(Message::user(text(other.clone()))),
    }
    Ok(Prepared::Ask { messages, input: prompt })
}

fn message(item: &Value) -> Result<Message> {
    let role: MessageRole = item
        .get("role")
        .cloned()
        .and_then(|role| serde_json::from_value(role).ok())
        .ok_or_else(|| Error::invalid("the role of a message is system, user or assistant"))?;
    let content = item.get("content").cloned().unwrap_or_default();
    Ok(match role {
        MessageRole::System => Message::system(text(content)),
        MessageRole::Assistant => Message::assistant(text(content)),
        _ if content.is_object() => input_message(&content)?,
        _ => Message::user(text(content)),
    })
}

/// A value as text: a string as it is, all else as JSON.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The fields of two objects; the second's win. Without a second, the first as it is.
fn joined(input: Value, more: Option<Value>) -> Value {
    match (input, more) {
        (input, None) => input,
        (Value::Object(mut fields), Some(Value::Object(more))) => {
            fields.extend(more);
            Value::Object(fields)
        }
        (_, Some(more)) => more,
    }
}

fn whole_seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn moment(value: &Value) -> Result<Timestamp> {
    let wrong = || Error::expression("a wait is until an RFC 3339 time such as 2027-01-31T09:00:00Z");
    match value {
        Value::Number(number) => number.as_i64().map(Timestamp).ok_or_else(wrong),
        Value::String(text) => {
            let moment: jiff::Timestamp = text.trim().parse().map_err(|_| wrong())?;
            Ok(Timestamp(moment.as_microsecond()))
        }
        _ => Err(wrong()),
    }
}

/// Whether a node's work is done in the world, so that it takes a place among those that run at once.
pub(crate) fn is_effect(kind: &NodeType) -> bool {
    matches!(
        kind,
        NodeType::Agent | NodeType::Llm | NodeType::Tool | NodeType::Http | NodeType::Subflow | NodeType::Host(_)
    )
}
