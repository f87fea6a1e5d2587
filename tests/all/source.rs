//! Reads the source of the workspace as the tests of its shape need it: files, tokens, paths.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All files below `folder` (relative to the workspace) whose name ends with `suffix`, sorted.
pub fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&workspace().join(folder), suffix, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a folder of the workspace can be listed").path()) {
        if path.is_dir() {
            collect(&path, suffix, found);
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
}

/// A path as people write it: relative to the workspace.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}

/// The text of a file.
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", shown(path)))
}

/// A Rust file of `blitz-core`, without its comments and its test modules.
pub struct Source {
    /// Where it lies, for messages.
    pub shown: String,
    /// Its module path below the crate root: `["provider", "openai"]`; empty for `lib.rs`.
    pub module: Vec<String>,
    /// What the compiler reads outside tests.
    pub tokens: Vec<Token>,
}

impl Source {
    /// The room that the file belongs to; `lib` for the crate root.
    pub fn room(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// The file's place below `blitz-core/src`, such as `store/ledger.rs`.
    pub fn place(&self) -> &str {
        self.shown.strip_prefix("blitz-core/src/").expect("files of blitz-core only")
    }
}

/// Every file of `blitz-core/src` but those that are built for its own tests only.
pub fn core_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut test_modules = Vec::new();
    for path in files("blitz-core/src", ".rs") {
        let shown = shown(&path);
        let module = module_of(shown.strip_prefix("blitz-core/src/").expect("listed below it"));
        let (tokens, declared) = split_tests(&tokens(&text(&path)));
        test_modules.extend(declared.into_iter().map(|name| [module.as_slice(), &[name]].concat()));
        sources.push(Source { shown, module, tokens });
    }
    sources.retain(|source| !test_modules.iter().any(|tests| source.module.starts_with(tests)));
    sources
}

/// The macros that other rooms reach through the crate root, each with the room it is written in.
pub fn exported_macros(sources: &[Source]) -> Vec<(String, String)> {
    let mut macros = Vec::new();
    for source in sources {
        for (at, _) in source.tokens.iter().enumerate().filter(|(_, token)| token.is("macro_export")) {
            let rules = source.tokens[at..].windows(3).find(|three| three[0].is("macro_rules"));
            if let Some(name) = rules.and_then(|three| three[2].word()) {
                macros.push((name.to_owned(), source.room().to_owned()));
            }
        }
    }
    macros
}

/// Whether a file holds tests only: `tests.rs`, or anything in a folder `tests`.
pub fn is_test_file(path: &Path) -> bool {
    let shown = shown(path);
    shown.ends_with("/tests.rs") || shown.contains("/tests/")
}

fn module_of(place: &str) -> Vec<String> {
    let place = place.strip_suffix(".rs").unwrap_or(place);
    let mut module: Vec<String> = place.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// A token of Rust, as coarse as these tests allow.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The line it begins on, from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// An identifier, keyword or number.
    Word(String),
    /// The inside of a string literal.
    Text(String),
    /// `::`.
    PathSeparator,
    /// Any other character.
    Mark(char),
}

