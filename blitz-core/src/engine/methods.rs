//! The method table: one row for each method, in every language.
//!
//! A row names the method, who may call it, and the schemas of what goes in and comes out; its
//! handler is the typed method of a handle. Python's attributes, C's `blitz_call` and a server's
//! routes are made from the rows, so no face can lack one unnoticed.

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Session, agents, alerts, audit, budgets, costs, executions, keys, limits, models, prices, prompts, roles, secrets,
    sessions, tools, triggers, usage, users, webhooks, workflows,
};
use crate::domain::parse;
use crate::domain::schema::{SchemaCheck, taken};
use crate::domain::{ListOptions, Patch, Permission, ResourceRef};
use crate::error::{Error, Result};
use crate::store::catalog::shown;

/// How a method is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MethodKind {
    /// JSON in, JSON out.
    Unary,
    /// JSON in, events out: a face offers its own kind of stream.
    Stream,
    /// Takes a function of the host: a face offers its own kind of callback.
    Host,
}

type Handler = fn(Session, Value) -> BoxFuture<'static, Result<Value>>;

/// A row of the method table.
pub struct Method {
    /// `noun.verb`.
    pub name: &'static str,
    /// How it is called.
    pub kind: MethodKind,
    /// What the caller must be allowed to do; `None` where whoever came in may.
    pub permission: Option<Permission>,
    /// The version that brought it.
    pub since: &'static str,
    pub(super) input: fn() -> Value,
    pub(super) output: fn() -> Value,
    pub(super) handler: Option<Handler>,
}

impl Method {
    /// JSON Schema of the input object.
    pub fn input_schema(&self) -> Value {
        (self.input)()
    }

    /// JSON Schema of the result; of one event for a stream.
    pub fn output_schema(&self) -> Value {
        (self.output)()
    }

    /// All rows, noun by noun.
    pub fn all() -> impl Iterator<Item = &'static Method> {
        TABLE.iter().copied().flatten()
    }

    /// Whether it begins an execution, or lets one go on.
    pub fn begins_an_execution(&self) -> bool {
        matches!(self.permission, Some(Permission::AgentsRun | Permission::WorkflowsRun))
    }

    /// The row of a name.
    pub fn find(name: &str) -> Option<&'static Method> {
        Self::all().find(|method| method.name == name)
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Method").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

const TABLE: &[&[Method]] = &[
    models::ROWS,
    models::PRICE_ROWS,
    models::EMBED_ROWS,
    prompts::ROWS,
    prompts::VERSION_ROWS,
    tools::ROWS,
    tools::HOST_ROWS,
    agents::ROWS,
    agents::RUN_ROWS,
    workflows::ROWS,
    workflows::VERSION_ROWS,
    executions::ROWS,
    triggers::ROWS,
    users::ROWS,
    roles::ROWS,
    keys::ROWS,
    sessions::ROWS,
    secrets::ROWS,
    budgets::ROWS,
    costs::ROWS,
    usage::ROWS,
    prices::ROWS,
    limits::ROWS,
    alerts::ROWS,
    webhooks::ROWS,
    audit::ROWS,
];

/// Calls a unary method by its name.
pub(super) async fn call(session: Session, name: &str, input: Value) -> Result<Value> {
    let method = Method::find(name).ok_or_else(|| Error::not_found(format!("there is no method {}", shown(name))))?;
    let handler = method.handler.ok_or_else(|| {
        Error::invalid(format!("{name} gives events or takes a function: use the method of your language"))
    })?;
    handler(session, taken("the input", input)?).await
}

/// Reads a method's input; no input at all is an empty object. Errors: `InvalidInput`, which says where and what, never
/// the value.
pub(super) fn input<T: DeserializeOwned + schemars::JsonSchema>(value: Value) -> Result<T> {
    let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
    T::deserialize(&value).map_err(|error| {
        let place = place(&schema::<T>(), &value).map(|path| format!(" at {path}{}", of_node(&path, &value)));
        let place = place.unwrap_or_default();
        Error::invalid(format!("the input does not fit{place}: {}", parse::told(&error)))
    })
}

/// The id of the node that a place in a workflow is in.
fn of_node(path: &str, value: &Value) -> String {
    let index = path.strip_prefix("/nodes/").map(|rest| rest.split('/').next().unwrap_or_default());
    let node = index.and_then(|index| value.pointer(&format!("/nodes/{index}/id"))).and_then(Value::as_str);
    node.map_or(String::new(), |node| format!(" (node {})", shown(node)))
}

/// Where a value does not fit a schema, as a JSON pointer; `None` where the schema does not say, or for the value as a whole.
fn place(schema: &Value, value: &Value) -> Option<String> {
    let problems = SchemaCheck::new(schema).ok()?.check(value).err()?;
    problems.into_iter().map(|problem| problem.path).find(|path| !path.is_empty())
}

pub(super) fn output<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::internal("a result has no JSON form").with_source(error))
}

pub(super) fn schema<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// One unary row: `method!("agents.get", AgentsRead, Named => AgentRecord, |session, input| session.agents().get(input.id))`.
macro_rules! method {
    ($name:expr, anyone, $input:ty => $output:ty, |$session:ident, $value:pat_param| $call:expr) => {
        $crate::engine::methods::Method {
            permission: None,
            ..$crate::engine::methods::method!($name, AgentsRead, $input => $output, |$session, $value| $call)
        }
    };
    ($name:expr, $permission:ident, $input:ty => $output:ty, |$session:ident, $value:pat_param| $call:expr) => {
        $crate::engine::methods::Method {
            name: $name,
            kind: $crate::engine::methods::MethodKind::Unary,
            permission: Some($crate::domain::Permission::$permission),
            since: "0.1",
            input: $crate::engine::methods::schema::<$input>,
            output: $crate::engine::methods::schema::<$output>,
            handler: Some(|$session, value| {
                Box::pin(async move {
                    let $value: $input = $crate::engine::methods::input(value)?;
                    let output: $output = $call.await?;
                    $crate::engine::methods::output(&output)
                })
            }),
        }
    };
}
pub(super) use method;

/// A record by id or name.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    /// Its id, its name, or `owner/name`.
    pub(super) id: ResourceRef,
}

/// A change to a record.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    /// Its id, its name, or `owner/name`.
    pub(super) id: ResourceRef,
    /// A JSON merge patch of its fields.
    pub(super) patch: Patch,
}

/// Nothing.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A page of one thing's parts.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageOf<T> {
    /// Whose parts.
    pub(super) id: T,
    /// At most this many; 100 where absent.
    #[serde(default = "usual_limit")]
    pub(super) limit: u32,
    /// Where the page before ended.
    #[serde(default)]
    pub(super) cursor: Option<String>,
}

fn usual_limit() -> u32 {
    ListOptions::default().limit
}

impl<T> PageOf<T> {
    pub(super) fn split(self) -> (T, ListOptions) {
        let page = ListOptions::limit(self.limit);
        let page = match self.cursor {
            Some(cursor) => page.after(cursor),
            None => page,
        };
        (self.id, page)
    }
}
