//! Expressions and templates of workflows: compiled once, evaluated by a pure function.
//!
//! One language for all of it, that of prompts: strict about names, bounded in work and size, and
//! what a value holds is never read as a template again. Three forms are kept apart:
//!
//! - an [`Expr`] is one expression (`when`, `if`, `until`, `items`, …), bare or as `{{ … }}`;
//! - a [`Shape`] is a JSON value whose strings may hold `{{ … }}` (`input`, most of `config`): a
//!   string that is exactly one keeps the type of its value, any other becomes text;
//! - a text of a prompt without any tag may hold the old `{name}` fields: they are filled from the
//!   node's own input, then from the inputs of the workflow.
//!
//! A path that leads over something missing is an error, but for `coalesce(a, b)`, `a|default(b)`
//! and `a is defined`. Secrets are no part of the scope: whoever evaluates brings a function that
//! finds them, at the moment of the call.

mod condition;
mod known;
mod names;
mod scan;
mod scope;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Value as JinjaValue, ValueKind};
use minijinja::{Environment, Expression, State};
use serde_json::{Map, Number, Value};

pub(crate) use condition::condition;
pub(crate) use names::Names;
#[cfg(test)]
pub(in crate::workflow) use scope::reads;
pub(crate) use scope::{Scope, Seen};

use crate::domain::template::{self, jinja};
use crate::domain::{TemplateFormat, schema};
use crate::error::{Error, Result};
use scan::{Piece, Quoted, Strict, has_braces, pieces, rewrite};

/// Units of work of one evaluation: about one per instruction, item or 64 bytes.
const FUEL: u64 = 1_000_000;
/// The most bytes of an expression.
const MAX_EXPRESSION: usize = 64 << 10;
/// The most bytes that one evaluation gives, roughly as JSON.
const MAX_RESULT: usize = 16 << 20;
/// How deep a value may be nested.
const MAX_DEPTH: usize = 100;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = jinja::environment(FUEL);
    environment.add_function("coalesce", |values: minijinja::value::Rest<JinjaValue>| {
        let first = values.iter().find(|value| !value.is_undefined() && !value.is_none());
        first.cloned().unwrap_or(JinjaValue::from(()))
    });
    environment.add_function(scan::LOOK_UP, look_up);
    environment
});

/// A value by its path; undefined where any part of it is missing.
fn look_up(state: &State, root: String, steps: minijinja::value::Rest<JinjaValue>) -> JinjaValue {
    let mut value = state.lookup(&root).unwrap_or(JinjaValue::UNDEFINED);
    for step in steps.iter() {
        if value.is_undefined() || value.is_none() {
            return JinjaValue::UNDEFINED;
        }
        value = value.get_item(step).unwrap_or(JinjaValue::UNDEFINED);
    }
    value
}

/// Finds a secret by its name, at the moment of a call.
pub(crate) type Secrets<'a> = &'a dyn Fn(&str) -> Result<String>;

/// No secrets: none may be named.
pub(crate) fn no_secrets(_: &str) -> Result<String> {
    Err(Error::internal("a secret is read where none may be"))
}

