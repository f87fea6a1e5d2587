//! `include/blitz.h` is made of the sources; `BLITZ_BLESS=1` writes it anew.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use blitz::{ErrorCode, Method, MethodKind};

/// The files with exported functions, in the order a reader wants them.
const SOURCES: &[&str] = &[
    "guard",
    "callback",
    "abi",
    "error",
    "engine",
    "session",
    "call",
    "run",
    "execution",
    "events",
    "tool",
    "node",
    "provider",
    "alert",
    "ticket",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn comment(text: &str) -> String {
    let mut comment = "/*\n".to_owned();
    for line in text.lines() {
        writeln!(comment, " * {line}").unwrap();
    }
    (comment + " */").replace(" * \n", " *\n")
}

/// The versions, from Cargo.
fn versions() -> String {
    let mut text = String::new();
    writeln!(text, "/* The version of the library that this header came with; see blitz_version(). */").unwrap();
    writeln!(text, "#define BLITZ_VERSION {:?}", env!("CARGO_PKG_VERSION")).unwrap();
    for (name, number) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        writeln!(text, "#define BLITZ_VERSION_{name} {number}").unwrap();
    }
    writeln!(text, "/* The version of the binary interface; see blitz_abi_version(). */").unwrap();
    writeln!(text, "#define BLITZ_ABI_VERSION {}", blitz_ffi::ABI_VERSION).unwrap();
    text
}

/// The table of errors as C names it.
fn statuses() -> String {
    let mut text = "/* What a call came to. Numbers are never reused; more may come. */\n".to_owned();
    text += "typedef enum blitz_status {\n  /* All went well. */\n  BLITZ_OK = 0,\n";
    for code in ErrorCode::ALL {
        let (meaning, name, number) = (code.meaning(), code.name().to_uppercase(), *code as i32);
        writeln!(text, "  /* {meaning} */\n  BLITZ_{name} = {number},").unwrap();
    }
    text + "} blitz_status;\n"
}

fn generated() -> String {
    let folder = folder();
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    config.header = Some(comment(include_str!("rules.txt").trim_end()));
    config.after_includes = Some(format!("\n{}\n{}", versions(), statuses()).trim_end().to_owned());
    let builder = cbindgen::Builder::new().with_config(config);
    let source = |name: &&str| folder.join("src").join(name).with_extension("rs");
    let builder = SOURCES.iter().map(source).fold(builder, |builder, path| builder.with_src(path));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    dressed(&String::from_utf8(header).unwrap())
}

/// Comments as C programs write them: short ones on a line, a star before each line of the others.
fn dressed(header: &str) -> String {
    let (mut text, mut inside) = (String::new(), false);
    let lines: Vec<&str> = header.lines().map(|line| line.split(" // ").next().unwrap().trim_end()).collect();
    for (at, line) in lines.iter().enumerate() {
        let plain = inside && !line.starts_with(" *");
        match *line {
            "/*" if lines.get(at + 2) == Some(&" */") && !lines[at + 1].starts_with(" *") => {
                writeln!(text, "/*{} */", lines[at + 1]).unwrap();
                inside = true;
                continue;
            }
            "/*" => inside = true,
            " */" if inside && lines[at - 2] == "/*" && !lines[at - 1].starts_with(" *") => {
                inside = false;
                continue;
            }
            " */" => inside = false,
            _ if plain && lines[at - 1] == "/*" && lines[at + 1] == " */" => continue,
            _ => {}
        }
        if plain {
            text += " *";
        }
        text += line;
        text.push('\n');
    }
    text
}

#[test]
fn the_header_is_made_of_the_sources() {
    let path = folder().join("include/blitz.h");
    let made = generated();
    if std::env::var_os("BLITZ_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "include/blitz.h is not what the sources give: run this test once with BLITZ_BLESS=1");
    // A pointer at the head of a comment's line reads as the comment's own star.
    assert!(!made.contains("\n *out_"), "a line of a comment begins with a pointer: break it elsewhere");
}

#[test]
fn every_exported_function_is_in_the_header() {
    let header = std::fs::read_to_string(folder().join("include/blitz.h")).unwrap();
    let mut exported = 0;
    for entry in std::fs::read_dir(folder().join("src")).unwrap() {
        let path: &Path = &entry.unwrap().path();
        let text = std::fs::read_to_string(path).unwrap();
        for part in text.split("\n#[unsafe(no_mangle)]").skip(1) {
            let name = part.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            assert!(header.contains(&format!("{name}(")), "{name} of {} is not in the header", path.display());
            exported += 1;
        }
    }
    assert!(exported >= 50, "{exported} functions");
}

#[test]
fn t65_every_function_that_takes_a_handle_is_tried_with_none() {
    let header = std::fs::read_to_string(folder().join("include/blitz.h")).unwrap();
    let tried = std::fs::read_to_string(folder().join("tests/c/null.c")).unwrap();
    let functions = header.split('\n').filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let mut handles = 0;
    for line in functions.filter(|line| !line.starts_with("typedef")) {
        let Some((head, parameters)) = line.split_once('(') else { continue };
        let name = head.rsplit([' ', '*']).next().unwrap();
        if name.starts_with("blitz_")
            && parameters.split(',').next().unwrap().contains("blitz_")
            && parameters.contains('*')
        {
            assert!(tried.contains(&format!("{name}(NULL")), "tests/c/null.c does not try {name}");
            handles += 1;
        }
    }
    assert!(handles >= 60, "{handles} functions");
}

#[test]
fn every_row_of_the_method_table_has_a_function() {
    let header = std::fs::read_to_string(folder().join("include/blitz.h")).unwrap().replace("\n * ", " ");
    for method in Method::all().filter(|method| method.kind != MethodKind::Unary) {
        let served = header.split(&format!("{:?} is blitz_", method.name)).nth(1);
        let function = served.and_then(|rest| rest.split('(').next());
        let function =
            function.unwrap_or_else(|| panic!("blitz_methods() does not say which function is {}", method.name));
        assert!(header.contains(&format!("blitz_status blitz_{function}(")), "{}: {function}", method.name);
    }
}

#[test]
fn versions_come_from_cargo() {
    let header = std::fs::read_to_string(folder().join("include/blitz.h")).unwrap();
    for line in versions().lines() {
        assert!(header.contains(line), "{line}");
    }
    assert!(ErrorCode::ALL.iter().all(|code| header.contains(&format!(" BLITZ_{} = ", code.name().to_uppercase()))));
}
