//! What an agent is given beside text: images and files, as the parts of its first message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Message, MessageRole, Part};
use crate::error::{Error, ErrorCode, Result};

/// The field of an input that holds parts.
const PARTS: &str = "parts";
/// The most parts of one input.
const MAX_PARTS: usize = 256;
/// The most bytes of one input's images and files, as base64: no provider takes a larger request.
const MAX_DATA: usize = 32 << 20;
/// The longest address of an image or a file.
const MAX_URL: usize = 8 << 10;

/// An input of text, images and files, in the order in which the model reads them.
///
/// It stands wherever an input does. As JSON it is an object whose one field is `parts`: a list of texts
/// and of parts as messages have them, with `url` in the place of `data` where the bytes are elsewhere.
///
/// ```
/// use blitz::AgentInput;
/// use serde_json::{Value, json};
///
/// let input = AgentInput::new().text("What is on it?").image("image/png", b"\x89PNG").image_url("https://example.com/a.png");
/// assert_eq!(Value::from(input), json!({"parts": [
///     {"type": "text", "text": "What is on it?"},
///     {"type": "image", "media_type": "image/png", "data": "iVBORw=="},
///     {"type": "image", "url": "https://example.com/a.png"},
/// ]}));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentInput {
    parts: Vec<Value>,
}

impl AgentInput {
    /// An input without parts so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a text behind what is there.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(json!({"type": "text", "text": text.into()}))
    }

    /// With an image of these bytes; `media_type` such as `image/png`.
    pub fn image(self, media_type: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.with(json!({"type": "image", "media_type": media_type, "data": STANDARD.encode(bytes)}))
    }

    /// With an image at an `http(s)` address, which the provider reads.
    pub fn image_url(self, url: impl Into<String>) -> Self {
        self.with(json!({"type": "image", "url": url.into()}))
    }

    /// With a file of these bytes; `media_type` such as `application/pdf`, `name` for the model.
    pub fn file(self, media_type: &str, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.with(json!({"type": "file", "media_type": media_type, "name": name, "data": STANDARD.encode(bytes)}))
    }

    /// With a file at an `http(s)` address, which the provider reads.
    pub fn file_url(self, media_type: &str, url: impl Into<String>) -> Self {
        self.with(json!({"type": "file", "media_type": media_type, "url": url.into()}))
    }

    /// With a part as messages have them: text, an image, a file or a cache point.
    pub fn part(self, part: &Part) -> Self {
        // A part always has a JSON form.
        self.with(serde_json::to_value(part).unwrap_or_default())
    }

    fn with(mut self, part: Value) -> Self {
        self.parts.push(part);
        self
    }
}

impl From<AgentInput> for Value {
    fn from(input: AgentInput) -> Self {
        json!({ PARTS: input.parts })
    }
}

/// How an input becomes a message: text as it is, an object of `parts` as these, all else as JSON.
///
/// Errors: `InvalidInput` and `TooLarge` for parts that no model could be sent.
pub(crate) fn input_message(input: &Value) -> Result<Message> {
    Ok(match input {
        Value::String(text) => Message::user(text),
        Value::Object(fields) if fields.len() == 1 && fields.contains_key(PARTS) => {
            Message::new(MessageRole::User, parts(&fields[PARTS])?)
        }
        other => Message::user(other.to_string()),
    })
}

/// Takes the parts out of an object of variables, where they are not a variable themselves.
///
/// Errors: as [`input_message`].
pub(crate) fn take_parts(variables: &mut Map<String, Value>) -> Result<Vec<Part>> {
    variables.remove(PARTS).map_or_else(|| Ok(Vec::new()), |list| parts(&list))
}

/// Whether a name is the one of parts.
pub(crate) fn is_parts(name: &str) -> bool {
    name == PARTS
}

/// A part as callers write it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Given {
    Text { text: String },
    Image { media_type: Option<String>, data: Option<String>, url: Option<String> },
    File { media_type: Option<String>, data: Option<String>, url: Option<String>, name: Option<String> },
    CachePoint { ttl: Option<String> },
}

