//! A value for a schema: fields filled by name and type from the material at hand.

use std::cell::Cell;

use serde_json::{Map, Number, Value, json};

use super::material::Material;
use super::text::{Risk, Sentence, risky, salient};
use crate::domain::schema::SchemaCheck;

/// How deep optional fields are filled; below, only what the schema demands.
const OPTIONAL_DEPTH: usize = 4;
/// How deep anything is filled: a schema may demand itself.
const MAX_DEPTH: usize = 24;
/// How many values are filled in all, so that no schema takes long.
const BUDGET: usize = 1_000;
/// What preparing a check of a branch counts as, in values.
const CHECK_COST: usize = 20;
/// How many items a list has where the schema leaves it open.
const ITEMS: usize = 5;

const SUMMARY_NAMES: [&str; 8] =
    ["summary", "overview", "abstract", "description", "answer", "conclusion", "text", "content"];
const TITLE_NAMES: [&str; 5] = ["title", "name", "heading", "label", "subject"];
const RISK_NAMES: [&str; 11] = [
    "issue",
    "risk",
    "finding",
    "concern",
    "problem",
    "red_flag",
    "flag",
    "clause",
    "obligation",
    "warning",
    "violation",
];
const SCORE_NAMES: [&str; 7] = ["score", "rating", "severity", "likelihood", "probability", "confidence", "percent"];
const COUNT_NAMES: [&str; 4] = ["count", "total", "number_of", "num_"];

/// A value of `schema`; valid wherever the rules can find one.
pub(super) fn value(schema: &Value, material: &Material) -> Value {
    Filler { root: schema, material, left: Cell::new(BUDGET) }.fill(schema, &Place { name: "", focus: None, depth: 0 })
}

/// What is known about the place that is filled.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The field's name, or its list's.
    name: &'a str,
    /// The sentence that an item of a list is about.
    focus: Option<&'a Sentence>,
    depth: usize,
}

struct Filler<'a> {
    root: &'a Value,
    material: &'a Material,
    /// Values that may still be filled.
    left: Cell<usize>,
}

