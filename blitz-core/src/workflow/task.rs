//! What the settings of a node mean, by its type: read once, so that whoever runs a node reads no JSON.

use serde_json::{Map, Value};

use super::expr::{Expr, Names, Scope, Shape, Strings, condition};
use crate::domain::{Node, NodeType, Problem, ProblemCode, ResourceRef};
use crate::error::{Error, ErrorCode, Result};

/// The settings of a node, compiled.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    Start,
    /// `output` where it has one, else its input.
    End {
        output: Option<Shape>,
    },
    /// One field of the workflow's input.
    Input {
        name: String,
        default: Option<Value>,
    },
    /// One field of the workflow's result; `value` or else its input.
    Output {
        name: String,
        value: Option<Shape>,
    },
    Agent {
        agent: ResourceRef,
        /// Values for its prompt that may hold secrets; they join the input.
        values: Option<Shape>,
    },
    Llm(Box<LlmTask>),
    Tool {
        tool: ResourceRef,
        /// Arguments that may hold secrets; they join the input.
        arguments: Option<Shape>,
    },
    Http(Box<HttpTask>),
    Template {
        template: Shape,
    },
    /// Variables and their new values, in order of writing.
    Set {
        vars: Vec<(String, Shape)>,
    },
    Code {
        expr: Expr,
    },
    If {
        test: Expr,
    },
    Switch {
        value: Option<Expr>,
        cases: Vec<Case>,
    },
    Parallel,
    Map(Box<MapTask>),
    Loop(Box<LoopTask>),
    Subflow {
        workflow: ResourceRef,
        /// The version; the newest at the start of the execution where absent.
        version: Option<u32>,
    },
    Wait(WaitTask),
    Approval(Box<ApprovalTask>),
    Fail {
        message: Shape,
        code: ErrorCode,
    },
    /// A type of the host.
    Host {
        config: Shape,
    },
}

/// One question to a model.
#[derive(Debug, Clone)]
pub(crate) struct LlmTask {
    pub(crate) model: ResourceRef,
    pub(crate) system: Option<Shape>,
    /// A text, or a list of messages with `role` and `content`.
    pub(crate) prompt: Shape,
    /// JSON Schema of the answer.
    pub(crate) output_schema: Option<Value>,
    /// Settings as a model has them.
    pub(crate) settings: Option<Value>,
}

/// One HTTP request. Its parts may hold secrets.
#[derive(Debug, Clone)]
pub(crate) struct HttpTask {
    pub(crate) method: String,
    pub(crate) url: Shape,
    pub(crate) headers: Option<Shape>,
    pub(crate) query: Option<Shape>,
    /// A text is sent as it is, all else as JSON.
    pub(crate) body: Option<Shape>,
    pub(crate) response: HttpBody,
    /// Statuses that count as success beside 2xx.
    pub(crate) accept: Vec<u16>,
}

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpBody {
    /// As JSON where it says so, else as text.
    Auto,
    Json,
    Text,
}

/// One case of a switch.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) port: String,
    pub(crate) test: CaseTest,
}

/// When a case fits.
#[derive(Debug, Clone)]
pub(crate) enum CaseTest {
    /// The switch's value is this.
    Equals(Value),
    /// The expression is true.
    True(Expr),
}

/// A body for each item of a list.
#[derive(Debug, Clone)]
pub(crate) struct MapTask {
    /// The list.
    pub(crate) items: Shape,
    /// Items at the same time; the limit of the workflow where absent.
    pub(crate) concurrency: Option<u32>,
    pub(crate) fail: MapFail,
    /// How many items one run of the body takes; then `item` is a list.
    pub(crate) batch: Option<u32>,
    /// What one run gives; what its ends give where absent.
    pub(crate) output: Option<Shape>,
}

/// What a failed item means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapFail {
    /// The map fails.
    Stop,
    /// Its place in the output is null.
    Null,
    /// It has no place in the output.
    Drop,
    /// As `Null`, until more than this have failed.
    Threshold(Threshold),
}

/// How many items may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threshold {
    Count(u64),
    /// Of all items, 0 to 100.
    Percent(u8),
}

