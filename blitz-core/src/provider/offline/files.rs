//! Which files a request asks to read.

use serde_json::Value;

/// The most files of one request.
const MAX_FILES: usize = 5;
/// The most bytes of a file's name.
const MAX_NAME: usize = 260;
/// Keys whose value is a file's name, if it looks like one.
const KEYS: &[&str] = &["document", "path", "file", "filename", "file_name", "file_path", "document_path"];
/// Words that a file's name follows.
const CUES: &[&str] = &["document", "path", "file", "filename", "named", "called"];
/// Endings that make a word a file's name wherever it stands.
const ENDINGS: &[&str] = &[
    "c", "cfg", "conf", "csv", "doc", "docx", "eml", "htm", "html", "ini", "json", "jsonl", "log", "markdown", "md",
    "pdf", "py", "rs", "rst", "rtf", "tex", "text", "toml", "tsv", "txt", "xml", "yaml", "yml",
];
/// What may stand before and behind a name without being part of it.
const OPENING: &[char] = &['(', '[', '{', '<', '"', '\'', '`', '*'];
const CLOSING: &[char] = &['.', ',', ';', ':', '=', '!', '?', ')', ']', '}', '>', '"', '\'', '`', '*', '…'];

/// The files that a JSON object names under a key such as `document`.
pub(super) fn in_object(value: &Value) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let named = KEYS.iter().filter_map(|key| object.get(*key)?.as_str());
    collect(named.filter(|name| looks_like_name(name)))
}

/// The files that a text names: in quotes or behind a colon after a word such as `file`, or by a
/// known ending.
pub(super) fn in_text(text: &str) -> Vec<String> {
    let mut expects = Expects::Nothing;
    let names = Words { rest: text }.filter_map(|word| {
        let expected = std::mem::replace(&mut expects, word.announces());
        let is_name = match expected {
            _ if has_known_ending(word.text) => true,
            Expects::Name => looks_like_name(word.text),
            Expects::Maybe => {
                word.quoted && looks_like_name(word.text) || word.text.contains('/') && !word.text.contains("//")
            }
            Expects::Nothing => false,
        };
        is_name.then_some(word.text)
    });
    collect(names)
}

fn collect<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if found.len() < MAX_FILES && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

fn looks_like_name(text: &str) -> bool {
    let one_piece = !text.contains(char::is_whitespace);
    !text.is_empty()
        && text.len() <= MAX_NAME
        && !text.contains(char::is_control)
        && text.contains(char::is_alphanumeric)
        && (one_piece || has_known_ending(text))
}

fn has_known_ending(text: &str) -> bool {
    let Some((stem, ending)) = text.rsplit_once('.') else { return false };
    text.len() <= MAX_NAME
        && stem.contains(char::is_alphanumeric)
        && !text.contains("://")
        && !text.contains('@')
        && ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}

/// What a word lets the next one be.
enum Expects {
    Nothing,
    /// A file's name, if it is quoted or holds a slash.
    Maybe,
    /// A file's name.
    Name,
}

struct Word<'a> {
    text: &'a str,
    quoted: bool,
    colon: bool,
}

impl Word<'_> {
    fn announces(&self) -> Expects {
        let cue = !self.quoted && CUES.iter().any(|cue| cue.eq_ignore_ascii_case(self.text));
        match (cue, self.colon) {
            (true, true) => Expects::Name,
            (true, false) => Expects::Maybe,
            _ if !self.quoted && self.text.eq_ignore_ascii_case("read") => Expects::Maybe,
            _ => Expects::Nothing,
        }
    }
}

/// The words of a text; what stands in quotes is one word.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn quoted(&mut self) -> Option<Word<'a>> {
        let open = self.rest.chars().next()?;
        let close = match open {
            '"' | '\'' | '`' => open,
            '“' => '”',
            '‘' => '’',
            '«' => '»',
            '„' => '“',
            _ => return None,
        };
        let inner = &self.rest[open.len_utf8()..];
        let near = &inner[..inner.floor_char_boundary(MAX_NAME)];
        let end = near.find(close)?;
        if near[..end].contains('\n') {
            return None;
        }
        self.rest = &inner[end + close.len_utf8()..];
        Some(Word { text: &near[..end], quoted: true, colon: false })
    }

    fn plain(&mut self) -> Word<'a> {
        let space = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let colon = self.rest[..space]
            .find([':', '='])
            .filter(|at| CUES.contains(&self.rest[..*at].to_ascii_lowercase().as_str()));
        let end = colon.map_or(space, |at| at + 1);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let text = word.trim_start_matches(OPENING).trim_end_matches(CLOSING);
        Word { text, quoted: false, colon: colon.is_some() }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return None;
        }
        Some(self.quoted().unwrap_or_else(|| self.plain()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_found_where_people_name_them() {
        for (text, expected) in [
            (r#"Read the file "x.txt"."#, "x.txt"),
            ("document: foo.txt", "foo.txt"),
            ("document:LICENSE and judge it", "LICENSE"),
            ("Please summarise ./contracts/lease.md, thanks.", "./contracts/lease.md"),
            ("Read `GPL-3`!", "GPL-3"),
            ("read /usr/share/GPL-3.", "/usr/share/GPL-3"),
            ("the file “My Lease 2024.pdf” is long", "My Lease 2024.pdf"),
            ("path=notes.md", "notes.md"),
            ("(see report.TXT)", "report.TXT"),
        ] {
            assert_eq!(in_text(text), [expected], "{text}");
        }
        assert_eq!(in_text("compare a.txt with b.txt and a.txt"), ["a.txt", "b.txt"]);
    }

    #[test]
    fn other_words_are_no_files() {
        for text in [
            "What is in the file?",
            "read this and that",
            "see https://a.example/x.html e.g. now",
            "mail a@b.md",
            "",
            "\" \"",
        ] {
            assert_eq!(in_text(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn objects_name_files_by_key() {
        assert_eq!(in_object(&json!({"document": "lease.txt", "n": 1})), ["lease.txt"]);
        assert_eq!(in_object(&json!({"path": "LICENSE"})), ["LICENSE"]);
        assert_eq!(in_object(&json!({"document": "The lease runs for two years.\nThen it ends."})), [""; 0]);
        assert_eq!(in_object(&json!("lease.txt")), [""; 0]);
    }
}
