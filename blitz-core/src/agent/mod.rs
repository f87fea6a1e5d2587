//! The agent machine: pure control of the model and tool loop.
//!
//! [`AgentMachine`] holds control state only: turn, open actions, counters. Messages and results
//! live in the journal; [`history`] builds the conversation of them, [`output`] judges the final
//! answer. No I/O, no clock, no randomness: the same inputs give the same actions, so recovery is
//! a replay.

pub(crate) mod history;
pub(crate) mod output;
pub(crate) mod partial;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::{Action, Finish, FinishReason, Input, Limits, Machine, ModelResponse, Part, Timestamp, Usage};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use output::OutputCheck;

/// Calls of tools that are not on offer, over a whole execution, before it is given up.
const MAX_UNKNOWN_CALLS: u32 = 5;
/// How often the model is told that its final answer would not do.
const MAX_OUTPUT_RETRIES: u32 = 2;
/// What the model is told where its turns are over and it gets one more.
const LAST_TURN: &str = "You can call no more tools. Give your final answer now, with what you have.";
/// How often a provider may pause an answer, over a whole execution.
const MAX_PAUSES: u32 = 10;

/// The control state of one agent execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AgentMachine {
    max_turns: u32,
    /// Whether one more turn without tools follows them.
    #[serde(default)]
    last_turn: bool,
    max_tokens: Option<u64>,
    output: OutputCheck,
    turn: u32,
    open: Vec<Action>,
    usage: Usage,
    unknown_calls: u32,
    output_retries: u32,
    #[serde(default)]
    pauses: u32,
    ended: bool,
}

impl AgentMachine {
    /// A machine that has not begun. Errors: `InvalidInput` where the output schema is none.
    pub(crate) fn new(limits: &Limits, output_schema: Option<&serde_json::Value>) -> Result<Self> {
        Ok(Self {
            max_turns: limits.max_turns,
            last_turn: limits.last_turn,
            max_tokens: limits.max_tokens,
            output: OutputCheck::new(output_schema)?,
            turn: 0,
            open: Vec::new(),
            usage: Usage::default(),
            unknown_calls: 0,
            output_retries: 0,
            pauses: 0,
            ended: false,
        })
    }

    /// Lowers the limit of tokens to what the caller has left.
    pub(crate) fn cap_tokens(&mut self, left: u64) {
        self.max_tokens = Some(self.max_tokens.map_or(left, |own| own.min(left)));
    }

    /// The tokens that are left for a child, where there is a limit.
    pub(crate) fn tokens_left(&self) -> Option<u64> {
        self.max_tokens.map(|max| max.saturating_sub(self.usage.total_tokens()))
    }

    /// Counts tokens of an answer that came to nothing.
    pub(crate) fn count(&mut self, usage: &Usage) {
        self.usage.add(usage);
    }

    /// What is wrong with an answer, were it taken: nothing follows from asking.
    pub(crate) fn problem(&self, response: &ModelResponse) -> Option<Error> {
        unusable(response).or_else(|| {
            let ends = response.message.tool_calls().next().is_none() && response.finish_reason != FinishReason::Paused;
            let bad = ends && self.output.read(&response.message.text_content()).is_err();
            bad.then(|| Error::bad_output("the model's answer is empty or off its schema"))
        })
    }

    /// Whether it has ended: nothing follows any more.
    pub(crate) fn is_over(&self) -> bool {
        self.ended
    }

    fn close(&mut self, key: &str) -> bool {
        let before = self.open.len();
        self.open.retain(|action| action.key() != Some(key));
        self.open.len() < before
    }

    fn finish(&mut self, finish: Finish) -> Vec<Action> {
        self.ended = true;
        self.open = vec![Action::Finish(finish)];
        self.open.clone()
    }

    fn fail(&mut self, error: &Error) -> Vec<Action> {
        self.finish(Finish::failed(error))
    }

    fn fail_with(&mut self, error: &ErrorInfo) -> Vec<Action> {
        self.finish(Finish::Failed { error: error.clone() })
    }

    fn give(&mut self, actions: Vec<Action>) -> Vec<Action> {
        self.open.extend(actions.iter().cloned());
        actions
    }

