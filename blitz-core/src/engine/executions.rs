//! Executions: what runs and what has run.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::methods::{Method, MethodKind, Nothing, PageOf, method, schema};
use super::{EventStream, ExecutionHandle, Session};
use crate::access::{Grant, Target};
use crate::domain::{
    Answer, Decision, Event, EventData, Execution, ExecutionId, ExecutionStatus, ListOptions, NodeState, Outcome, Page,
    Permission, PictureFormat, Reach, Step, TimelineEntry, Waiting,
};
use crate::error::{Error, ErrorCode, Result};
use crate::execution::rerun::{Rerun, RerunVersion};
use crate::execution::{control, picture, recover, timeline, view};
use crate::store::Connection;
use crate::store::executions as sql;

/// The executions, through a session: everybody sees their own, admins all.
pub struct Executions {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("executions.get", ExecutionsRead, One => Execution, |s, one| s.executions().get(one.id)),
    method!("executions.list", ExecutionsRead, List => Page<Execution>, |s, list| s.executions().list(list.filter, list.page)),
    method!("executions.steps", ExecutionsRead, PageOf<ExecutionId> => Page<Step>, |s, of| {
        let (id, page) = of.split();
        async move { s.executions().steps(id, page).await }
    }),
    method!("executions.outcome", ExecutionsRead, One => Outcome, |s, one| s.executions().outcome(one.id)),
    method!("executions.wait", ExecutionsRead, One => Outcome, |s, one| s.executions().wait(one.id)),
    method!("executions.cancel", ExecutionsCancel, One => (), |s, one| s.executions().cancel(one.id)),
    method!("executions.decide", ExecutionsDecide, Decide => (), |s, d| s.executions().decided(d.id, d.key, d.digest, d.decision)),
    method!("executions.rerun", WorkflowsRun, Again => RerunAs, |s, again| async move {
        s.executions().rerun(again.id, again.how()).await.map(|handle| RerunAs { execution_id: handle.id() })
    }),
    method!("executions.redrive", WorkflowsRun, One => RerunAs, |s, one| async move {
        s.executions().redrive(one.id).await.map(|handle| RerunAs { execution_id: handle.id() })
    }),
    method!("executions.nodes", ExecutionsRead, NodesOf => Vec<NodeState>, |s, of| s.executions().nodes(of.id, of.path)),
    method!("executions.picture", ExecutionsRead, ToDraw => String, |s, of| s.executions().picture(of.id, of.format)),
    method!("executions.timeline", ExecutionsRead, PageOf<ExecutionId> => Page<TimelineEntry>, |s, of| {
        let (id, page) = of.split();
        async move { s.executions().timeline(id, page).await }
    }),
    method!("executions.output", ExecutionsRead, OutputOf => Value, |s, of| s.executions().output(of.id, of.hash)),
    method!("executions.approve", ExecutionsApprove, Approve => (), |s, a| async move {
        let (id, key, answer) = a.split();
        s.executions().approve(id, key, answer).await
    }),
    method!("executions.recover", ExecutionsRecover, Nothing => Vec<ExecutionId>, |s, Nothing {}| s.executions().recover()),
    Method {
        name: "executions.events",
        kind: MethodKind::Stream,
        permission: Some(Permission::ExecutionsRead),
        since: "0.1",
        input: schema::<EventsOf>,
        output: schema::<Event>,
        handler: None,
    },
];

/// One execution.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct One {
    /// The execution's id.
    id: ExecutionId,
}

/// A page of executions.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// Which ones.
    #[serde(default)]
    filter: ExecutionFilter,
    /// Which part of the list.
    #[serde(default)]
    page: ListOptions,
}

/// A decision about a step that waits.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Decide {
    /// The execution's id.
    id: ExecutionId,
    /// The step, as `waiting_for` names it.
    key: String,
    /// What becomes of it.
    decision: Decision,
    /// The digest that `waiting_for` names, where the decision must be about that very attempt.
    #[serde(default)]
    digest: Option<String>,
}

/// A workflow that runs again.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Again {
    /// The execution that has ended.
    id: ExecutionId,
    /// The node that runs again, with everything behind it. Everything runs again where absent.
    #[serde(default)]
    from: Option<String>,
    /// Another input; the first one's where absent.
    #[serde(default)]
    input: Option<Value>,
    /// Which version runs.
    #[serde(default)]
    version: RerunVersion,
}