impl<'a> Filler<'a> {
    fn fill(&self, schema: &Value, place: &Place<'_>) -> Value {
        if place.depth > MAX_DEPTH || !self.spend(1) {
            return Value::Null;
        }
        let schema = &self.resolved(schema);
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            return self.choice(options, place);
        }
        if let Some(branch) = self.branch(schema, place) {
            return branch;
        }
        match kind(schema) {
            "object" => self.object(schema, place),
            "array" => self.array(schema, place),
            "integer" => self.number(schema, place, true),
            "number" => self.number(schema, place, false),
            "boolean" => self.boolean(schema, place),
            "null" => Value::Null,
            _ => self.string(schema, place),
        }
    }

    /// Takes work from the budget; false where it is used up.
    fn spend(&self, work: usize) -> bool {
        let left = self.left.get().checked_sub(work);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The schema with its reference followed and the parts of `allOf` laid over it.
    fn resolved(&self, schema: &Value) -> Value {
        let mut merged = schema.clone();
        for _ in 0..MAX_DEPTH {
            let Some(map) = merged.as_object_mut() else { break };
            let target =
                map.shift_remove("$ref").and_then(|target| self.root.pointer(target.as_str()?.strip_prefix('#')?));
            let parts = map.shift_remove("allOf").and_then(|parts| parts.as_array().cloned()).unwrap_or_default();
            if target.is_none() && parts.is_empty() {
                break;
            }
            target.into_iter().chain(&parts).for_each(|part| lay_over(map, part));
        }
        merged
    }

    /// The first branch of `anyOf` or `oneOf` whose value passes the whole schema; null only last.
    fn branch(&self, schema: &Value, place: &Place<'_>) -> Option<Value> {
        let branches = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)?.as_array())?;
        let mut rest = schema.as_object()?.clone();
        rest.shift_remove("oneOf");
        rest.shift_remove("anyOf");
        // Below some depth the plainest branch ends a recursion.
        let deep = place.depth > OPTIONAL_DEPTH;
        let mut order: Vec<&Value> = branches.iter().collect();
        order.sort_by_key(|branch| match kind(branch) {
            "null" => !deep,
            "object" | "array" => deep,
            _ => false,
        });
        let check = self.check_of(schema);
        let below = Place { depth: place.depth + 1, ..*place };
        let mut values = order.into_iter().map(|branch| {
            let mut whole = rest.clone();
            lay_over(&mut whole, branch);
            self.fill(&Value::Object(whole), &below)
        });
        let first = values.next()?;
        match check {
            Some(check) if check.check(&first).is_err() => {
                Some(values.find(|value| check.check(value).is_ok()).unwrap_or(first))
            }
            _ => Some(first),
        }
    }

    /// A check of a part of the schema, with the definitions that it may refer to.
    fn check_of(&self, schema: &Value) -> Option<SchemaCheck> {
        let mut whole = schema.as_object().filter(|_| self.spend(CHECK_COST))?.clone();
        for shelf in ["$defs", "definitions"] {
            if let Some(definitions) = self.root.get(shelf) {
                whole.insert(shelf.to_owned(), definitions.clone());
            }
        }
        SchemaCheck::new(&Value::Object(whole)).ok()
    }

    fn object(&self, schema: &Value, place: &Place<'_>) -> Value {
        let required: Vec<&str> = strings(schema, "required");
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let wanted = |name: &str| required.contains(&name) || place.depth < OPTIONAL_DEPTH;
        let filled = |name: &str, schema: &Value| {
            let below =
                Place { name: if is_plain(name) { place.name } else { name }, depth: place.depth + 1, ..*place };
            (name.to_owned(), self.fill(schema, &Place { name, ..below }))
        };
        let known = properties.iter().filter(|(name, schema)| wanted(name) && **schema != json!(false));
        let unknown = required.iter().filter(|name| !properties.contains_key(**name));
        let extra = schema.get("additionalProperties").filter(|extra| extra.is_object()).unwrap_or(&Value::Null);
        let mut map: Map<String, Value> = known.map(|(name, schema)| filled(name, schema)).collect();
        map.extend(unknown.map(|name| filled(name, extra)));
        for n in map.len()..bound(schema, "minProperties").unwrap_or(0) {
            map.extend([filled(&format!("item_{}", n + 1), extra)]);
        }
        Value::Object(map)
    }

    fn array(&self, schema: &Value, place: &Place<'_>) -> Value {
        let fixed: &[Value] = schema.get("prefixItems").and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let item_schema = schema.get("items").unwrap_or(&Value::Null);
        let least = bound(schema, "minItems").unwrap_or(0).min(200);
        let most = bound(schema, "maxItems").unwrap_or(usize::MAX);
        let closed = *item_schema == json!(false);
        let focuses = self.focuses(place.name);
        let open =
            if closed || place.depth > OPTIONAL_DEPTH { 0 } else { self.open_items(item_schema, place, &focuses) };
        let length = (fixed.len() + open).max(least).min(most);
        let unique = schema.get("uniqueItems") == Some(&json!(true));
        let mut items: Vec<Value> = Vec::new();
        for index in 0..length {
            let item =
                Place { focus: focuses.get(index % focuses.len().max(1)).copied(), depth: place.depth + 1, ..*place };
            let item = self.fill(fixed.get(index).unwrap_or(item_schema), &item);
            match unique && items.contains(&item) {
                true if items.len() >= least => {}
                true => items.extend(self.another(item_schema, &items, &item)),
                false => items.push(item),
            }
        }
        Value::Array(items)
    }

    /// How many items a list has where the schema leaves it open.
    fn open_items(&self, item_schema: &Value, place: &Place<'_>, focuses: &[&Sentence]) -> usize {
        let by_focus = focuses.len().min(ITEMS);
        match kind(&self.resolved(item_schema)) {
            "object" | "string" => by_focus,
            _ if is_named(place.name, &RISK_NAMES) => by_focus,
            _ => by_focus.min(1),
        }
    }

    /// An item that a list of unique items does not hold yet.
    fn another(&self, item_schema: &Value, held: &[Value], item: &Value) -> Option<Value> {
        let schema = self.resolved(item_schema);
        let check = self.check_of(&schema);
        let fits =
            |value: &Value| !held.contains(value) && check.as_ref().is_none_or(|check| check.check(value).is_ok());
        let options = schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        let varied = (1..=held.len() + 1).flat_map(|n| match item {
            Value::String(text) => vec![
                json!(format!("{text} ({n})")),
                json!(format!("{n}{}", text.chars().skip(n.to_string().len()).collect::<String>())),
            ],
            Value::Number(number) => {
                let step = schema.get("multipleOf").and_then(Value::as_f64).unwrap_or(1.0) * n as f64;
                let value = number.as_f64().unwrap_or(0.0);
                vec![json_number(value + step, number.is_i64()), json_number(value - step, number.is_i64())]
            }
            Value::Bool(value) => vec![json!(!value)],
            Value::Object(map) => vary(map, n),
            Value::Array(items) => vec![json!(items.iter().cloned().chain([json!(n)]).collect::<Vec<_>>())],
            Value::Null => Vec::new(),
        });
        options.into_iter().chain(varied).find(fits)
    }

    /// The sentences that the items of a list are about.
    fn focuses(&self, name: &str) -> Vec<&'a Sentence> {
        let sentences = &self.material.sentences;
        if is_named(name, &RISK_NAMES) { risky(sentences, ITEMS) } else { salient(sentences, ITEMS) }
    }

    fn string(&self, schema: &Value, place: &Place<'_>) -> Value {
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("date") => "1970-01-01".to_owned(),
            Some("time") => "00:00:00Z".to_owned(),
            Some("date-time") => "1970-01-01T00:00:00Z".to_owned(),
            Some("duration") => "PT0S".to_owned(),
            Some("email" | "idn-email") => "offline@example.com".to_owned(),
            Some("uri" | "iri" | "uri-reference") => "https://example.com/".to_owned(),
            Some("hostname" | "idn-hostname") => "example.com".to_owned(),
            Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
            Some("ipv4") => "192.0.2.1".to_owned(),
            Some("ipv6") => "2001:db8::1".to_owned(),
            _ => return json!(self.prose(schema, place)),
        };
        json!(text)
    }

    /// Prose by the field's name: given by the user, a title, a summary, or the sentence at hand.
    fn prose(&self, schema: &Value, place: &Place<'_>) -> String {
        let given = self.material.fields.get(place.name).and_then(Value::as_str).filter(|_| place.focus.is_none());
        let text = match (given, place.focus) {
            (Some(given), _) => given.to_owned(),
            (None, Some(sentence)) if is_named(place.name, &TITLE_NAMES) => title(&sentence.text),
            (None, Some(sentence)) => sentence.text.clone(),
            (None, None) if is_named(place.name, &TITLE_NAMES) => {
                self.material.sentences.first().map(|sentence| title(&sentence.text)).unwrap_or_default()
            }
            (None, None) if is_named(place.name, &SUMMARY_NAMES) => self.summary(),
            (None, None) => salient(&self.material.sentences, 1).iter().map(|sentence| sentence.text.clone()).collect(),
        };
        let text = if text.is_empty() { "offline".to_owned() } else { text };
        sized(&text, bound(schema, "minLength").unwrap_or(0), bound(schema, "maxLength"))
    }

    /// A few sentences, with the number that a tool gave where nothing was read.
    fn summary(&self) -> String {
        match self.material.number().filter(|_| !self.material.document) {
            Some(number) => format!("The result is {number}."),
            None => super::summary(&self.material.sentences),
        }
    }

    fn number(&self, schema: &Value, place: &Place<'_>, whole: bool) -> Value {
        let get = |key: &str| schema.get(key).and_then(Value::as_f64);
        let (least, most) = (get("minimum"), get("maximum"));
        let given = self.material.fields.get(place.name).and_then(Value::as_f64);
        let value = match given {
            Some(given) => given,
            None if is_named(place.name, &SCORE_NAMES) => {
                scaled(self.material.score(), least.or(get("exclusiveMinimum")), most.or(get("exclusiveMaximum")))
            }
            None if is_named(place.name, &COUNT_NAMES) => {
                (self.material.risks(Risk::Some) + self.material.risks(Risk::Severe)) as f64
            }
            None => self.material.number().or(schema.get("default").and_then(Value::as_f64)).unwrap_or(0.0),
        };
        let grain = get("multipleOf").filter(|step| *step > 0.0).unwrap_or(if whole { 1.0 } else { 0.0 });
        json_number(bounded(value, schema, if whole { grain.max(1.0) } else { grain }), whole)
    }

    fn boolean(&self, schema: &Value, place: &Place<'_>) -> Value {
        let given = self.material.fields.get(place.name).and_then(Value::as_bool);
        let risky = self.material.sentences.iter().any(|sentence| sentence.risk > Risk::None);
        let about_risk = is_named(place.name, &RISK_NAMES) || place.name.contains("review");
        let default = schema.get("default").and_then(Value::as_bool).unwrap_or(false);
        json!(given.unwrap_or(if about_risk { risky } else { default }))
    }

    /// One of a fixed set: by the risk at hand, by a word of the text, else the first that is something.
    fn choice(&self, options: &[Value], place: &Place<'_>) -> Value {
        let severity = place.focus.map_or_else(
            || match self.material.score() {
                score if score >= 60.0 => Risk::Severe,
                score if score >= 25.0 => Risk::Some,
                _ => Risk::None,
            },
            |sentence| sentence.risk,
        );
        let wanted: &[&str] = match severity {
            Risk::Severe => &["high", "critical", "severe", "major", "red", "reject", "medium"],
            Risk::Some => &["medium", "moderate", "warning", "yellow", "review", "high", "low"],
            Risk::None => &["low", "minor", "info", "none", "green", "approve", "medium"],
        };
        let named = |word: &str| {
            options.iter().find(|option| option.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word)))
        };
        let given = self.material.fields.get(place.name).filter(|given| options.contains(given));
        let said = options.iter().find(|option| {
            option.as_str().is_some_and(|word| {
                self.material.prompt.split(|c: char| !c.is_alphanumeric()).any(|said| said.eq_ignore_ascii_case(word))
            })
        });
        let by_severity = wanted.iter().find_map(|word| named(word));
        let something = options.iter().find(|option| !option.is_null());
        given.or(by_severity).or(said).or(something).cloned().unwrap_or(Value::Null)
    }
}

