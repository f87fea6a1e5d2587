//! Values that follow a JSON Schema, filled from what is known.
//!
//! The walk is bounded in depth and work, whatever the schema. It takes the first alternative that
//! serves; where the whole then does not pass the schema's check it is tried with other ones, and
//! at last without regard to names.

mod flatten;
mod known;
mod number;
mod string;

use std::collections::HashSet;

use serde_json::{Map, Value};

use self::flatten::Choice;
use self::known::Entry;
use super::facts::Facts;
use super::text::name_words;
use crate::domain::schema::SchemaCheck;

/// How many choices of alternatives are tried.
const TRIES: usize = 4;
/// Levels below which only what is required is given.
const GENEROUS_DEPTH: usize = 6;
/// Levels below which nothing is given: no value ends a recursion that requires itself.
const MAX_DEPTH: usize = 32;
/// The most items that are made up for one array.
const MAX_ITEMS: u64 = 1_000;
/// What a walk may touch of a schema and of its own copies of it.
const BUDGET: usize = 200_000;
/// Bytes of text that cost as much as one value.
const BYTES_PER_BUDGET: usize = 16;

/// A value for the answer: what a schema requires, and what else it names that is known.
pub(super) fn output(schema: &Value, facts: &Facts<'_>, max_entries: usize) -> Value {
    fill(schema, facts, max_entries, true)
}

/// Arguments for a tool: what its schema requires.
pub(super) fn arguments(schema: &Value, facts: &Facts<'_>) -> Value {
    fill(schema, facts, 1, false)
}

fn fill(schema: &Value, facts: &Facts<'_>, max_entries: usize, generous: bool) -> Value {
    let check = SchemaCheck::new(schema).ok();
    let mut first = None;
    for by_name in [true, false] {
        for shift in 0..TRIES {
            let mut walk = Walk { root: schema, facts, max_entries, generous, by_name, shift, budget: BUDGET };
            let value = walk.value(schema, &Place::default(), 0);
            match &check {
                Some(check) if check.check(&value).is_err() => first.get_or_insert(value),
                _ => return value,
            };
        }
    }
    first.unwrap_or_default()
}

/// Where in the value something goes.
#[derive(Default, Clone)]
struct Place<'p> {
    /// The name of the property, empty for the items of an array; `None` for the value itself.
    name: Option<&'p str>,
    /// The entry of a list that this is part of.
    entry: Option<Entry<'p>>,
    /// Which one of several values that must differ.
    variant: usize,
}

impl Place<'_> {
    fn words(&self) -> Vec<String> {
        name_words(self.name.unwrap_or_default())
    }
}