impl Again {
    fn how(self) -> Rerun {
        let rerun = self.from.map_or_else(Rerun::all, Rerun::from);
        let rerun = match self.version {
            RerunVersion::Same => rerun,
            RerunVersion::Latest => rerun.latest(),
        };
        match self.input {
            Some(input) => rerun.input(input),
            None => rerun,
        }
    }
}

/// The new execution.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct RerunAs {
    /// Its id.
    execution_id: ExecutionId,
}

/// The nodes of one scope of an execution.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NodesOf {
    /// The execution's id.
    id: ExecutionId,
    /// Empty for the workflow itself, `review/3` for the body of an item or round.
    #[serde(default)]
    path: String,
}

/// A large output.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OutputOf {
    /// The execution's id.
    id: ExecutionId,
    /// The hash that a record names it by.
    #[serde(rename = "ref")]
    hash: String,
}

/// An answer to a question that an execution asks.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Approve {
    /// The execution's id.
    id: ExecutionId,
    /// The step, as `waiting_for` names it.
    key: String,
    /// One of the approval's options: `approved` or `rejected` where it names none of its own.
    option: String,
    /// Why.
    #[serde(default)]
    comment: String,
    /// What the answer brings with it; the node's output holds it.
    #[serde(default)]
    value: Value,
    /// The question's digest, where the answer must be to that very question.
    #[serde(default)]
    digest: Option<String>,
}

impl Approve {
    fn split(self) -> (ExecutionId, String, Answer) {
        let answer = Answer::new(self.option).comment(self.comment).value(self.value);
        let answer = match self.digest {
            Some(digest) => answer.digest(digest),
            None => answer,
        };
        (self.id, self.key, answer)
    }
}

/// A picture of an execution.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToDraw {
    /// The execution's id.
    id: ExecutionId,
    /// How it is drawn.
    #[serde(default)]
    format: PictureFormat,
}

/// The events of an execution.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "a face reads the fields; the row needs their schema")]
struct EventsOf {
    /// The execution's id.
    id: ExecutionId,
    /// The last event that is known already.
    #[serde(default)]
    after: i64,
}

/// Which executions a list shows.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionFilter {
    /// Only those in this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ExecutionStatus>,
    /// Children too, not only roots.
    pub children: bool,
}

impl ExecutionFilter {
    /// Only those in a status.
    pub fn in_status(status: ExecutionStatus) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// The same with children.
    #[must_use]
    pub fn with_children(self) -> Self {
        Self { children: true, ..self }
    }
}

