//! Knows a piece of an answer again that differs from the one before it in nothing but its text.
//!
//! Most servers say each token in the same words. A piece whose beginning and end are those of the
//! last one says what that one said, with the one text between them changed, so only this is read.

use std::borrow::Cow;

/// What stands around the text of the last piece that said nothing but a text.
#[derive(Debug, Default)]
pub(in crate::provider) struct Repeat {
    before: String,
    after: String,
}

impl Repeat {
    /// The text of a piece that is else the same as the last; `None` for any other.
    pub(in crate::provider) fn text<'a>(&self, json: &'a str) -> Option<Cow<'a, str>> {
        if self.before.is_empty() {
            return None;
        }
        let literal = json.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        // A plain text needs no parser; one with an escape, or what is not one whole text, goes to it.
        match literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(text) if !text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) => Some(text.into()),
            _ => serde_json::from_str::<String>(literal).ok().map(Cow::Owned),
        }
    }

    /// Keeps what stands around `literal`, the text of a piece as it is written in it, quotes and all.
    pub(in crate::provider) fn learn(&mut self, json: &str, literal: &str) {
        let begin = (literal.as_ptr() as usize).wrapping_sub(json.as_ptr() as usize);
        let end = begin.wrapping_add(literal.len());
        match (json.get(..begin), json.get(begin..end), json.get(end..)) {
            (Some(before), Some(inside), Some(after)) if inside == literal => {
                before.clone_into(&mut self.before);
                after.clone_into(&mut self.after);
            }
            _ => self.forget(),
        }
    }

    /// The last piece said more than a text.
    pub(in crate::provider) fn forget(&mut self) {
        self.before.clear();
        self.after.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PIECE: &str = r#"{"a":"b","content":"one","end":[]}"#;

    fn learned() -> Repeat {
        let mut repeat = Repeat::default();
        let at = PIECE.find(r#""one""#).unwrap();
        repeat.learn(PIECE, &PIECE[at..at + 5]);
        repeat
    }

    #[test]
    fn a_piece_that_differs_in_its_text_alone_is_known_again() {
        let repeat = learned();
        for (json, text) in [
            (PIECE, "one"),
            (r#"{"a":"b","content":"","end":[]}"#, ""),
            (r#"{"a":"b","content":" zwei ☃","end":[]}"#, " zwei ☃"),
            (r#"{"a":"b","content":"a\"b\\\u00e9\n","end":[]}"#, "a\"b\\é\n"),
        ] {
            assert_eq!(repeat.text(json).as_deref(), Some(text), "{json}");
        }
    }

    #[test]
    fn any_other_piece_is_read_whole() {
        let repeat = learned();
        for json in [
            r#"{"a":"c","content":"one","end":[]}"#,
            r#"{"a":"b","content":"one","end":[1]}"#,
            r#"{"a":"b","content":"one","more":"x","end":[]}"#,
            r#"{"a":"b","content":null,"end":[]}"#,
            r#"{"a":"b","content":7,"end":[]}"#,
            r#"{"a":"b","content":"one\","end":[]}"#,
            r#"{"a":"b","content":"\ud800","end":[]}"#,
            "{\"a\":\"b\",\"content\":\"a\u{1}\",\"end\":[]}",
            r#"{"a":"b","content":"#,
            "",
        ] {
            assert_eq!(repeat.text(json), None, "{json}");
        }
        assert_eq!(Repeat::default().text(PIECE), None);
        let mut gone = learned();
        gone.forget();
        assert_eq!(gone.text(PIECE), None);
    }

    #[test]
    fn what_does_not_lie_in_the_piece_teaches_nothing() {
        let mut repeat = learned();
        repeat.learn(PIECE, "\"one\"");
        assert_eq!(repeat.text(PIECE), None);
    }
}