impl MapFail {
    /// Whether so many failures of so many items are too many.
    pub(crate) fn exceeded(self, failed: u64, items: u64) -> bool {
        match self {
            Self::Stop => failed > 0,
            Self::Null | Self::Drop => false,
            Self::Threshold(Threshold::Count(count)) => failed > count,
            Self::Threshold(Threshold::Percent(percent)) => {
                u128::from(failed) * 100 > u128::from(percent) * u128::from(items)
            }
        }
    }
}

/// A body that runs again until it is enough.
#[derive(Debug, Clone)]
pub(crate) struct LoopTask {
    pub(crate) max_iterations: u32,
    /// Checked after each round; without one every round runs.
    pub(crate) until: Option<Expr>,
    /// Variables that each round leaves for the next.
    pub(crate) carry: Vec<(String, Shape)>,
    pub(crate) on_cap: OnCap,
}

/// What follows where the rounds are over and `until` is still false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnCap {
    /// The loop fails with `limit_exceeded`.
    Error,
    /// The port `cap` is taken.
    Port,
}

/// A wait for a time.
#[derive(Debug, Clone)]
pub(crate) enum WaitTask {
    /// So many whole seconds.
    Seconds(Shape),
    /// Until a moment: RFC 3339 text or microseconds since 1970.
    Until(Shape),
}

/// A question to a person.
#[derive(Debug, Clone)]
pub(crate) struct ApprovalTask {
    pub(crate) message: Shape,
    /// What the person is shown beside the message.
    pub(crate) details: Option<Shape>,
    /// Answers, each a port: `approved` and `rejected` where none are named.
    pub(crate) options: Vec<String>,
    /// JSON Schema of what the person may fill in.
    pub(crate) form: Option<Value>,
    /// After so many seconds the port `timeout` is taken; the node's own time limit where absent.
    pub(crate) expires_s: Option<u64>,
}