impl Executions {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// One execution.
    pub async fn get(&self, id: ExecutionId) -> Result<Execution> {
        let runtime = Arc::clone(&self.session.inner.runtime);
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| {
                sql::show(tx, id, &|root, boot| runtime.has_owner(root, boot))?.ok_or_else(missing)
            })
            .await
    }

    /// A page of executions, newest first.
    pub async fn list(&self, filter: ExecutionFilter, options: ListOptions) -> Result<Page<Execution>> {
        let runtime = Arc::clone(&self.session.inner.runtime);
        self.session
            .read(Permission::ExecutionsRead, Target::None, move |tx, grant| {
                let user_id = if grant.reach() == Reach::All { None } else { grant.user_id() };
                let filter = sql::Filter { user_id, status: filter.status, children: filter.children };
                sql::list(tx, filter, &options, &|root, boot| runtime.has_owner(root, boot))
            })
            .await
    }

    /// A page of an execution's finished steps, in order.
    pub async fn steps(&self, id: ExecutionId, options: ListOptions) -> Result<Page<Step>> {
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| {
                let row = sql::get(tx, id)?.ok_or_else(missing)?;
                sql::steps(tx, row.root_id, id, &options)
            })
            .await
    }

    /// The handle on an execution whose id is known; nothing is asked yet.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # use blitz::{Engine, NewAgent, NewModel};
    /// # let engine = Engine::open(":memory:").await?;
    /// # let me = engine.root("an example");
    /// # me.models().put(NewModel::new("m", "offline", "offline")).await?;
    /// # me.agents().put(NewAgent::new("helper", "m")).await?;
    /// let id = me.start("helper", "Rivers carry water to the sea.").await?.id();
    /// let done = me.executions().handle(id).wait().await?;
    /// assert!(done.text().contains("Rivers"));
    /// # engine.close().await?;
    /// # Ok::<(), blitz::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self, id: ExecutionId) -> ExecutionHandle {
        ExecutionHandle::new(self.session.clone(), id)
    }

    /// The events of a root execution behind a place: what is written, then what comes.
    pub fn events(&self, id: ExecutionId, after: i64) -> EventStream {
        EventStream::new(self.session.clone(), id, after)
    }

    /// A page of what is written of a root's events, and whether nothing follows as it has ended.
    pub(super) async fn events_after(&self, root: ExecutionId, after: i64, limit: u32) -> Result<(Vec<Event>, bool)> {
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(root), move |tx, _| {
                let events = sql::journal(tx, root, after, limit)?;
                if !events.is_empty() {
                    return Ok((events, false));
                }
                match sql::get(tx, root)? {
                    Some(child) if child.root_id != root => Err(of_a_child(child.root_id)),
                    row => Ok((events, row.is_some_and(|row| row.finished.is_some()))),
                }
            })
            .await
    }

    /// The outcome of an execution that has ended. Errors: `Conflict` while it has not.
    pub async fn outcome(&self, id: ExecutionId) -> Result<Outcome> {
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| recover::outcome(tx, id))
            .await
    }

    /// Waits for the end of an execution, wherever it runs.
    ///
    /// One that was interrupted is waited for too: until somebody recovers it.
    pub async fn wait(&self, id: ExecutionId) -> Result<Outcome> {
        let root = self.get(id).await?.root_id;
        let mut events = self.events(root, 0);
        while let Some(event) = events.next().await {
            let event = event?;
            if event.execution_id == id && matches!(event.data, EventData::ExecutionFinished(_)) {
                match self.outcome(id).await {
                    // It was redriven since.
                    Err(error) if error.code() == ErrorCode::Conflict => {}
                    outcome => return outcome,
                }
            }
        }
        self.outcome(id).await
    }

    /// Asks for the end of an execution and its children, from any thread or process.
    ///
    /// Asking twice is the same as once. Errors: `Conflict` where it has ended.
    pub async fn cancel(&self, id: ExecutionId) -> Result<()> {
        let inner = Arc::clone(&self.session.inner);
        let alerts = self
            .session
            .write(Permission::ExecutionsCancel, Target::Execution(id), "executions.cancel", move |tx, grant| {
                control::cancel(tx, grant, &inner.runtime, id)
            })
            .await?;
        self.session.inner.runtime.bell.ring(&alerts);
        self.session.inner.runtime.cancel(id);
        Ok(())
    }

    /// Decides what becomes of a step whose effect is in doubt.
    ///
    /// Errors: `Conflict` where that step does not wait for a decision (any more).
    pub async fn decide(&self, id: ExecutionId, key: impl Into<String>, decision: Decision) -> Result<()> {
        self.decided(id, key.into(), None, decision).await
    }

    /// Decides about the very attempt that a wait names, as `waiting_for` of the execution gives it.
    ///
    /// Errors: `Conflict` where that attempt is not in doubt (any more); `InvalidInput` for any other wait.
    pub async fn decide_about(&self, id: ExecutionId, wait: &Waiting, decision: Decision) -> Result<()> {
        let Waiting::Decision { key, digest } = wait else {
            return Err(Error::invalid("this wait is none for a decision: see its kind"));
        };
        self.decided(id, key.clone(), Some(digest.clone()), decision).await
    }

    async fn decided(&self, id: ExecutionId, key: String, digest: Option<String>, decision: Decision) -> Result<()> {
        let asked = Arc::new((key, digest, decision));
        let decided = self.once_taken_up(id, || {
            let (asked, runtime) = (Arc::clone(&asked), Arc::clone(&self.session.inner.runtime));
            let decide = move |tx: &mut dyn Connection, grant: &Grant| {
                let (key, digest, decision) = &*asked;
                control::decide(tx, grant, &runtime, id, key, digest.as_deref(), decision)
            };
            self.session.write(Permission::ExecutionsDecide, Target::Execution(id), "executions.decide", decide)
        });
        self.session.inner.runtime.bell.ring(&decided.await?);
        self.session.inner.runtime.wake(id);
        Ok(())
    }

    /// Answers a wait of an execution. One that was interrupted and is just taken up here does not wait
    /// yet for what it waited for: it is answered once it does.
    async fn once_taken_up<T, F>(&self, id: ExecutionId, answer: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let answered = answer().await;
        if !answered.as_ref().is_err_and(|error| error.code() == ErrorCode::Conflict) {
            return answered;
        }
        let runtime = &self.session.inner.runtime;
        let root = self.session.inner.work.read(move |tx, _| Ok(sql::get(tx, id)?.map(|row| row.root_id))).await?;
        // A child is taken up by its root.
        let mut runs_here = false;
        for taken_up in root.into_iter().chain([id]) {
            runs_here |= runtime.when_taken_up(taken_up).await;
        }
        if runs_here { answer().await } else { answered }
    }

    /// Runs a workflow again, from one of its nodes or whole, as a new execution.
    ///
    /// From a node: what is not behind it and has not changed is taken over, and not paid again. The
    /// caller needs the permission to run the workflow. Errors: `Conflict` while the execution runs,
    /// `InvalidInput` for that of an agent.
    pub async fn rerun(&self, id: ExecutionId, rerun: Rerun) -> Result<ExecutionHandle> {
        let id = self.session.begin_again(id, rerun).await?;
        Ok(ExecutionHandle::new(self.session.clone(), id))
    }

    /// Runs what failed or was cancelled of a workflow's execution again, in the same execution: its
    /// failed paths, map items and subflows. What ended well is kept and not paid again.
    ///
    /// It has the workflow's whole time again. The caller needs the permission to run the workflow;
    /// for another's execution that to recover too. Errors: `Conflict` for one that runs or has
    /// completed, `InvalidInput` for that of an agent.
    pub async fn redrive(&self, id: ExecutionId) -> Result<ExecutionHandle> {
        self.session.redrive(id).await?;
        Ok(ExecutionHandle::new(self.session.clone(), id))
    }

    /// How the nodes of a workflow's execution stand: those of one scope, in the order of the definition.
    ///
    /// `path` is empty for the workflow itself, and `review/3` for the body of an item or round.
    pub async fn nodes(&self, id: ExecutionId, path: impl Into<String>) -> Result<Vec<NodeState>> {
        let path = path.into();
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| view::nodes(tx, id, &path))
            .await
    }

    /// A picture of a workflow's execution as it stands: states, attempts and cost of its nodes, edges taken and not.
    ///
    /// Errors: `InvalidInput` for an execution of an agent.
    pub async fn picture(&self, id: ExecutionId, format: PictureFormat) -> Result<String> {
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| picture::draw(tx, id, format))
            .await
    }

    /// What ran when: a page of the nodes and steps of an execution and its children, in the order in
    /// which they began, with their attempts. What a child used is in its own entries and in that of
    /// the node or step that it runs; what is in a container, in that of the container too.
    pub async fn timeline(&self, id: ExecutionId, options: ListOptions) -> Result<Page<TimelineEntry>> {
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| timeline::timeline(tx, id, &options))
            .await
    }

    /// A large output that a record of an execution names by its hash, whole.
    pub async fn output(&self, id: ExecutionId, hash: impl Into<String>) -> Result<Value> {
        let hash = hash.into();
        self.session
            .read(Permission::ExecutionsRead, Target::Execution(id), move |tx, _| {
                let row = sql::get(tx, id)?.ok_or_else(missing)?;
                let plain = hash.chars().all(|c| c.is_ascii_hexdigit());
                if !plain || !sql::names_output(tx, row.root_id, &hash)? {
                    return Err(Error::not_found("no record of this execution names such an output"));
                }
                sql::blob(tx, &hash)
            })
            .await
    }

    /// Answers a question that an execution asks a person.
    ///
    /// Errors: `Conflict` where it is answered, over or another one; `InvalidInput` for an option that
    /// it does not have or a value off its form.
    pub async fn approve(&self, id: ExecutionId, key: impl Into<String>, answer: Answer) -> Result<()> {
        let (key, answer) = (Arc::new(key.into()), Arc::new(answer));
        self.once_taken_up(id, || {
            let (key, answer) = (Arc::clone(&key), Arc::clone(&answer));
            let approve = move |tx: &mut dyn Connection, grant: &Grant| control::approve(tx, grant, id, &key, &answer);
            self.session.write(Permission::ExecutionsApprove, Target::Execution(id), "executions.approve", approve)
        })
        .await?;
        self.session.inner.runtime.wake(id);
        Ok(())
    }

    /// Goes on with the executions whose process is gone, and gives their ids.
    ///
    /// One that needs a function which is not registered here stays as it is.
    pub async fn recover(&self) -> Result<Vec<ExecutionId>> {
        self.session.recover_all().await
    }
}

fn of_a_child(root: ExecutionId) -> Error {
    let message = format!("this execution was called by another one: its events are among those of its root {root}");
    Error::invalid(message).with_details(serde_json::json!({"root_id": root}))
}

fn missing() -> Error {
    Error::not_found("there is no such execution, or it is not open to you")
}
