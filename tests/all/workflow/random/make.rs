//! Makes workflows by chance. What a workflow gives must not depend on which of two branches is
//! faster, or nobody could say what is right: what reads and writes variables stands in an order.

use std::collections::BTreeSet;

use super::shape::{Flow, Items, Join, Kind, Link, MapFail, OnError, Rule, Source, Step, Test, Var};

/// A small generator of numbers, so that a run can be repeated by its seed.
pub(in super::super) struct Dice(u64);

impl Dice {
    pub(in super::super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub(in super::super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    /// Whether something of so many percent comes true.
    pub(in super::super) fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// What may be in a body.
#[derive(Debug, Clone, Copy)]
struct May {
    /// A node may fail without being handled.
    fail: bool,
    /// Variables may be written.
    write: bool,
    /// Other nodes' outputs and variables may be read.
    read: bool,
    in_map: bool,
    in_loop: bool,
}

/// What kinds of nodes are wanted beside the plain ones.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Wanted {
    /// Joins whose result is a race.
    pub(in super::super) races: bool,
    /// Failures that nothing handles.
    pub(in super::super) failures: bool,
    pub(in super::super) models: bool,
    /// Questions to people, and waits: what comes when is not the engine's to say.
    pub(in super::super) people: bool,
}

/// A workflow.
pub(in super::super) fn make(dice: &mut Dice, wanted: Wanted) -> Flow {
    let mut maker = Maker { dice, wanted, flow: Flow::default(), next: 0 };
    let may =
        May { fail: wanted.failures && maker.dice.is(40), write: true, read: true, in_map: false, in_loop: false };
    maker.scope(None, 0, may);
    maker.variables();
    maker.shuffle();
    maker.flow
}

struct Maker<'d> {
    dice: &'d mut Dice,
    wanted: Wanted,
    flow: Flow,
    next: u32,
}

impl Maker<'_> {
    fn id(&mut self) -> String {
        self.next += 1;
        format!("n{}", self.next)
    }

    fn scope(&mut self, parent: Option<&str>, depth: u32, may: May) {
        let races = self.wanted.races && self.dice.is(20);
        let may = if races { May { fail: false, write: false, read: false, ..may } } else { may };
        let mut made: Vec<String> = Vec::new();
        let starts = parent.is_none() && self.dice.is(80);
        if starts {
            let id = self.id();
            self.flow.nodes.push(plain(&id, parent, Kind::Start));
            made.push(id);
            if self.dice.is(25) {
                let id = self.id();
                let name = if self.dice.is(60) { "k" } else { "gone" };
                self.flow.nodes.push(plain(&id, parent, Kind::Input(name.to_owned())));
                made.push(id);
            }
        }
        if self.dice.is(10) {
            let id = self.id();
            self.flow.nodes.push(plain(&id, parent, Kind::Note));
        }
        let count = if depth == 0 { 2 + self.dice.below(6) } else { 1 + self.dice.below(4) };
        for _ in 0..count {
            let id = self.id();
            let kind = self.kind(&made, may, depth);
            let mut node = plain(&id, parent, kind);
            let below = self.settle(&mut node, may);
            if matches!(node.kind, Kind::Sub) {
                node.input = vec![("n".to_owned(), self.any_number(may))];
            }
            let is_container = node.kind.is_container();
            let in_map = may.in_map || matches!(node.kind, Kind::Map { .. });
            let in_loop = may.in_loop || matches!(node.kind, Kind::Loop { .. });
            self.flow.nodes.push(node);
            self.lead_to(&id, &made, starts, races);
            made.push(id.clone());
            if is_container {
                self.scope(Some(&id), depth + 1, May { in_map, in_loop, ..below });
                self.look_into(&id, below);
            }
        }
    }

