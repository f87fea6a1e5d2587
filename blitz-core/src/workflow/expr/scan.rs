//! A look at the text of expressions: where tags begin, which paths are named.
//!
//! The template engine keeps its syntax tree to itself and reports neither quoted nor sliced names,
//! so paths are found in the tokens. Two texts are made of an expression: one that is run, and one
//! that is only asked for its names.

use std::fmt::Write;

/// A stretch of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it is, comments and raw blocks too.
    Text(&'a str),
    /// `{{ … }}` or `{% … %}`: its opening mark, what is inside, and its closing mark.
    Tag(&'a str, &'a str, &'a str),
}

/// Splits a template into text and tags. An open end is text: the parser says what is wrong with it.
pub(super) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut raw = false;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (text, tag) = rest.split_at(at);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let length = if tag.starts_with("{#") {
            tag.find("#}").map(|end| end + 2)
        } else {
            tag_end(tag).map(|inside| inside + 2)
        };
        let Some(length) = length else {
            rest = tag;
            break;
        };
        let (tag, behind) = tag.split_at(length);
        let word = tag.trim_start_matches(['{', '%', '-', '+', ' ']).trim_end_matches(['}', '%', '-', '+', ' ']);
        if tag.starts_with("{#") || raw || word == "raw" {
            raw = if tag.starts_with("{%") { word == "raw" || (raw && word != "endraw") } else { raw };
            pieces.push(Piece::Text(tag));
        } else {
            pieces.push(Piece::Tag(&tag[..2], &tag[2..length - 2], &tag[length - 2..]));
        }
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Where the closing mark of the tag is that a text begins with.
fn tag_end(tag: &str) -> Option<usize> {
    let close = if tag.starts_with("{{") { "}}" } else { "%}" };
    let mut depth = 0usize;
    let mut at = 2;
    while at < tag.len() {
        let rest = &tag[at..];
        if depth == 0 && rest.starts_with(close) {
            return Some(at);
        }
        let (token, length) = token(rest);
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += length;
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Space,
    Word(&'a str),
    /// With its quotes.
    Text(&'a str),
    Number(&'a str),
    Mark(char),
}

/// The token that a text begins with, and its length. The text is not empty.
fn token(text: &str) -> (Token<'_>, usize) {
    let length = |inside: fn(char) -> bool| text.find(|c: char| !inside(c)).unwrap_or(text.len());
    match text.chars().next().unwrap_or(' ') {
        c if c.is_whitespace() => (Token::Space, length(char::is_whitespace)),
        c if c.is_alphabetic() || c == '_' => {
            let length = length(|c| c.is_alphanumeric() || c == '_');
            (Token::Word(&text[..length]), length)
        }
        c if c.is_ascii_digit() => {
            let length = length(|c| c.is_ascii_alphanumeric() || c == '_');
            (Token::Number(&text[..length]), length)
        }
        quote @ ('"' | '\'') => {
            let mut escaped = false;
            let end = text.char_indices().skip(1).find_map(|(at, c)| {
                let ends = c == quote && !escaped;
                escaped = c == '\\' && !escaped;
                ends.then_some(at + 1)
            });
            let length = end.unwrap_or(text.len());
            (Token::Text(&text[..length]), length)
        }
        c => (Token::Mark(c), c.len_utf8()),
    }
}

/// Something of the engine's that an expression uses by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Use {
    Filter(String),
    Test(String),
    /// Of a value of the scope or of a text: no such value has any.
    Method(String),
}

/// The filters, tests and methods in one expression, or in what is inside a tag.
pub(super) fn uses(source: &str, roots: &[&str]) -> Vec<Use> {
    let tokens: Vec<Token> = tokens(source).into_iter().filter(|token| *token != Token::Space).collect();
    let mut found = Vec::new();
    if let [Token::Word("filter"), Token::Word(name), ..] = tokens.as_slice() {
        found.push(Use::Filter((*name).to_owned()));
    }
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| tokens[before]);
        match (token, &tokens[at + 1..]) {
            (Token::Mark('|'), [Token::Word(name), behind @ ..]) => {
                found.push(Use::Filter((*name).to_owned()));
                if let [Token::Mark('('), Token::Text(given), ..] = behind
                    && let Some(given) = unquoted(given)
                {
                    match *name {
                        "map" => found.push(Use::Filter(given)),
                        "select" | "reject" => found.push(Use::Test(given)),
                        _ => {}
                    }
                }
            }
            (Token::Word("is"), [Token::Word("not"), Token::Word(name), ..] | [Token::Word(name), ..])
                if before.is_some_and(ends_value) =>
            {
                found.push(Use::Test((*name).to_owned()));
            }
            (Token::Text(_), [Token::Mark('.'), Token::Word(name), Token::Mark('('), ..]) => {
                found.push(Use::Method((*name).to_owned()));
            }
            _ => {}
        }
        // `loop` is also what a `for` of a template counts with, and that has methods.
        if let Some(path) = path(&tokens[at..], before, roots)
            && let ("inputs" | "vars" | "nodes" | "item" | "execution" | "trigger", Some(Step::Name(name))) =
                (path.root, path.steps.last())
            && tokens.get(at + path.tokens) == Some(&Token::Mark('('))
        {
            found.push(Use::Method((*name).to_owned()));
        }
    }
    found
}

/// Whether a token can be the last of a value.
fn ends_value(token: Token) -> bool {
    match token {
        Token::Word(word) => !["and", "or", "not", "in", "if", "else", "is"].contains(&word),
        Token::Text(_) | Token::Number(_) => true,
        Token::Mark(mark) => matches!(mark, ')' | ']' | '}'),
        Token::Space => false,
    }
}

/// Whether an expression has braces in it that belong around one.
pub(super) fn has_braces(source: &str) -> bool {
    let tokens = tokens(source);
    tokens.windows(2).any(|two| two == [Token::Mark('{'), Token::Mark('{')])
}

/// What an expression's text becomes.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// The paths that may not be missing, as they stand there and step by step.
    pub(super) strict: Vec<Strict>,
    /// What is run: lenient look-ups where a missing value is asked for.
    pub(super) run: String,
    /// What is asked for its names: quoted names and slices in a form that shows them.
    pub(super) names: String,
}

/// A path that may not be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strict {
    pub(super) written: String,
    pub(super) root: String,
    pub(super) steps: Vec<At>,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    Name(String),
    Index(usize),
}

