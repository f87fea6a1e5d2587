//! One turn is one transaction: steps, money, audit, events, and the reservations and starts that
//! follow from them.
//!
//! A [`Turn`] is what the driver has decided; [`Turn::write`] is the only place that writes it. A
//! refused reservation is a value: the rest of the turn commits all the same.

mod room;
mod settle;
mod starts;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::begin::Launch;
use super::effects::{Delivered, Granted};
use super::runnable::Runnable;
use super::setup::{Setup, Tools};
use super::state::{State, Tally};
use super::waits::Stands;
use crate::access::Standing;
use crate::audit::AuditLine;
use crate::domain::{
    Action, Alert, AuditOutcome, Effect, Event, EventData, ExecutionId, ExecutionStatus, Finish, Finished, Metered,
    ModelRequest, NodeFinished, NodeStarted, Principal, Queued, ResourceId, StepFinished, StepKind, StepStarted,
    Timestamp, ToolCall, Usage,
};
use crate::error::{Error, ErrorInfo, Result};
use crate::ledger::{self, Booked, Ended, Follow, Refusal, ReserveOutcome, ReserveRequest, Reserved};
use crate::store::Connection;
use crate::store::executions::{self, Entry, NewExecution, Parent};

pub(crate) use settle::Settle;
pub(crate) use starts::idempotency_key;

/// Which execution a turn belongs to, and the epoch that its process holds it in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) id: ExecutionId,
    pub(crate) root_id: ExecutionId,
    /// The root's epoch: a write in an old one is refused.
    pub(crate) epoch: i64,
    pub(crate) depth: u32,
}

/// What one commit writes.
#[derive(Default)]
pub(crate) struct Turn {
    /// What ended, in order.
    pub(crate) drafts: Vec<Draft>,
    /// Model calls to reserve and start.
    pub(crate) models: Vec<ModelStart>,
    /// Tools to start.
    pub(crate) tools: Vec<ToolStart>,
    /// Children to start.
    pub(crate) children: Vec<ChildStart>,
    /// The end of the execution.
    pub(crate) finish: Option<Finish>,
    /// Outputs that are used again.
    pub(crate) cached: Vec<Cached>,
    /// The tool calls whose ends stand only with that of the execution, by key.
    pub(crate) fatal: Vec<String>,
    /// Calls that nobody waits for any more, booked by it: they hear of that.
    pub(crate) abandoned: Vec<Delivered>,
    /// Whether it is the first progress of an execution that was taken up again.
    pub(crate) resumed: bool,
    /// Where the execution then stands, if that changes.
    pub(crate) status: Option<Stands>,
}

/// A record whose cost is not known before its money is booked.
pub(crate) struct Draft {
    pub(crate) path: String,
    pub(crate) data: EventData,
    pub(crate) settle: Option<Settle>,
    /// A large value that the record names by its hash.
    pub(crate) blob: Option<Blob>,
}

/// A large value, as JSON.
pub(crate) struct Blob {
    pub(crate) hash: String,
    pub(crate) body: Vec<u8>,
}

/// An output that is used again.
pub(crate) struct Cached {
    /// Hash of what it came from, and of whom.
    pub(crate) key: String,
    /// The port and the output, as JSON.
    pub(crate) body: String,
    pub(crate) expires_at: Timestamp,
}

/// A model call to reserve and start.
#[derive(Clone)]
pub(crate) struct ModelStart {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    /// Which of the agent's models is asked: 0 is its own.
    pub(crate) place: usize,
    pub(crate) input_bound: u64,
    pub(crate) output_cap: u64,
    /// What it may use beside tokens.
    pub(crate) metered: Metered,
}