/// One compiled expression. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Expr {
    compiled: Arc<Expression<'static, 'static>>,
    names: Arc<Names>,
    /// The paths that may not be missing, to say which one is.
    strict: Arc<[Strict]>,
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expr").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Expr {
    /// Compiles an expression; `{{ … }}` around it may be there or not.
    ///
    /// Errors: `Expression` for what is none, `TooLarge` over 64 KiB.
    pub(crate) fn compile(source: &str) -> Result<Self> {
        Self::bare(only_tag(source).unwrap_or(source))
    }

    fn bare(source: &str) -> Result<Self> {
        if source.len() > MAX_EXPRESSION {
            return Err(Error::too_large(format!("the expression is over {} KiB", MAX_EXPRESSION / 1024)));
        }
        if source.trim().is_empty() {
            return Err(Error::expression("the expression is empty"));
        }
        // First as it was written: what is said of it should fit what people see.
        ENVIRONMENT.compile_expression(source).map_err(|error| {
            if has_braces(source) {
                return Error::expression("an expression takes no braces around its names: say inputs.a > 3");
            }
            jinja::syntax_error(&error)
        })?;
        let mut quoted = Quoted::default();
        let rewritten = rewrite(source, names::ROOTS, &mut quoted);
        let named = ENVIRONMENT.compile_expression(&rewritten.names).map_err(|error| jinja::syntax_error(&error))?;
        let mut names = Names::of(named.undeclared_variables(true), &quoted, &ENVIRONMENT);
        names.absent.extend(known::absent(source, names::ROOTS, &ENVIRONMENT));
        let compiled =
            ENVIRONMENT.compile_expression_owned(rewritten.run).map_err(|error| jinja::syntax_error(&error))?;
        Ok(Self { compiled: Arc::new(compiled), names: Arc::new(names), strict: rewritten.strict.into() })
    }

    /// What it reads.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Its value. Errors: `Expression` for a missing name, a clash of types or too much work; `TooLarge`.
    pub(crate) fn evaluate(&self, scope: &Scope) -> Result<Value> {
        self.with_secrets(scope, &no_secrets)
    }

    /// Whether its value counts as true: everything but false, 0, null and what is empty. Errors: as [`Expr::evaluate`].
    pub(crate) fn is_true(&self, scope: &Scope) -> Result<bool> {
        let value = self.run(&Context::new(scope, &self.names, &no_secrets)?)?;
        match value.kind() {
            ValueKind::Undefined => Err(self.undefined(scope)),
            _ => Ok(value.is_true()),
        }
    }

    fn with_secrets(&self, scope: &Scope, secrets: Secrets) -> Result<Value> {
        self.value(scope, secrets, &mut MAX_RESULT.clone())
    }

    /// `room` is what is left of the largest result.
    fn value(&self, scope: &Scope, secrets: Secrets, room: &mut usize) -> Result<Value> {
        let value = self.run(&Context::new(scope, &self.names, secrets)?)?;
        to_json(&value, room, MAX_DEPTH, &|| self.undefined(scope))
    }

    /// Says what is missing where nothing came out.
    fn undefined(&self, scope: &Scope) -> Error {
        let missing = self.strict.iter().find(|path| path.root != "secrets" && !scope.has(&path.root, &path.steps));
        let what = missing.map_or("what it names is missing".to_owned(), |path| {
            format!("{} is missing", path.written.chars().take(100).collect::<String>())
        });
        Error::expression(format!("the expression gives nothing: {what}; say default(…) or coalesce(…)"))
    }

    fn run(&self, context: &Context) -> Result<JinjaValue> {
        self.compiled.eval(context.shown()).map_err(|error| jinja::render_error(&error, &context.known()))
    }
}

/// A JSON value with expressions in its strings, compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    form: Arc<Form>,
    names: Arc<Names>,
}

#[derive(Debug)]
enum Form {
    Literal(Value),
    Expr(Expr),
    Text(Text),
    /// The old `{name}` fields.
    Fields(String),
    List(Vec<Form>),
    Object(Vec<(String, Form)>),
}

/// Text with tags in it.
#[derive(Debug)]
struct Text {
    template: String,
    names: Names,
}

/// How the strings of a shape are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strings {
    /// Tags only.
    Tags,
    /// Tags; in a string without any, the old `{name}` fields.
    Prompt,
}

impl Shape {
    /// Compiles a value.
    ///
    /// Errors: `Expression` with the place of what is none, `TooLarge`.
    pub(crate) fn compile(value: &Value, strings: Strings) -> Result<Self> {
        if !schema::depth_within(value, MAX_DEPTH) {
            return Err(Error::too_large(format!("a value is nested deeper than {MAX_DEPTH} levels")));
        }
        let mut names = Names::default();
        let form = Form::of(value, strings, &mut names)?;
        Ok(Self { form: Arc::new(form), names: Arc::new(names) })
    }

    /// What it reads.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Its value. Errors: as [`Expr::evaluate`].
    pub(crate) fn evaluate(&self, scope: &Scope) -> Result<Value> {
        self.with_secrets(scope, &no_secrets)
    }

    /// Its value with secrets put in: for the call itself, never to be kept. Errors: as [`Expr::evaluate`].
    pub(crate) fn with_secrets(&self, scope: &Scope, secrets: Secrets) -> Result<Value> {
        let mut room = MAX_RESULT;
        self.form.value(scope, secrets, &mut room)
    }
}

