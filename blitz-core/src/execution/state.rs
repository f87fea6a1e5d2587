//! What an execution's journal says, folded: the machine, the conversation, what is open.
//!
//! Live work and recovery go through the same [`State::absorb`]: a record is applied once, when it
//! happens or when it is read again. So a replay cannot differ from what was.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::agent::AgentMachine;
use crate::agent::history::Transcript;
use crate::domain::{
    Action, Decision, EventData, ExecutionId, Finished, Input, Machine, Message, Money, Outcome, Provenance,
    StepFinished, StepKind, Timestamp, ToolResult, Usage,
};
use crate::error::{ErrorCode, Result};

/// How far an open step has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Progress {
    /// This attempt was sent or called and has no end.
    Started { attempt: u32 },
    /// A child execution runs it.
    Child { id: ExecutionId },
    /// The next attempt starts at a time.
    Retry { attempt: u32, at: Timestamp },
    /// Someone decided what becomes of an effect in doubt.
    Decided { attempt: u32, decision: Decision },
}

/// The state of one execution in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: AgentMachine,
    pub(crate) transcript: Transcript,
    pub(crate) tally: Tally,
    /// The progress of each open step, by its key. A step that is not here was never started.
    pub(crate) open: BTreeMap<String, Progress>,
    pub(crate) seed: u64,
    /// How many attempts of each open step ended with their process: no failures, so no policy counts them.
    lost: BTreeMap<String, u32>,
    /// Which model makes the attempts of an open step that fell back, and how many others had made before.
    fallen: BTreeMap<String, (usize, u32)>,
    offered: Arc<HashSet<String>>,
}

impl State {
    /// The state before the first record.
    pub(crate) fn new(machine: AgentMachine, instructions: &str, user: Message, offered: Arc<HashSet<String>>) -> Self {
        let transcript = Transcript::new(instructions, user);
        Self {
            machine,
            transcript,
            tally: Tally::default(),
            open: BTreeMap::new(),
            seed: 0,
            lost: BTreeMap::new(),
            fallen: BTreeMap::new(),
            offered,
        }
    }

    /// Applies one record and gives the actions that follow from it.
    pub(crate) fn absorb(&mut self, now: Timestamp, path: &str, data: &EventData) -> Vec<Action> {
        let actions = self.apply(now, path, data);
        for action in &actions {
            if let Action::CallModel { feedback: Some(text), .. } = action {
                self.transcript.feedback(text);
            }
        }
        actions
    }

    /// Tells the machine something that is no record of its own; gives the actions that follow.
    pub(crate) fn tell(&mut self, now: Timestamp, input: Input<'_>) -> Vec<Action> {
        self.machine.step(now, input)
    }

    /// How often the model that a step asks has failed, when this attempt does.
    pub(crate) fn failures(&self, path: &str, attempt: u32) -> u32 {
        let before = self.fallen.get(path).map_or(0, |(_, before)| *before);
        attempt.saturating_sub(self.lost.get(path).copied().unwrap_or_default()).saturating_sub(before).max(1)
    }

    /// How often a step has failed with all its models, when this attempt does.
    pub(crate) fn attempts(&self, path: &str, attempt: u32) -> u32 {
        if self.fallen.contains_key(path) { attempt } else { self.failures(path, attempt) }
    }

    /// Which of the agent's models an open step asks: 0 is its own.
    pub(crate) fn place(&self, path: &str) -> usize {
        self.fallen.get(path).map_or(0, |(place, _)| *place)
    }

    /// What the user gets, once the execution has ended.
    pub(crate) fn outcome(self, execution_id: ExecutionId, finished: Finished) -> Outcome {
        Outcome {
            execution_id,
            status: finished.status,
            output: finished.output,
            error: finished.error,
            messages: self.transcript.into_messages(),
            usage: finished.usage,
            cost: finished.cost,
            steps: self.tally.steps,
        }
    }

