//! The machine is fed inputs and its actions are compared: no engine, no clock.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::ToolCall;

const NOW: Timestamp = Timestamp(0);

fn machine(limits: &Limits) -> AgentMachine {
    AgentMachine::new(limits, None).unwrap()
}

fn started(limits: &Limits) -> AgentMachine {
    let mut machine = machine(limits);
    let first = machine.step(NOW, Input::Start);
    assert_eq!(first, [Action::CallModel { key: "1/model".into(), feedback: None, first: true, last: false }]);
    machine
}

fn text(text: &str) -> ModelResponse {
    ModelResponse::new(vec![Part::text(text)])
}

fn calls(count: usize) -> ModelResponse {
    let call = |n| Part::ToolCall(ToolCall::new(format!("c{n}"), "t", "{}"));
    ModelResponse::new((0..count).map(call).collect())
}

fn answer(machine: &mut AgentMachine, key: &str, response: &ModelResponse) -> Vec<Action> {
    machine.step(NOW, Input::ModelAnswered { key, response, usage: Usage::new(10, 5) })
}

fn tool_done(machine: &mut AgentMachine, key: &str) -> Vec<Action> {
    machine.step(NOW, Input::ToolFinished { key, unknown: false, usage: Usage::default() })
}

#[test]
fn text_is_the_end() {
    let mut machine = started(&Limits::default());
    let end = [Action::Finish(Finish::Completed { output: json!("5") })];
    assert_eq!(answer(&mut machine, "1/model", &text("5")), end);
    assert_eq!(machine.open(), end, "an end that was not written is found again");
}

#[test]
fn b01_text_before_tool_calls_is_not_the_end() {
    let mut machine = started(&Limits::default());
    let mut response = calls(1);
    response.message.parts.insert(0, Part::text("let me see"));
    response.finish_reason = FinishReason::Stop; // servers that say stop and mean tools
    assert!(
        matches!(&answer(&mut machine, "1/model", &response)[..], [Action::CallTool { key, .. }] if key == "1/tool/0")
    );
}

#[test]
fn the_next_turn_waits_for_every_call_of_this_one() {
    let mut machine = started(&Limits::default());
    assert_eq!(answer(&mut machine, "1/model", &calls(3)).len(), 3);
    assert!(tool_done(&mut machine, "1/tool/2").is_empty());
    assert!(tool_done(&mut machine, "1/tool/0").is_empty());
    assert!(tool_done(&mut machine, "1/tool/0").is_empty(), "a second result for one call counts twice");
    assert_eq!(machine.open().len(), 1);
    let next = tool_done(&mut machine, "1/tool/1");
    assert!(matches!(&next[..], [Action::CallModel { key, first: false, .. }] if key == "2/model"));
}

#[test]
fn b04_a_truncated_call_is_never_given_out() {
    let mut machine = started(&Limits::default());
    let response = calls(1).with_finish_reason(FinishReason::Length);
    let actions = answer(&mut machine, "1/model", &response);
    assert!(matches!(&actions[..], [Action::Finish(Finish::Failed { error })] if error.code == ErrorCode::BadOutput));
}

#[test]
fn nothing_follows_the_end() {
    let mut machine = started(&Limits::default());
    let stop = machine.step(NOW, Input::Stop { finish: &Finish::Cancelled });
    assert_eq!(stop, [Action::Finish(Finish::Cancelled)]);
    assert!(answer(&mut machine, "1/model", &text("late")).is_empty());
    assert!(machine.step(NOW, Input::Start).is_empty());
}

#[test]
fn b45_the_turn_limit_ends_the_loop() {
    let mut machine = started(&Limits { max_turns: 1, ..Limits::default() });
    answer(&mut machine, "1/model", &calls(1));
    let end = tool_done(&mut machine, "1/tool/0");
    assert!(matches!(&end[..], [Action::Finish(Finish::Failed { error })] if error.code == ErrorCode::LimitExceeded));
}

#[test]
fn b45_one_more_turn_without_tools_where_it_is_asked_for() {
    let mut machine = started(&Limits { max_turns: 1, ..Limits::default().with_last_turn() });
    answer(&mut machine, "1/model", &calls(1));
    let next = tool_done(&mut machine, "1/tool/0");
    let [Action::CallModel { key, feedback: Some(told), first: false, last: true }] = &next[..] else {
        panic!("{next:?}");
    };
    assert_eq!((key.as_str(), told.as_str()), ("2/model", LAST_TURN));
    let is_over = |actions: &[Action]| matches!(actions, [Action::Finish(Finish::Failed { error })] if error.code == ErrorCode::LimitExceeded);
    let mut ignores = machine.clone();
    assert!(is_over(&answer(&mut ignores, "2/model", &calls(1))), "a call where tools are off is not made");
    let mut empty = machine.clone();
    assert!(is_over(&answer(&mut empty, "2/model", &text(""))), "there is one more turn, not two");
    let done = answer(&mut machine, "2/model", &text("so far: 5"));
    assert_eq!(done, [Action::Finish(Finish::Completed { output: json!("so far: 5") })]);
}

