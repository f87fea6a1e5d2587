//! The shape of the house, held by reading its source: who may import whom, what a room never names.

use std::collections::BTreeSet;
use std::path::Path;

use crate::source::{
    Kind, Source, Token, core_sources, exported_macros, files, is_test_file, root_paths, shown, text, tokens, workspace,
};
use crate::support::canary::SECRET;

/// Each room and what it may use, beside itself. Arrows point down only.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &["error"]),
    ("error", &["domain"]),
    ("net", &["domain", "error"]),
    ("store", &["domain", "error"]),
    ("provider", &["domain", "error", "net"]),
    ("tool", &["domain", "error", "net"]),
    ("audit", &["domain", "error", "store"]),
    ("access", &["domain", "error", "store", "audit"]),
    ("ledger", &["domain", "error", "store", "audit"]),
    ("agent", &["domain", "error"]),
    ("workflow", &["domain", "error"]),
    (
        "execution",
        &["domain", "error", "net", "store", "provider", "tool", "audit", "access", "ledger", "agent", "workflow"],
    ),
    (
        "engine",
        &[
            "domain",
            "error",
            "net",
            "store",
            "provider",
            "tool",
            "audit",
            "access",
            "ledger",
            "agent",
            "workflow",
            "execution",
        ],
    ),
    ("test_support", &["domain", "error", "store", "ledger"]),
];

/// The longest a file may be; past it there is a second noun in the file.
const MAX_LINES: usize = 600;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// What pure rooms never name: clock, chance, unordered iteration, the runtime and the outside world.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant",
    "rand",
    "getrandom",
    "SystemRandom",
    "HashMap",
    "HashSet",
    "tokio",
    "async",
    "await",
    "spawn",
    "thread",
    "fs",
    "env",
    "reqwest",
    "rusqlite",
];

/// Providers and model families: the store keeps what it is given and knows none of them.
const PROVIDERS: &[&str] = &[
    "openai",
    "azure",
    "anthropic",
    "claude",
    "gemini",
    "bedrock",
    "ollama",
    "mistral",
    "cohere",
    "groq",
    "deepseek",
    "xai",
    "openrouter",
    "llamacpp",
    "vllm",
    "gpt",
];

const SQL_VERBS: &[&str] =
    &["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "WITH", "PRAGMA", "REPLACE", "VACUUM"];

fn hold(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} problem(s):\n  {}\n", problems.len(), problems.join("\n  "));
}

/// One problem for each token of the chosen files that `complaint` objects to.
fn complaints(chosen: impl Fn(&Source) -> bool, complaint: impl Fn(&Kind) -> Option<String>) -> Vec<String> {
    let sources = core_sources();
    let chosen = sources.iter().filter(|source| chosen(source));
    chosen
        .flat_map(|source| {
            let found = source.tokens.iter().filter_map(|token| Some((token.line, complaint(&token.kind)?)));
            found.map(|(line, text)| format!("{}:{line}: {text}", source.shown)).collect::<Vec<_>>()
        })
        .collect()
}

/// A complaint about any of `banned` as an identifier.
fn names_any(kind: &Kind, banned: &[&str], why: &str) -> Option<String> {
    match kind {
        Kind::Word(word) if banned.contains(&word.as_str()) => Some(format!("`{word}`: {why}")),
        _ => None,
    }
}

#[test]
fn the_rooms_are_the_ones_of_the_table() {
    let known: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).chain(["lib"]).collect();
    let found: BTreeSet<String> = core_sources().iter().map(|source| source.room().to_owned()).collect();
    let strangers = found.iter().filter(|room| !known.contains(room.as_str()));
    hold(strangers.map(|room| format!("blitz-core/src/{room} is no room of the table: give it a row")).collect());
}

#[test]
fn rooms_import_downwards_only() {
    let sources = core_sources();
    let macros = exported_macros(&sources);
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.room() != "lib") {
        let room = source.room();
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else { continue };
        for path in root_paths(source) {
            let place = format!("{}:{}", source.shown, path.line);
            let exported = macros.iter().find(|(name, _)| *name == path.name);
            let used = exported.map_or(path.name.as_str(), |(_, room)| room);
            if !ROOMS.iter().any(|(room, _)| *room == used) {
                problems
                    .push(format!("{place}: `crate::{used}` goes through the crate root: name the room it lives in"));
            } else if used != room && !allowed.contains(&used) {
                problems.push(format!("{place}: `{room}` may not use `{used}`, only {}", allowed.join(", ")));
            }
        }
    }
    hold(problems);
}

#[test]
fn the_engine_names_no_store() {
    hold(complaints(
        |source| source.room() == "engine",
        |kind| names_any(kind, &["Store"], "only the gate and the driver hold the store, ask them"),
    ));
}

