//! What a workflow gives, worked out in the plainest way: a body is gone through node by node, a
//! node behind all that leads to it, an item behind the other. Nothing runs side by side.
//!
//! Two things only the run itself knows, and the model takes them from it: which source of a join of
//! the modes `first` and `n` came first, and how far a branch was that such a join cancelled.

use std::collections::{BTreeMap, BTreeSet};

use blitz::NodeStatus;
use serde_json::{Map, Value, json};

use super::shape::{Flow, Items, Join, Kind, Link, MapFail, OnError, Rule, Source, Step, Test, verdict};

/// What a run has shown.
#[derive(Debug, Default)]
pub(in super::super) struct Shown {
    /// The keys of nodes in the order in which they ended.
    pub(in super::super) arrivals: Vec<String>,
    pub(in super::super) states: BTreeMap<String, NodeStatus>,
}

/// What must come out.
#[derive(Debug, Default)]
pub(in super::super) struct Expected {
    /// How each node ends that is decided, by its key.
    pub(in super::super) states: BTreeMap<String, NodeStatus>,
    /// The paths and keys below which it is open how far things came: they failed or were cancelled.
    pub(in super::super) loose: BTreeSet<String>,
    /// The output; or else the nodes of which the first to fail fails the whole.
    pub(in super::super) result: Option<Result<Value, BTreeSet<String>>>,
    /// How often host code succeeds, by key, where that is certain.
    pub(in super::super) asked: u64,
}

/// The variables as a place sees them, and what was written there.
#[derive(Debug, Clone)]
struct Vars {
    now: BTreeMap<String, Value>,
    log: Vec<(String, Value)>,
}

/// What is around a body.
#[derive(Debug, Clone, Default)]
struct Around {
    path: String,
    seen: BTreeMap<String, Ended>,
    item: Option<(Value, u64)>,
    count: Option<u64>,
}

/// How a node ended.
#[derive(Debug, Clone)]
struct Ended {
    status: NodeStatus,
    /// `*` for all ports.
    port: Option<String>,
    output: Value,
}

/// Ids of nodes that failed without being handled.
type Failed = BTreeSet<String>;

pub(in super::super) struct Model<'a> {
    flow: &'a Flow,
    input: &'a Value,
    shown: &'a Shown,
    expected: Expected,
}

/// What must come out of a flow.
pub(in super::super) fn expect(flow: &Flow, input: &Value, shown: &Shown) -> Expected {
    let mut model = Model { flow, input, shown, expected: Expected::default() };
    let start = |rule: Rule| match rule {
        Rule::Replace | Rule::Add => json!(0),
        Rule::Append => json!([]),
        Rule::MergeKeys => json!({}),
    };
    let now = flow.vars.iter().map(|var| (var.name.clone(), start(var.rule))).collect();
    let mut vars = Vars { now, log: Vec::new() };
    let result = model.scope(None, &Around::default(), &mut vars);
    if result.is_err() {
        model.expected.loose.insert(String::new());
    }
    let shown = result.map(|(output, _)| match flow.shows_vars {
        true => Value::Object(vars.now.into_iter().collect()),
        false => output,
    });
    model.expected.result = Some(shown);
    model.expected
}

