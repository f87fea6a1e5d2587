//! The parity scenarios, performed in Rust: see `tests/parity/README.md`. `BLITZ_BLESS=1` writes what is expected.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use blitz::provider::{
    CallContext, EmbeddingFuture, EmbeddingRequest, FunctionProvider, ModelStream, Profile, Provider, Reply, Scripted,
};
use blitz::tool::{FunctionNode, FunctionTool, NodeOutput, ToolError};
use blitz::{Answer, Effect, Engine, Error, ErrorCode, EventData, ModelRequest, RunOptions, Session};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::source::files;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    about: String,
    #[serde(default)]
    replies: Vec<Reply>,
    #[serde(default)]
    tools: Vec<ToolOf>,
    #[serde(default)]
    nodes: Vec<NodeOf>,
    #[serde(default)]
    setup: Vec<Call>,
    run: Option<Run>,
    expect: Option<Value>,
    #[serde(default)]
    after: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolOf {
    name: String,
    #[serde(default)]
    description: String,
    input_schema: Value,
    effect: Effect,
    does: Does,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Does {
    Add,
    Echo,
    Nothing,
    Fail,
    Retry,
}

#[derive(Deserialize)]
struct NodeOf {
    does: NodeDoes,
    #[serde(flatten)]
    info: Map<String, Value>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum NodeDoes {
    Echo,
    Add,
    Fail,
    Port,
    Unavailable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    method: String,
    input: Value,
    #[serde(rename = "as")]
    login: Option<Login>,
    error: Option<String>,
    output: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    agent: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    options: RunOptions,
    #[serde(rename = "as")]
    login: Option<Login>,
    #[serde(default)]
    answers: Vec<Answer>,
}

#[derive(Deserialize, Clone, PartialEq, Eq, Hash)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    password: String,
}

#[test]
fn every_scenario_gives_what_it_says() {
    let paths = files("tests/parity", ".json");
    assert!(paths.len() >= 20, "{} scenarios", paths.len());
    let bless = std::env::var_os("BLITZ_BLESS").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let problems: Vec<String> = paths
        .iter()
        .flat_map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            [Served::Script, Served::Function, Served::Trait].map(|served| {
                let problems = runtime.block_on(perform(path, served, bless));
                problems.into_iter().map(|problem| format!("{name}, {served:?}: {problem}")).collect::<Vec<_>>()
            })
        })
        .flatten()
        .collect();
    assert!(problems.is_empty(), "{} problem(s):\n  {}\n", problems.len(), problems.join("\n  "));
}

#[test]
fn files_are_written_as_a_bless_writes_them() {
    for path in files("tests/parity", ".json") {
        let text = std::fs::read_to_string(&path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text, written(&value), "{}", path.display());
    }
}

/// Who gives the replies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Served {
    /// The engine's own scripted provider.
    Script,
    /// A function of the host.
    Function,
    /// A type of the host's that is a provider.
    Trait,
}

impl Served {
    fn register(self, engine: &Engine, replies: Vec<Reply>) {
        match self {
            Self::Script => engine.register_provider(Scripted::new(replies)),
            Self::Function => engine.register_provider(function(replies)),
            Self::Trait => engine.register_provider(Own(Scripted::new(replies))),
        }
    }
}

/// A function of the host that gives these replies, one for each request of either kind.
fn function(replies: Vec<Reply>) -> FunctionProvider {
    let left = Arc::new(Mutex::new(VecDeque::from(replies)));
    let next = move || left.lock().unwrap().pop_front().ok_or_else(|| Error::invalid("no answer is left"));
    let also = next.clone();
    let mut profile = Profile::default();
    profile.free = true;
    FunctionProvider::new("scripted", move |_, _| std::future::ready(next()))
        .with_embedding(move |_, _| std::future::ready(also()))
        .with_profile(profile)
}

/// A provider of the host's own making, as far as the engine can tell.
struct Own(Scripted);

impl Provider for Own {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        self.0.stream(request, context)
    }

    fn profile(&self, model_name: &str) -> Profile {
        self.0.profile(model_name)
    }

    fn embed(&self, request: EmbeddingRequest, context: CallContext) -> EmbeddingFuture {
        self.0.embed(request, context)
    }
}