#[test]
fn machines_are_pure() {
    let pure = |source: &Source| matches!(source.room(), "agent" | "workflow");
    let why = "a machine has no clock, no chance, no unordered iteration and no I/O: let the input bring it";
    let mut problems = complaints(pure, |kind| names_any(kind, IMPURE, why));
    for source in core_sources().iter().filter(|source| pure(source)) {
        let clocks = source.tokens.windows(2).filter(|two| two[0].kind == Kind::PathSeparator && two[1].is("now"));
        problems
            .extend(clocks.map(|two| format!("{}:{}: `::now`: time comes with each input", source.shown, two[0].line)));
    }
    hold(problems);
}

#[test]
fn sql_is_written_in_the_store_only() {
    hold(complaints(
        |source| source.room() != "store",
        |kind| match kind {
            Kind::Text(text) => {
                let verb =
                    text.trim_start().split(char::is_whitespace).next().filter(|verb| SQL_VERBS.contains(verb))?;
                (text.trim() != verb).then(|| format!("SQL text ({verb} …): it belongs into store/"))
            }
            _ => None,
        },
    ));
}

#[test]
fn the_store_knows_no_provider() {
    let named = |text: &str| {
        let lower = text.to_lowercase();
        let mut words = lower.split(|c: char| !c.is_alphanumeric());
        let word = words.find(|word| PROVIDERS.contains(word))?.to_owned();
        Some(format!("`{word}`: the store keeps what it is given and knows no provider"))
    };
    let mut problems = complaints(
        |source| source.room() == "store",
        |kind| match kind {
            Kind::Word(text) | Kind::Text(text) => named(text),
            _ => None,
        },
    );
    for path in files("blitz-core/src/store", ".sql") {
        problems.extend(named(&text(&path)).map(|problem| format!("{}: {problem}", shown(&path))));
    }
    hold(problems);
}

#[test]
fn money_is_never_a_float() {
    const EXACT: &[&str] = &["domain/money.rs", "domain/usage.rs", "domain/ledger.rs", "store/ledger.rs"];
    hold(complaints(
        |source| source.room() == "ledger" || EXACT.contains(&source.place()),
        |kind| names_any(kind, &["f32", "f64"], "money and counts of tokens are integers"),
    ));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust_files().into_iter().filter(|path| {
        let text = text(path);
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        !is_test_file(path) && !first.is_some_and(|line| line.starts_with("//!"))
    });
    hold(silent.map(|path| format!("{}: begin it with a `//!` line: what the module is for", shown(&path))).collect());
}

#[test]
fn no_file_is_too_long() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let (name, lines) = (shown(&path), text(&path).lines().count());
        let excepted = LONG_FILES.iter().any(|(file, _)| *file == name);
        if lines > MAX_LINES && !excepted {
            problems.push(format!("{name}: {lines} lines, {MAX_LINES} are the bound: look for the second noun in it"));
        } else if lines <= MAX_LINES && excepted {
            problems.push(format!("{name}: short enough again, take it off the list of exceptions"));
        }
    }
    hold(problems);
}

/// Files of the C face that may follow pointers.
const UNSAFE_FILES: &[&str] = &["handle.rs", "callback.rs"];

/// The rules of `blitz.h` that a `// SAFETY:` comment leans on.
const C_RULES: &[&str] = &["TEXT", "OUT", "HANDLE", "STRING", "CALLBACK", "DATA", "THREAD"];

#[test]
fn the_c_face_is_unsafe_in_two_files_and_says_why() {
    let header = text(&workspace().join("blitz-ffi/include/blitz.h"));
    let mut problems = Vec::new();
    for path in files("blitz-ffi/src", ".rs") {
        let (place, source) = (shown(&path), text(&path));
        let may = UNSAFE_FILES.iter().any(|file| place.ends_with(file));
        let lines: Vec<&str> = source.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let words = tokens(code);
            let place = format!("{place}:{}", at + 1);
            let mut uses = words.windows(2).filter(|two| two[0].is("unsafe"));
            // The attribute of an exported name stands everywhere, `#[unsafe(no_mangle)]`.
            if !may && uses.clone().any(|two| !two[1].mark('(')) {
                problems.push(format!("{place}: `unsafe` belongs into {}", UNSAFE_FILES.join(" and ")));
            }
            // The type of a C function does nothing by itself.
            if in_tests(&lines, at) || !uses.any(|two| two[1].mark('{') || two[1].is("impl") || two[1].is("fn")) {
                continue;
            }
            let before = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
            let why: Vec<&str> = before.map(|line| line.trim_start()).collect();
            let safety = why.iter().any(|line| line.starts_with("// SAFETY: rule ") || *line == "// SAFETY: as above.");
            let named = why.iter().all(|line| {
                let rule = line.strip_prefix("// SAFETY: rule ").and_then(|rest| rest.split(':').next());
                rule.is_none_or(|rule| C_RULES.contains(&rule) && header.contains(&format!("\n * {rule:<10}")))
            });
            if !safety || !named {
                problems.push(format!("{place}: say `// SAFETY: rule NAME: …`, a rule of blitz.h"));
            }
        }
    }
    hold(problems);
}

/// Whether a line lies behind the tests' beginning: they come last.
fn in_tests(lines: &[&str], at: usize) -> bool {
    lines[..at].contains(&"mod tests {")
}