impl Token {
    /// The identifier, if it is one.
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether it is the identifier `word`.
    pub fn is(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    /// Whether it is the character `mark`.
    pub fn mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// Splits Rust source into tokens; comments are left out.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(first) = reader.rest.chars().next() {
        let line = reader.line;
        let mut push = |kind| tokens.push(Token { line, kind });
        if reader.rest.starts_with("//") {
            reader.take_until("\n");
        } else if reader.rest.starts_with("/*") {
            reader.take_until("*/");
        } else if let Some(text) = reader.take_string() {
            push(Kind::Text(text));
        } else if first.is_alphanumeric() || first == '_' {
            let word = reader.take_while(|c| c.is_alphanumeric() || c == '_');
            push(Kind::Word(word.to_owned()));
        } else if reader.rest.starts_with("::") {
            reader.take(2);
            push(Kind::PathSeparator);
        } else if first == '\'' {
            reader.take_char_or_lifetime();
        } else {
            reader.take(first.len_utf8());
            if !first.is_whitespace() {
                push(Kind::Mark(first));
            }
        }
    }
    tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn take_until(&mut self, end: &str) -> &'a str {
        let bytes = self.rest.find(end).map_or(self.rest.len(), |at| at + end.len());
        self.take(bytes)
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> &'a str {
        let bytes = self.rest.find(|c| !holds(c)).unwrap_or(self.rest.len());
        self.take(bytes)
    }

    /// A string literal of any sort: plain, byte, C, raw.
    fn take_string(&mut self) -> Option<String> {
        let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
            let rest = self.rest.strip_prefix(prefix).map(|rest| rest.trim_start_matches('#'));
            rest.is_some_and(|rest| rest.starts_with('"'))
        })?;
        let hashes = self.rest[prefix.len()..].find('"').expect("found above");
        if hashes > 0 && !prefix.ends_with('r') {
            return None;
        }
        self.take(prefix.len() + hashes + 1);
        if prefix.ends_with('r') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = self.take_until(&end);
            return Some(body.strip_suffix(&end).unwrap_or(body).to_owned());
        }
        Some(self.take_escaped('"'))
    }

    /// What stands before the next `end` that no backslash hides; takes the end too.
    fn take_escaped(&mut self, end: char) -> String {
        let mut escaped = false;
        let close = self.rest.find(|c| {
            let closes = c == end && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let body = self.take(close.unwrap_or(self.rest.len())).to_owned();
        self.take(close.map_or(0, |_| end.len_utf8()));
        body
    }

    fn take_char_or_lifetime(&mut self) {
        let mut after = self.rest.chars().skip(1);
        let (first, second) = (after.next(), after.next());
        self.take(1);
        if first == Some('\\') || second == Some('\'') {
            self.take_escaped('\'');
        } else {
            self.take_while(|c| c.is_alphanumeric() || c == '_');
        }
    }
}

/// The tokens outside `#[cfg(test)]` items, and the modules in other files that are built for tests only.
fn split_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules) = (Vec::with_capacity(tokens.len()), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens[at..]) {
            let end = end_of_item(tokens, at);
            modules.extend(declared_module(&tokens[at..end]));
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    (kept, modules)
}

/// The name in `mod name;` at the end of an item.
fn declared_module(item: &[Token]) -> Option<String> {
    match item {
        [.., module, name, end] if module.is("mod") && end.mark(';') => name.word().map(str::to_owned),
        _ => None,
    }
}

fn is_cfg_test(tokens: &[Token]) -> bool {
    let [hash, open, cfg, paren, test, ..] = tokens else { return false };
    hash.mark('#') && open.mark('[') && cfg.is("cfg") && paren.mark('(') && test.is("test")
}

/// The place behind the first `;` or closing brace of the item at `start`.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.kind {
            Kind::Mark('{') => depth += 1,
            Kind::Mark('}') if depth == 1 => return at + 1,
            Kind::Mark('}') => depth -= 1,
            Kind::Mark(';') if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// A path that leaves the file by the crate root: the first name behind it.
#[derive(Debug, PartialEq)]
pub struct RootPath {
    /// The line, from 1.
    pub line: usize,
    /// The name behind `crate::`.
    pub name: String,
}

/// Every path of `source` that goes through the crate root, `crate::x` and `super::…::x` alike.
pub fn root_paths(source: &Source) -> Vec<RootPath> {
    let tokens = &source.tokens;
    let mut paths = Vec::new();
    let mut inline = InlineModules::default();
    for at in 0..tokens.len() {
        inline.see(&tokens[at..]);
        let starts_path = at == 0 || tokens[at - 1].kind != Kind::PathSeparator;
        let behind = match tokens[at].word() {
            Some("crate") if starts_path => Some(at + 1),
            Some("super") if starts_path => {
                let supers = tokens[at..].chunks(2).take_while(|pair| is_super(pair)).count();
                (supers >= source.module.len() + inline.depth()).then_some(at + 2 * supers - 1)
            }
            _ => None,
        };
        if let Some(behind) = behind.filter(|&at| tokens.get(at).is_some_and(|t| t.kind == Kind::PathSeparator)) {
            names_behind(&tokens[behind + 1..], &mut paths);
        }
    }
    paths
}