/// Performs a scenario and gives what was not as it says.
async fn perform(path: &PathBuf, served: Served, bless: bool) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let scenario: Scenario = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!scenario.about.is_empty(), "{}: say what it is about", path.display());
    let engine = Engine::open(":memory:").await.unwrap();
    let me = engine.root("parity");
    served.register(&engine, scenario.replies);
    for tool in scenario.tools {
        me.tools().register(tool.function()).await.unwrap();
    }
    for node in scenario.nodes {
        engine.register_node(node.function()).unwrap();
    }
    let mut stage = Stage { engine, me, logins: HashMap::new(), problems: Vec::new() };
    for (index, call) in scenario.setup.iter().enumerate() {
        stage.call(&format!("setup {index}"), call).await;
    }
    let seen = match scenario.run {
        Some(run) => Some(stage.run(run).await),
        None => None,
    };
    if bless && served == Served::Script {
        rewrite(path, &text, seen);
    } else if !bless {
        stage.compare(scenario.expect.unwrap_or_default(), seen.unwrap_or_default());
    }
    for (index, call) in scenario.after.iter().enumerate() {
        stage.call(&format!("after {index}"), call).await;
    }
    stage.engine.close().await.unwrap();
    stage.problems
}

struct Stage {
    engine: Engine,
    me: Session,
    logins: HashMap<Login, Session>,
    problems: Vec<String>,
}

impl Stage {
    async fn session(&mut self, login: Option<&Login>) -> blitz::Result<Session> {
        let Some(login) = login else { return Ok(self.me.clone()) };
        if let Some(session) = self.logins.get(login) {
            return Ok(session.clone());
        }
        let session = self.engine.login(&login.email, &login.password).await?;
        self.logins.insert(login.clone(), session.clone());
        Ok(session)
    }

    async fn call(&mut self, place: &str, call: &Call) {
        let place = format!("{place} ({})", call.method);
        let result = match self.session(call.login.as_ref()).await {
            Ok(session) => session.call(&call.method, call.input.clone()).await,
            Err(error) => Err(error),
        };
        match (result, &call.error) {
            (Ok(given), None) => {
                if let Some(problem) = call.output.as_ref().and_then(|output| missing(output, &given, "output")) {
                    self.problems.push(format!("{place}: {problem}"));
                }
            }
            (Ok(_), Some(code)) => self.problems.push(format!("{place}: went well in place of {code}")),
            (Err(error), Some(code)) if error.code().name() == code => {}
            (Err(error), _) => self.problems.push(format!("{place}: {}: {error}", error.code())),
        }
    }

    /// Runs the agent and gives what is compared.
    async fn run(&mut self, run: Run) -> Value {
        let session = self.session(run.login.as_ref()).await.unwrap();
        let handle = match session.agents().start_with(run.agent, run.input, run.options).await {
            Ok(handle) => handle,
            Err(error) => return json!({"refused": error.code()}),
        };
        let mut answers = run.answers.into_iter();
        let mut events = Vec::new();
        let mut reader = handle.events();
        while let Some(event) = reader.next().await {
            let event = event.unwrap();
            if let EventData::ApprovalRequested(asked) = &event.data {
                handle.approve(&asked.key, answers.next().expect("an answer")).await.unwrap();
            }
            events.push(event);
        }
        let mut events: Vec<Vec<String>> = events
            .into_iter()
            .map(|event| shown(&json!(event)))
            .filter(|event| !["model.delta", "model.partial", "model.reset"].contains(&event[0].as_str()))
            .collect();
        events.chunk_by_mut(|a, b| a[0] == b[0]).for_each(<[_]>::sort);
        let done = handle.wait().await.unwrap();
        json!({
            "status": done.status,
            "output": done.output,
            "error": done.error.map(|error| error.code),
            "usage": done.usage,
            "cost": done.cost,
            "steps": done.steps,
            "events": events,
        })
    }

    fn compare(&mut self, expected: Value, seen: Value) {
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        for field in &names(&expected) | &names(&seen) {
            let (expected, seen) = (expected.get(&field), seen.get(&field));
            if expected != seen {
                self.problems.push(format!("{field}: expected {expected:?}, seen {seen:?}"));
            }
        }
    }
}