struct Walk<'a> {
    root: &'a Value,
    facts: &'a Facts<'a>,
    max_entries: usize,
    /// Whether known properties are given though they are not required.
    generous: bool,
    /// Whether names of properties say what goes into them.
    by_name: bool,
    /// Which alternatives are taken, counted from the first.
    shift: usize,
    budget: usize,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &Value, place: &Place<'_>, depth: usize) -> Value {
        if depth > MAX_DEPTH || self.budget == 0 {
            return Value::Null;
        }
        let choice = Choice { shift: self.shift, simple: depth >= GENEROUS_DEPTH };
        let flat = flatten::flatten(schema, self.root, choice, &mut self.budget);
        let flat = &*flat;
        if let Some(value) = flat.get("const") {
            return value.clone();
        }
        if let Some(options) = flat.get("enum").and_then(Value::as_array) {
            return self.choice(flat, options, place);
        }
        match self.kind(flat, place) {
            "object" => self.object(flat, place, depth),
            "array" => self.array(flat, place, depth),
            "string" => self.string(flat, place),
            kind @ ("integer" | "number") => self.number(flat, place, kind == "integer"),
            "boolean" => {
                let known = self.named(|facts| known::boolean(facts, place));
                let value = known.or_else(|| self.default(flat)?.as_bool()).unwrap_or(false);
                Value::Bool(value ^ (place.variant % 2 == 1))
            }
            _ => Value::Null,
        }
    }

    /// What is known of a place, where names count.
    fn named<T>(&self, known: impl FnOnce(&'a Facts<'a>) -> Option<T>) -> Option<T> {
        if self.by_name { known(self.facts) } else { None }
    }

    /// The schema's own default, which the last tries distrust.
    fn default<'s>(&self, flat: &'s Value) -> Option<&'s Value> {
        flat.get("default").filter(|_| self.by_name)
    }

    fn choice(&self, flat: &Value, options: &[Value], place: &Place<'_>) -> Value {
        let fits =
            |option: &&Value| flatten::types(flat).is_none_or(|types| types.iter().any(|kind| is_of(option, kind)));
        let options: Vec<&Value> = options.iter().filter(fits).collect();
        let known = self.named(|facts| known::choice(facts, place, &options));
        let default = || options.iter().position(|option| Some(*option) == self.default(flat));
        let index = known.or_else(default).unwrap_or(0) + place.variant + self.shift;
        options.get(index % options.len().max(1)).map_or(Value::Null, |option| (*option).clone())
    }

    /// The type of a value: the first that is no null, else what the other keywords speak of.
    fn kind(&self, flat: &Value, place: &Place<'_>) -> &'static str {
        const KINDS: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];
        if let Some(types) = flatten::types(flat) {
            let (nulls, others): (Vec<_>, Vec<_>) = types.into_iter().partition(|kind| *kind == "null");
            let types = [others, nulls].concat();
            let kind = types.get(self.shift % types.len().max(1));
            return KINDS.into_iter().find(|known| Some(known) == kind).unwrap_or("null");
        }
        const SPOKEN: [(&str, &[&str]); 4] = [
            ("object", &["properties", "required", "additionalProperties", "minProperties", "patternProperties"]),
            ("array", &["items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"]),
            ("string", &["minLength", "maxLength", "pattern", "format"]),
            ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
        ];
        let spoken = SPOKEN.into_iter().find(|(_, keys)| keys.iter().any(|key| flat.get(key).is_some()));
        match spoken {
            Some((kind, _)) => kind,
            None if *flat == Value::Bool(false) => "null",
            None if self.by_name && known::is_list(&place.words()) => "array",
            None => "string",
        }
    }

    fn object(&mut self, flat: &Value, place: &Place<'_>, depth: usize) -> Value {
        let empty = Map::new();
        let properties = flat.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut made = Map::new();
        for name in self.names(flat, properties, depth) {
            let other = || flat.get("additionalProperties").filter(|schema| schema.is_object());
            let schema = properties.get(&name).or_else(other).unwrap_or(&Value::Bool(true));
            // One property is enough to make two objects differ, and every one may be the one that can.
            let inner = Place { name: Some(&name), ..place.clone() };
            let value = self.value(schema, &inner, depth + 1);
            made.insert(name, value);
        }
        Value::Object(made)
    }

    /// The names of the properties that an object gets, in the order of its schema.
    fn names<'s>(&self, flat: &'s Value, properties: &'s Map<String, Value>, depth: usize) -> Vec<String> {
        let required = required_names(flat);
        let min = bound(flat, "minProperties", 0).min(MAX_ITEMS) as usize;
        let max = usize::try_from(bound(flat, "maxProperties", u64::MAX)).unwrap_or(usize::MAX);
        let generous = self.generous && self.by_name && depth < GENEROUS_DEPTH;
        let mut given: HashSet<&str> = required.iter().copied().collect();
        let optional = |(name, schema): (&'s String, &Value)| (*schema != Value::Bool(false)).then_some(name.as_str());
        let mut optional: Vec<&str> =
            properties.iter().filter_map(optional).filter(|name| !given.contains(name)).collect();
        // What is known comes first; the rest only where the object needs more properties.
        optional.sort_by_key(|name| !(generous && known::is_known(name)));
        for name in optional {
            let wanted = given.len() < min || (generous && known::is_known(name));
            if wanted && given.len() < max {
                given.insert(name);
            }
        }
        let beyond = required.into_iter().filter(|name| !properties.contains_key(*name));
        let in_order = properties.keys().map(String::as_str).filter(|name| given.contains(name));
        let mut names: Vec<String> = in_order.chain(beyond).map(str::to_owned).collect();
        let made_up = (1..).map(|number| format!("item_{number}")).filter(|name| !properties.contains_key(name));
        names.extend(made_up.take(min.saturating_sub(names.len())));
        names
    }

    fn array(&mut self, flat: &Value, place: &Place<'_>, depth: usize) -> Value {
        let (min, max) = (bound(flat, "minItems", 0).min(MAX_ITEMS), bound(flat, "maxItems", u64::MAX));
        let (min, max) = (min as usize, usize::try_from(max).unwrap_or(usize::MAX));
        let (prefix, rest) = item_schemas(flat);
        let mut items = Items { unique: flat.get("uniqueItems") == Some(&Value::Bool(true)), ..Items::default() };
        let inner = Place { name: Some(""), entry: None, variant: place.variant };
        for schema in prefix.iter().take(max) {
            let item = self.value(schema, &inner, depth + 1);
            items.values.push(item);
        }
        if let Some(wanted) = flat.get("contains") {
            let times = bound(flat, "minContains", 1).min(MAX_ITEMS) as usize;
            let len = items.values.len() + times;
            self.made_up(&mut items, wanted, len, place, depth);
        }
        let item = flatten::flatten(rest, self.root, Choice { shift: self.shift, simple: false }, &mut self.budget);
        let entries = self.named(|facts| known::list(facts, place, &item)).unwrap_or_default();
        for entry in entries.into_iter().take(self.max_entries) {
            if items.values.len() < max && depth < GENEROUS_DEPTH {
                let item = self.value(rest, &Place { entry: Some(entry), ..inner.clone() }, depth + 1);
                items.push(item);
            }
        }
        if items.values.is_empty()
            && let Some(default @ Value::Array(_)) = self.default(flat)
        {
            return default.clone();
        }
        self.made_up(&mut items, rest, min, place, depth);
        Value::Array(items.values)
    }

    /// Fills an array up to a number of items.
    fn made_up(&mut self, items: &mut Items, schema: &Value, len: usize, place: &Place<'_>, depth: usize) {
        let tries = 4 * len + 16;
        for variant in 0..tries {
            if items.values.len() >= len || self.budget == 0 {
                return;
            }
            let place = Place { name: Some(""), entry: None, variant: place.variant + variant };
            let item = self.value(schema, &place, depth + 1);
            items.push(item);
        }
    }

    fn string(&mut self, flat: &Value, place: &Place<'_>) -> Value {
        let known = self.named(|facts| known::string(facts, place));
        let text = known.or_else(|| self.default(flat)?.as_str().map(str::to_owned));
        let text = string::fitted(flat, text, place.variant);
        self.budget = self.budget.saturating_sub(text.len() / BYTES_PER_BUDGET);
        Value::String(text)
    }

    fn number(&self, flat: &Value, place: &Place<'_>, whole: bool) -> Value {
        let range = number::Range::of(flat, whole);
        let known = self.named(|facts| known::number(facts, place, range.min, range.max));
        let wanted = known.or_else(|| self.default(flat)?.as_f64()).unwrap_or(0.0);
        range.nearest(wanted, place.variant)
    }
}

