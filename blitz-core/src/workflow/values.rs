//! What the nodes of an execution gave, under the path and node that gave it.
//!
//! Large outputs are not here: they are kept by their hash and brought when an expression reads
//! them. What an item of a map gives stays until the map ends, what its nodes gave until it ends.

mod held;
pub(super) mod vars;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::evaluate::wants_input;
use super::expr::{Names, Scope, Seen};
use super::machine::{container_of, join};
use super::plan::{Plan, PlanEdge, PlanNode, Reads};
use super::task::{MapFail, Task};
use crate::domain::{
    ExecutionId, ItemFinished, JoinMode, NodeFinished, NodeRetrying, NodeStarted, NodeStatus, Queued, Timestamp, Usage,
};
use crate::error::{Error, ErrorInfo, Result};
pub(crate) use held::Held;
pub(super) use held::length;
use held::{ItemValue, NodeValue};

/// The values of one execution of a workflow.
#[derive(Debug)]
pub(crate) struct Values {
    plan: Arc<Plan>,
    nodes: BTreeMap<String, usize>,
    input: Arc<Value>,
    trigger: Arc<Value>,
    started_at: Timestamp,
    vars: BTreeMap<String, Arc<Value>>,
    /// The scopes that something has come out of, by path.
    frames: BTreeMap<String, Frame>,
    /// Maps and loops that run, by key.
    contents: BTreeMap<String, Contents>,
    /// Large outputs that this turn reads or has made, by hash.
    loaded: BTreeMap<String, Arc<Value>>,
    /// Why the workflow fails, for its handler.
    error: Option<ErrorInfo>,
    /// How many nodes have ended.
    ended: u64,
}

/// What came out of one scope.
#[derive(Debug, Default)]
struct Frame {
    nodes: BTreeMap<usize, NodeValue>,
}

/// What a map or loop that runs has so far.
#[derive(Debug)]
struct Contents {
    /// The items of a map.
    items: Arc<Value>,
    /// What the items that ended gave; of a loop the newest round only.
    outputs: BTreeMap<u64, ItemValue>,
    /// The bytes of the list that a map would give now.
    bytes: u64,
    /// The variables as each item of a map sees them, and what it wrote.
    copies: BTreeMap<u64, Copy>,
}

/// One item's copy of the variables: what they were before it wrote them, which all items share, and its writes.
#[derive(Debug, Default)]
struct Copy {
    base: BTreeMap<String, Arc<Value>>,
    writes: Vec<(String, Value)>,
}

/// The rounds of a loop, as its body sees them.
struct Round {
    count: u64,
    last: Arc<Value>,
}

/// Takes out what is below a path, without a look at anything else.
fn remove_below<T>(map: &mut BTreeMap<String, T>, path: &str) {
    let (below, end) = (format!("{path}/"), format!("{path}0"));
    let inside: Vec<String> = map.range(below..end).map(|(key, _)| key.clone()).collect();
    for key in &inside {
        map.remove(key);
    }
}