    fn kind(&mut self, before: &[String], may: May, depth: u32) -> Kind {
        let containers = if depth < 3 { 24 } else { 0 };
        if self.dice.is(22) {
            return self.other(before, may);
        }
        match self.dice.below(76 + containers) {
            0..=29 => {
                let fails = if self.dice.is(25) { 1 + self.dice.below(3) as u32 } else { 0 };
                let give = self.dice.is(60).then(|| self.source(before, may));
                let ms = if self.dice.is(30) { 1 + self.dice.below(3) } else { 0 };
                Kind::Work { give, fails, ms }
            }
            30..=39 => Kind::Code(self.source(before, may)),
            40..=49 if may.write => Kind::Set(Vec::new()),
            50..=57 => Kind::If(self.test(may)),
            58..=63 => {
                let mut cases: Vec<i64> = (0..1 + self.dice.below(3) as i64).collect();
                cases.dedup();
                let value = match self.dice.below(3) {
                    0 if may.in_map => Source::Index,
                    1 if may.in_loop => Source::Count,
                    _ => Source::Lit(self.dice.below(4) as i64),
                };
                Kind::Switch { value, cases }
            }
            64..=69 => Kind::End(self.dice.is(50).then(|| self.source(before, may))),
            70..=71 if self.wanted.models => Kind::Ask(format!("q{}", self.next)),
            72 => Kind::Fail,
            76..=85 => {
                let items = if self.dice.is(70) { Items::Few(self.dice.below(5)) } else { Items::Input };
                let fail = match self.dice.below(6) {
                    0 | 1 => MapFail::Stop,
                    2 => MapFail::Null,
                    3 => MapFail::Drop,
                    4 => MapFail::Count(self.dice.below(3)),
                    _ => MapFail::Percent(self.dice.below(100)),
                };
                let concurrency = self.dice.is(50).then(|| 1 + self.dice.below(3) as u32);
                let batch = self.dice.is(20).then(|| 1 + self.dice.below(3) as u32);
                let output = self.dice.is(15).then_some(Source::Index);
                Kind::Map { items, concurrency, fail, batch, output }
            }
            86..=93 => {
                let max = self.dice.below(4) as u32;
                let until = self.dice.is(60).then(|| Test::CountAtLeast(self.dice.below(4)));
                Kind::Loop { max, until, cap_port: self.dice.is(50) }
            }
            94..=99 => Kind::Parallel,
            _ => Kind::Work { give: None, fails: 0, ms: 0 },
        }
    }

    /// A node of the types that call something, ask somebody or only say something.
    fn other(&mut self, before: &[String], may: May) -> Kind {
        match self.dice.below(9) {
            0 | 1 => Kind::Tool(self.any_number(may)),
            2 => Kind::Sub,
            3 => Kind::Template(self.any_number(may)),
            4 => {
                let value = self.dice.is(60).then(|| self.source(before, may));
                Kind::Output(format!("o{}", self.next), value)
            }
            5 if self.wanted.models => Kind::Agent,
            6 | 7 if self.wanted.people => Kind::Wait { until: self.dice.is(50) },
            8 if self.wanted.people => Kind::Approve,
            _ => Kind::Template(self.any_number(may)),
        }
    }

    /// A number that nothing before has to give.
    fn any_number(&mut self, may: May) -> Source {
        match self.dice.below(4) {
            0 => Source::Input,
            1 if may.in_map => Source::Index,
            2 if may.in_loop => Source::Count,
            _ => Source::Lit(self.dice.below(10) as i64),
        }
    }

