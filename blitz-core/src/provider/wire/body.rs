//! Cuts the body of an answer into the pieces that a dialect reads.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::StreamItem;
#[cfg(feature = "bedrock")]
use super::frames::Frames;
use super::halves::Halves;
use crate::domain::{ModelResponse, Usage};
use crate::net::sse::{EventTooLarge, MAX_EVENT, SseParser};

/// Where the deltas of an answer go.
pub(in crate::provider) type Out = VecDeque<StreamItem>;

/// Why a body cannot be read.
#[derive(Debug)]
pub(in crate::provider) enum Unreadable {
    /// The server put an error into the stream.
    ErrorObject(Value),
    /// It ended too early.
    Cut,
    /// It is not what was asked for.
    Malformed(&'static str),
    /// It was read to its end, and nothing of an answer is in it.
    Empty(&'static str),
}

impl From<EventTooLarge> for Unreadable {
    fn from(_: EventTooLarge) -> Self {
        Self::Malformed("an event over its size limit")
    }
}

/// How the pieces of a streamed answer are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON value a line.
    Lines,
    /// Binary event frames.
    #[cfg(feature = "bedrock")]
    Frames,
}

/// Puts one answer together from its pieces. A whole answer is a stream of one piece.
pub(in crate::provider) trait Decode: Send {
    fn framing(&self) -> Framing {
        Framing::Events
    }

    /// Takes a piece: its type, empty where the server names none, and its JSON text.
    fn take(&mut self, event: &str, json: &str, out: &mut Out) -> Result<(), Unreadable>;

    /// Whether the model has stopped: what may still come is usage.
    fn has_stopped(&self) -> bool;

    /// Whether the model may go on though it has stopped.
    fn may_go_on(&self) -> bool {
        false
    }

    /// Whether the server said that nothing more will come.
    fn is_done(&self) -> bool {
        false
    }

    /// Whether something of an answer has come, shown or not.
    fn has_begun(&self) -> bool;

    /// What the server has reported of usage so far, in the engine's terms and in its own words.
    fn usage(&self) -> Option<(Usage, Value)>;

    /// The whole answer; the decoder is empty behind it.
    fn finish(&mut self) -> Result<ModelResponse, Unreadable>;
}

/// JSON of a wire form. Errors: `Cut` where it ends too early, `Malformed` where it is something else.
pub(in crate::provider) fn parse<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T, Unreadable> {
    serde_json::from_str(json).map_err(|error| {
        if error.is_eof() { Unreadable::Cut } else { Unreadable::Malformed("an answer that is not JSON of its kind") }
    })
}

/// Takes the bytes of a body as they come and gives deltas, and the whole answer at the end.
///
/// What the body is shows in its first byte, not in its content type: servers stream where nobody
/// asked, and answer whole where a stream was asked for.
pub(in crate::provider) struct Reader {
    body: Body,
    pieces: Pieces,
}

/// Hands the pieces of an answer to its decoder.
struct Pieces {
    decoder: Box<dyn Decode>,
    /// The event that said why the model stopped: some servers send it twice.
    last: String,
    /// The server said that nothing more will come.
    done: bool,
    halves: Halves,
}

enum Body {
    /// Nothing but white space so far.
    Unknown,
    Events(SseParser),
    Json(Vec<u8>),
    Lines(Vec<u8>),
    #[cfg(feature = "bedrock")]
    Frames(Frames),
}

impl Reader {
    pub(in crate::provider) fn new(decoder: Box<dyn Decode>) -> Self {
        Self {
            body: Body::Unknown,
            pieces: Pieces { decoder, last: String::new(), done: false, halves: Halves::default() },
        }
    }

    /// Whether the model has stopped: what may still come is usage.
    pub(in crate::provider) fn has_stopped(&self) -> bool {
        self.pieces.decoder.has_stopped()
    }

    /// Whether nothing but a tail is waited for.
    pub(in crate::provider) fn is_at_tail(&self) -> bool {
        self.pieces.decoder.has_stopped() && !self.pieces.decoder.may_go_on()
    }

    /// Whether the server said that nothing more will come.
    pub(in crate::provider) fn is_done(&self) -> bool {
        self.pieces.done
    }

    /// Whether something of an answer has come, shown or not.
    pub(in crate::provider) fn has_begun(&self) -> bool {
        self.pieces.decoder.has_begun()
    }

    /// What the server said of the usage of an answer that failed: of one that had not stopped, the output so far.
    pub(in crate::provider) fn usage(&self) -> Option<(Usage, Value)> {
        let (usage, raw) = self.pieces.decoder.usage()?;
        Some((if self.has_stopped() { usage } else { usage.with_open_output() }, raw))
    }