/// A tool to start.
#[derive(Clone)]
pub(crate) struct ToolStart {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) call: ToolCall,
    /// The arguments, read and checked.
    pub(crate) arguments: Value,
    /// In the catalogue; a function of the host that is no tool has none.
    pub(crate) tool_id: Option<ResourceId>,
    pub(crate) effect: Effect,
    /// The path, id and shown input of the node it is the effect of, in a workflow.
    pub(crate) node: Option<(String, String, Value)>,
    /// That it may run, where it had to wait for its turn before its start.
    pub(crate) granted: Option<Granted>,
}

/// A child execution to start: all that it begins with.
pub(crate) struct ChildStart {
    pub(crate) key: String,
    pub(crate) attempt: u32,
    /// The call it answers, where a model asked for it.
    pub(crate) call: Option<ToolCall>,
    /// The path and id of the node that it runs, in a workflow.
    pub(crate) node: Option<(String, String)>,
    pub(crate) begin: Begin,
}

/// A new execution, ready to be written.
pub(crate) struct Begin {
    pub(crate) setup: Runnable,
    pub(crate) launch: Launch,
    pub(crate) seed: u64,
    pub(crate) deadline: Timestamp,
}

/// What a commit gave.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The records with their place in the journal.
    pub(crate) events: Vec<Event>,
    /// What became of each model call, in the order of [`Turn::models`].
    pub(crate) reserved: Vec<std::result::Result<Reserved, ErrorInfo>>,
    /// Which tools the principal may no longer call, by key.
    pub(crate) denied: Vec<String>,
    /// The children, in the order of [`Turn::children`].
    pub(crate) children: Vec<Begun>,
    /// The alerts that its bookings raised.
    pub(crate) alerts: Vec<Alert>,
    /// Why the principal may no longer act at all; then nothing was started.
    pub(crate) revoked: Option<ErrorInfo>,
}

/// An execution that has begun: its state stands behind its first commit.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) ids: Ids,
    pub(crate) state: State,
    pub(crate) deadline: Timestamp,
    /// Whether it waits for its turn: nothing of it has begun.
    pub(crate) queued: bool,
    pub(crate) first: Vec<Action>,
    /// The requests of the model calls among them, in order.
    pub(crate) requests: Vec<ModelRequest>,
    pub(crate) reserved: Vec<std::result::Result<Reserved, ErrorInfo>>,
}

/// What every commit of a process needs.
pub(crate) struct Desk<'a> {
    pub(crate) standing: &'a Standing,
    pub(crate) principal: &'a Principal,
    pub(crate) boot_id: &'a str,
    pub(crate) store_id: &'a str,
    /// Whether the effects of the engine are bounded: then no call is reserved before its turn.
    pub(crate) bounded: bool,
}