    /// Gives a node what all nodes may have; gives what may be in its body.
    fn settle(&mut self, node: &mut Step, may: May) -> May {
        if self.dice.is(10) {
            node.when = Some(self.test(may));
        }
        node.disabled = self.dice.is(6);
        if matches!(node.kind, Kind::Work { .. }) && self.dice.is(40) {
            node.attempts = 1 + self.dice.below(4) as u32;
        }
        if matches!(node.kind, Kind::Work { .. }) && self.dice.is(20) {
            node.fallback = Some(self.dice.below(9) as i64);
        }
        let handling = match self.dice.below(3) {
            0 => OnError::Continue,
            1 => OnError::Value(self.dice.below(9) as i64),
            _ => OnError::Branch,
        };
        let mut below = may;
        if !may.fail || self.dice.is(25) {
            // A branch is handled only where its port leads somewhere: the links see to that.
            node.on_error = if handling == OnError::Branch && !may.fail { OnError::Continue } else { handling };
            if node.kind.is_container() {
                // What a body has written when it fails depends on who was faster.
                below.fail = self.wanted.failures && self.dice.is(50);
                below.write = may.write && !below.fail;
            }
        }
        if matches!(node.kind, Kind::Map { fail: MapFail::Null | MapFail::Drop, .. }) {
            below.fail = self.wanted.failures;
            below.write = may.write;
        }
        if self.dice.is(15) && may.read {
            node.input = vec![("a".to_owned(), Source::Lit(1)), ("b".to_owned(), Source::Input)];
        }
        below
    }

    /// What a container shows when a part of it has ended.
    fn look_into(&mut self, id: &str, below: May) {
        let inside: Vec<String> = self
            .flow
            .nodes
            .iter()
            .filter(|node| node.parent.as_deref() == Some(id) && !matches!(node.kind, Kind::Note))
            .map(|node| node.id.clone())
            .collect();
        let races = inside.iter().any(|id| is_race(self.flow.node(id).join));
        let read = (below.read && !races && self.dice.is(20)).then(|| Source::Node(self.dice.pick(&inside).clone()));
        let place = self.flow.nodes.iter_mut().find(|node| node.id == id).expect("a node");
        if let (Kind::Map { output, .. }, Some(read)) = (&mut place.kind, read) {
            *output = Some(read);
        }
    }

    /// Edges from nodes that are there already, and how they join.
    fn lead_to(&mut self, id: &str, before: &[String], starts: bool, races: bool) {
        let mut count = self.dice.below(4);
        if starts && count == 0 && self.dice.is(85) {
            count = 1;
        }
        let mut links: Vec<Link> = Vec::new();
        for _ in 0..count {
            if before.is_empty() {
                break;
            }
            let from = self.dice.pick(before).clone();
            let ports = self.ports(&from);
            if ports.is_empty() {
                continue;
            }
            let out = self.dice.pick(&ports).clone();
            let link = Link { from, out, to: id.to_owned() };
            if !links.contains(&link) {
                links.push(link);
            }
        }
        let cancels = self.dice.is(50);
        let join = match (links.len(), self.dice.below(4)) {
            (2.., 0) => Join::All,
            (2.., 1) if races => Join::First { cancels },
            (2.., 2) if races => Join::N { n: 1 + self.dice.below(links.len() as u64) as u32, cancels },
            _ => Join::AnyTaken,
        };
        self.flow.links.extend(links);
        self.flow.nodes.iter_mut().find(|node| node.id == id).expect("a node").join = join;
    }

    fn ports(&self, id: &str) -> Vec<String> {
        let node = self.flow.node(id);
        let mut ports: Vec<String> = match &node.kind {
            Kind::If(_) => vec!["true".into(), "false".into()],
            Kind::Switch { cases, .. } => {
                cases.iter().map(|case| format!("p{case}")).chain(["default".into()]).collect()
            }
            Kind::End(_) | Kind::Fail | Kind::Note => Vec::new(),
            Kind::Approve => vec!["approved".into(), "rejected".into()],
            Kind::Loop { cap_port: true, .. } => vec!["out".into(), "cap".into()],
            _ => vec!["out".into()],
        };
        if node.on_error == OnError::Branch {
            ports.push("error".into());
        }
        ports
    }

