//! What an expression reads.

use std::collections::BTreeSet;

use minijinja::Environment;

use super::scan::Quoted;

/// The names that a scope may have.
pub(super) const ROOTS: &[&str] =
    &["inputs", "vars", "nodes", "item", "index", "loop", "execution", "trigger", "input", "error", "secrets"];

/// What an expression reads, as far as its text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Ids of nodes whose output, error, status or usage it reads.
    pub(crate) nodes: BTreeSet<String>,
    /// Variables.
    pub(crate) vars: BTreeSet<String>,
    /// Secrets.
    pub(crate) secrets: BTreeSet<String>,
    /// The inputs of the workflow.
    pub(crate) inputs: bool,
    /// The item of a map.
    pub(crate) item: bool,
    /// The place of the item.
    pub(crate) index: bool,
    /// The rounds of a loop.
    pub(crate) rounds: bool,
    /// The execution's id and start.
    pub(crate) execution: bool,
    /// What started the execution.
    pub(crate) trigger: bool,
    /// Which fields of it.
    pub(crate) of_trigger: BTreeSet<String>,
    /// The node's own input.
    pub(crate) input: bool,
    /// The error that a handler handles.
    pub(crate) error: bool,
    /// `nodes`, `vars` or `secrets` without a name that can be read from the text.
    pub(crate) open: BTreeSet<String>,
    /// Names that no scope has.
    pub(crate) unknown: BTreeSet<String>,
    /// Filters, tests and methods that there are not, each as a sentence.
    pub(crate) absent: BTreeSet<String>,
    /// Fields of nodes that are none: `nodes.a.text`.
    pub(crate) fields: BTreeSet<(String, String)>,
}

/// What a node shows to expressions.
const FIELDS: &[&str] = &["output", "error", "status", "usage"];

impl Names {
    /// Sorts the dotted names that an expression leaves undeclared.
    pub(super) fn of(
        undeclared: impl IntoIterator<Item = String>,
        quoted: &Quoted,
        environment: &Environment<'_>,
    ) -> Self {
        let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
        let mut names = Self::default();
        for dotted in undeclared {
            let mut words = dotted.split('.').map(|word| quoted.name(word));
            let root = words.next().unwrap_or_default();
            if !globals.contains(root) {
                names.add(root, words.next(), words.next());
            }
        }
        names
    }

    fn add(&mut self, root: &str, name: Option<&str>, field: Option<&str>) {
        let named = |set: &mut BTreeSet<String>, open: &mut BTreeSet<String>| match name {
            Some(name) => set.insert(name.to_owned()),
            None => open.insert(root.to_owned()),
        };
        match root {
            "nodes" => {
                named(&mut self.nodes, &mut self.open);
                if let (Some(name), Some(field)) = (name, field)
                    && !FIELDS.contains(&field)
                {
                    self.fields.insert((name.to_owned(), field.to_owned()));
                }
            }
            "vars" => {
                named(&mut self.vars, &mut self.open);
            }
            "secrets" => {
                named(&mut self.secrets, &mut self.open);
            }
            "inputs" => self.inputs = true,
            "item" => self.item = true,
            "index" => self.index = true,
            "loop" => self.rounds = true,
            "execution" => self.execution = true,
            "trigger" => {
                self.trigger = true;
                self.of_trigger.extend(name.map(str::to_owned));
            }
            "input" => self.input = true,
            "error" => self.error = true,
            other => {
                self.unknown.insert(other.to_owned());
            }
        }
    }

    /// The roots that it reads, as they are called.
    pub(crate) fn roots(&self) -> Vec<&str> {
        let sets = [("nodes", &self.nodes), ("vars", &self.vars), ("secrets", &self.secrets)];
        let sets = sets.into_iter().filter(|(_, names)| !names.is_empty()).map(|(root, _)| root);
        let flags = [
            ("inputs", self.inputs),
            ("item", self.item),
            ("index", self.index),
            ("loop", self.rounds),
            ("execution", self.execution),
            ("trigger", self.trigger),
            ("input", self.input),
            ("error", self.error),
        ];
        let flags = flags.into_iter().filter(|(_, read)| *read).map(|(root, _)| root);
        let others = self.open.iter().chain(&self.unknown).map(String::as_str);
        sets.chain(flags).chain(others).collect()
    }

    /// Adds what another expression reads.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (into, from) in [
            (&mut self.nodes, &other.nodes),
            (&mut self.vars, &other.vars),
            (&mut self.secrets, &other.secrets),
            (&mut self.open, &other.open),
            (&mut self.unknown, &other.unknown),
            (&mut self.of_trigger, &other.of_trigger),
            (&mut self.absent, &other.absent),
        ] {
            into.extend(from.iter().cloned());
        }
        self.fields.extend(other.fields.iter().cloned());
        for (into, from) in [
            (&mut self.inputs, other.inputs),
            (&mut self.item, other.item),
            (&mut self.index, other.index),
            (&mut self.rounds, other.rounds),
            (&mut self.execution, other.execution),
            (&mut self.trigger, other.trigger),
            (&mut self.input, other.input),
            (&mut self.error, other.error),
        ] {
            *into |= from;
        }
    }
}