fn parts(list: &Value) -> Result<Vec<Part>> {
    let wrong = "the parts of an input are a list of texts and of parts, one at least";
    let list = list.as_array().filter(|list| !list.is_empty()).ok_or_else(|| Error::invalid(wrong))?;
    if list.len() > MAX_PARTS {
        return Err(Error::new(ErrorCode::TooLarge, format!("an input has {MAX_PARTS} parts at most")));
    }
    let size = |part: &Value| ["data", "url"].map(|field| part.get(field).and_then(Value::as_str).map_or(0, str::len));
    if list.iter().flat_map(size).sum::<usize>() > MAX_DATA {
        let most = MAX_DATA >> 20;
        let message =
            format!("the images and files of an input are {most} MiB of base64 at most: give larger ones by url");
        return Err(Error::new(ErrorCode::TooLarge, message));
    }
    list.iter()
        .enumerate()
        .map(|(at, given)| part(given).map_err(|why| Error::invalid(format!("parts[{at}] of the input: {why}"))))
        .collect()
}

/// One part, or why it is none: what it holds is never repeated.
fn part(given: &Value) -> Result<Part, String> {
    let object = match given {
        Value::String(text) => return Ok(Part::text(text)),
        Value::Object(object) => object,
        _ => return Err("a part is a text, or an object with a type".to_owned()),
    };
    let (kind, fields): (_, &[&str]) = match object.get("type").and_then(Value::as_str) {
        Some(kind @ "text") => (kind, &["text"]),
        Some(kind @ "image") => (kind, &["media_type", "data", "url"]),
        Some(kind @ "file") => (kind, &["media_type", "data", "url", "name"]),
        Some(kind @ "cache_point") => (kind, &["ttl"]),
        _ => return Err("its type is text, image, file or cache_point".to_owned()),
    };
    if let Some((name, _)) = object.iter().find(|(name, value)| *name != "type" && is_off(fields, name, value)) {
        let known = fields.join(", ");
        let name: String = name.chars().take(40).collect();
        return Err(format!("{name:?} is no field with a text: of type {kind} it has {known}"));
    }
    let given: Given =
        serde_json::from_value(given.clone()).map_err(|_| format!("a part of type {kind} is incomplete"))?;
    match given {
        Given::Text { text } => Ok(Part::Text { text }),
        Given::CachePoint { ttl } => Ok(Part::CachePoint { ttl }),
        Given::Image { media_type, data, url } => {
            let (media_type, data) = media("image/*", media_type, data, url)?;
            if !media_type.starts_with("image/") {
                return Err("the media_type of an image begins with image/".to_owned());
            }
            Ok(Part::Image { media_type, data })
        }
        Given::File { media_type, data, url, name } => {
            let (media_type, data) = media("application/octet-stream", media_type, data, url)?;
            Ok(Part::File { media_type, data, name })
        }
    }
}

fn is_off(fields: &[&str], name: &str, value: &Value) -> bool {
    !fields.contains(&name) || !(value.is_string() || value.is_null())
}

/// The type and the data of an image or file; `any` is the type of one at an address that tells none.
fn media(
    any: &str,
    kind: Option<String>,
    data: Option<String>,
    url: Option<String>,
) -> Result<(String, String), String> {
    let (data, is_address) = match (data, url) {
        (Some(data), None) => (data, false),
        (None, Some(url)) => (url, true),
        _ => return Err("it has either data or a url".to_owned()),
    };
    if let Some(kind) = kind.as_deref().filter(|kind| !is_media_type(kind)) {
        let kind: String = kind.chars().take(40).collect();
        return Err(format!("{kind:?} is no media type such as image/png"));
    }
    if let Some(rest) = data.strip_prefix("data:") {
        let (own, bytes) = rest.split_once(";base64,").ok_or("a data: url has its type and base64")?;
        if !is_media_type(own) {
            return Err("a data: url has its type and base64".to_owned());
        }
        check_base64(bytes)?;
        let own = own.to_owned();
        return Ok((own, bytes.to_owned()));
    }
    if ["http://", "https://"].iter().any(|scheme| data.starts_with(scheme)) {
        if data.len() > MAX_URL || data.chars().any(|c| c.is_control() || c == ' ') {
            return Err(format!("its address has {MAX_URL} bytes at most, and no blanks"));
        }
        let kind = kind.or_else(|| by_ending(&data).map(str::to_owned));
        return Ok((kind.unwrap_or_else(|| any.to_owned()), data));
    }
    if is_address {
        // Other schemes would be read with what the host may read at its provider.
        return Err("its url begins with https://, http:// or data:".to_owned());
    }
    let kind = kind.ok_or("data wants a media_type")?;
    match data.strip_prefix("file-id:") {
        Some(id) if id.is_empty() || id.len() > 256 || !id.chars().all(|c| c.is_ascii_graphic()) => {
            Err("an id behind file-id: is the one that the provider gave".to_owned())
        }
        Some(_) => Ok((kind, data)),
        None => check_base64(&data).map(|()| (kind, data)),
    }
}