impl Values {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let nodes = plan.nodes.iter().enumerate().map(|(index, node)| (node.id.clone(), index)).collect();
        let vars = plan.vars.iter().map(|(name, var)| (name.clone(), Arc::new(var.default.clone()))).collect();
        Self {
            plan,
            nodes,
            input: Arc::new(Value::Null),
            trigger: Arc::new(Value::Null),
            started_at: Timestamp(0),
            vars,
            frames: BTreeMap::new(),
            contents: BTreeMap::new(),
            loaded: BTreeMap::new(),
            error: None,
            ended: 0,
        }
    }

    // Records -----------------------------------------------------------------------------------

    pub(crate) fn begin(&mut self, now: Timestamp, queued: &Queued) {
        self.input = Arc::new(queued.input.clone());
        self.trigger = Arc::new(queued.trigger.clone());
        self.started_at = now;
    }

    pub(crate) fn started(&mut self, now: Timestamp, path: &str, started: &NodeStarted) {
        let Some(node) = self.index(&started.node) else { return };
        let values = &mut self.frames.entry(path.to_owned()).or_default().nodes;
        let value = values.entry(node).or_insert_with(|| NodeValue::new(now));
        value.status = NodeStatus::Running;
        if started.items.is_some() {
            let items = Arc::new(started.input.clone());
            let contents = Contents { items, outputs: BTreeMap::new(), bytes: 1, copies: BTreeMap::new() };
            self.contents.insert(join(path, &started.node), contents);
        }
    }

    pub(crate) fn retrying(&mut self, path: &str, retrying: &NodeRetrying) {
        let Some(node) = self.index(&retrying.node) else { return };
        if let Some(value) = self.frames.get_mut(path).and_then(|frame| frame.nodes.get_mut(&node)) {
            value.usage.add(&retrying.usage);
        }
    }

    /// Keeps what a node gave.
    pub(crate) fn finished(&mut self, path: &str, finished: &NodeFinished) {
        let Some(node) = self.index(&finished.node) else { return };
        let values = &mut self.frames.entry(path.to_owned()).or_default().nodes;
        let value = values.entry(node).or_insert_with(|| NodeValue::new(Timestamp(0)));
        value.status = finished.status;
        value.port.clone_from(&finished.port);
        value.error.clone_from(&finished.error);
        value.usage.add(&finished.usage);
        value.place = self.ended;
        self.ended += 1;
        value.output = Held::new(&finished.output, finished.output_ref.as_ref());
        if finished.is_fatal() && path.is_empty() && self.error.is_none() {
            self.error.clone_from(&finished.error);
        }
        if self.sets(node, finished)
            && let Value::Object(written) = &finished.output
        {
            for (name, value) in written.clone() {
                self.write(path, &name, value);
            }
        }
        for (name, value) in finished.writes.clone() {
            self.write(path, &name, value);
        }
        self.container_ended(path, finished);
    }

    /// A map's variables are merged in the order of its items, and what is inside is forgotten. What
    /// the items of a map have written that failed is undone with it: how far they came is chance.
    fn container_ended(&mut self, path: &str, finished: &NodeFinished) {
        let key = join(path, &finished.node);
        let Some(contents) = self.contents.remove(&key) else { return };
        if finished.status == NodeStatus::Completed {
            for (name, value) in contents.copies.into_values().flat_map(|copy| copy.writes) {
                self.write(path, &name, value);
            }
        }
        self.forget_below(&key);
        self.frames.remove(&key);
    }

    fn forget_below(&mut self, path: &str) {
        remove_below(&mut self.frames, path);
        remove_below(&mut self.contents, path);
    }

    /// Keeps what an item or round gave. Gives why its map can only fail, from the item on that says so:
    /// what more of them gives is not kept any more.
    pub(crate) fn item_finished(&mut self, path: &str, item: &ItemFinished) -> Option<Error> {
        let output = Held::new(&item.output, item.output_ref.as_ref());
        let task = self.index(&item.node).map(|node| &self.plan.nodes[node].task);
        let most = self.plan.limits.output_bytes;
        let mut over = None;
        if let Some(contents) = self.contents.get_mut(container_of(path).0) {
            let value = ItemValue { status: item.status, output };
            match task {
                Some(Task::Map(map)) => {
                    let before = contents.bytes;
                    contents.bytes += value.bytes(map.fail);
                    if contents.bytes <= most {
                        contents.outputs.insert(item.index, value);
                    } else if before <= most {
                        contents.outputs.clear();
                        over = Some(Error::too_large(format!(
                            "what the items of the map give has more than {most} bytes: give less, or raise limits.output_bytes"
                        )));
                    }
                }
                _ => contents.outputs = BTreeMap::from([(item.index, value)]),
            }
            match item.status {
                // Nobody sees its variables any more: what it wrote is all that counts.
                NodeStatus::Completed => {
                    if let Some(copy) = contents.copies.get_mut(&item.index) {
                        copy.base.clear();
                    }
                }
                // What a failed item wrote is undone with it.
                _ => drop(contents.copies.remove(&item.index)),
            }
        }
        for (name, value) in item.vars.clone() {
            self.write(path, &name, value);
        }
        self.forget_below(path);
        self.frames.remove(path);
        over
    }

    // Reading -----------------------------------------------------------------------------------

    fn index(&self, id: &str) -> Option<usize> {
        self.nodes.get(id).copied()
    }

    /// Where a node's value is, as a path sees it: in its own scope or one around it.
    fn find(&self, path: &str, node: usize) -> Option<&NodeValue> {
        let mut path = Some(path);
        while let Some(at) = path {
            if let Some(value) = self.frames.get(at).and_then(|frame| frame.nodes.get(&node)) {
                return Some(value);
            }
            path = if at.is_empty() { None } else { parent(container_of(at).0) };
        }
        None
    }

    /// When a node that runs began.
    pub(crate) fn started_at(&self, path: &str, node: usize) -> Option<Timestamp> {
        let value = self.frames.get(path)?.nodes.get(&node)?;
        (value.started_at.0 > 0).then_some(value.started_at)
    }

    /// The large outputs that an evaluation reads and that are not here.
    pub(crate) fn missing(&self, path: &str, node: Option<usize>, reads: &Reads) -> BTreeSet<String> {
        let mut hashes = BTreeSet::new();
        // What the edges bring is merged for those alone that state no input and ask for it.
        let merges = |node: &&PlanNode| {
            let mut tasks = std::iter::once(&node.task).chain(&node.fallback);
            node.input.is_none() && tasks.any(|task| wants_input(node, task))
        };
        let node = node.map(|node| &self.plan.nodes[node]).filter(merges);
        let incoming = node.map(|node| node.incoming.as_slice()).unwrap_or_default();
        let sources = incoming.iter().map(|edge| self.plan.edges[*edge].from);
        for node in reads.nodes.iter().copied().chain(sources) {
            if let Some(NodeValue { output: Held::Elsewhere(at), .. }) = self.find(path, node) {
                hashes.insert(at.hash.clone());
            }
        }
        if reads.names.rounds
            && let Some((key, _)) = self.loop_of(path)
            && let Some(Held::Elsewhere(at)) = self.last_of(key)
        {
            hashes.insert(at.hash.clone());
        }
        hashes.retain(|hash| !self.loaded.contains_key(hash));
        hashes
    }

    /// The large outputs that the end of a scope or container gathers and that are not here.
    pub(crate) fn missing_at_end(&self, path: &str, ends: &[usize]) -> BTreeSet<String> {
        let nodes = ends.iter().filter_map(|node| self.frames.get(path)?.nodes.get(node)).map(|value| &value.output);
        let items = self.contents.get(path).into_iter().flat_map(|contents| contents.outputs.values());
        let held = nodes.chain(items.map(|item| &item.output));
        let mut hashes: BTreeSet<String> = held
            .filter_map(|held| match held {
                Held::Elsewhere(at) => Some(at.hash.clone()),
                Held::Here(_) => None,
            })
            .collect();
        hashes.retain(|hash| !self.loaded.contains_key(hash));
        hashes
    }

    /// Brings a large output, for the expressions that read it.
    pub(crate) fn load(&mut self, hash: String, value: Value) {
        self.loaded.insert(hash, Arc::new(value));
    }

    /// Forgets the large outputs that were brought or made.
    pub(crate) fn let_go(&mut self) {
        self.loaded.clear();
    }

    fn value(&self, held: &Held) -> Result<Arc<Value>> {
        match held {
            Held::Here(value) => Ok(Arc::clone(value)),
            Held::Elsewhere(at) => {
                self.loaded.get(&at.hash).cloned().ok_or_else(|| Error::internal("a large output was not brought"))
            }
        }
    }

    /// What expressions see at a path: only what they name.
    pub(crate) fn scope(&self, path: &str, reads: &Reads, id: ExecutionId) -> Result<Scope> {
        let Names { inputs, item, index, rounds, execution, trigger, error, vars, open, .. } = &reads.names;
        let mut scope = Scope::default();
        if *inputs {
            scope.insert("inputs", Arc::clone(&self.input));
        }
        if *trigger {
            scope.insert("trigger", Arc::clone(&self.trigger));
        }
        if *execution {
            scope.insert("execution", json!({"id": id, "started_at": self.started_at}));
        }
        if !vars.is_empty() || open.contains("vars") {
            let all = open.contains("vars");
            let names = self.plan.vars.keys().filter(|name| all || vars.contains(*name));
            let read = names.filter_map(|name| Some((name.clone(), self.seen(path, name)?.into())));
            scope.insert("vars", Seen::object(read));
        }
        if !reads.nodes.is_empty() || !reads.names.nodes.is_empty() {
            let mut nodes = Vec::with_capacity(reads.nodes.len());
            for node in &reads.nodes {
                let shown = match self.find(path, *node) {
                    Some(value) => self.shown(value)?,
                    None => self.not_begun(*node).into(),
                };
                nodes.push((self.plan.nodes[*node].id.clone(), shown));
            }
            scope.insert("nodes", Seen::object(nodes));
        }
        if (*item || *index)
            && let Some((list, place)) = self.place_of_item(path)
        {
            scope.insert("item", Seen::item(&list, place));
            scope.insert("index", json!(place));
        }
        if *rounds && let Some(round) = self.round(path)? {
            let fields = [("count".to_owned(), json!(round.count).into()), ("last".to_owned(), round.last.into())];
            scope.insert("loop", Seen::object(fields));
        }
        if *error && let Some(error) = &self.error {
            scope.insert("error", json!(error));
        }
        Ok(scope)
    }

    /// A node as expressions see it. What was skipped has no output: it reads as undefined.
    fn shown(&self, value: &NodeValue) -> Result<Seen> {
        let named = |name: &str, seen: Seen| (name.to_owned(), seen);
        let mut shown = vec![
            named("status", json!(value.status).into()),
            named("usage", json!(value.usage).into()),
            named("error", json!(value.error).into()),
        ];
        if !matches!(value.status, NodeStatus::Skipped | NodeStatus::Cancelled | NodeStatus::Running) {
            shown.push(named("output", self.value(&value.output)?.into()));
        }
        Ok(Seen::object(shown))
    }

    /// A node that no record tells of, as expressions see it.
    fn not_begun(&self, node: usize) -> Value {
        let never = self.error.is_some() || !self.plan.nodes[node].reachable;
        let status = if never { NodeStatus::NotRun } else { NodeStatus::Pending };
        json!({"status": status, "usage": Usage::default(), "error": null})
    }

    /// The innermost item that a path is in, with its place.
    fn place_of_item(&self, path: &str) -> Option<(Arc<Value>, usize)> {
        let (key, index) = self.item_of(path)?;
        let items = Arc::clone(&self.contents.get(&key)?.items);
        let at = usize::try_from(index).ok()?;
        items.get(at).is_some().then_some((items, at))
    }

    /// The innermost round that a path is in.
    fn round(&self, path: &str) -> Result<Option<Round>> {
        let Some((key, count)) = self.loop_of(path) else { return Ok(None) };
        Ok(Some(Round { count, last: self.last_round(key)? }))
    }

    /// The key of the innermost loop that a path is in, and which of its rounds.
    fn loop_of<'p>(&self, mut path: &'p str) -> Option<(&'p str, u64)> {
        loop {
            let (key, index) = container_of(path);
            let id = key.rsplit('/').next().unwrap_or_default();
            let is_loop = self.index(id).is_some_and(|node| matches!(self.plan.nodes[node].task, Task::Loop(_)));
            if let (Some(count), true) = (index, is_loop) {
                return Some((key, count));
            }
            path = parent(key)?;
        }
    }

    /// What the last round of a loop gave, or where that is.
    fn last_of(&self, key: &str) -> Option<&Held> {
        self.contents.get(key)?.outputs.values().next_back().map(|item| &item.output)
    }

    /// What the edges bring to a node that states no input: objects merged in the order of the
    /// edges, anything else under `<id>_output`.
    pub(crate) fn merged(&self, path: &str, node: usize) -> Result<Value> {
        let mut merged = Map::new();
        let brought = self.brought(path, node);
        let any = !brought.is_empty();
        for (edge, value) in brought {
            if edge.out == "error" {
                merged.insert("error".to_owned(), json!(value.error));
                continue;
            }
            match self.value(&value.output)?.as_ref() {
                Value::Object(fields) => merged.extend(fields.clone()),
                Value::Null => {}
                other => {
                    merged.insert(format!("{}_output", self.plan.nodes[edge.from].id), other.clone());
                }
            }
        }
        if any || !self.plan.nodes[node].incoming.is_empty() {
            return Ok(Value::Object(merged));
        }
        // Where a scope begins: with the item, else with what the whole was given.
        Ok(match self.place_of_item(path).and_then(|(items, at)| Some((items.get(at).cloned()?, at))) {
            Some((item @ Value::Object(_), _)) => item,
            Some((item, index)) => json!({"item": item, "index": index}),
            None => self.input.as_ref().clone(),
        })
    }

    /// The edges that made a node run, in their order, with what they come from. A join that waits for
    /// some of its edges only is given what came first, whatever has come since.
    fn brought(&self, path: &str, node: usize) -> Vec<(&PlanEdge, &NodeValue)> {
        let Some(frame) = self.frames.get(path) else { return Vec::new() };
        let edges = self.plan.nodes[node].incoming.iter().map(|edge| &self.plan.edges[*edge]);
        let taken = edges.filter_map(|edge| Some((edge, frame.nodes.get(&edge.from)?)));
        let mut taken: Vec<_> = taken.filter(|(edge, value)| value.left_by(&edge.out)).collect();
        let join = &self.plan.nodes[node].join;
        let most = match join.mode {
            JoinMode::AnyTaken | JoinMode::All => return taken,
            JoinMode::First => 1,
            JoinMode::N => join.n.unwrap_or(1) as usize,
        };
        let mut places: Vec<u64> = taken.iter().map(|(_, value)| value.place).collect();
        places.sort_unstable();
        if let Some(last) = most.checked_sub(1).and_then(|last| places.get(last)) {
            taken.retain(|(_, value)| value.place <= *last);
        }
        taken
    }

    /// The input of the whole.
    pub(crate) fn input(&self) -> &Value {
        &self.input
    }

    /// What the ends of a scope give: one value, or an object of them by node where several ended.
    pub(crate) fn gathered(&self, path: &str, ends: &[usize]) -> Result<Value> {
        let mut found = Vec::new();
        let mut fields = Map::new();
        for node in ends {
            let Some(value) = self.frames.get(path).and_then(|frame| frame.nodes.get(node)) else { continue };
            if !value.has_output() {
                continue;
            }
            let output = self.value(&value.output)?.as_ref().clone();
            match &self.plan.nodes[*node].task {
                Task::Output { name, .. } => {
                    fields.insert(name.clone(), output);
                }
                _ => found.push((self.plan.nodes[*node].id.clone(), output)),
            }
        }
        if !fields.is_empty() {
            return Ok(Value::Object(fields));
        }
        Ok(match found.len() {
            0 => Value::Null,
            1 => found.remove(0).1,
            _ => Value::Object(found.into_iter().collect()),
        })
    }

    /// The list that a map gives, in the order of its items.
    pub(crate) fn collected(&self, key: &str, fail: MapFail) -> Result<Value> {
        let Some(contents) = self.contents.get(key) else { return Ok(Value::Array(Vec::new())) };
        let mut list = Vec::with_capacity(contents.outputs.len());
        for item in contents.outputs.values() {
            match (item.status, fail) {
                (NodeStatus::Completed, _) => list.push(self.value(&item.output)?.as_ref().clone()),
                (_, MapFail::Drop) => {}
                _ => list.push(Value::Null),
            }
        }
        Ok(Value::Array(list))
    }

    /// What the last round of a loop gave.
    pub(crate) fn last_round(&self, key: &str) -> Result<Arc<Value>> {
        self.last_of(key).map_or_else(|| Ok(Arc::default()), |held| self.value(held))
    }
}

/// The path that a container's key is in.
fn parent(key: &str) -> Option<&str> {
    match key.rsplit_once('/') {
        Some((path, _)) => Some(path),
        None if key.is_empty() => None,
        None => Some(""),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
