//! What evaluations read that is not in memory: large outputs, and secrets at the moment of a call.
//!
//! Both are brought for one turn and let go with it. Of a secret the values stay known while the
//! execution runs here, so that no record of it shows one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;

use super::super::driver::Driver;
use super::super::runnable::FlowSetup;
use super::super::state::WorkflowMind;
use super::container_node;
use crate::access::ExecutionStore;
use crate::domain::{Action, Secret, Timestamp};
use crate::error::{Error, ErrorCode, ErrorInfo, Result};
use crate::store::executions;
use crate::tool::registry::ToolOutcome;
use crate::workflow::evaluate::{Desk, HELD_BACK};
use crate::workflow::plan::PlanNode;

/// What a driver has at hand for one turn.
#[derive(Default)]
pub(in crate::execution) struct Hand {
    secrets: BTreeMap<String, Result<Secret, ErrorInfo>>,
    /// Actions that wait until what they read is brought.
    put_off: Vec<Action>,
    redactor: Redactor,
    /// Whether the secrets of the whole plan are known: a node may repeat one that another was given,
    /// in this process or in one that is gone.
    knows_all: bool,
}

/// What an action reads that is not at hand.
#[derive(Default)]
struct Lacks {
    outputs: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Hand {
    /// Lets an action wait until what it reads is brought.
    pub(in crate::execution) fn put_off(&mut self, action: Action) {
        self.put_off.push(action);
    }

    /// The actions that wait.
    pub(in crate::execution) fn take_put_off(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.put_off)
    }

    /// What came of an attempt, without the secrets that are known here.
    pub(in crate::execution) fn without_secrets(&self, result: Result<Value>) -> Result<Value> {
        self.redactor.result(result)
    }

    /// The same for what is shown while an effect runs.
    pub(in crate::execution) fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    fn secret(&self, name: &str) -> Result<String> {
        match self.secrets.get(name) {
            Some(Ok(secret)) => Ok(secret.expose().to_owned()),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(Error::internal("a secret was not brought")),
        }
    }
}

impl Driver {
    /// Whether an action reads what is not at hand.
    pub(in crate::execution) fn lacks(&self, action: &Action) -> bool {
        let Some(setup) = self.setup.workflow() else { return false };
        let mut lacks = Lacks::default();
        self.look(setup, action, &mut lacks);
        !lacks.outputs.is_empty() || !lacks.secrets.is_empty()
    }

    fn look(&self, setup: &FlowSetup, action: &Action, lacks: &mut Lacks) {
        let Some(values) = self.state.values() else { return };
        let plan = &setup.plan;
        let ends = |scope: Option<usize>| scope.map_or(&[][..], |scope| plan.scopes[scope].ends.as_slice());
        match action {
            Action::RunNode(place) => {
                let reads = &plan.nodes[place.node].reads;
                lacks.outputs.extend(values.missing(&place.path, Some(place.node), reads));
                let secrets = reads.names.secrets.iter().filter(|name| !self.work.hand.secrets.contains_key(*name));
                lacks.secrets.extend(secrets.cloned());
            }
            Action::CloseNode { place, .. } => {
                lacks.outputs.extend(values.missing_at_end(&place.key, ends(plan.nodes[place.node].body)));
            }
            Action::CloseItem { path, .. } => {
                if let Some(container) = container_node(setup, path) {
                    let node = &plan.nodes[container];
                    lacks.outputs.extend(values.missing_at_end(path, ends(node.body)));
                    lacks.outputs.extend(values.missing(path, None, &node.after));
                }
            }
            Action::Conclude => {
                lacks.outputs.extend(values.missing_at_end("", ends(Some(0))));
                lacks.outputs.extend(values.missing("", None, &plan.output_reads));
            }
            _ => {}
        }
    }

