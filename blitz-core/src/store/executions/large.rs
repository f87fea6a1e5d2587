//! Large values of records: a record names them by their hash, and they are kept beside it once.

use serde_json::Value;

use super::{INLINE_BYTES, blob, put_blob};
use crate::domain::{Event, EventData, NodeFinished, OutputRef};
use crate::error::Result;
use crate::store::content_hash;
use crate::store::sql::{Connection, Row, to_json};

/// How much of a large value its reference shows.
const PREVIEW: usize = 1024;

/// Takes the large values out of a record and keeps them by their hash. Gives whether there were any.
pub(super) fn take_out(tx: &mut dyn Connection, data: &mut EventData) -> Result<bool> {
    let mut any = false;
    if let EventData::ItemFinished(item) = data {
        let mut vars = Value::Object(std::mem::take(&mut item.vars));
        any |= keep(tx, &mut vars, &mut item.vars_ref)?;
        if let Value::Object(vars) = vars {
            item.vars = vars;
        }
    }
    for (value, at) in places(data) {
        any |= keep(tx, value, at)?;
    }
    Ok(any)
}

/// Events with the large values that something goes on from.
pub(super) fn whole_events(tx: &mut dyn Connection, rows: &[Row]) -> Result<Vec<Event>> {
    let mut events = super::events(tx, rows)?;
    events.iter_mut().try_for_each(|event| bring_back(tx, &mut event.data))?;
    Ok(events)
}

/// Brings back what was taken out of a record that something goes on from. What a node gave stays where it is: it is
/// brought when it is read.
pub(super) fn bring_back(tx: &mut dyn Connection, data: &mut EventData) -> Result<()> {
    match data {
        EventData::ItemFinished(item) => {
            if let Some(at) = item.vars_ref.take() {
                item.vars = blob(tx, &at.hash)?;
            }
        }
        EventData::ExecutionQueued(_) | EventData::NodeStarted(_) => {
            for (value, at) in places(data) {
                if let Some(at) = at.take() {
                    *value = blob(tx, &at.hash)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Brings the output of a node whose record is read for it: what variables are set to.
pub(crate) fn bring_output(tx: &mut dyn Connection, finished: &mut NodeFinished) -> Result<()> {
    if let Some(at) = finished.output_ref.take() {
        finished.output = blob(tx, &at.hash)?;
    }
    Ok(())
}

/// Whether a record names a large value by this hash.
pub(super) fn names(data: &mut EventData, hash: &str) -> bool {
    let of_vars = match data {
        EventData::ItemFinished(item) => item.vars_ref.as_ref().is_some_and(|at| at.hash == hash),
        _ => false,
    };
    of_vars || places(data).into_iter().any(|(_, at)| at.as_ref().is_some_and(|at| at.hash == hash))
}

fn places(data: &mut EventData) -> Vec<(&mut Value, &mut Option<OutputRef>)> {
    match data {
        EventData::ExecutionQueued(queued) => {
            vec![(&mut queued.input, &mut queued.input_ref), (&mut queued.trigger, &mut queued.trigger_ref)]
        }
        EventData::ExecutionFinished(finished) => vec![(&mut finished.output, &mut finished.output_ref)],
        EventData::NodeStarted(started) => vec![(&mut started.input, &mut started.input_ref)],
        EventData::NodeFinished(finished) => vec![(&mut finished.output, &mut finished.output_ref)],
        EventData::VarSet { value, value_ref, .. } => vec![(value, value_ref)],
        _ => Vec::new(),
    }
}

fn keep(tx: &mut dyn Connection, value: &mut Value, at: &mut Option<OutputRef>) -> Result<bool> {
    if at.is_some() {
        return Ok(false);
    }
    let json = to_json(value)?;
    let Some(large) = large(&json) else { return Ok(false) };
    put_blob(tx, &large.hash, json.as_bytes())?;
    (*value, *at) = (Value::Null, Some(large));
    Ok(true)
}

/// How a record names a value of this JSON, where it is too large to stand in it.
pub(crate) fn large(json: &str) -> Option<OutputRef> {
    let preview = || json[..json.floor_char_boundary(PREVIEW)].to_owned();
    (json.len() > INLINE_BYTES).then(|| OutputRef::new(content_hash(json.as_bytes()), json.len() as u64, preview()))
}