impl Turn {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
            && self.models.is_empty()
            && self.tools.is_empty()
            && self.children.is_empty()
            && self.finish.is_none()
            && self.status.is_none()
    }

    /// Takes out all that it would start.
    pub(crate) fn without_starts(&mut self) {
        (self.models, self.tools, self.children) = Default::default();
    }

    /// Takes the end of the execution back, and with it what would mean something else without: of its
    /// records, all but the first so many, and the ends of tools that are the execution's.
    pub(crate) fn without_end(&mut self, records: usize) {
        self.finish = None;
        self.drafts.truncate(records);
        let fatal = std::mem::take(&mut self.fatal);
        let ends = |draft: &Draft| matches!(draft.data, EventData::ToolFinished { .. }) && fatal.contains(&draft.path);
        self.drafts.retain(|draft| !ends(draft));
    }

    /// The keys of the steps that the turn starts.
    pub(crate) fn starts(&self) -> HashSet<&str> {
        let models = self.models.iter().map(|model| model.key.as_str());
        let tools = self.tools.iter().map(|tool| tool.key.as_str());
        models.chain(tools).chain(self.children.iter().map(|child| child.key.as_str())).collect()
    }

    /// Whether an execution that was taken up again gets further by it: a step has ended, or it rests.
    pub(crate) fn gets_further(&self) -> bool {
        use EventData::{NodeFinished, StepFinished, ToolFinished};
        let ends = |draft: &Draft| matches!(draft.data, StepFinished(_) | ToolFinished { .. } | NodeFinished(_));
        let rests = self.status.as_ref().is_some_and(|stands| stands.status == ExecutionStatus::Waiting);
        rests || self.finish.is_some() || self.drafts.iter().any(ends)
    }

    /// Writes the turn. May run again: it changes nothing outside `tx`.
    pub(crate) fn write(
        &self,
        tx: &mut dyn Connection,
        now: Timestamp,
        desk: &Desk<'_>,
        ids: Ids,
        setup: &Runnable,
        tally: &Tally,
    ) -> Result<Committed> {
        let mut writer = Writer { now, desk, ids, setup, entries: Vec::new(), committed: Committed::default() };
        let mut tally = tally.clone();
        for draft in &self.drafts {
            writer.draft(tx, draft, &mut tally)?;
        }
        for cached in &self.cached {
            executions::put_cached(tx, now, &cached.key, &cached.body, cached.expires_at)?;
        }
        if self.resumed {
            executions::made_progress(tx, ids.root_id)?;
        }
        if let Some(finish) = &self.finish {
            writer.finish(tx, finish, &tally)?;
        } else if let Err(why) = desk.standing.still() {
            writer.committed.revoked = Some(why.clone());
        } else {
            writer.starts(tx, self)?;
            if let Some(Stands { status, before, waiting }) = &self.status {
                executions::set_status(tx, ids.id, *status, before, waiting)?;
                if *status == ExecutionStatus::Waiting {
                    writer.entry("", EventData::ExecutionWaiting { waiting_for: waiting.clone() });
                }
            }
        }
        writer.append(tx)
    }
}

/// Collects the records of one commit.
struct Writer<'a> {
    now: Timestamp,
    desk: &'a Desk<'a>,
    ids: Ids,
    setup: &'a Runnable,
    entries: Vec<Entry>,
    committed: Committed,
}