    /// Brings what these actions read.
    pub(in crate::execution) async fn bring(&mut self, actions: &[Action]) -> Result<()> {
        let Some(setup) = self.setup.workflow().map(Arc::clone) else { return Ok(()) };
        let mut lacks = Lacks::default();
        actions.iter().for_each(|action| self.look(&setup, action, &mut lacks));
        let Lacks { outputs, secrets } = lacks;
        let named = |node: &PlanNode| node.reads.names.secrets.iter().cloned().collect::<Vec<_>>();
        let all: BTreeSet<String> =
            if self.work.hand.knows_all { BTreeSet::new() } else { setup.plan.nodes.iter().flat_map(named).collect() };
        if outputs.is_empty() && secrets.is_empty() && all.is_empty() {
            return Ok(());
        }
        let read = self.store.read(move |tx, standing| {
            let outputs = outputs.iter().map(|hash| Ok((hash.clone(), executions::blob(tx, hash)?)));
            let outputs = outputs.collect::<Result<Vec<(String, Value)>>>()?;
            let mut found = Vec::with_capacity(secrets.len());
            for name in &secrets {
                // One that is gone is the failure of the node that names it.
                let secret = match standing.named_secret(tx, name) {
                    Err(error) if error.code() != ErrorCode::InvalidInput => return Err(error),
                    found => found.map_err(|error| error.to_info()),
                };
                found.push((name.clone(), secret));
            }
            let mut known = Vec::with_capacity(all.len());
            for name in &all {
                match standing.named_secret(tx, name) {
                    Ok(secret) => known.push(secret),
                    Err(error) if error.code() == ErrorCode::InvalidInput => {}
                    Err(error) => return Err(error),
                }
            }
            Ok((outputs, found, known))
        });
        let (outputs, secrets, known) = read.await?;
        known.iter().for_each(|secret| self.work.hand.redactor.learn(secret));
        self.work.hand.knows_all = true;
        for (hash, value) in outputs {
            if let Some(WorkflowMind { values, .. }) = self.state.as_workflow() {
                values.load(hash, value);
            }
        }
        for (name, secret) in secrets {
            if let Ok(secret) = &secret {
                self.work.hand.redactor.learn(secret);
            }
            self.work.hand.secrets.insert(name, secret);
        }
        Ok(())
    }

    /// Lets go of what was brought: the next turn brings what it reads.
    pub(in crate::execution) fn let_go(&mut self) {
        self.work.hand.secrets.clear();
        if let Some(mind) = self.state.as_workflow() {
            mind.values.let_go();
        }
    }

    pub(super) fn evaluate<T>(&self, setup: &FlowSetup, what: impl FnOnce(Desk<'_>) -> Result<T>) -> Result<T> {
        let values = self.state.values().ok_or_else(|| Error::internal("a workflow has no values"))?;
        let secrets = |name: &str| self.work.hand.secret(name);
        let now = Timestamp::now();
        what(Desk { plan: &setup.plan, values, id: self.ids.id, now, secrets: &secrets })
    }
}

/// The secrets of a call, by name.
pub(in crate::execution) struct Secrets {
    /// Those whose names a model was told: it says where they go.
    pub(in crate::execution) told: Vec<String>,
    /// Those that are arguments of the tool: the model knows nothing of them.
    pub(in crate::execution) arguments: BTreeMap<String, String>,
    /// Those that other tools of the agent are given.
    pub(in crate::execution) others: Vec<String>,
}

impl Secrets {
    pub(in crate::execution) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.arguments.is_empty() && self.others.is_empty()
    }
}

