//! Holds the lists of `deny.toml` over the whole dependency tree, offline and without another tool.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::source::{text, workspace};

/// The most crates that the default build of the engine may have, itself included, build scripts' helpers apart.
const MAX_CRATES: usize = 210;

#[test]
fn licences_are_on_the_list() {
    let allowed = listed("licenses", "allow");
    let excepted = listed("licenses", "exceptions");
    let packages = foreign_packages().into_iter().filter(|package| !excepted.contains(&package.name));
    let strangers = packages.filter(|package| !is_allowed(&package.license, &allowed));
    let strangers: Vec<String> = strangers.map(|p| format!("{} {}: {}", p.name, p.version, p.license)).collect();
    assert!(strangers.is_empty(), "licences that deny.toml does not allow:\n  {}", strangers.join("\n  "));
}

#[test]
fn banned_crates_are_absent() {
    let bans = listed("bans", "deny");
    assert!(!bans.is_empty(), "deny.toml bans nothing: the list was not found");
    let found = foreign_packages().into_iter().filter(|package| bans.iter().any(|ban| package.is_meant_by(ban)));
    let found: Vec<String> = found.map(|p| format!("{} {}", p.name, p.version)).collect();
    assert!(found.is_empty(), "crates that deny.toml bans:\n  {}", found.join("\n  "));
}

#[test]
fn every_crate_comes_from_crates_io() {
    let strangers = foreign_packages().into_iter().filter(|package| !package.source.ends_with("/crates.io-index"));
    let strangers: Vec<String> = strangers.map(|p| format!("{} {}: {}", p.name, p.version, p.source)).collect();
    assert!(strangers.is_empty(), "crates from elsewhere:\n  {}", strangers.join("\n  "));
}

#[test]
fn the_default_build_stays_lean() {
    let tree = cargo(&["tree", "-p", "blitz-core", "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    let crates: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(crates.len() <= MAX_CRATES, "blitz-core has {} crates, {MAX_CRATES} are the bound", crates.len());
}

struct Package {
    name: String,
    version: String,
    license: String,
    source: String,
}

impl Package {
    /// Whether a ban means this package: by name, or by name and `:<major`.
    fn is_meant_by(&self, ban: &str) -> bool {
        match ban.split_once(":<") {
            None => self.name == ban,
            Some((name, bound)) => {
                let major = self.version.split('.').next().and_then(|major| major.parse::<u64>().ok());
                let bound = bound.parse::<u64>().expect("a version bound of deny.toml is a major number");
                self.name == name && major.is_some_and(|major| major < bound)
            }
        }
    }
}

/// All packages of the lock file but our own, whatever the platform.
fn foreign_packages() -> Vec<Package> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).expect("it is JSON");
    let packages = metadata["packages"].as_array().expect("it lists packages");
    let text = |package: &Value, field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let foreign = packages.iter().filter(|package| !package["source"].is_null());
    let foreign: Vec<Package> = foreign
        .map(|package| Package {
            name: text(package, "name"),
            version: text(package, "version"),
            license: text(package, "license"),
            source: text(package, "source"),
        })
        .collect();
    assert!(foreign.len() > 100, "cargo names only {} packages", foreign.len());
    foreign
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

/// The names in the list `key` of a section of `deny.toml`; of an inline table its `crate`.
fn listed(section: &str, key: &str) -> Vec<String> {
    let config = text(&workspace().join("deny.toml"));
    let lines = config.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let in_section = lines.skip_while(|line| *line != format!("[{section}]")).skip(1);
    let list = in_section.take_while(|line| !line.starts_with('[')).skip_while(|line| *line != format!("{key} = ["));
    let entries = list.skip(1).take_while(|line| *line != "]");
    entries.filter_map(|line| line.trim_start_matches("{ crate = ").split('"').nth(1)).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met by licences of the list.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let met = any_of(words, allowed);
        return words.next_if_eq(&")").is_some() && met;
    }
    let Some(mut license) = words.next().map(str::to_owned) else { return false };
    if words.next_if_eq(&"WITH").is_some() {
        license = format!("{license} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(&license)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_understood() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for met in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "MIT AND ISC", "Apache-2.0 WITH LLVM-exception"] {
            assert!(is_allowed(met, &allowed), "{met}");
        }
        for unmet in ["", "AGPL-3.0-only", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "MIT ISC"] {
            assert!(!is_allowed(unmet, &allowed), "{unmet}");
        }
    }

    #[test]
    fn bans_by_name_and_by_version() {
        let schemars = |version: &str| Package {
            name: "schemars".into(),
            version: version.into(),
            license: String::new(),
            source: String::new(),
        };
        assert!(schemars("0.9.1").is_meant_by("schemars:<1") && schemars("1.2.0").is_meant_by("schemars"));
        assert!(!schemars("1.2.0").is_meant_by("schemars:<1") && !schemars("0.9.0").is_meant_by("evalexpr"));
    }
}
