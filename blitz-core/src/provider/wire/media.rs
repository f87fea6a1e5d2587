//! Images and files as the wire forms want them: bytes, an address, or the id of an upload.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where the bytes of an image or file are.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::provider) enum Source<'a> {
    /// Here, as base64, and of which type.
    Inline(&'a str, &'a str),
    /// At an address.
    Url(&'a str),
    /// With the provider, under an id that it gave.
    Id(&'a str),
}

/// Reads the data of a part: a `data:` or `http(s)` URL, `file-id:…`, or plain base64.
pub(in crate::provider) fn source<'a>(media_type: &'a str, data: &'a str) -> Source<'a> {
    if let Some((kind, bytes)) = data.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        return Source::Inline(kind, bytes);
    }
    if let Some(id) = data.strip_prefix("file-id:") {
        return Source::Id(id);
    }
    let is_url = ["http://", "https://", "data:", "gs://", "s3://"].iter().any(|scheme| data.starts_with(scheme));
    if is_url { Source::Url(data) } else { Source::Inline(media_type, data) }
}

/// One URL that holds or leads to the bytes; `None` for an upload.
pub(in crate::provider) fn url<'a>(media_type: &'a str, data: &'a str) -> Option<Cow<'a, str>> {
    match source(media_type, data) {
        Source::Inline(..) if data.starts_with("data:") => Some(data.into()),
        Source::Inline(media_type, data) => Some(format!("data:{media_type};base64,{data}").into()),
        Source::Url(url) => Some(url.into()),
        Source::Id(_) => None,
    }
}

/// The text behind base64, where the type says that it is text.
pub(in crate::provider) fn text(media_type: &str, data: &str) -> Option<String> {
    match source(media_type, data) {
        Source::Inline(kind, data) if kind.starts_with("text/") => String::from_utf8(STANDARD.decode(data).ok()?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_a_part_has_four_forms() {
        assert_eq!(source("image/png", "AAAA"), Source::Inline("image/png", "AAAA"));
        assert_eq!(source("image/*", "data:image/gif;base64,AAAA"), Source::Inline("image/gif", "AAAA"));
        assert_eq!(source("image/*", "https://h/a.png"), Source::Url("https://h/a.png"));
        assert_eq!(source("application/pdf", "file-id:f1"), Source::Id("f1"));
        assert_eq!(url("image/png", "AAAA").as_deref(), Some("data:image/png;base64,AAAA"));
        assert_eq!(text("text/plain", "aGk=").as_deref(), Some("hi"));
        assert_eq!(text("text/plain", "data:text/plain;charset=utf-8;base64,aGk=").as_deref(), Some("hi"));
        assert_eq!(text("application/octet-stream", "data:text/csv;base64,aGk=").as_deref(), Some("hi"));
        assert_eq!(text("application/pdf", "aGk="), None);
        assert_eq!(text("text/plain", "https://h/a.txt"), None);
    }
}