/// Lays one schema over another: fields and demands are joined, all else the upper one decides.
fn lay_over(map: &mut Map<String, Value>, part: &Value) {
    for (key, value) in part.as_object().into_iter().flatten() {
        match (map.get_mut(key), value) {
            (Some(Value::Object(held)), Value::Object(more)) if key == "properties" => {
                more.iter().for_each(|(name, schema)| {
                    held.entry(name).or_insert_with(|| schema.clone());
                });
            }
            (Some(Value::Array(held)), Value::Array(more)) if key == "required" || key == "allOf" => {
                held.extend(more.iter().cloned())
            }
            (Some(_), _) if key == "type" => {}
            _ => {
                map.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The type of a schema, guessed from its keywords where it names none; null only where nothing else is left.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if ["properties", "required", "additionalProperties", "minProperties"]
            .iter()
            .any(|key| schema.get(key).is_some()) =>
        {
            "object"
        }
        _ if ["items", "prefixItems", "minItems"].iter().any(|key| schema.get(key).is_some()) => "array",
        _ if ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
            .iter()
            .any(|key| schema.get(key).is_some()) =>
        {
            "number"
        }
        _ => "string",
    }
}

fn is_named(name: &str, words: &[&str]) -> bool {
    let name = name.to_lowercase();
    words.iter().any(|word| name.contains(word))
}

/// Whether a name says nothing, so that the list's name counts.
fn is_plain(name: &str) -> bool {
    matches!(name, "value" | "item" | "data")
}

fn strings<'a>(schema: &'a Value, key: &str) -> Vec<&'a str> {
    schema
        .get(key)
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key)?.as_f64().map(|bound| bound as usize)
}