/// The lenient look-up of a path; see `expr::environment`.
pub(super) const LOOK_UP: &str = "__look_up";

/// Names that stand for quoted ones while an expression is asked for its names.
#[derive(Debug, Default)]
pub(super) struct Quoted {
    names: Vec<String>,
}

impl Quoted {
    const MARK: &'static str = "__quoted_";

    fn stand_in(&mut self, name: &str) -> String {
        self.names.push(name.to_owned());
        format!("{}{}", Self::MARK, self.names.len() - 1)
    }

    /// The name that a word of the analysed text stands for.
    pub(super) fn name<'a>(&'a self, word: &'a str) -> &'a str {
        let index = word.strip_prefix(Self::MARK).and_then(|index| index.parse::<usize>().ok());
        index.and_then(|index| self.names.get(index)).map_or(word, String::as_str)
    }
}

/// A name of the scope and what follows it: `nodes.risk.output`.
struct Path<'a> {
    root: &'a str,
    steps: Vec<Step<'a>>,
    /// How many tokens it takes.
    tokens: usize,
}

enum Step<'a> {
    Name(&'a str),
    Quoted(String),
    Index(&'a str),
}

/// Rewrites one expression, or what is inside a tag.
///
/// In `coalesce(a.b, c.d)`, `a.b|default(x)` and `a.b is defined` a path may lead over something that
/// is missing: there it becomes a look-up that gives undefined, anywhere else it stays strict.
pub(super) fn rewrite(source: &str, roots: &[&str], quoted: &mut Quoted) -> Rewritten {
    let tokens = tokens(source);
    let mut out = Rewritten::default();
    // What each open bracket belongs to.
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = significant(tokens[..at].iter().rev());
        if let Some(path) = path(&tokens[at..], before, roots) {
            let behind: Vec<Token> =
                tokens[at + path.tokens..].iter().filter(|t| **t != Token::Space).copied().take(3).collect();
            let argument = open.last() == Some(&Open::Coalesce)
                && matches!(before, Some(Token::Mark('(' | ',')))
                && matches!(behind.first(), Some(Token::Mark(')' | ',')));
            let written: String = tokens[at..at + path.tokens].iter().map(|token| text(*token)).collect();
            if argument || asks_for_missing(&behind) {
                out.run.push_str(&look_up(&path));
            } else {
                out.run.push_str(&written);
                out.strict.extend(path.strict(written));
            }
            out.names.push_str(&shown(&path, quoted));
            at += path.tokens;
            continue;
        }
        let token = tokens[at];
        match token {
            Token::Mark('(') => {
                open.push(if before == Some(Token::Word("coalesce")) { Open::Coalesce } else { Open::Other });
            }
            Token::Mark('[') => {
                // Behind a value a bracket takes an item of it, elsewhere it begins a list.
                let behind_value = matches!(before, Some(Token::Word(_) | Token::Text(_) | Token::Mark(')' | ']')));
                open.push(if behind_value { Open::Item } else { Open::Other });
            }
            Token::Mark('{') => open.push(Open::Other),
            Token::Mark(')' | '}') => {
                open.pop();
            }
            Token::Mark(']') => {
                let item = open.pop() == Some(Open::Item);
                if item && before == Some(Token::Mark(':')) {
                    out.names.push('0');
                }
            }
            _ => {}
        }
        out.run.push_str(text(token).as_ref());
        if token == Token::Mark(':') && open.last() == Some(&Open::Item) {
            // The engine does not look into what is sliced, only into plain items.
            let empty = matches!(before, Some(Token::Mark('[' | ':')));
            out.names.push_str(if empty { "0 or " } else { " or " });
        } else {
            out.names.push_str(text(token).as_ref());
        }
        at += 1;
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Coalesce,
    Item,
    Other,
}

/// Whether what follows a path has an answer for a missing value.
fn asks_for_missing(behind: &[Token]) -> bool {
    matches!(
        behind,
        [Token::Mark('|'), Token::Word("default" | "d"), ..]
            | [Token::Word("is"), Token::Word("defined" | "undefined"), ..]
            | [Token::Word("is"), Token::Word("not"), Token::Word("defined" | "undefined")]
    )
}

fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while !rest.is_empty() {
        let (token, length) = token(rest);
        let token = if token == Token::Space { Token::Space } else { token };
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

fn significant<'t, 'a: 't>(mut tokens: impl Iterator<Item = &'t Token<'a>>) -> Option<Token<'a>> {
    tokens.find(|token| **token != Token::Space).copied()
}

fn text(token: Token<'_>) -> std::borrow::Cow<'_, str> {
    match token {
        Token::Space => " ".into(),
        Token::Word(text) | Token::Text(text) | Token::Number(text) => text.into(),
        Token::Mark(c) => c.to_string().into(),
    }
}

/// The path that tokens begin with.
fn path<'a>(tokens: &[Token<'a>], before: Option<Token>, roots: &[&str]) -> Option<Path<'a>> {
    let Token::Word(root) = *tokens.first()? else { return None };
    // A field of something else, a filter, or a named argument is no name of the scope.
    let field = matches!(before, Some(Token::Mark('.' | '|')));
    let behind = significant(tokens[1..].iter());
    let double = tokens[1..].iter().filter(|t| **t != Token::Space).nth(1) == Some(&Token::Mark('='));
    let named = behind == Some(Token::Mark('=')) && !double;
    if !roots.contains(&root) || field || named {
        return None;
    }
    let mut path = Path { root, steps: Vec::new(), tokens: 1 };
    loop {
        match &tokens[path.tokens..] {
            [Token::Mark('.'), Token::Word(name), ..] => path.push(Step::Name(name), 2),
            [Token::Mark('.'), Token::Number(index), ..]
            | [Token::Mark('['), Token::Number(index), Token::Mark(']'), ..]
                if index.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                let tokens = if matches!(tokens[path.tokens], Token::Mark('.')) { 2 } else { 3 };
                path.push(Step::Index(index), tokens);
            }
            [Token::Mark('['), Token::Text(name), Token::Mark(']'), ..] => match unquoted(name) {
                Some(name) => path.push(Step::Quoted(name), 3),
                None => break,
            },
            _ => break,
        }
    }
    Some(path)
}