#[test]
fn bindings_use_the_public_engine_and_never_each_other() {
    let mut problems = Vec::new();
    for (member, other) in [("blitz-ffi", "blitz_py"), ("blitz-py", "blitz_ffi"), ("blitz-core", "blitz_ffi")] {
        for path in files(&format!("{member}/src"), ".rs") {
            let found = tokens(&text(&path)).into_iter().find(|token| token.is(other));
            problems.extend(found.map(|token| format!("{}:{}: names `{other}`", shown(&path), token.line)));
        }
        let manifest = text(&workspace().join(member).join("Cargo.toml"));
        if manifest.contains(&other.replace('_', "-")) {
            problems.push(format!("{member}/Cargo.toml: depends on {other}"));
        }
    }
    hold(problems);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let mut problems = Vec::new();
    for backend in ["sqlite", "postgres"] {
        let paths = files(&format!("blitz-core/src/store/migrations/{backend}"), ".sql");
        for (index, path) in paths.iter().enumerate() {
            let number = format!("{:04}", index + 1);
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if stem != number && !stem.starts_with(&format!("{number}_")) {
                problems.push(format!("{}: its name should begin with {number}", shown(path)));
            }
        }
    }
    assert!(!files("blitz-core/src/store/migrations/sqlite", ".sql").is_empty(), "there is no migration at all");
    hold(problems);
}

/// Every Rust file of the workspace's members.
fn rust_files() -> Vec<std::path::PathBuf> {
    const MEMBERS: &[&str] = &["blitz-core", "blitz-ffi", "blitz-py", "examples", "tests", "benches"];
    let built = |path: &Path| path.components().any(|part| part.as_os_str() == "target");
    MEMBERS.iter().flat_map(|member| files(member, ".rs")).filter(|path| !built(path)).collect()
}

/// What takes a secret as its last argument.
const TAKE_SECRETS: &[&str] = &["with_api_key", "login", "set_password"];
/// Types that are made of one.
const OF_SECRETS: &[&str] = &["Secret", "NewUser", "Login"];
/// Fields that are one.
const SECRET_FIELDS: &[&str] = &["api_key", "password", "old_password", "new_password", "webhook_secret"];
/// Names of constants that hold one.
const SECRET_NAMES: &[&str] = &["KEY", "API_KEY", "PASSWORD", "SECRET", "TOKEN"];
/// A master key is of hexadecimal digits alone, and stands in no database.
const NO_ROOM_FOR_A_MARK: &[&str] = &["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"];

/// T58 and T59 hold for the whole suite only where its secrets can be told from other texts, and its files are searched.
#[test]
fn t58_t59_the_suites_secrets_carry_the_mark_and_its_files_are_searched() {
    let (mut problems, mut seen) = (Vec::new(), 0);
    for path in files("tests/all", ".rs").into_iter().filter(|path| !path.ends_with("support/folder.rs")) {
        let found = tokens(&text(&path));
        for at in 0..found.len() {
            let (place, rest) = (format!("{}:{}", shown(&path), found[at].line), &found[at..]);
            if rest[0].is("tempfile") {
                problems.push(format!("{place}: `tempfile`: support::folder searches its files for secrets"));
            }
            let Some(secret) = secret_at(rest) else { continue };
            seen += 1;
            // What is shorter than the mark is a wrong one, or a weak one.
            if secret.len() >= SECRET.len() && !secret.contains(SECRET) && !NO_ROOM_FOR_A_MARK.contains(&secret) {
                problems.push(format!("{place}: a secret without the mark `{SECRET}`: no canary looks for it"));
            }
        }
    }
    assert!(seen > 50, "only {seen} secrets were seen");
    hold(problems);
}

/// The secret that is written out behind the first of `tokens`, if it is one that takes a secret.
fn secret_at(tokens: &[Token]) -> Option<&str> {
    let text = |at: usize| match &tokens.get(at)?.kind {
        Kind::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let first = &tokens[0];
    if let Kind::Text(field) = &first.kind {
        return (SECRET_FIELDS.contains(&field.as_str()) && tokens.get(1)?.mark(':')).then(|| text(2)).flatten();
    }
    let word = first.word()?;
    if word == "const" && SECRET_NAMES.contains(&tokens.get(1)?.word()?) {
        // `const NAME: &str = "…"`.
        return text(6);
    }
    let made = OF_SECRETS.contains(&word) && tokens.get(1)?.kind == Kind::PathSeparator && tokens.get(2)?.is("new");
    let open = if made { 3 } else { 1 };
    if !(made || TAKE_SECRETS.contains(&word)) || !tokens.get(open)?.mark('(') {
        return None;
    }
    let mut depth = 0;
    let close = tokens[open..].iter().position(|token| {
        depth += i32::from(token.mark('(')) - i32::from(token.mark(')'));
        depth == 0
    })?;
    let last = open + close - 1;
    // A text that is an argument by itself, not one that something makes another of.
    let alone = tokens[last - 1].mark('(') && last - 1 == open || tokens[last - 1].mark(',');
    alone.then(|| text(last)).flatten()
}