/// An event as it is compared: its type and path, and of its data the node, the status and the port.
fn shown(event: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let data = ["node", "status", "port"].into_iter();
    let data = data.filter_map(|field| Some(format!("{field}={}", text(&event["data"][field])?)));
    [&event["type"], &event["path"]].into_iter().filter_map(text).chain(data).collect()
}

impl ToolOf {
    fn function(self) -> FunctionTool {
        let does = self.does;
        let asked = AtomicBool::new(false);
        FunctionTool::from_json_schema(self.name, self.description, self.input_schema, move |arguments, _| {
            let first = !asked.swap(true, Ordering::SeqCst);
            async move {
                match does {
                    Does::Add => Ok(sum(&arguments)),
                    Does::Echo => Ok(arguments),
                    Does::Nothing => Ok(Value::Null),
                    Does::Fail => Err(ToolError::failed("it broke")),
                    Does::Retry if first => Err(ToolError::retry("try b=3")),
                    Does::Retry => Ok(sum(&arguments)),
                }
            }
        })
        .with_effect(self.effect)
    }
}

impl NodeOf {
    fn function(self) -> FunctionNode {
        let does = self.does;
        let info = serde_json::from_value(Value::Object(self.info)).unwrap();
        FunctionNode::new(info, move |work, context| async move {
            match does {
                NodeDoes::Echo => Ok(json!({"config": work.config, "input": work.input}).into()),
                NodeDoes::Fail => Err(ToolError::failed("it broke")),
                NodeDoes::Port => Ok(NodeOutput::by(work.config["port"].as_str().unwrap(), work.input)),
                NodeDoes::Unavailable if context.attempt == 1 => {
                    Err(ToolError::typed(Error::new(ErrorCode::Unavailable, "not yet")))
                }
                NodeDoes::Add | NodeDoes::Unavailable => Ok(sum(&work.input).into()),
            }
        })
    }
}

fn sum(arguments: &Value) -> Value {
    let (a, b) = (&arguments["a"], &arguments["b"]);
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => json!(a + b),
        _ => json!(a.as_f64().unwrap() + b.as_f64().unwrap()),
    }
}

/// Where `given` lacks what is expected, if it does.
fn missing(expected: &Value, given: &Value, at: &str) -> Option<String> {
    match (expected, given) {
        (Value::Object(expected), Value::Object(given)) => expected.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            match given.get(name) {
                Some(given) => missing(value, given, &at),
                None => Some(format!("{at} is missing")),
            }
        }),
        (Value::Array(expected), Value::Array(given)) if expected.len() == given.len() => {
            let mut pairs = expected.iter().zip(given).enumerate();
            pairs.find_map(|(index, (expected, given))| missing(expected, given, &format!("{at}[{index}]")))
        }
        _ => (expected != given).then(|| format!("{at}: expected {expected}, given {given}")),
    }
}

fn rewrite(path: &Path, text: &str, seen: Option<Value>) {
    let mut whole: Map<String, Value> = serde_json::from_str(text).unwrap();
    if let Some(seen) = seen {
        let after = whole.shift_remove("after");
        whole.insert("expect".to_owned(), seen);
        whole.extend(after.map(|after| ("after".to_owned(), after)));
    }
    std::fs::write(path, written(&Value::Object(whole))).unwrap();
}

/// A scenario as its file holds it.
fn written(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, 0, 0, &mut text);
    text.push('\n');
    text
}

/// Writes a value on one line where it fits, else each of its parts on lines of their own.
fn write_value(value: &Value, depth: usize, before: usize, text: &mut String) {
    const WIDTH: usize = 130;
    let line = spaced(value);
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (format!("{}: ", json!(name)), value)).collect(),
        Value::Array(items) => items.iter().map(|value| (String::new(), value)).collect(),
        _ => Vec::new(),
    };
    if parts.is_empty() || (depth > 0 && depth * 2 + before + line.chars().count() <= WIDTH) {
        text.push_str(&line);
        return;
    }
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    text.push(open);
    for (index, (name, value)) in parts.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        text.push_str(name);
        write_value(value, depth + 1, name.chars().count() + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(close);
}

/// JSON on one line, with a space behind each comma and colon.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}: {}", json!(name), spaced(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
