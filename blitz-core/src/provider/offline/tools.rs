//! Which tool on offer does what, and how it is called.

use serde_json::{Map, Number, Value};

use super::arithmetic::{Operator, Term};
use super::conversation::{Conversation, PATH_KEYS};
use super::facts::{Facts, Material};
use super::shape;
use super::text::{name_words, words};
use crate::domain::ToolSpec;

/// How often a file is read on after its first page.
const MORE_PAGES: usize = 3;

/// A call to make: the tool, and the arguments that are known.
pub(super) struct Wish<'a> {
    pub(super) tool: &'a ToolSpec,
    known: Map<String, Value>,
}

impl<'a> Wish<'a> {
    /// A call of which nothing is known.
    pub(super) fn blank(tool: &'a ToolSpec) -> Self {
        Self { tool, known: Map::new() }
    }

    fn with(tool: &'a ToolSpec, known: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self { tool, known: known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// The arguments as JSON; what the tool requires beyond what is known is made up to its schema.
    pub(super) fn arguments(self, material: &Material) -> Value {
        let Self { tool, mut known } = self;
        if required(tool).any(|name| !known.contains_key(name))
            && let Value::Object(made_up) = shape::arguments(&tool.input_schema, &Facts::of(material))
        {
            for (name, value) in made_up {
                known.entry(name).or_insert(value);
            }
        }
        Value::Object(known)
    }
}

/// The next page of a file that is asked for.
pub(super) fn read<'a>(tools: &'a [ToolSpec], talk: &Conversation<'_>) -> Option<Wish<'a>> {
    let (tool, key) = reader(tools)?;
    let reads = || talk.current().iter().filter(|call| call.name == tool.name);
    let path = |path: &str| (key, Value::from(path));
    if let Some(last) = reads().next_back()
        && let (Some(file), Some(offset)) = (last.reads(), last.next_offset())
        && reads().filter(|call| call.reads() == Some(file)).count() <= MORE_PAGES
        && has_property(tool, "offset", &["integer", "number"])
    {
        return Some(Wish::with(tool, [path(file), ("offset", offset.into())]));
    }
    let is_new = |file: &&String| !reads().any(|call| call.reads() == Some(file));
    talk.asked.files.iter().find(is_new).map(|file| Wish::with(tool, [path(file)]))
}

fn reader(tools: &[ToolSpec]) -> Option<(&ToolSpec, &'static str)> {
    let readers = tools.iter().filter(|tool| tool.name.to_ascii_lowercase().contains("read"));
    readers.filter_map(|tool| Some((tool, *PATH_KEYS.iter().find(|key| has_property(tool, key, &["string"]))?))).next()
}

/// The tool that works out an expression.
pub(super) fn calculator(tools: &[ToolSpec]) -> Option<&ToolSpec> {
    tools.iter().find(|tool| has_property(tool, "expression", &["string"]))
}

/// The calculator, asked once.
pub(super) fn evaluate<'a>(
    tools: &'a [ToolSpec],
    talk: &Conversation<'_>,
    expression: impl FnOnce() -> String,
) -> Option<Wish<'a>> {
    let tool = calculator(tools)?;
    let asked = talk.current().iter().any(|call| call.name == tool.name);
    (!asked).then(|| Wish::with(tool, [("expression", expression().into())]))
}

/// The next operation of a calculation, by tools that do one operation each.
pub(super) fn operate<'a>(tools: &'a [ToolSpec], talk: &Conversation<'_>, term: &Term) -> Option<Wish<'a>> {
    let tool_for = |operator: Operator| Binary::find(tools, operator);
    if !term.operators()?.into_iter().all(|operator| tool_for(operator).is_some()) {
        return None;
    }
    let mut term = term.clone();
    let mut done = talk.current().iter();
    loop {
        let (operator, left, right) = term.next_operation()?;
        let binary = tool_for(operator)?;
        match done.find(|call| call.name == binary.tool.name) {
            Some(call) => term.put(call.number()?),
            None => return binary.call(left, right),
        };
    }
}

/// A tool of two numbers.
struct Binary<'a> {
    tool: &'a ToolSpec,
    left: &'a str,
    right: &'a str,
}

impl<'a> Binary<'a> {
    /// The tool for an operator: by its name, else by its description.
    fn find(tools: &'a [ToolSpec], operator: Operator) -> Option<Self> {
        let fits = |word: &str| operator.names().contains(&word.to_lowercase().as_str());
        let by_name = tools.iter().filter(|tool| name_words(&tool.name).iter().any(|word| fits(word)));
        let by_description = tools.iter().filter(|tool| words(&tool.description).any(fits));
        by_name.chain(by_description).find_map(Self::of)
    }

    fn of(tool: &'a ToolSpec) -> Option<Self> {
        let properties = tool.input_schema.get("properties")?.as_object()?;
        let mut required = properties.keys().filter(|name| required(tool).any(|known| known == *name));
        let (left, right) = (required.next()?, required.next()?);
        let numeric = |name: &str| has_property(tool, name, &["number", "integer"]);
        (required.next().is_none() && numeric(left) && numeric(right)).then_some(Self { tool, left, right })
    }

    fn call(self, left: f64, right: f64) -> Option<Wish<'a>> {
        let argument = |name: &'a str, number: f64| {
            let whole = !has_property(self.tool, name, &["number"]);
            Some((name, number_value(number).filter(|value| !whole || value.is_i64())?))
        };
        Some(Wish::with(self.tool, [argument(self.left, left)?, argument(self.right, right)?]))
    }
}

/// A number as JSON, whole where it is whole.
fn number_value(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}

fn required(tool: &ToolSpec) -> impl Iterator<Item = &str> {
    tool.input_schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a tool takes an argument of one of these types.
fn has_property(tool: &ToolSpec, name: &str, types: &[&str]) -> bool {
    match tool.input_schema.get("properties").and_then(|properties| properties.get(name)?.get("type")) {
        Some(Value::String(kind)) => types.contains(&kind.as_str()),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(|kind| types.contains(&kind)),
        _ => false,
    }
}