impl Writer<'_> {
    fn entry(&mut self, path: impl Into<String>, data: EventData) {
        self.entries.push(Entry { execution_id: self.ids.id, path: path.into(), data });
    }

    /// Takes over how a node ended in another execution. It is not paid again.
    fn reuse(&mut self, now: Timestamp, state: &mut State, finished: &NodeFinished, of: ExecutionId) {
        // What nothing leads to any more has been left out by the machine itself.
        if state.open_action(&finished.node).is_none() {
            return;
        }
        let mut finished = finished.clone();
        (finished.usage, finished.cost, finished.ms) = (Usage::default(), None, 0);
        (finished.attempt, finished.reused_from) = (0, Some(of));
        let writes = state.values().map(|values| values.writes_of("", &finished)).unwrap_or_default();
        let data = EventData::NodeFinished(finished);
        let follows = state.absorb(now, "", &data);
        let told = state.values().map(|values| values.told("", writes)).unwrap_or_default();
        self.entry("", data.with_progress(state.progress()));
        told.into_iter().for_each(|data| self.entry("", data));
        for action in follows {
            if let Action::Emit { path, data } = action {
                self.entry(path, data.with_progress(state.progress()));
            }
        }
    }

    /// Books what a finished attempt cost and notes it in its record.
    fn draft(&mut self, tx: &mut dyn Connection, draft: &Draft, tally: &mut Tally) -> Result<()> {
        let mut data = draft.data.clone();
        let booked = match &draft.settle {
            Some(Settle::Used { reservation, usage, raw }) => {
                Some(ledger::settle(tx, self.now, *reservation, usage, raw, ended(&data))?)
            }
            Some(Settle::Void { reservation }) => {
                ledger::void(tx, self.now, *reservation, ended(&data))?;
                None
            }
            Some(Settle::Unknown { reservation, delivered_tokens }) => {
                Some(ledger::settle_unknown(tx, self.now, *reservation, *delivered_tokens, ended(&data))?)
            }
            Some(Settle::Dead { attempt }) => ledger::booked(tx, self.ids.id, &draft.path, *attempt)?,
            None => None,
        };
        if let Some(Booked { cost: booked, usage: used, alerts, .. }) = booked {
            match &mut data {
                EventData::StepFinished(step) => (step.cost, step.usage) = (booked, used),
                EventData::StepRetrying { cost, usage, .. } => (*cost, *usage) = (booked, used),
                _ => {}
            }
            for alert in alerts {
                self.committed.alerts.push(alert.clone());
                self.entry("", alert_event(alert));
            }
        }
        if let Some(Blob { hash, body }) = &draft.blob {
            executions::put_blob(tx, hash, body)?;
        }
        tally.count(&data)?;
        self.entry(draft.path.clone(), data);
        Ok(())
    }

    fn starts(&mut self, tx: &mut dyn Connection, turn: &Turn) -> Result<()> {
        for model in &turn.models {
            let outcome = self.model(tx, model)?;
            self.committed.reserved.push(outcome);
        }
        let mut called = Vec::with_capacity(turn.tools.len());
        for tool in &turn.tools {
            let allowed = match tool.tool_id {
                Some(id) => self.desk.standing.may_use_tool(tx, id)?,
                None => true,
            };
            if allowed {
                // A pure tool changes nothing: its record is trail enough.
                if tool.effect != Effect::Pure {
                    called.push(json!({"tool": tool.call.name, "key": tool.key, "effect": tool.effect}));
                }
                let (path, data) = tool.record(self.desk.store_id, self.ids.id);
                self.entry(path, data);
            } else {
                self.audit(tx, "tools.call", AuditOutcome::Denied, json!({"tool": tool.call.name, "key": tool.key}))?;
                self.committed.denied.push(tool.key.clone());
            }
        }
        if !called.is_empty() {
            self.audit(tx, "tools.call", AuditOutcome::Ok, json!({ "calls": called }))?;
        }
        for child in &turn.children {
            self.child(tx, child)?;
        }
        Ok(())
    }

    fn model(
        &mut self,
        tx: &mut dyn Connection,
        start: &ModelStart,
    ) -> Result<std::result::Result<Reserved, ErrorInfo>> {
        let setup = self.setup.agent().ok_or_else(|| Error::internal("a workflow asks no model itself"))?;
        let model = setup.model_at(start.place);
        let request = ReserveRequest {
            execution_id: self.ids.id,
            root_id: self.ids.root_id,
            path: start.key.clone(),
            attempt: start.attempt,
            user_id: self.desk.principal.user_id(),
            role: self.desk.principal.user_id().and(self.desk.standing.still().ok()).map(|role| role.name().to_owned()),
            key_id: self.desk.principal.key_id().map(|id| id.0),
            agents: setup.lineage.clone(),
            workflow_id: setup.workflow,
            prompt: setup.prompt_label(),
            model: model.name.clone(),
            provider: model.provider_name.clone(),
            service: model.service.clone(),
            price: model.price.clone(),
            listing: model.listing.clone(),
            input_bound: start.input_bound,
            output_cap: start.output_cap,
            metered: start.metered,
            clamp: true,
        };
        match ledger::reserve(tx, self.now, self.desk.boot_id, &request)? {
            ReserveOutcome::Refused(refusal) => Ok(Err(refused(refusal))),
            ReserveOutcome::Reserved(reserved) => {
                let mut started = StepStarted::new(StepKind::Model, start.attempt, model.name.clone());
                started.reserved = reserved.amount;
                self.entry(start.key.clone(), EventData::StepStarted(started));
                Ok(Ok(reserved))
            }
        }
    }

    fn child(&mut self, tx: &mut dyn Connection, child: &ChildStart) -> Result<()> {
        // Each attempt of a node is a child of its own.
        let key = if child.attempt > 1 { &format!("{}#{}", child.key, child.attempt) } else { &child.key };
        let parent = Parent { id: self.ids.id, root_id: self.ids.root_id, key, depth: self.ids.depth + 1 };
        let (begun, entries) = child.begin.write_at(tx, self.now, self.desk, Some(parent), self.ids.epoch)?;
        match &child.node {
            None => {
                let mut started = StepStarted::new(StepKind::Child, child.attempt, child.begin.setup.name().to_owned());
                started.child_id = Some(begun.ids.id);
                started.call.clone_from(&child.call);
                self.entry(child.key.clone(), EventData::StepStarted(started));
            }
            Some((path, node)) => {
                let mut started = NodeStarted::new(node.clone(), child.attempt);
                started.child_id = Some(begun.ids.id);
                started.input = child.begin.launch.input.clone();
                self.entry(path.clone(), EventData::NodeStarted(started));
            }
        }
        self.entries.extend(entries);
        self.committed.children.push(begun);
        Ok(())
    }

    fn finish(&mut self, tx: &mut dyn Connection, finish: &Finish, tally: &Tally) -> Result<()> {
        let (status, output, error) = match finish {
            Finish::Completed { output } => (ExecutionStatus::Completed, output.clone(), None),
            Finish::Failed { error } => (ExecutionStatus::Failed, Value::Null, Some(error.clone())),
            Finish::Cancelled => (ExecutionStatus::Cancelled, Value::Null, None),
        };
        let tally = tally.with_embedded(tx, self.ids)?;
        let mut finished = Finished::new(status, output, error, tally.usage, tally.cost());
        finished.handled_errors = tally.handled;
        executions::finish(tx, self.now, self.ids.id, &finished)?;
        let details =
            json!({"status": status, "error": finished.error.as_ref().map(|error| error.code), "cost": finished.cost});
        self.audit(tx, "executions.finish", AuditOutcome::Ok, details)?;
        self.entry("", EventData::ExecutionFinished(finished));
        Ok(())
    }

    fn audit(&self, tx: &mut dyn Connection, action: &str, outcome: AuditOutcome, details: Value) -> Result<()> {
        let object = format!("execution:{}", self.ids.id);
        self.desk.standing.audit(tx, &AuditLine::ok(action, &object).with_outcome(outcome).with_details(details))
    }

    /// Appends the records. Without any, it still refuses whoever no longer owns the execution.
    fn append(mut self, tx: &mut dyn Connection) -> Result<Committed> {
        self.committed.events = executions::append(tx, self.now, self.ids.root_id, Some(self.ids.epoch), self.entries)?;
        Ok(self.committed)
    }
}