impl Form {
    fn of(value: &Value, strings: Strings, names: &mut Names) -> Result<Self> {
        Ok(match value {
            Value::String(text) => Self::of_text(text, strings, names)?,
            Value::Array(items) => {
                let forms = items.iter().map(|item| Self::of(item, strings, names)).collect::<Result<Vec<_>>>()?;
                if forms.iter().all(Self::is_literal) { Self::Literal(value.clone()) } else { Self::List(forms) }
            }
            Value::Object(fields) => {
                if fields.keys().any(|key| key.contains("{{") || key.contains("{%")) {
                    return Err(Error::expression("a key holds an expression: only values may"));
                }
                let forms = fields
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Self::of(value, strings, names)?)))
                    .collect::<Result<Vec<_>>>()?;
                let plain = forms.iter().all(|(_, form)| form.is_literal());
                if plain { Self::Literal(value.clone()) } else { Self::Object(forms) }
            }
            other => Self::Literal(other.clone()),
        })
    }

    fn of_text(text: &str, strings: Strings, names: &mut Names) -> Result<Self> {
        if strings == Strings::Prompt && template::detect(text) == TemplateFormat::Braces {
            template::check(TemplateFormat::Braces, text)?;
            if !template::variables(TemplateFormat::Braces, text)?.is_empty() {
                names.input = true;
                names.inputs = true;
            } else if !text.contains("{{") {
                return Ok(Self::Literal(text.into()));
            }
            return Ok(Self::Fields(text.to_owned()));
        }
        if let Some(source) = only_tag(text) {
            let expr = Expr::bare(source)?;
            names.extend(expr.names());
            return Ok(Self::Expr(expr));
        }
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self::Literal(text.into()));
        }
        let text = Text::compile(text)?;
        names.extend(&text.names);
        Ok(Self::Text(text))
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    /// `room` is what is left of the largest result.
    fn value(&self, scope: &Scope, secrets: Secrets, room: &mut usize) -> Result<Value> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expr(expr) => expr.value(scope, secrets, room),
            Self::Text(text) => {
                let text = text.render(scope, secrets)?;
                take(room, text.len())?;
                Ok(text.into())
            }
            Self::Fields(text) => {
                let text = template::render_braces(text, |name| field(scope, name), || fields(scope))?;
                take(room, text.len())?;
                Ok(text.into())
            }
            Self::List(items) => items.iter().map(|item| item.value(scope, secrets, room)).collect(),
            Self::Object(fields) => {
                fields.iter().map(|(key, form)| Ok((key.clone(), form.value(scope, secrets, room)?))).collect()
            }
        }
    }
}

/// What an old field is filled from: the node's own input before the inputs of the workflow.
fn field<'a>(scope: &'a Scope, name: &str) -> Option<&'a Value> {
    scope.field("input", name).or_else(|| scope.field("inputs", name))
}

/// The names of all old fields that there are.
fn fields(scope: &Scope) -> Vec<&str> {
    let of = |root| scope.fields(root).into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    let mut names: Vec<&str> = of("inputs").collect();
    names.extend(of("input").filter(|name| scope.field("inputs", name).is_none()));
    names
}

impl Text {
    fn compile(source: &str) -> Result<Self> {
        template::check(TemplateFormat::Jinja, source).or_else(|error| match error.code() {
            // `coalesce` is no function of prompts, and prompts do not ask for it.
            crate::error::ErrorCode::Expression => jinja::compile_in(&ENVIRONMENT, source).map(drop),
            _ => Err(error),
        })?;
        let (mut quoted, mut absent) = (Quoted::default(), BTreeSet::new());
        let (mut run, mut names) = (String::with_capacity(source.len()), String::with_capacity(source.len()));
        for piece in pieces(source) {
            match piece {
                Piece::Text(text) => [&mut run, &mut names].into_iter().for_each(|out| out.push_str(text)),
                Piece::Tag(open, inside, close) => {
                    absent.extend(known::absent(inside, names::ROOTS, &ENVIRONMENT));
                    let rewritten = rewrite(inside, names::ROOTS, &mut quoted);
                    for (out, inside) in [(&mut run, &rewritten.run), (&mut names, &rewritten.names)] {
                        [open, inside, close].into_iter().for_each(|part| out.push_str(part));
                    }
                }
            }
        }
        let named = jinja::compile_in(&ENVIRONMENT, &names)?.undeclared_variables(true);
        jinja::compile_in(&ENVIRONMENT, &run)?;
        Ok(Self { names: Names { absent, ..Names::of(named, &quoted, &ENVIRONMENT) }, template: run })
    }

    fn render(&self, scope: &Scope, secrets: Secrets) -> Result<String> {
        let context = Context::new(scope, &self.names, secrets)?;
        jinja::render_in(&ENVIRONMENT, &self.template, context.shown(), || context.bytes(), || context.known())
    }
}