/// What may happen to a machine, chosen by chance.
#[derive(Debug, Clone)]
enum Chance {
    Text,
    Empty,
    Calls(usize),
    Truncated,
    Refused,
    FinishOpen(usize, bool),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        Just(Chance::Text),
        Just(Chance::Empty),
        (1usize..5).prop_map(Chance::Calls),
        Just(Chance::Truncated),
        Just(Chance::Refused),
        (any::<usize>(), any::<bool>()).prop_map(|(at, unknown)| Chance::FinishOpen(at, unknown)),
    ]
}

proptest! {
    /// Whatever happens: keys are given out once, what is open is what was given out and not
    /// answered, the end comes once, and a machine that is stored and read again goes on the same.
    #[test]
    fn keys_are_unique_and_a_stored_machine_goes_on_the_same(chances in prop::collection::vec(chance(), 0..60)) {
        let mut machine = started(&Limits::default());
        let mut open: Vec<String> = vec!["1/model".into()];
        let mut seen: std::collections::BTreeSet<String> = open.iter().cloned().collect();
        let mut ended = false;
        for chance in chances {
            let mut twin: AgentMachine = serde_json::from_value(serde_json::to_value(&machine).unwrap()).unwrap();
            let Some(at) = open.len().checked_sub(1) else { break };
            let key = open[if let Chance::FinishOpen(n, _) = chance { n % (at + 1) } else { at }].clone();
            let is_model = key.ends_with("/model");
            let response = match chance {
                Chance::Text => text("done"),
                Chance::Empty => text(""),
                Chance::Calls(n) => calls(n),
                Chance::Truncated => calls(1).with_finish_reason(FinishReason::Length),
                Chance::Refused | Chance::FinishOpen(..) => text("x"),
            };
            let refusal = Error::new(ErrorCode::BudgetExceeded, "no").to_info();
            let input = || match (&chance, is_model) {
                (Chance::Refused, true) => Input::Refused { key: &key, error: &refusal },
                (_, true) => Input::ModelAnswered { key: &key, response: &response, usage: Usage::new(1, 1) },
                (Chance::FinishOpen(_, unknown), false) => Input::ToolFinished { key: &key, unknown: *unknown, usage: Usage::default() },
                (_, false) => Input::ToolFinished { key: &key, unknown: false, usage: Usage::default() },
            };
            let actions = machine.step(NOW, input());
            prop_assert_eq!(&actions, &twin.step(NOW, input()));
            open.retain(|other| *other != key);
            for action in &actions {
                match action.key() {
                    Some(key) => {
                        prop_assert!(seen.insert(key.to_owned()), "the key {} was given out twice", key);
                        open.push(key.to_owned());
                    }
                    None => { prop_assert!(!ended); ended = true; open.clear(); }
                }
            }
            let mut listed: Vec<String> = machine.open().iter().filter_map(|action| action.key().map(str::to_owned)).collect();
            listed.sort();
            let mut expected = open.clone();
            expected.sort();
            prop_assert_eq!(listed, expected);
        }
    }
}

#[test]
fn a_paused_answer_goes_on_and_not_for_ever() {
    let mut machine = started(&Limits { max_turns: 100, ..Limits::default() });
    let paused = text("looking").with_finish_reason(FinishReason::Paused);
    assert!(machine.problem(&paused).is_none());
    for turn in 1..=MAX_PAUSES {
        let next = answer(&mut machine, &format!("{turn}/model"), &paused);
        assert!(matches!(&next[..], [Action::CallModel { feedback: None, .. }]), "{turn}");
    }
    let mut patient = machine.clone();
    let end = answer(&mut machine, &format!("{}/model", MAX_PAUSES + 1), &paused);
    assert!(matches!(&end[..], [Action::Finish(Finish::Failed { error })] if error.code == ErrorCode::BadOutput));
    let done = answer(&mut patient, &format!("{}/model", MAX_PAUSES + 1), &text("found"));
    assert_eq!(done, [Action::Finish(Finish::Completed { output: json!("found") })]);
}