fn is_super(pair: &[Token]) -> bool {
    matches!(pair, [word, separator] if word.is("super") && separator.kind == Kind::PathSeparator)
}

/// The name that `tokens` begins with, or the first names of a group in braces.
fn names_behind(tokens: &[Token], paths: &mut Vec<RootPath>) {
    let mut depth = 0;
    let mut wanted = true;
    for token in tokens {
        match &token.kind {
            Kind::Mark('{') => depth += 1,
            Kind::Mark('}') => depth -= 1,
            Kind::Mark(',') if depth == 1 => wanted = true,
            Kind::Word(name) if wanted => {
                paths.push(RootPath { line: token.line, name: name.clone() });
                wanted = false;
            }
            Kind::Mark('*') if wanted => paths.push(RootPath { line: token.line, name: "*".to_owned() }),
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Counts how many `mod x { … }` stand around a token.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    opened_at: Vec<usize>,
}

impl InlineModules {
    fn see(&mut self, tokens: &[Token]) {
        match tokens {
            [module, name, open, ..] if module.is("mod") && name.word().is_some() && open.mark('{') => {
                self.opened_at.push(self.braces);
            }
            [open, ..] if open.mark('{') => self.braces += 1,
            [close, ..] if close.mark('}') => {
                self.braces = self.braces.saturating_sub(1);
                if self.opened_at.last() == Some(&self.braces) {
                    self.opened_at.pop();
                }
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        self.opened_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &[&str], text: &str) -> Source {
        let module = module.iter().map(|&part| part.to_owned()).collect();
        Source { shown: String::new(), module, tokens: split_tests(&tokens(text)).0 }
    }

    fn names(module: &[&str], text: &str) -> Vec<String> {
        root_paths(&source(module, text)).into_iter().map(|path| path.name).collect()
    }

    #[test]
    fn paths_through_the_crate_root_are_found() {
        assert_eq!(names(&["tool", "http"], "use crate::{domain::{Id, Money}, net};"), ["domain", "net"]);
        assert_eq!(names(&["tool", "http"], "fn f() { crate::store::open(); super::g(); }"), ["store"]);
        assert_eq!(names(&["tool", "http"], "use super::super::engine::Engine;"), ["engine"]);
        assert_eq!(names(&["audit"], "use super::store;\nmod inner { use super::store; }"), ["store"]);
        assert_eq!(names(&["audit"], "use crate::*;"), ["*"]);
        assert_eq!(names(&["audit"], "#[cfg(test)] mod tests { use crate::engine; }\nuse crate::error;"), ["error"]);
    }

    #[test]
    fn modules_for_tests_are_told_apart() {
        let text =
            "#[cfg(test)] mod tests { mod inner; } #[cfg(test)] pub(crate) mod testing; mod real; #[cfg(test)] use x;";
        let (kept, modules) = split_tests(&tokens(text));
        assert_eq!((modules, kept.len()), (vec!["testing".to_owned()], 3));
    }

    #[test]
    fn exported_macros_are_found() {
        let file =
            source(&["tool", "function"], "#[macro_export]\nmacro_rules! tool_fn { () => {} } macro_rules! other {}");
        assert_eq!(exported_macros(&[file]), [("tool_fn".to_owned(), "tool".to_owned())]);
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "// crate::a\n/* crate::b */ let s = \"crate::c \\\" crate::d\"; let r = r#\"crate::\"e\"#; let c = '\"'; crate::f";
        assert_eq!(names(&["x"], text), ["f"]);
        assert_eq!(tokens("fn a<'b>(c: &'b str) {}").iter().filter(|t| t.is("str")).count(), 1);
        assert_eq!(tokens("a\n\n b").last().map(|t| t.line), Some(3));
    }
}