    fn source(&mut self, before: &[String], may: May) -> Source {
        match self.dice.below(8) {
            0 => Source::Input,
            1 if may.in_map => Source::Item,
            2 if may.in_map => Source::Index,
            3 if may.in_loop => Source::Count,
            // Nodes and variables are named once all edges are there: see `variables`.
            4 | 5 if may.read && !before.is_empty() => {
                let id = self.dice.pick(before).clone();
                match self.dice.below(10) {
                    0 if may.fail => Source::Strict(id),
                    1..=3 => Source::Status(id),
                    _ => Source::Node(id),
                }
            }
            6 if may.read => Source::Var(String::new()),
            _ => Source::Lit(self.dice.below(10) as i64),
        }
    }

    fn test(&mut self, may: May) -> Test {
        match self.dice.below(5) {
            0 => Test::Flag,
            1 if may.in_map => Test::EvenIndex,
            2 if may.in_loop => Test::CountAtLeast(self.dice.below(3)),
            3 if may.read => Test::VarAtLeast(String::new(), self.dice.below(3) as i64),
            _ => Test::Is(self.dice.is(60)),
        }
    }

    // Variables ---------------------------------------------------------------------------------

    /// Says which variables are read and written, so that no two of these race; puts reads of nodes
    /// that do not run before into order.
    fn variables(&mut self) {
        for rule in [Rule::Replace, Rule::Add, Rule::Append, Rule::MergeKeys] {
            if self.dice.is(60) {
                let name = format!("v{}", self.flow.vars.len());
                self.flow.vars.push(Var { name, rule });
            }
        }
        self.flow.shows_vars = !self.flow.vars.is_empty() && self.dice.is(40);
        let mut reads: Vec<(String, String)> = Vec::new();
        let mut writes: Vec<(String, String)> = Vec::new();
        for place in 0..self.flow.nodes.len() {
            let id = self.flow.nodes[place].id.clone();
            let mut node = self.flow.nodes[place].clone();
            if let Some(Test::VarAtLeast(_, least)) = node.when {
                node.when = self.readable(&id, true, &writes, &mut reads).map(|name| Test::VarAtLeast(name, least));
            }
            let numbers = match &mut node.kind {
                Kind::If(Test::VarAtLeast(_, least)) => {
                    let least = *least;
                    let read = self.readable(&id, true, &writes, &mut reads);
                    node.kind = Kind::If(read.map_or(Test::Flag, |name| Test::VarAtLeast(name, least)));
                    None
                }
                Kind::Work { give: Some(source), .. }
                | Kind::Code(source)
                | Kind::End(Some(source))
                | Kind::Output(_, Some(source)) => Some(source),
                Kind::Set(vars) => {
                    *vars = self.writes(&id, &mut writes, &mut reads);
                    None
                }
                _ => None,
            };
            if let Some(source) = numbers {
                match source {
                    Source::Var(_) => {
                        let read = self.readable(&id, false, &writes, &mut reads);
                        *source = read.map_or(Source::Lit(3), Source::Var);
                    }
                    Source::Node(other) | Source::Strict(other) | Source::Status(other)
                        if !self.reaches(other, &id) =>
                    {
                        *source = Source::Lit(4);
                    }
                    _ => {}
                }
            }
            if matches!(&node.kind, Kind::Set(vars) if vars.is_empty()) {
                node.kind = Kind::Code(Source::Lit(5));
            }
            self.flow.nodes[place] = node;
        }
    }

    /// Chooses a variable to read, if one can be read here.
    fn readable(
        &mut self,
        id: &str,
        number: bool,
        writes: &[(String, String)],
        reads: &mut Vec<(String, String)>,
    ) -> Option<String> {
        let numbers = |var: &&Var| !number || matches!(var.rule, Rule::Replace | Rule::Add);
        let in_order = |var: &&Var| writes.iter().all(|(writer, of)| *of != var.name || self.in_order(writer, id));
        let fit = self.flow.vars.iter().filter(numbers).filter(in_order).map(|var| var.name.clone());
        let fit: Vec<String> = fit.collect();
        let name = (!fit.is_empty()).then(|| self.dice.pick(&fit).clone())?;
        reads.push((id.to_owned(), name.clone()));
        Some(name)
    }