impl<'a> Path<'a> {
    fn strict(&self, written: String) -> Option<Strict> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Name(name) => Some(At::Name((*name).to_owned())),
            Step::Quoted(name) => Some(At::Name(name.clone())),
            Step::Index(index) => index.parse().ok().map(At::Index),
        });
        Some(Strict { written, root: self.root.to_owned(), steps: steps.collect::<Option<_>>()? })
    }

    fn push(&mut self, step: Step<'a>, tokens: usize) {
        self.steps.push(step);
        self.tokens += tokens;
    }
}

/// What a quoted name says; names with escapes are left to the engine.
fn unquoted(text: &str) -> Option<String> {
    let inside = text.get(1..text.len().checked_sub(1)?)?;
    (!inside.contains('\\')).then(|| inside.to_owned())
}

fn look_up(path: &Path) -> String {
    let mut call = format!("{LOOK_UP}(\"{}\"", path.root);
    for step in &path.steps {
        let _ = match step {
            Step::Name(name) => write!(call, ", \"{name}\""),
            Step::Quoted(name) => write!(call, ", \"{}\"", name.replace('"', "\\\"")),
            Step::Index(index) => write!(call, ", {index}"),
        };
    }
    call.push(')');
    call
}

/// The path as names joined by dots, as far as it can be said so.
fn shown(path: &Path, quoted: &mut Quoted) -> String {
    let mut text = path.root.to_owned();
    for step in &path.steps {
        match step {
            Step::Name(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Quoted(name) => {
                text.push('.');
                text.push_str(&quoted.stand_in(name));
            }
            // What is inside a list has no name of its own.
            Step::Index(_) => break,
        }
    }
    text
}