    pub(in crate::provider) fn push(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Unreadable> {
        if matches!(self.body, Body::Unknown) {
            let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else { return Ok(()) };
            self.body = match (first, self.pieces.decoder.framing()) {
                (b'<', _) => return Err(Unreadable::Empty("a web page")),
                (b'{', Framing::Lines) => Body::Lines(Vec::new()),
                (b'{' | b'[', _) => Body::Json(Vec::new()),
                #[cfg(feature = "bedrock")]
                (_, Framing::Frames) => Body::Frames(Frames::default()),
                _ => Body::Events(SseParser::default()),
            };
        }
        match &mut self.body {
            Body::Unknown => {}
            Body::Json(whole) => whole.extend_from_slice(bytes),
            Body::Lines(open) => take_lines(open, bytes, &mut self.pieces, out)?,
            Body::Events(parser) => {
                parser.push(bytes, |event, data| self.pieces.take(event, data, out))?;
            }
            #[cfg(feature = "bedrock")]
            Body::Frames(frames) => {
                frames.push(bytes, |event, data| self.pieces.take(event, data, out))?;
            }
        }
        Ok(())
    }

    /// The whole answer. Errors: whatever is still missing at the end.
    pub(in crate::provider) fn finish(&mut self, out: &mut Out) -> Result<ModelResponse, Unreadable> {
        let is_complete = self.is_at_tail();
        match self.take_rest(out) {
            // What was cut is only the tail: better without usage than not at all.
            Err(Unreadable::Cut) if is_complete => {}
            taken => taken?,
        }
        if !self.pieces.done && !self.pieces.decoder.has_stopped() {
            return Err(Unreadable::Cut);
        }
        self.pieces.decoder.finish()
    }

    /// Takes what the end of the body completes.
    fn take_rest(&mut self, out: &mut Out) -> Result<(), Unreadable> {
        match &mut self.body {
            Body::Unknown => return Err(Unreadable::Cut),
            Body::Json(whole) | Body::Lines(whole) => {
                let whole = std::mem::take(whole);
                let text = String::from_utf8_lossy(&whole);
                if !text.trim().is_empty() && !self.pieces.done {
                    self.pieces.decode("", &text, out)?;
                }
                self.pieces.done |= matches!(self.body, Body::Json(_));
            }
            Body::Events(_) if self.pieces.done => {}
            Body::Events(parser) => {
                parser.finish(|event, data| self.pieces.take(event, data, out))?;
            }
            #[cfg(feature = "bedrock")]
            Body::Frames(frames) => {
                if !frames.is_empty() {
                    return Err(Unreadable::Cut);
                }
            }
        }
        Ok(())
    }
}

impl Pieces {
    /// Takes an event: its type, and its data.
    fn take(&mut self, event: &str, data: &str, out: &mut Out) -> Result<(), Unreadable> {
        let data = data.trim();
        if self.done || data.is_empty() || data == self.last {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        if event == "error" {
            return Err(Unreadable::ErrorObject(serde_json::from_str(data).unwrap_or_default()));
        }
        let had_stopped = self.decoder.has_stopped();
        self.decode(event, data, out)?;
        if !had_stopped && self.decoder.has_stopped() {
            data.clone_into(&mut self.last);
        }
        self.done = self.decoder.is_done();
        Ok(())
    }

    fn decode(&mut self, event: &str, json: &str, out: &mut Out) -> Result<(), Unreadable> {
        let whole = self.halves.joined(json);
        self.decoder.take(event, &whole, out)
    }
}

/// Takes the lines that more bytes complete; the one that is open waits for its end.
fn take_lines(open: &mut Vec<u8>, bytes: &[u8], pieces: &mut Pieces, out: &mut Out) -> Result<(), Unreadable> {
    let Some(end) = memchr::memrchr(b'\n', bytes) else {
        open.extend_from_slice(bytes);
        let too_long = open.len() > MAX_EVENT;
        return if too_long { Err(Unreadable::Malformed("a line over its size limit")) } else { Ok(()) };
    };
    let (complete, rest) = bytes.split_at(end + 1);
    let mut lines = std::mem::replace(open, rest.to_vec());
    lines.extend_from_slice(complete);
    for line in String::from_utf8_lossy(&lines).lines().map(str::trim) {
        if !line.is_empty() && !pieces.done {
            pieces.decode("", line, out)?;
            pieces.done = pieces.decoder.is_done();
        }
    }
    Ok(())
}