    fn writes(
        &mut self,
        id: &str,
        writes: &mut Vec<(String, String)>,
        reads: &mut Vec<(String, String)>,
    ) -> Vec<(String, Source)> {
        let mut chosen = Vec::new();
        let vars = self.flow.vars.clone();
        for var in vars {
            let mut others = writes.iter().chain(reads.iter()).filter(|(_, of)| *of == var.name);
            let exact = matches!(var.rule, Rule::Replace | Rule::Append);
            let fits = |other: &str| self.in_order(other, id);
            let free = if exact {
                others.all(|(other, _)| fits(other))
            } else {
                reads.iter().filter(|(_, of)| *of == var.name).all(|(other, _)| fits(other))
            };
            if !free || !self.dice.is(70) {
                continue;
            }
            let is_read = writes.iter().all(|(writer, of)| *of != var.name || self.in_order(writer, id));
            let mut source = self.number(id);
            if matches!(var.rule, Rule::Replace | Rule::Add) && is_read && self.dice.is(40) {
                source = Source::Next(var.name.clone());
                reads.push((id.to_owned(), var.name.clone()));
            }
            if var.rule == Rule::MergeKeys {
                source = Source::Field(id.to_owned(), Box::new(source));
            }
            writes.push((id.to_owned(), var.name.clone()));
            chosen.push((var.name.clone(), source));
        }
        chosen
    }

    /// A number that a node can name.
    fn number(&mut self, id: &str) -> Source {
        let around: Vec<&Step> = self.around(id);
        let in_map = around.iter().any(|node| matches!(node.kind, Kind::Map { .. }));
        let in_loop = around.iter().any(|node| matches!(node.kind, Kind::Loop { .. }));
        match self.dice.below(3) {
            0 if in_map => Source::Index,
            1 if in_loop => Source::Count,
            _ => Source::Lit(self.dice.below(10) as i64),
        }
    }

    /// The containers around a node.
    fn around(&self, id: &str) -> Vec<&Step> {
        let mut around = Vec::new();
        let mut at = self.flow.node(id).parent.clone();
        while let Some(parent) = at {
            let node = self.flow.node(&parent);
            around.push(node);
            at = node.parent.clone();
        }
        around
    }

    /// Whether of two nodes one always comes first, or one holds the other.
    fn in_order(&self, one: &str, other: &str) -> bool {
        let chain = |id: &str| {
            let mut ids = vec![id.to_owned()];
            ids.extend(self.around(id).iter().map(|node| node.id.clone()));
            ids
        };
        let (ones, others) = (chain(one), chain(other));
        for a in &ones {
            for b in &others {
                if self.flow.node(a).parent == self.flow.node(b).parent {
                    return a == b || self.reaches(a, b) || self.reaches(b, a);
                }
            }
        }
        false
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(id) = open.pop() {
            for link in self.flow.links.iter().filter(|link| link.from == id) {
                if link.to == to {
                    return true;
                }
                if seen.insert(link.to.clone()) {
                    open.push(link.to.clone());
                }
            }
        }
        false
    }

    /// The lists of nodes and edges are in any order.
    fn shuffle(&mut self) {
        for at in (1..self.flow.nodes.len()).rev() {
            let other = self.dice.below(at as u64 + 1) as usize;
            self.flow.nodes.swap(at, other);
        }
        for at in (1..self.flow.links.len()).rev() {
            let other = self.dice.below(at as u64 + 1) as usize;
            self.flow.links.swap(at, other);
        }
    }
}

fn is_race(join: Join) -> bool {
    matches!(join, Join::First { .. } | Join::N { .. })
}

fn plain(id: &str, parent: Option<&str>, kind: Kind) -> Step {
    Step {
        id: id.to_owned(),
        parent: parent.map(str::to_owned),
        kind,
        when: None,
        disabled: false,
        join: Join::AnyTaken,
        attempts: 1,
        on_error: OnError::Fail,
        input: Vec::new(),
        fallback: None,
    }
}