/// What is inside, where a text is exactly one `{{ … }}`.
fn only_tag(text: &str) -> Option<&str> {
    match *pieces(text).as_slice() {
        [Piece::Tag("{{", inside, _)] => {
            let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
            Some(inside.strip_suffix('-').unwrap_or(inside))
        }
        _ => None,
    }
}

/// The scope as the template engine takes it, with the secrets that one expression names.
struct Context<'a> {
    scope: &'a Scope,
    secrets: Option<Map<String, Value>>,
}

impl<'a> Context<'a> {
    fn new(scope: &'a Scope, names: &Names, secrets: Secrets) -> Result<Self> {
        if names.secrets.is_empty() {
            return Ok(Self { scope, secrets: None });
        }
        let found = names.secrets.iter().map(|name| Ok((name.clone(), Value::String(secrets(name)?))));
        Ok(Self { scope, secrets: Some(found.collect::<Result<_>>()?) })
    }

    fn shown(&self) -> JinjaValue {
        self.scope.shown(self.secrets.clone().map(|secrets| ("secrets", Value::Object(secrets))))
    }

    fn bytes(&self) -> u64 {
        let secrets = self.secrets.iter().flat_map(Map::values);
        self.scope.bytes() + secrets.filter_map(Value::as_str).map(|secret| secret.len() as u64).sum::<u64>()
    }

    /// Names for an error; never the secrets'.
    fn known(&self) -> Vec<&str> {
        self.scope.names()
    }
}

/// A value as JSON, as long as there is room: lists that hold each other many times are small in
/// memory and endless on paper.
fn to_json(value: &JinjaValue, room: &mut usize, depth: usize, undefined: &dyn Fn() -> Error) -> Result<Value> {
    let deeper = || {
        let left = depth.checked_sub(1);
        left.ok_or_else(|| Error::too_large(format!("a value is nested deeper than {MAX_DEPTH} levels")))
    };
    if let Some(json) = value.downcast_object_ref::<scope::Json>().and_then(scope::Json::get) {
        return copied(json, room, depth);
    }
    take(room, 8)?;
    match value.kind() {
        ValueKind::Undefined => Err(undefined()),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value).map(Value::Number),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            take(room, text.len())?;
            Ok(text.into())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let depth = deeper()?;
            let items = value.try_iter().map_err(|_| not_json())?;
            items.map(|item| to_json(&item, room, depth, undefined)).collect()
        }
        ValueKind::Map => {
            let depth = deeper()?;
            let keys = value.try_iter().map_err(|_| not_json())?;
            keys.map(|key| {
                let item = value.get_item(&key).map_err(|_| not_json())?;
                let key = key.to_string();
                take(room, key.len())?;
                Ok((key, to_json(&item, room, depth, undefined)?))
            })
            .collect()
        }
        _ => Err(not_json()),
    }
}

/// A value that is JSON already: as [`to_json`].
fn copied(value: &Value, room: &mut usize, depth: usize) -> Result<Value> {
    take(room, 8)?;
    let inside = || {
        let left = depth.checked_sub(1);
        left.ok_or_else(|| Error::too_large(format!("a value is nested deeper than {MAX_DEPTH} levels")))
    };
    Ok(match value {
        Value::Array(items) => {
            let depth = inside()?;
            Value::Array(items.iter().map(|item| copied(item, room, depth)).collect::<Result<_>>()?)
        }
        Value::Object(fields) => {
            let depth = inside()?;
            let fields = fields.iter().map(|(key, value)| {
                take(room, key.len())?;
                Ok((key.clone(), copied(value, room, depth)?))
            });
            Value::Object(fields.collect::<Result<_>>()?)
        }
        Value::String(text) => {
            take(room, text.len())?;
            value.clone()
        }
        other => other.clone(),
    })
}

fn number(value: &JinjaValue) -> Result<Number> {
    if value.is_integer() {
        let signed = i64::try_from(value.clone()).map(Number::from).ok();
        let number = signed.or_else(|| u64::try_from(value.clone()).map(Number::from).ok());
        return number.ok_or_else(|| Error::expression("a number is over 64 bits"));
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .ok_or_else(|| Error::expression("a number is none that JSON has: infinite or not a number"))
}

fn take(room: &mut usize, bytes: usize) -> Result<()> {
    *room = room
        .checked_sub(bytes)
        .ok_or_else(|| Error::too_large(format!("the value of an expression is over {} MiB", MAX_RESULT >> 20)))?;
    Ok(())
}

fn not_json() -> Error {
    Error::expression("the expression gives something that has no JSON form")
}