/// A score from 0 to 100 on the schema's scale.
fn scaled(score: f64, least: Option<f64>, most: Option<f64>) -> f64 {
    let (least, most) = (least.unwrap_or(0.0), most.unwrap_or(100.0));
    least + score / 100.0 * (most - least)
}

/// The nearest value within a schema's bounds that is a multiple of `grain`, where there is one.
fn bounded(value: f64, schema: &Value, grain: f64) -> f64 {
    let get = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (over, under) = (get("exclusiveMinimum"), get("exclusiveMaximum"));
    let least = get("minimum").into_iter().chain(over).fold(f64::NEG_INFINITY, f64::max);
    let most = get("maximum").into_iter().chain(under).fold(f64::INFINITY, f64::min);
    let fits = |value: f64| {
        value >= least
            && value <= most
            && over.is_none_or(|over| value > over)
            && under.is_none_or(|under| value < under)
    };
    let value = value.max(least).min(most);
    if grain > 0.0 {
        let steps = (value / grain).round();
        let near = [steps, steps + 1.0, steps - 1.0].map(|steps| steps * grain);
        return near.into_iter().find(|value| fits(*value)).unwrap_or(near[0]);
    }
    let middle = if least.is_finite() && most.is_finite() {
        (least + most) / 2.0
    } else if over.is_some() {
        least + 1.0
    } else {
        most - 1.0
    };
    if fits(value) { value } else { middle }
}

fn json_number(value: f64, whole: bool) -> Value {
    if (whole || value.fract() == 0.0) && value.abs() < 9e15 {
        return json!(value as i64);
    }
    Number::from_f64(value).map_or(json!(0), Value::Number)
}

fn sized(text: &str, least: usize, most: Option<usize>) -> String {
    const LONGEST: usize = 100_000;
    let mut text: String = text.chars().take(most.unwrap_or(usize::MAX)).collect();
    let missing = least.min(LONGEST).saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n('.', missing));
    text
}

/// The beginning of a sentence, as a heading.
fn title(sentence: &str) -> String {
    const WORDS: usize = 8;
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let title = words.iter().take(WORDS).copied().collect::<Vec<_>>().join(" ");
    title.trim_end_matches(['.', ',', ';', ':', '!']).to_owned()
}

/// An object that differs in one field.
fn vary(map: &Map<String, Value>, n: usize) -> Vec<Value> {
    let changed = |key: &String| {
        let mut map = map.clone();
        let value = match &map[key] {
            Value::String(text) => json!(format!("{text} ({n})")),
            Value::Number(number) => json_number(number.as_f64().unwrap_or(0.0) + n as f64, number.is_i64()),
            other => other.clone(),
        };
        map.insert(key.clone(), value);
        Value::Object(map)
    };
    map.keys().map(changed).collect()
}