impl Begin {
    /// Writes a root execution with its first records and reservation.
    pub(crate) fn write(
        &self,
        tx: &mut dyn Connection,
        now: Timestamp,
        desk: &Desk<'_>,
    ) -> Result<(Begun, Vec<Event>)> {
        let (begun, entries) = self.write_at(tx, now, desk, None, 1)?;
        let events = executions::append_first(tx, now, begun.ids.root_id, entries)?;
        Ok((begun, events))
    }

    /// Makes the row and the first records of an execution; the caller appends them.
    fn write_at(
        &self,
        tx: &mut dyn Connection,
        now: Timestamp,
        desk: &Desk<'_>,
        parent: Option<Parent<'_>>,
        epoch: i64,
    ) -> Result<(Begun, Vec<Entry>)> {
        let new = NewExecution {
            parent,
            agent_id: self.setup.id(),
            name: self.setup.name(),
            principal: desk.principal,
            definition_hash: self.setup.hash(),
            boot_id: desk.boot_id,
            deadline: self.deadline,
        };
        let id = executions::create(tx, now, &new)?;
        let ids = Ids { id, root_id: parent.map_or(id, |p| p.root_id), epoch, depth: parent.map_or(0, |p| p.depth) };
        if parent.is_none() {
            ledger::tags::keep(tx, ids.root_id, &self.launch.tags)?;
        }
        if let Some(limit) = self.setup.max_cost() {
            ledger::cap_execution(tx, now, id, limit)?;
        }
        let mut queued = Queued::new(
            self.setup.name().to_owned(),
            self.launch.input.clone(),
            self.setup.hash().to_owned(),
            self.seed,
            parent.map(|parent| parent.id),
            self.launch.max_tokens,
            self.launch.max_depth,
        );
        queued.messages.clone_from(&self.launch.messages);
        queued.secrets.clone_from(&self.launch.secrets);
        queued.trigger.clone_from(&self.launch.trigger);
        queued.rerun_of = self.launch.rerun_of;
        let mut state = self.setup.state(&queued)?;
        let mut writer =
            Writer { now, desk, ids, setup: &self.setup, entries: Vec::new(), committed: Committed::default() };
        let queued = EventData::ExecutionQueued(queued);
        let mut first = state.absorb(now, "", &queued);
        writer.entry("", queued);
        let waits = match &self.launch.queue {
            Some(queue) if parent.is_none() => executions::enqueue(tx, id, self.setup.id(), queue.into())?,
            _ => false,
        };
        if !waits {
            writer.entry("", EventData::ExecutionStarted { epoch });
        }
        if let Some(of) = self.launch.rerun_of {
            for finished in &self.launch.reused {
                writer.reuse(now, &mut state, finished, of);
            }
            first = state.open_actions();
        }
        let mut requests = Vec::with_capacity(1);
        // What is limited queues first: the driver reserves it when its turn has come.
        let at_once = |setup: &Setup| !desk.bounded && setup.model_at(0).lines.is_empty();
        for action in &first {
            if let (Action::CallModel { key, first, last, .. }, Some(setup), Some(agent)) =
                (action, self.setup.agent().filter(|setup| at_once(setup)), state.as_agent())
            {
                let request = setup.request(&mut agent.transcript, Tools::of(*first, *last), 0);
                let start = ModelStart::new(key.clone(), 1, 0, setup, &request);
                let outcome = writer.model(tx, &start)?;
                writer.committed.reserved.push(outcome);
                requests.push(request);
            }
        }
        for entry in writer.entries.iter().filter(|entry| !entry.path.is_empty()) {
            state.absorb(now, &entry.path, &entry.data);
        }
        let Writer { entries, committed, .. } = writer;
        let reserved = committed.reserved;
        Ok((Begun { ids, state, deadline: self.deadline, queued: waits, first, requests, reserved }, entries))
    }
}

/// How the attempt ended that a record tells of.
fn ended(data: &EventData) -> Ended {
    match data {
        EventData::StepFinished(StepFinished { error: None, .. }) => Ended::Well,
        EventData::StepRetrying { .. } => Ended::Retried,
        _ => Ended::Failed,
    }
}

/// A refusal as the driver and the journal have it: with what the budget wants to become of the call.
fn refused(Refusal { error, follow }: Refusal) -> ErrorInfo {
    let mut info = error.to_info();
    if let Value::Object(details) = &mut info.details {
        match follow {
            Follow::Deny => {}
            Follow::Ask => {
                details.insert("on_exceed".into(), "ask".into());
            }
            Follow::Downgrade(model) => {
                details.insert("on_exceed".into(), "downgrade".into());
                details.insert("downgrade_to".into(), model.map_or(Value::Null, Value::from));
            }
        }
    }
    info
}

/// The record of an alert.
pub(super) fn alert_event(alert: Alert) -> EventData {
    EventData::BudgetAlert {
        budget_id: alert.budget_id,
        budget: alert.budget,
        threshold: alert.threshold,
        posted: alert.posted,
        limit: alert.limit,
    }
}
