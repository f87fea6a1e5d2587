//! Reads Amazon's binary event frames: a prelude with its checksum, headers, a payload, a checksum.

use super::body::Unreadable;

/// The most bytes of one frame.
const MAX_FRAME: usize = 16 << 20;
/// Two lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum behind the payload.
const TRAILER: usize = 4;

const BROKEN: Unreadable = Unreadable::Malformed("a broken event frame");

/// Takes bytes as they come and gives the events of the frames that are complete.
#[derive(Default)]
pub(in crate::provider) struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Whether no frame has begun.
    pub(in crate::provider) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Gives the type and the data of each event to `take`.
    ///
    /// Errors: `Malformed` where a checksum, a length or a header is wrong, and those of `take`.
    pub(in crate::provider) fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&str, &str) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.bytes.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(whole) = next_frame(&self.bytes[begin..])? {
            let (name, data) = event(&self.bytes[begin..begin + whole])?;
            take(&name, &data)?;
            begin += whole;
        }
        self.bytes.drain(..begin);
        Ok(())
    }
}

/// The length of the frame at the beginning; `None` where it is not whole yet.
fn next_frame(bytes: &[u8]) -> Result<Option<usize>, Unreadable> {
    if bytes.len() < PRELUDE {
        return Ok(None);
    }
    let (whole, headers) = (number(bytes, 0)?, number(bytes, 4)?);
    let lengths_fit = whole >= PRELUDE + headers + TRAILER && whole <= MAX_FRAME;
    if crc32(&bytes[..8]) as usize != number(bytes, 8)? || !lengths_fit {
        return Err(BROKEN);
    }
    Ok((bytes.len() >= whole).then_some(whole))
}

/// The type and the data of a whole frame.
fn event(frame: &[u8]) -> Result<(String, String), Unreadable> {
    let end = frame.len() - TRAILER;
    if crc32(&frame[..end]) as usize != number(frame, end)? {
        return Err(BROKEN);
    }
    let payload = PRELUDE + number(frame, 4)?;
    let mut headers = &frame[PRELUDE..payload];
    let (mut kind, mut name) = (String::new(), String::new());
    while !headers.is_empty() {
        let (header, value) = header(&mut headers)?;
        match header {
            ":message-type" => value.clone_into(&mut kind),
            ":event-type" | ":exception-type" | ":error-code" => value.clone_into(&mut name),
            _ => {}
        }
    }
    let data = String::from_utf8_lossy(&frame[payload..end]).into_owned();
    if kind == "event" {
        return Ok((name, data));
    }
    let said: serde_json::Value = serde_json::from_str(&data).unwrap_or_default();
    let error = serde_json::json!({"error": {"type": name, "message": said["message"]}});
    Ok(("error".to_owned(), error.to_string()))
}

/// The next header's name, and its value where that is a text.
fn header<'a>(bytes: &mut &'a [u8]) -> Result<(&'a str, &'a str), Unreadable> {
    let length = usize::from(take(bytes, 1)?[0]);
    let name = take(bytes, length)?;
    let value = match take(bytes, 1)?[0] {
        0 | 1 => &[][..],
        2 => take(bytes, 1)?,
        3 => take(bytes, 2)?,
        4 => take(bytes, 4)?,
        5 | 8 => take(bytes, 8)?,
        6 | 7 => {
            let length = take(bytes, 2)?;
            take(bytes, usize::from(u16::from_be_bytes([length[0], length[1]])))?
        }
        9 => take(bytes, 16)?,
        _ => return Err(BROKEN),
    };
    Ok((std::str::from_utf8(name).map_err(|_| BROKEN)?, std::str::from_utf8(value).unwrap_or_default()))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Unreadable> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(BROKEN)?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &[u8], at: usize) -> Result<usize, Unreadable> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).ok_or(BROKEN)?;
    Ok(u32::from_be_bytes(four) as usize)
}

/// CRC-32 as in zlib, a byte at a time over a table made at compile time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum, byte| (sum >> 8) ^ TABLE[usize::from((sum as u8) ^ byte)])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in headers {
            head.push(name.len() as u8);
            head.extend(name.bytes());
            head.push(7);
            head.extend((value.len() as u16).to_be_bytes());
            head.extend(value.bytes());
        }
        let whole = (PRELUDE + head.len() + payload.len() + TRAILER) as u32;
        let mut frame = [whole.to_be_bytes(), (head.len() as u32).to_be_bytes()].concat();
        frame.extend(crc32(&frame).to_be_bytes());
        frame.extend(head);
        frame.extend(payload);
        frame.extend(crc32(&frame).to_be_bytes());
        frame
    }

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(String, String)>, Unreadable> {
        let (mut frames, mut events) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.push(piece, |name, data| {
                events.push((name.to_owned(), data.to_owned()));
                Ok(())
            })?;
        }
        assert!(frames.is_empty());
        Ok(events)
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn b27_frames_are_read_however_they_are_cut() {
        let delta = frame(&[(":event-type", "contentBlockDelta"), (":message-type", "event")], b"{\"a\":1}");
        let both = [delta.clone(), delta].concat();
        let expected = ("contentBlockDelta".to_owned(), "{\"a\":1}".to_owned());
        assert_eq!(read([both.as_slice()]).unwrap(), [expected.clone(), expected.clone()]);
        assert_eq!(read(both.chunks(1)).unwrap(), [expected.clone(), expected]);
    }

    #[test]
    fn b27_an_exception_is_an_error_and_a_broken_frame_is_malformed() {
        let headers = [(":exception-type", "throttlingException"), (":message-type", "exception")];
        let events = read([frame(&headers, b"{\"message\":\"slow\"}").as_slice()]).unwrap();
        assert_eq!(events[0].0, "error");
        assert!(events[0].1.contains("throttlingException"));
        let whole = frame(&headers, b"{}");
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            assert!(Frames::default().push(&broken, |_, _| Ok(())).is_err(), "byte {at}");
        }
    }
}