/// The items of an array as they come.
#[derive(Default)]
struct Items {
    unique: bool,
    values: Vec<Value>,
    seen: HashSet<String>,
}

impl Items {
    /// Adds an item, unless it must differ from the others and does not.
    fn push(&mut self, item: Value) {
        if !self.unique || self.seen.insert(item.to_string()) {
            self.values.push(item);
        }
    }
}

/// The schemas of an array's first items, and that of all others.
fn item_schemas(flat: &Value) -> (&[Value], &Value) {
    const ANY: &Value = &Value::Bool(true);
    let list = |key: &str| flat.get(key).and_then(Value::as_array).map(Vec::as_slice);
    match list("prefixItems") {
        Some(prefix) => (prefix, flat.get("items").unwrap_or(ANY)),
        // The older form: a list of schemas under `items`.
        None => match list("items") {
            Some(prefix) => (prefix, flat.get("additionalItems").unwrap_or(ANY)),
            None => (&[], flat.get("items").unwrap_or(ANY)),
        },
    }
}

/// The names that an object must have, those included that others bring with them.
fn required_names(flat: &Value) -> Vec<&str> {
    fn strings(value: &Value) -> impl Iterator<Item = &str> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str)
    }
    let mut names: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    let mut queue: Vec<&str> = flat.get("required").into_iter().flat_map(strings).collect();
    queue.reverse();
    while let Some(name) = queue.pop() {
        if seen.insert(name) {
            names.push(name);
            queue.extend(flat.get("dependentRequired").and_then(|all| all.get(name)).into_iter().flat_map(strings));
        }
    }
    names
}

/// A count that a keyword gives; whole numbers may be written as `2.0`.
fn bound(flat: &Value, key: &str, absent: u64) -> u64 {
    let number = flat.get(key);
    number.and_then(|number| number.as_u64().or_else(|| number.as_f64().map(|number| number as u64))).unwrap_or(absent)
}

fn is_of(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
        Value::Number(number) => {
            kind == "number" || kind == "integer" && number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