fn check_base64(data: &str) -> Result<(), String> {
    if !data.is_empty() && STANDARD.decode(data).is_ok() {
        return Ok(());
    }
    Err("its data is no base64 (with + / and padding), and no http(s) address".to_owned())
}

fn is_media_type(text: &str) -> bool {
    let is_word = |word: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+*".contains(c);
        (1..=127).contains(&word.len()) && word.chars().all(fits)
    };
    text.split_once('/').is_some_and(|(kind, rest)| is_word(kind) && is_word(rest))
}

/// The type that the ending of an address tells.
fn by_ending(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_messages_have_them() {
        let input = json!({"parts": [
            "Look:",
            {"type": "image", "url": "https://h/a.PNG?x=1"},
            {"type": "image", "url": "https://h/a"},
            {"type": "image", "media_type": "image/gif", "data": "AAAA"},
            {"type": "image", "data": "data:image/webp;base64,AAAA"},
            {"type": "file", "media_type": "application/pdf", "data": "file-id:f1", "name": "a.pdf"},
            {"type": "file", "url": "https://h/report.pdf", "name": null},
            {"type": "cache_point"},
        ]});
        let message = serde_json::to_value(input_message(&input).unwrap()).unwrap();
        let wanted = json!([
            {"type": "text", "text": "Look:"},
            {"type": "image", "media_type": "image/png", "data": "https://h/a.PNG?x=1"},
            {"type": "image", "media_type": "image/*", "data": "https://h/a"},
            {"type": "image", "media_type": "image/gif", "data": "AAAA"},
            {"type": "image", "media_type": "image/webp", "data": "AAAA"},
            {"type": "file", "media_type": "application/pdf", "data": "file-id:f1", "name": "a.pdf"},
            {"type": "file", "media_type": "application/pdf", "data": "https://h/report.pdf"},
            {"type": "cache_point"},
        ]);
        assert_eq!(message, json!({"role": "user", "parts": wanted}));
        let again = json!({"parts": message["parts"]});
        assert_eq!(serde_json::to_value(input_message(&again).unwrap()).unwrap(), message, "as messages write them");
    }

    #[test]
    fn what_only_looks_alike_is_json() {
        for input in [json!({"parts": ["a"], "more": 1}), json!(["a"]), json!({"part": []}), json!(null)] {
            assert_eq!(input_message(&input).unwrap(), Message::user(input.to_string()));
        }
    }

    #[test]
    fn a_part_that_no_model_could_be_sent_is_refused_by_its_place() {
        let secret = "c2VjcmV0IQ";
        let long = format!("https://h/{}", "a".repeat(MAX_URL));
        let image = |field: &str, value: &str| json!({"type": "image", "media_type": "image/png", field: value});
        for bad in [
            json!(7),
            json!({"text": "no type"}),
            json!({"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"}),
            json!({"type": "thinking", "text": secret}),
            json!({"type": "text"}),
            json!({"type": "text", "text": 7}),
            json!({"type": "image", "image_url": {"url": "https://h/a"}}),
            json!({"type": "image", "media_type": "image/png"}),
            json!({"type": "image", "data": "AAAA"}),
            json!({"type": "image", "media_type": "image/png", "data": "AAAA", "url": "https://h/a"}),
            json!({"type": "image", "media_type": "application/pdf", "data": "AAAA"}),
            json!({"type": "image", "media_type": "png", "data": "AAAA"}),
            image("data", secret),
            image("data", ""),
            image("data", "file-id:"),
            image("data", "file:///etc/hosts"),
            image("data", "data:image/png,AAAA"),
            image("url", "s3://bucket/a"),
            image("url", "gs://bucket/a"),
            image("url", &long),
            image("url", "https://h/a b"),
        ] {
            let error = input_message(&json!({"parts": ["fine", bad]})).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{bad}");
            let said = error.to_string();
            assert!(said.contains("parts[1]") && !said.contains(secret), "{bad}: {said}");
        }
        for bad in [json!([]), json!("text"), json!(null), json!({"type": "text"})] {
            assert_eq!(input_message(&json!({"parts": bad})).unwrap_err().code(), ErrorCode::InvalidInput, "{bad}");
        }
        for large in [json!(vec!["a"; MAX_PARTS + 1]), json!([image("data", &"A".repeat(MAX_DATA + 4))])] {
            assert_eq!(input_message(&json!({"parts": large})).unwrap_err().code(), ErrorCode::TooLarge);
        }
    }
}