impl Model<'_> {
    fn key(path: &str, id: &str) -> String {
        if path.is_empty() { id.to_owned() } else { format!("{path}/{id}") }
    }

    fn members(&self, parent: Option<&str>) -> Vec<&Step> {
        let inside = |node: &&Step| node.parent.as_deref() == parent && !matches!(node.kind, Kind::Note);
        self.flow.nodes.iter().filter(inside).collect()
    }

    fn leading_to(&self, id: &str) -> Vec<&Link> {
        self.flow.links.iter().filter(|link| link.to == id).collect()
    }

    /// The nodes that some path leads to.
    fn reached(&self, parent: Option<&str>) -> BTreeSet<String> {
        let members = self.members(parent);
        let stated = members.iter().any(|node| matches!(node.kind, Kind::Start));
        let begins = |node: &&&Step| match stated {
            true => matches!(node.kind, Kind::Start | Kind::Input(_)) && self.leading_to(&node.id).is_empty(),
            false => self.leading_to(&node.id).is_empty(),
        };
        let mut reached: BTreeSet<String> = members.iter().filter(begins).map(|node| node.id.clone()).collect();
        loop {
            let more: Vec<String> = self
                .flow
                .links
                .iter()
                .filter(|link| reached.contains(&link.from) && !reached.contains(&link.to))
                .map(|link| link.to.clone())
                .collect();
            if more.is_empty() {
                return reached;
            }
            reached.extend(more);
        }
    }

    /// Goes through a body; gives what its ends give and what its nodes show.
    fn scope(
        &mut self,
        parent: Option<&str>,
        around: &Around,
        vars: &mut Vars,
    ) -> Result<(Value, BTreeMap<String, Ended>), Failed> {
        let reached = self.reached(parent);
        let order: Vec<Step> =
            self.members(parent).into_iter().filter(|node| reached.contains(&node.id)).cloned().collect();
        let mut ended: BTreeMap<String, Ended> = BTreeMap::new();
        let mut failed = Failed::new();
        // A node behind one that failed never runs: it is in neither.
        while let Some(node) = order.iter().find(|node| {
            !ended.contains_key(&node.id)
                && !failed.contains(&node.id)
                && self
                    .leading_to(&node.id)
                    .iter()
                    .all(|link| ended.contains_key(&link.from) || !reached.contains(&link.from))
        }) {
            let mut here = around.clone();
            here.seen.extend(ended.clone());
            let key = Self::key(&around.path, &node.id);
            if self.was_cancelled(node, &key, &order) {
                self.expected.loose.insert(key);
                let gone = Ended { status: NodeStatus::Cancelled, port: None, output: Value::Null };
                ended.insert(node.id.clone(), gone);
                continue;
            }
            match self.node(node, &key, &ended, &here, vars) {
                Ok(end) => {
                    self.expected.states.insert(key, end.status);
                    ended.insert(node.id.clone(), end);
                }
                Err(inner) => {
                    self.expected.loose.insert(key);
                    failed.insert(node.id.clone());
                    failed.extend(inner);
                }
            }
        }
        if !failed.is_empty() {
            return Err(failed);
        }
        Ok((self.gathered(parent, &reached, &ended), ended))
    }

    /// Whether a join has cancelled a node: the run says so, and a join may only cancel what leads nowhere else.
    fn was_cancelled(&self, node: &Step, key: &str, scope: &[Step]) -> bool {
        if self.shown.states.get(key) != Some(&NodeStatus::Cancelled) {
            return false;
        }
        let path = key.strip_suffix(&node.id).unwrap_or_default();
        scope.iter().any(|join| {
            let cancels = matches!(join.join, Join::First { cancels: true } | Join::N { cancels: true, .. });
            let began = self.shown.states.get(&format!("{path}{}", join.id));
            cancels
                && began.is_some_and(|state| *state != NodeStatus::Skipped || join.when.is_some())
                && self.only_feeds(&node.id, &join.id)
        })
    }

    fn only_feeds(&self, id: &str, join: &str) -> bool {
        let mut targets = self.flow.links.iter().filter(|link| link.from == id).peekable();
        targets.peek().is_some() && targets.all(|link| link.to == join || self.only_feeds(&link.to, join))
    }

    fn gathered(&self, parent: Option<&str>, reached: &BTreeSet<String>, ended: &BTreeMap<String, Ended>) -> Value {
        let members: Vec<&Step> = self.members(parent).into_iter().filter(|node| reached.contains(&node.id)).collect();
        let gives = |node: &&Step| matches!(node.kind, Kind::End(_) | Kind::Output(..));
        let stated = members.iter().any(gives);
        let is_end = |node: &&&Step| match stated {
            true => gives(node),
            false => !self.flow.links.iter().any(|link| link.from == node.id),
        };
        let mut given: Vec<(String, Value)> = Vec::new();
        let mut fields = Map::new();
        for node in members.iter().filter(is_end) {
            let end = &ended[&node.id];
            if end.port.as_deref().is_some_and(|port| port != "error") {
                match &node.kind {
                    Kind::Output(name, _) => drop(fields.insert(name.clone(), end.output.clone())),
                    _ => given.push((node.id.clone(), end.output.clone())),
                }
            }
        }
        if !fields.is_empty() {
            return Value::Object(fields);
        }
        match given.len() {
            0 => Value::Null,
            1 => given.remove(0).1,
            _ => Value::Object(given.into_iter().collect()),
        }
    }

    // One node ----------------------------------------------------------------------------------

    fn node(
        &mut self,
        node: &Step,
        key: &str,
        ended: &BTreeMap<String, Ended>,
        here: &Around,
        vars: &mut Vars,
    ) -> Result<Ended, Failed> {
        let skipped = Ended { status: NodeStatus::Skipped, port: None, output: Value::Null };
        let Some(taken) = self.taken(node, ended, here) else { return Ok(skipped) };
        if let Some(when) = &node.when
            && !self.test(when, here, vars)
        {
            return Ok(skipped);
        }
        let input = match self.input_of(node, &taken, ended, here, vars) {
            Ok(input) => input,
            Err(()) => return self.failed(node),
        };
        let done = |port: &str, output: Value| {
            Ok(Ended { status: NodeStatus::Completed, port: Some(port.to_owned()), output })
        };
        if node.disabled {
            return done("*", input);
        }
        match &node.kind {
            Kind::Start => done("out", self.input.clone()),
            Kind::Work { give, fails, .. } => {
                // Its settings are worked out before it can fail.
                let given = match give {
                    Some(source) => self.value(source, here, vars),
                    None => Ok(input),
                };
                match given {
                    Ok(given) if *fails < node.attempts => done("out", given),
                    _ => match node.fallback {
                        Some(value) => done("out", json!(value)),
                        None => self.failed(node),
                    },
                }
            }
            Kind::Input(name) => done("out", self.input.get(name).cloned().unwrap_or(json!(7))),
            Kind::Template(number) => {
                done("out", json!(format!("<{}>", self.value(number, here, vars).expect("a number"))))
            }
            Kind::Tool(number) => {
                let number = self.value(number, here, vars).expect("a number").as_i64().expect("a number");
                done("out", json!(2 * number))
            }
            Kind::Sub => done("out", json!(input["n"].as_i64().expect("a number") + 1)),
            Kind::Agent => {
                self.expected.asked += 1;
                done("out", json!("said"))
            }
            Kind::Wait { .. } => done("out", Value::Null),
            Kind::Approve => {
                let option = verdict(key);
                done(option, json!({"option": option, "comment": "", "value": null, "by": "root"}))
            }
            Kind::Note => unreachable!("it is in no body"),
            Kind::Code(source) => match self.value(source, here, vars) {
                Ok(value) => done("out", value),
                Err(()) => self.failed(node),
            },
            Kind::Set(writes) => {
                let mut values = Map::new();
                for (name, source) in writes {
                    match self.value(source, here, vars) {
                        Ok(value) => drop(values.insert(name.clone(), value)),
                        Err(()) => return self.failed(node),
                    }
                }
                for (name, value) in values.clone() {
                    self.write(vars, &name, value);
                }
                done("out", Value::Object(values))
            }
            Kind::If(test) => done(if self.test(test, here, vars) { "true" } else { "false" }, input),
            Kind::Switch { value, cases } => {
                let value = self.value(value, here, vars).unwrap_or_default();
                let fits = cases.iter().find(|case| json!(**case) == value);
                match fits {
                    Some(case) => done(&format!("p{case}"), input),
                    None if self.leads(&node.id, "default") => done("default", input),
                    None => self.failed(node),
                }
            }
            Kind::Ask(_) => {
                self.expected.asked += 1;
                done("out", json!("said"))
            }
            Kind::Fail => self.failed(node),
            Kind::End(Some(source)) | Kind::Output(_, Some(source)) => match self.value(source, here, vars) {
                Ok(value) => done("out", value),
                Err(()) => self.failed(node),
            },
            Kind::End(None) | Kind::Output(_, None) => done("out", input),
            Kind::Parallel => {
                let inside = Around { path: key.to_owned(), ..here.clone() };
                match self.scope(Some(&node.id), &inside, vars) {
                    Ok((output, _)) => done("out", output),
                    Err(failed) => self.broke(node, key, failed),
                }
            }
            Kind::Loop { max, until, cap_port } => {
                let mut last = Value::Null;
                for count in 0..u64::from(*max) {
                    let inside = Around { path: format!("{key}/{count}"), count: Some(count), ..here.clone() };
                    match self.scope(Some(&node.id), &inside, vars) {
                        Ok((output, _)) => last = output,
                        Err(failed) => return self.broke(node, key, failed),
                    }
                    if until.as_ref().is_some_and(|until| self.test(until, &inside, vars)) {
                        return done("out", last);
                    }
                }
                match (until, max) {
                    (Some(_), 1..) if *cap_port => done("cap", last),
                    (Some(_), 1..) => self.failed(node),
                    _ => done("out", last),
                }
            }
            Kind::Map { items, fail, batch, output, .. } => {
                let items = match items {
                    Items::Few(count) => (0..*count).map(|item| json!(item)).collect(),
                    Items::Input => self.input["items"].as_array().cloned().unwrap_or_default(),
                };
                let items: Vec<Value> = match batch {
                    Some(size @ 2..) => items.chunks(*size as usize).map(|chunk| json!(chunk)).collect(),
                    _ => items,
                };
                self.map(node, key, &items, *fail, output.as_ref(), here, vars)
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one for each setting")]
    fn map(
        &mut self,
        node: &Step,
        key: &str,
        items: &[Value],
        fail: MapFail,
        output: Option<&Source>,
        here: &Around,
        vars: &mut Vars,
    ) -> Result<Ended, Failed> {
        let mut list = Vec::new();
        let mut broken = Failed::new();
        let mut failures = 0_u64;
        let mut written = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let index = index as u64;
            let path = format!("{key}/{index}");
            let inside = Around { path: path.clone(), item: Some((item.clone(), index)), ..here.clone() };
            let mut copy = Vars { now: vars.now.clone(), log: Vec::new() };
            let given = self.scope(Some(&node.id), &inside, &mut copy).map(|(given, seen)| match output {
                None => given,
                Some(source) => {
                    let mut at_end = inside.clone();
                    at_end.seen.extend(seen);
                    self.value(source, &at_end, &copy).expect("it has a default")
                }
            });
            match given {
                Ok(given) => {
                    written.extend(copy.log);
                    list.push(given);
                }
                Err(nodes) => {
                    self.expected.loose.insert(path);
                    failures += 1;
                    broken.extend(nodes);
                    if fail != MapFail::Drop {
                        list.push(Value::Null);
                    }
                }
            }
        }
        let too_many = match fail {
            MapFail::Stop => failures > 0,
            MapFail::Null | MapFail::Drop => false,
            MapFail::Count(count) => failures > count,
            MapFail::Percent(percent) => failures * 100 > percent * items.len() as u64,
        };
        if too_many {
            return self.broke(node, key, broken);
        }
        for (name, value) in written {
            self.write(vars, &name, value);
        }
        let output = Value::Array(list);
        Ok(Ended { status: NodeStatus::Completed, port: Some("out".to_owned()), output })
    }

    /// A container whose body failed.
    fn broke(&mut self, node: &Step, key: &str, mut failed: Failed) -> Result<Ended, Failed> {
        self.expected.loose.insert(format!("{key}/"));
        self.failed(node).map_err(|own| {
            failed.extend(own);
            failed
        })
    }

    fn failed(&self, node: &Step) -> Result<Ended, Failed> {
        let first = match &node.kind {
            Kind::If(_) => "true".to_owned(),
            Kind::Switch { cases, .. } => cases.first().map_or("default".to_owned(), |case| format!("p{case}")),
            Kind::Approve => "approved".to_owned(),
            _ => "out".to_owned(),
        };
        let (port, output) = match &node.on_error {
            OnError::Branch if self.leads(&node.id, "error") => ("error".to_owned(), Value::Null),
            OnError::Continue => (first, Value::Null),
            OnError::Value(value) => (first, json!(value)),
            _ => return Err(BTreeSet::from([node.id.clone()])),
        };
        Ok(Ended { status: NodeStatus::Failed, port: Some(port), output })
    }

    fn leads(&self, id: &str, port: &str) -> bool {
        self.flow.links.iter().any(|link| link.from == id && link.out == port)
    }

    // Edges -------------------------------------------------------------------------------------

    /// The edges that make a node run; `None` where it is skipped.
    fn taken(&self, node: &Step, ended: &BTreeMap<String, Ended>, here: &Around) -> Option<Vec<Link>> {
        let all = self.leading_to(&node.id);
        if all.is_empty() {
            return Some(Vec::new());
        }
        let is_taken = |link: &&&Link| {
            ended.get(&link.from).is_some_and(|end| match end.port.as_deref() {
                Some("*") => link.out != "error",
                Some(port) => port == link.out,
                None => false,
            })
        };
        let mut taken: Vec<Link> = all.iter().filter(is_taken).map(|link| (**link).clone()).collect();
        let count = match node.join {
            Join::AnyTaken => return (!taken.is_empty()).then_some(taken),
            Join::All => return (taken.len() == all.len()).then_some(taken),
            Join::First { .. } => 1,
            Join::N { n, .. } => n as usize,
        };
        if taken.len() < count {
            return None;
        }
        let place = |link: &Link| {
            let key = Self::key(&here.path, &link.from);
            self.shown.arrivals.iter().position(|arrived| *arrived == key)
        };
        let mut first = taken.clone();
        first.sort_by_key(place);
        first.truncate(count);
        taken.retain(|link| first.contains(link));
        Some(taken)
    }

    fn input_of(
        &self,
        node: &Step,
        taken: &[Link],
        ended: &BTreeMap<String, Ended>,
        here: &Around,
        vars: &Vars,
    ) -> Result<Value, ()> {
        if !node.input.is_empty() {
            let fields = node.input.iter().map(|(name, source)| Ok((name.clone(), self.value(source, here, vars)?)));
            return Ok(Value::Object(fields.collect::<Result<_, ()>>()?));
        }
        if self.leading_to(&node.id).is_empty() {
            return Ok(match &here.item {
                Some((item @ Value::Object(_), _)) => item.clone(),
                Some((item, index)) => json!({"item": item, "index": index}),
                None => self.input.clone(),
            });
        }
        let mut merged = Map::new();
        for link in taken {
            let end = &ended[&link.from];
            if link.out == "error" {
                merged.insert("error".to_owned(), json!("some"));
                continue;
            }
            match &end.output {
                Value::Object(fields) => merged.extend(fields.clone()),
                Value::Null => {}
                other => drop(merged.insert(format!("{}_output", link.from), other.clone())),
            }
        }
        Ok(Value::Object(merged))
    }

    // Values ------------------------------------------------------------------------------------

    fn value(&self, source: &Source, here: &Around, vars: &Vars) -> Result<Value, ()> {
        let shown = |id: &String| {
            let end = here.seen.get(id)?;
            (!matches!(end.status, NodeStatus::Skipped | NodeStatus::Cancelled)).then(|| end.output.clone())
        };
        Ok(match source {
            Source::Lit(number) => json!(number),
            Source::Input => self.input["k"].clone(),
            Source::Node(id) => shown(id).unwrap_or(json!("-")),
            Source::Strict(id) => shown(id).ok_or(())?,
            Source::Status(id) => here.seen.get(id).map_or(json!("not_run"), |end| json!(end.status)),
            Source::Var(name) => vars.now[name].clone(),
            Source::Next(name) => json!(vars.now[name].as_i64().expect("a number") + 1),
            Source::Item => here.item.as_ref().map(|(item, _)| item.clone()).expect("in a map"),
            Source::Index => here.item.as_ref().map(|(_, index)| json!(index)).expect("in a map"),
            Source::Count => json!(here.count.expect("in a loop")),
            Source::Field(name, value) => json!({ name.as_str(): self.value(value, here, vars)? }),
        })
    }

    fn test(&self, test: &Test, here: &Around, vars: &Vars) -> bool {
        match test {
            Test::Is(is) => *is,
            Test::Flag => self.input["flag"] == json!(true),
            Test::EvenIndex => here.item.as_ref().expect("in a map").1.is_multiple_of(2),
            Test::CountAtLeast(least) => here.count.expect("in a loop") >= *least,
            Test::VarAtLeast(name, least) => vars.now[name].as_i64().expect("a number") >= *least,
        }
    }

    fn write(&self, vars: &mut Vars, name: &str, value: Value) {
        let rule = self.flow.vars.iter().find(|var| var.name == name).expect("a variable").rule;
        let now = vars.now.get_mut(name).expect("a variable");
        match (rule, now, &value) {
            (Rule::Add, now, value) => {
                *now = json!(now.as_i64().expect("a number") + value.as_i64().expect("a number"));
            }
            (Rule::Append, Value::Array(list), value) => list.push(value.clone()),
            (Rule::MergeKeys, Value::Object(fields), Value::Object(more)) => fields.extend(more.clone()),
            (_, now, value) => *now = value.clone(),
        }
        vars.log.push((name.to_owned(), value));
    }
}