    fn apply(&mut self, now: Timestamp, path: &str, data: &EventData) -> Vec<Action> {
        match data {
            EventData::ExecutionQueued(queued) => {
                self.seed = queued.seed;
                if let Some(left) = queued.max_tokens {
                    self.machine.cap_tokens(left);
                }
                self.machine.step(now, Input::Start)
            }
            EventData::StepStarted(started) => {
                let progress = match started.child_id {
                    Some(id) => Progress::Child { id },
                    None => Progress::Started { attempt: started.attempt },
                };
                self.open.insert(path.to_owned(), progress);
                Vec::new()
            }
            EventData::ToolStarted(started) => {
                self.open.insert(path.to_owned(), Progress::Started { attempt: started.attempt });
                Vec::new()
            }
            EventData::StepRetrying { attempt, at, error, usage, fallback, .. } => {
                // What is estimated at the commit is not known here yet: only what came with an answer counts.
                if usage.provenance != Provenance::Estimated {
                    self.machine.count(usage);
                }
                if let Some(fallback) = fallback {
                    self.lost.remove(path);
                    self.fallen.insert(path.to_owned(), (fallback.place as usize, *attempt));
                } else if error.code == ErrorCode::Interrupted {
                    *self.lost.entry(path.to_owned()).or_default() += 1;
                }
                self.open.insert(path.to_owned(), Progress::Retry { attempt: attempt + 1, at: *at });
                Vec::new()
            }
            EventData::DecisionMade { decision, .. } => {
                let attempt = match self.open.get(path) {
                    Some(Progress::Started { attempt }) => *attempt,
                    // It was refused before it was started: that attempt is still to be made.
                    Some(Progress::Retry { attempt, .. }) => attempt.saturating_sub(1),
                    _ => 0,
                };
                self.open.insert(path.to_owned(), Progress::Decided { attempt, decision: decision.clone() });
                Vec::new()
            }
            EventData::StepFinished(finished) => {
                self.open.remove(path);
                self.lost.remove(path);
                self.fallen.remove(path);
                self.step_finished(now, path, finished)
            }
            EventData::ToolFinished { result, .. } => {
                self.open.remove(path);
                self.tool_finished(now, path, result, Usage::default())
            }
            _ => Vec::new(),
        }
    }

    fn step_finished(&mut self, now: Timestamp, path: &str, finished: &StepFinished) -> Vec<Action> {
        match (finished.kind, &finished.response, &finished.result, &finished.error) {
            (StepKind::Model, Some(response), _, _) => {
                self.transcript.answer(response);
                self.machine.step(now, Input::ModelAnswered { key: path, response, usage: finished.usage })
            }
            (StepKind::Model, None, _, Some(error)) => self.machine.step(now, Input::ModelFailed { key: path, error }),
            (_, _, Some(result), _) => self.tool_finished(now, path, result, finished.usage),
            _ => Vec::new(),
        }
    }

    fn tool_finished(&mut self, now: Timestamp, path: &str, result: &ToolResult, usage: Usage) -> Vec<Action> {
        let unknown = !self.offered.contains(&result.name);
        if let Some(index) = path.rsplit('/').next().and_then(|index| index.parse().ok()) {
            self.transcript.result(index, result.clone());
        }
        self.machine.step(now, Input::ToolFinished { key: path, unknown, usage })
    }
}

/// What the finished attempts of an execution and its children used and cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) usage: Usage,
    pub(crate) steps: u32,
    cost: Money,
    unpriced: bool,
}

impl Tally {
    /// Counts one record, after its cost is booked.
    pub(crate) fn count(&mut self, data: &EventData) -> Result<()> {
        match data {
            EventData::StepFinished(finished) => {
                self.steps += 1;
                self.add(&finished.usage, finished.cost)
            }
            EventData::StepRetrying { usage, cost, .. } => self.add(usage, *cost),
            EventData::ToolFinished { .. } => {
                self.steps += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What all of it cost; `None` as soon as the price of one call is unknown.
    pub(crate) fn cost(&self) -> Option<Money> {
        (!self.unpriced).then_some(self.cost)
    }

    fn add(&mut self, usage: &Usage, cost: Option<Money>) -> Result<()> {
        self.usage.add(usage);
        match cost {
            Some(cost) => self.cost = self.cost.add(cost)?,
            // An attempt that used nothing costs nothing, whatever the price is.
            None if usage.requests > 0 => self.unpriced = true,
            None => {}
        }
        Ok(())
    }
}