impl Task {
    /// The secrets that an agent may hand to its tools.
    pub(crate) fn held_back(&self) -> Vec<String> {
        match self {
            Self::Agent { values: Some(values), .. } => values.names().secrets.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What it reads before it begins.
    pub(crate) fn names(&self) -> Names {
        let mut names = Names::default();
        let mut shapes: Vec<&Shape> = Vec::new();
        let mut exprs: Vec<&Expr> = Vec::new();
        match self {
            Self::Start | Self::Input { .. } | Self::Parallel | Self::Subflow { .. } | Self::Loop(_) => {}
            Self::End { output: shape } | Self::Output { value: shape, .. } | Self::Tool { arguments: shape, .. } => {
                shapes.extend(shape);
            }
            Self::Agent { values, .. } => shapes.extend(values),
            Self::Llm(llm) => shapes.extend(llm.system.iter().chain([&llm.prompt])),
            Self::Http(http) => {
                shapes.push(&http.url);
                shapes.extend([&http.headers, &http.query, &http.body].into_iter().flatten());
            }
            Self::Set { vars } => shapes.extend(vars.iter().map(|(_, shape)| shape)),
            Self::Code { expr } | Self::If { test: expr } => exprs.push(expr),
            Self::Switch { value, cases } => {
                exprs.extend(value);
                exprs.extend(cases.iter().filter_map(|case| match &case.test {
                    CaseTest::True(expr) => Some(expr),
                    CaseTest::Equals(_) => None,
                }));
            }
            Self::Map(map) => shapes.push(&map.items),
            Self::Wait(WaitTask::Seconds(shape) | WaitTask::Until(shape))
            | Self::Template { template: shape }
            | Self::Fail { message: shape, .. }
            | Self::Host { config: shape } => shapes.push(shape),
            Self::Approval(approval) => shapes.extend([&approval.message].into_iter().chain(&approval.details)),
        }
        shapes.iter().for_each(|shape| names.extend(shape.names()));
        exprs.iter().for_each(|expr| names.extend(expr.names()));
        names
    }

    /// What it reads when a round or an item of its body ends.
    pub(crate) fn names_after(&self) -> Names {
        let mut names = Names::default();
        match self {
            Self::Map(map) => map.output.iter().for_each(|shape| names.extend(shape.names())),
            Self::Loop(rounds) => {
                rounds.until.iter().for_each(|expr| names.extend(expr.names()));
                rounds.carry.iter().for_each(|(_, shape)| names.extend(shape.names()));
            }
            _ => {}
        }
        names
    }

    /// The port that an `if` or `switch` takes; `None` where no case fits.
    ///
    /// Errors: as [`Expr::evaluate`]; `internal` for another task.
    pub(crate) fn choose(&self, scope: &Scope) -> Result<Option<String>> {
        match self {
            Self::If { test } => Ok(Some(test.is_true(scope)?.to_string())),
            Self::Switch { value, cases } => {
                let value = value.as_ref().map(|expr| expr.evaluate(scope)).transpose()?;
                for case in cases {
                    let fits = match &case.test {
                        CaseTest::Equals(wanted) => value.as_ref().is_some_and(|value| same(value, wanted)),
                        CaseTest::True(expr) => expr.is_true(scope)?,
                    };
                    if fits {
                        return Ok(Some(case.port.clone()));
                    }
                }
                Ok(None)
            }
            _ => Err(Error::internal("only if and switch choose a port")),
        }
    }
}

/// Whether two values are the same; 1 and 1.0 are. Two whole numbers are compared as such: as floats, those above
/// 2^53 would be the same as their neighbours.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

/// Reads the settings of a node; what cannot be read is a problem. The settings follow the schema of
/// their type, or a problem says so already.
pub(crate) struct Reader<'a> {
    pub(crate) node: &'a Node,
    pub(crate) config: &'a Map<String, Value>,
    /// Where the settings are, as a JSON pointer.
    pub(crate) path: String,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// The task; `None` where a problem keeps it from being one.
    pub(crate) fn task(&mut self) -> Option<Task> {
        use Strings::{Prompt, Tags};
        Some(match &self.node.kind {
            NodeType::Start | NodeType::Note => Task::Start,
            NodeType::End => Task::End { output: self.shape("output", Tags)? },
            NodeType::Input => Task::Input { name: self.text("name")?, default: self.config.get("default").cloned() },
            NodeType::Output => {
                let value = self.shape("value", Tags);
                Task::Output { name: self.text("name")?, value: value? }
            }
            NodeType::Agent => {
                let values = self.shape("values", Tags);
                Task::Agent { agent: self.reference("agent")?, values: values? }
            }
            NodeType::Llm => Task::Llm(Box::new(self.llm()?)),
            NodeType::Tool => {
                let arguments = self.shape("arguments", Tags);
                Task::Tool { tool: self.reference("tool")?, arguments: arguments? }
            }
            NodeType::Http => Task::Http(Box::new(self.http()?)),
            NodeType::Template => Task::Template { template: self.shape("template", Prompt)?? },
            NodeType::Set => Task::Set { vars: self.shapes("vars")? },
            NodeType::Code => Task::Code { expr: self.expr("expr")?? },
            NodeType::If => Task::If {
                test: match self.config.get("condition") {
                    Some(value) => self.condition("condition", value)?,
                    None => self.expr("expr")??,
                },
            },
            NodeType::Switch => {
                let (value, cases) = (self.expr("value"), self.cases());
                Task::Switch { value: value?, cases: cases? }
            }
            NodeType::Parallel => Task::Parallel,
            NodeType::Map => {
                let (items, output) = (self.items(), self.shape("output", Tags));
                let (concurrency, batch) = (self.number("concurrency"), self.number("batch"));
                let fail = self.map_fail();
                Task::Map(Box::new(MapTask { items: items?, concurrency, fail, batch, output: output? }))
            }
            NodeType::Loop => Task::Loop(Box::new(self.rounds()?)),
            NodeType::Subflow => {
                Task::Subflow { workflow: self.reference("workflow")?, version: self.number("version") }
            }
            NodeType::Wait => {
                let (until, seconds) = (self.shape("until", Tags), self.shape("seconds", Tags));
                Task::Wait(match until? {
                    Some(until) => WaitTask::Until(until),
                    None => WaitTask::Seconds(seconds??),
                })
            }
            NodeType::Approval => {
                let (message, details) = (self.shape("message", Prompt), self.shape("details", Tags));
                Task::Approval(Box::new(ApprovalTask {
                    message: match message? {
                        Some(message) => message,
                        None => Shape::compile(&Value::String(String::new()), Tags).ok()?,
                    },
                    details: details?,
                    options: approval_options(self.config),
                    form: self.config.get("form").cloned(),
                    expires_s: self.config.get("expires_s").and_then(Value::as_u64),
                }))
            }
            NodeType::Fail => Task::Fail { message: self.shape("message", Tags)??, code: self.code() },
            NodeType::Host(_) => {
                let all = Value::Object(self.config.clone());
                Task::Host { config: self.compiled(&self.path.clone(), Shape::compile(&all, Tags))? }
            }
        })
    }

    // Each part is read before any is asked for, so that everything wrong is said at once.

    fn llm(&mut self) -> Option<LlmTask> {
        use Strings::Prompt;
        let (messages, prompt) = (self.shape("messages", Prompt), self.shape("prompt", Prompt));
        let system = self.shape("system", Prompt);
        Some(LlmTask {
            model: self.reference("model")?,
            system: system?,
            prompt: match messages? {
                Some(messages) => messages,
                None => prompt??,
            },
            output_schema: self.config.get("output_schema").cloned(),
            settings: self.config.get("settings").cloned(),
        })
    }

    fn http(&mut self) -> Option<HttpTask> {
        let [url, headers, query, body] = ["url", "headers", "query", "body"].map(|key| self.shape(key, Strings::Tags));
        Some(HttpTask {
            method: self.config.get("method").and_then(Value::as_str).unwrap_or("GET").to_ascii_uppercase(),
            url: url??,
            headers: headers?,
            query: query?,
            body: body?,
            response: match self.config.get("response").and_then(Value::as_str) {
                Some("json") => HttpBody::Json,
                Some("text") => HttpBody::Text,
                _ => HttpBody::Auto,
            },
            accept: self.numbers("accept"),
        })
    }

    fn rounds(&mut self) -> Option<LoopTask> {
        let until = match self.config.get("until") {
            Some(value @ (Value::Object(_) | Value::Array(_))) => self.condition("until", value).map(Some),
            _ => self.expr("until"),
        };
        let carry = self.shapes("carry");
        Some(LoopTask {
            max_iterations: self.number("max_iterations")?,
            until: until?,
            carry: carry?,
            on_cap: match self.config.get("on_cap").and_then(Value::as_str) {
                Some("port") => OnCap::Port,
                _ => OnCap::Error,
            },
        })
    }

    /// An expression, a condition or a boolean: `when`.
    pub(crate) fn test(&mut self, path: &str, value: &Value) -> Option<Expr> {
        match value {
            Value::String(source) => self.compiled(path, Expr::compile(source)),
            other => self.compiled(path, condition(other).and_then(|source| Expr::compile(&source))),
        }
    }

    /// A shape at any place of the node.
    pub(crate) fn shape_at(&mut self, path: &str, value: &Value) -> Option<Shape> {
        self.compiled(path, Shape::compile(value, Strings::Tags))
    }

    /// A setting that may be missing: `Some(None)` then, and `None` where it is wrong.
    fn shape(&mut self, key: &str, strings: Strings) -> Option<Option<Shape>> {
        match self.config.get(key) {
            Some(value) => self.compiled(&self.place(key), Shape::compile(value, strings)).map(Some),
            None => Some(None),
        }
    }

    fn expr(&mut self, key: &str) -> Option<Option<Expr>> {
        match self.config.get(key) {
            Some(Value::String(source)) => self.compiled(&self.place(key), Expr::compile(source)).map(Some),
            Some(other @ (Value::Bool(_) | Value::Number(_))) => {
                self.compiled(&self.place(key), Expr::compile(&other.to_string())).map(Some)
            }
            _ => Some(None),
        }
    }

    fn condition(&mut self, key: &str, value: &Value) -> Option<Expr> {
        self.compiled(&self.place(key), condition(value).and_then(|source| Expr::compile(&source)))
    }

    fn shapes(&mut self, key: &str) -> Option<Vec<(String, Shape)>> {
        let Some(Value::Object(values)) = self.config.get(key) else { return Some(Vec::new()) };
        let place = self.place(key);
        let compiled: Vec<_> = values
            .iter()
            .map(|(name, value)| {
                let path = format!("{place}/{}", escaped(name));
                Some((name.clone(), self.compiled(&path, Shape::compile(value, Strings::Tags))?))
            })
            .collect();
        compiled.into_iter().collect()
    }

    /// The list of a map: a list, or an expression with or without its braces.
    fn items(&mut self) -> Option<Shape> {
        let value = match self.config.get("items")? {
            Value::String(source) if !source.contains("{{") => Value::String(format!("{{{{ {source} }}}}")),
            other => other.clone(),
        };
        self.compiled(&self.place("items"), Shape::compile(&value, Strings::Tags))
    }

    fn cases(&mut self) -> Option<Vec<Case>> {
        let Some(Value::Array(cases)) = self.config.get("cases") else { return Some(Vec::new()) };
        let read: Vec<Option<Case>> = cases
            .iter()
            .enumerate()
            .map(|(index, case)| {
                let port = case.get("port").and_then(Value::as_str)?.to_owned();
                let path = format!("{}/{index}/expr", self.place("cases"));
                let test = match (case.get("expr"), case.get("value")) {
                    (Some(source), _) => CaseTest::True(self.test(&path, source)?),
                    (None, Some(value)) => CaseTest::Equals(value.clone()),
                    (None, None) => return None,
                };
                Some(Case { port, test })
            })
            .collect();
        read.into_iter().collect()
    }

    fn map_fail(&self) -> MapFail {
        match self.config.get("fail") {
            Some(Value::String(name)) if name == "null" => MapFail::Null,
            Some(Value::String(name)) if name == "drop" => MapFail::Drop,
            Some(Value::Object(fields)) => match fields.get("threshold") {
                Some(Value::String(text)) => {
                    let percent = text.trim_end_matches('%').parse::<u8>().unwrap_or(0).min(100);
                    MapFail::Threshold(Threshold::Percent(percent))
                }
                Some(count) => MapFail::Threshold(Threshold::Count(count.as_u64().unwrap_or(0))),
                None => MapFail::Stop,
            },
            _ => MapFail::Stop,
        }
    }

    fn code(&self) -> ErrorCode {
        let named = self.config.get("code").and_then(Value::as_str).and_then(ErrorCode::from_name);
        named.unwrap_or(ErrorCode::ToolFailed)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.config.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    fn reference(&self, key: &str) -> Option<ResourceRef> {
        match self.config.get(key)? {
            Value::String(name) => Some(ResourceRef::Name(name.clone())),
            other => other.as_i64().map(ResourceRef::Id),
        }
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.config.get(key).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
    }

    fn numbers(&self, key: &str) -> Vec<u16> {
        let listed = self.config.get(key).and_then(Value::as_array);
        let numbers = listed.into_iter().flatten().filter_map(Value::as_u64);
        numbers.filter_map(|number| u16::try_from(number).ok()).collect()
    }

    fn place(&self, key: &str) -> String {
        format!("{}/{}", self.path, escaped(key))
    }

    fn compiled<T>(&mut self, path: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                let code = match error.code() {
                    ErrorCode::TooLarge => ProblemCode::TooLarge,
                    _ => ProblemCode::Expression,
                };
                self.problems.push(Problem::new(code, error.to_string()).at_node(&self.node.id).at(path));
            })
            .ok()
    }
}

/// The answers of an approval.
pub(crate) fn approval_options(config: &Map<String, Value>) -> Vec<String> {
    let named = config.get("options").and_then(Value::as_array);
    let named: Vec<String> = named.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if named.is_empty() { vec!["approved".to_owned(), "rejected".to_owned()] } else { named }
}

/// A key as a part of a JSON pointer.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