    /// The next model call, unless a limit forbids it.
    fn next_turn(&mut self, feedback: Option<String>) -> Vec<Action> {
        let last = self.last_turn && self.turn == self.max_turns;
        if self.turn >= self.max_turns && !last {
            return self.fail(&self.out_of_turns());
        }
        if let Some(max) = self.max_tokens
            && self.usage.total_tokens() >= max
        {
            return self.fail(&Error::LimitExceeded { limit: "tokens", value: max.to_string() });
        }
        self.turn += 1;
        let feedback = feedback.or_else(|| last.then(|| LAST_TURN.to_owned()));
        let call = Action::CallModel { key: format!("{}/model", self.turn), feedback, first: self.turn == 1, last };
        self.give(vec![call])
    }

    fn out_of_turns(&self) -> Error {
        Error::LimitExceeded { limit: "turns", value: self.max_turns.to_string() }
    }

    fn answered(&mut self, response: &ModelResponse) -> Vec<Action> {
        if let Some(error) = unusable(response) {
            return self.fail(&error);
        }
        let calls: Vec<_> = response.message.tool_calls().cloned().collect();
        if calls.is_empty() && response.finish_reason == FinishReason::Paused {
            self.pauses += 1;
            if self.pauses > MAX_PAUSES {
                return self.fail(&Error::bad_output("the provider paused the answer again and again"));
            }
            return self.next_turn(None);
        }
        if calls.is_empty() {
            return self.ended_turn(response);
        }
        if self.turn > self.max_turns {
            // The tools were off, and it calls one all the same.
            return self.fail(&self.out_of_turns());
        }
        let turn = self.turn;
        let actions = calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| Action::CallTool { key: format!("{turn}/tool/{index}"), call })
            .collect();
        self.give(actions)
    }

    /// An answer without tool calls: the end, or one more try.
    fn ended_turn(&mut self, response: &ModelResponse) -> Vec<Action> {
        let text = response.message.text_content();
        match self.output.read(&text) {
            Ok(output) => self.finish(Finish::Completed { output }),
            Err(_) if self.output_retries >= MAX_OUTPUT_RETRIES => {
                let message = "the model's final answer is empty or off its schema, also after it was told so";
                self.fail(&Error::bad_output(message).with_details(json!({"tries": self.output_retries + 1})))
            }
            Err(feedback) => {
                self.output_retries += 1;
                self.next_turn(Some(feedback))
            }
        }
    }
}

/// Why nothing can follow from an answer, whatever the agent wants.
fn unusable(response: &ModelResponse) -> Option<Error> {
    let calls = response.message.tool_calls().next().is_some();
    let refused = || response.message.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    match response.finish_reason {
        FinishReason::ContentFilter => {
            Some(Error::new(ErrorCode::ContentFiltered, "the provider's content filter stopped the answer"))
        }
        FinishReason::Length => {
            let what = if calls { "a tool call" } else { "the answer" };
            Some(Error::bad_output(format!("{what} is cut off at the output cap: raise max_output_tokens")))
        }
        FinishReason::ContextWindow => {
            let message = "the model's context window is full and the answer cut off: shorten the conversation";
            Some(Error::new(ErrorCode::ContextOverflow, message))
        }
        _ if !calls && refused() && response.message.text_content().trim().is_empty() => {
            Some(Error::new(ErrorCode::Refused, "the model declined to answer"))
        }
        _ => None,
    }
}

impl Machine for AgentMachine {
    fn step(&mut self, _now: Timestamp, input: Input<'_>) -> Vec<Action> {
        if self.ended {
            return Vec::new();
        }
        match input {
            Input::Start if self.turn == 0 => self.next_turn(None),
            Input::Start => Vec::new(),
            Input::ModelAnswered { key, response, usage, .. } => {
                self.usage.add(&usage);
                if self.close(key) { self.answered(response) } else { Vec::new() }
            }
            Input::ModelFailed { key, error } | Input::Refused { key, error } => {
                if self.close(key) {
                    self.fail_with(error)
                } else {
                    Vec::new()
                }
            }
            Input::ToolFinished { key, unknown, usage, .. } => {
                self.usage.add(&usage);
                if !self.close(key) {
                    return Vec::new();
                }
                self.unknown_calls += u32::from(unknown);
                if self.unknown_calls > MAX_UNKNOWN_CALLS {
                    return self.fail(&Error::bad_output("the model keeps asking for tools that it was not offered"));
                }
                if self.open.is_empty() { self.next_turn(None) } else { Vec::new() }
            }
            Input::Stop { finish } => self.finish(finish.clone()),
            Input::NodeEntered { .. }
            | Input::NodeBroken { .. }
            | Input::NodeEnded { .. }
            | Input::ItemEnded { .. } => Vec::new(),
        }
    }

    fn open(&self) -> Vec<Action> {
        self.open.clone()
    }
}