/// Puts secrets into the arguments of a tool.
///
/// Errors: `InvalidInput` where one is gone.
pub(in crate::execution) async fn fill(
    store: ExecutionStore,
    secrets: Secrets,
    mut arguments: Value,
) -> Result<(Value, Redactor)> {
    let mut redactor = Redactor::default();
    let text = arguments.to_string();
    let named = async |name: String| store.read(move |tx, standing| standing.named_secret(tx, &name)).await;
    for name in secrets.others {
        if let Ok(secret) = named(name).await {
            redactor.learn(&secret);
        }
    }
    let mut fixed = Vec::with_capacity(secrets.arguments.len());
    for (argument, name) in secrets.arguments {
        let secret = named(name).await?;
        redactor.learn(&secret);
        fixed.push((argument, Value::from(secret.expose())));
    }
    for name in secrets.told {
        let mark = format!("{}{name}{}", HELD_BACK.0, HELD_BACK.1);
        let found = named(name).await;
        // Also one that this call is not given: a tool may know it from a call before.
        if let Ok(secret) = &found {
            redactor.learn(secret);
        }
        if text.contains(&mark) {
            replace(&mut arguments, &mark, found?.expose());
        }
    }
    if let Some(fields) = arguments.as_object_mut() {
        fields.extend(fixed);
    }
    Ok((arguments, redactor))
}

fn replace(value: &mut Value, mark: &str, with: &str) {
    match value {
        Value::String(text) if text.contains(mark) => *text = text.replace(mark, with),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, mark, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, mark, with)),
        _ => {}
    }
}

/// What takes the place of a secret.
const MASK: &str = "***";

/// Takes the values of secrets out of what is kept or shown.
#[derive(Clone, Default)]
pub(in crate::execution) struct Redactor {
    /// The forms in which each may come back, the longest first.
    forms: Vec<String>,
}

impl Redactor {
    fn learn(&mut self, secret: &Secret) {
        let plain = secret.expose();
        if plain.is_empty() || self.forms.iter().any(|form| form == plain) {
            return;
        }
        let quoted = Value::from(plain).to_string();
        let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
        let forms = [plain.to_owned(), quoted[1..quoted.len() - 1].to_owned(), percent(plain), encoded];
        self.forms.extend(forms);
        self.forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        self.forms.dedup();
    }

    /// The end of a call without the secrets that it was given.
    pub(in crate::execution) fn outcome(&self, mut outcome: ToolOutcome) -> ToolOutcome {
        let clean = |error: Error| self.result(Err(error)).err();
        outcome.result.content = self.value(outcome.result.content);
        (outcome.fatal, outcome.error) = (outcome.fatal.and_then(clean), outcome.error.and_then(clean));
        outcome
    }

    fn result(&self, result: Result<Value>) -> Result<Value> {
        if self.forms.is_empty() {
            return result;
        }
        match result {
            Ok(value) => Ok(self.value(value)),
            Err(error) => {
                let info = error.to_info();
                let clean = ErrorInfo {
                    message: self.text(&info.message).into_owned(),
                    details: self.value(info.details.clone()),
                    ..info.clone()
                };
                // An error that shows nothing stays what it was, with all that retries read in it.
                if clean.message == info.message && clean.details == info.details {
                    Err(error)
                } else {
                    Err(clean.into())
                }
            }
        }
    }

    pub(in crate::execution) fn value(&self, value: Value) -> Value {
        if self.forms.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => match self.text(&text) {
                Cow::Borrowed(_) => Value::String(text),
                Cow::Owned(clean) => Value::String(clean),
            },
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (self.text(&key).into_owned(), self.value(value))).collect()
            }
            other => other,
        }
    }

    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut clean = Cow::Borrowed(text);
        for form in &self.forms {
            if clean.contains(form.as_str()) {
                clean = Cow::Owned(clean.replace(form.as_str(), MASK));
            }
        }
        clean
    }
}

/// A text as it stands in an address.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_form_of_a_secret_is_left() {
        let mut redactor = Redactor::default();
        redactor.learn(&Secret::new("a\"b c"));
        let seen = json!({"a\"b c": ["x a\"b c y", "a%22b%20c", "YSJiIGM=", "a\\\"b c", 7, null]});
        assert_eq!(redactor.value(seen), json!({"***": ["x *** y", "***", "***", "***", 7, null]}));
        let error = redactor.result(Err(Error::new(ErrorCode::Unavailable, "no a\"b c"))).expect_err("an error");
        assert_eq!((error.code(), error.to_string().as_str()), (ErrorCode::Unavailable, "no ***"));
    }
}
