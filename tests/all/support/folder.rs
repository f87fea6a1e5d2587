//! The folders of the suite's databases, searched for secrets in clear before they go.

use std::fs;
use std::path::Path;

use super::canary::SECRET;

/// A folder for a test's files. What the engine left in it is looked through when it goes: a secret in clear fails the
/// test, whatever it is a test of.
pub(crate) struct Folder(tempfile::TempDir);

/// Larger files are a test's own: no database here comes near.
const LARGEST: u64 = 256 << 20;

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fails where a file of it holds a secret.
    pub(crate) fn search(&self) {
        let mut found = Vec::new();
        look(self.path(), &mut found);
        assert!(found.is_empty(), "a secret is in clear in {found:#?}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.search();
        }
    }
}

/// Adds what holds a secret, with its kind. The file of the master key is one, and is left out.
fn look(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Neither links nor pipes are followed.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            look(&path, found);
        } else if about.is_file() && about.len() < LARGEST && path.extension().is_none_or(|end| end != "key") {
            let Ok(bytes) = fs::read(&path) else { continue };
            found.extend(kinds(&String::from_utf8_lossy(&bytes)).map(|kind| format!("{}: {kind}", path.display())));
        }
    }
}

/// The kinds of secrets that `text` holds: those of the suite by their mark, those that the engine makes by their form.
fn kinds(text: &str) -> impl Iterator<Item = &'static str> {
    let marks = [
        (SECRET, "a secret of the suite"),
        ("$argon2", "a hash of a password"),
        ("eyJhbGciOi", "a JSON web token"),
        ("Bearer ", "a header of a request"),
    ];
    let key = text.match_indices("bz_").any(|(at, _)| {
        let rest = text.as_bytes()[at + 3..].iter();
        let like_a_key = rest.take(13 + 32).filter(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        like_a_key.count() == 13 + 32 && text.as_bytes()[at + 3 + 12] == b'_'
    });
    let marked = marks.into_iter().filter(|(mark, _)| text.contains(mark)).map(|(_, kind)| kind);
    marked.chain(key.then_some("an API key"))
}

#[test]
fn t59_a_secret_in_a_file_fails_its_test() {
    for (name, text, kinds) in [
        ("plain.db", "hello".to_owned(), 0),
        ("a.db", format!("x{SECRET}-1y"), 1),
        ("a.db-wal", format!("\0bz_0123456789ab_{}", "A".repeat(43)), 1),
        ("b.db", "bz_0123456789ab".to_owned(), 0),
        ("c.db", "$argon2id$v=19$ eyJhbGciOiJIUzI1NiJ9.".to_owned(), 2),
        ("d.db.key", SECRET.to_owned(), 0),
    ] {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("deep")).unwrap();
        let file = folder.path().join("deep").join(name);
        fs::write(&file, text).unwrap();
        let mut found = Vec::new();
        look(folder.path(), &mut found);
        assert_eq!(found.len(), kinds, "{found:?}");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| folder.search()));
        assert_eq!(caught.is_err(), kinds > 0, "{name}");
        fs::remove_file(file).unwrap();
    }
}
