//! Reads server-sent events from chunks of bytes, by the WHATWG rules, bounded in size.
//!
//! Two things differ from a browser: an event at the very end counts also without its blank line,
//! because some servers leave it out, and `id` and `retry` are skipped, because nobody reconnects.

/// The most bytes of one line and of one event's data: some servers put a whole answer, or an image, into one event.
pub(crate) const MAX_EVENT: usize = 16 << 20;

/// A line or event is longer than [`MAX_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// Takes bytes as they come and gives events as they are complete: their type, empty where the server
/// named none, and their data lines, joined by line feeds.
///
/// An event of one data line, which is nearly every one, is given where it lies in the bytes.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    /// The line so far, without its end.
    line: Vec<u8>,
    /// The type of the event so far.
    event: String,
    /// Its data so far, with a line feed behind each line.
    data: String,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_cr: bool,
    /// The first line is over: no byte order mark may come any more.
    begun: bool,
}

impl SseParser {
    /// Takes the next bytes and gives the events they complete to `take`.
    ///
    /// Errors: [`EventTooLarge`], and those of `take`; the parser must not be used behind one.
    pub(crate) fn push<E: From<EventTooLarge>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            let next = match bytes[end] {
                b'\r' => rest.strip_prefix(b"\n").unwrap_or(rest),
                _ => rest,
            };
            if self.line.is_empty() {
                self.end_line(line, next, &mut take)?;
            } else {
                self.extend_line(line)?;
                let mut whole = std::mem::take(&mut self.line);
                self.end_line(&whole, next, &mut take)?;
                whole.clear();
                self.line = whole;
            }
            self.after_cr = bytes[end] == b'\r' && rest.is_empty();
            bytes = next;
        }
        Ok(self.extend_line(bytes)?)
    }

    /// Ends the input and gives what was not closed by a blank line, if there is anything.
    pub(crate) fn finish<E: From<EventTooLarge>>(
        &mut self,
        mut take: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, b"", &mut take)?;
        }
        self.dispatch(&mut take)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        if self.line.len() + bytes.len() > MAX_EVENT {
            return Err(EventTooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes a whole line: a field, a comment, or the blank one that ends an event. `next` follows it.
    fn end_line<E: From<EventTooLarge>>(
        &mut self,
        mut line: &[u8],
        next: &[u8],
        take: &mut impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.len() > MAX_EVENT {
            return Err(EventTooLarge.into());
        }
        if line.is_empty() {
            return self.dispatch(take);
        }
        match std::str::from_utf8(line) {
            Ok(line) => self.field(line, next, take),
            Err(_) => self.field(&String::from_utf8_lossy(line), next, take),
        }
    }

    fn field<E: From<EventTooLarge>>(
        &mut self,
        line: &str,
        next: &[u8],
        take: &mut impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" if self.data.len() + value.len() >= MAX_EVENT => return Err(EventTooLarge.into()),
            // The blank line is there already: nothing is added to the event any more.
            "data" if self.data.is_empty() && matches!(next.first(), Some(b'\n' | b'\r')) => {
                take(&self.event, value)?;
                self.event.clear();
            }
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.event),
            // A comment has the empty name; id, retry and unknown fields change nothing.
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E>(&mut self, take: &mut impl FnMut(&str, &str) -> Result<(), E>) -> Result<(), E> {
        if let Some(data) = self.data.strip_suffix('\n') {
            take(&self.event, data)?;
            self.data.clear();
        }
        self.event.clear();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The types and data of all events.
    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(String, String)>, EventTooLarge> {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        let mut take = |event: &str, data: &str| {
            events.push((event.to_owned(), data.to_owned()));
            Ok::<(), EventTooLarge>(())
        };
        for chunk in chunks {
            parser.push(chunk, &mut take)?;
        }
        parser.finish(&mut take)?;
        Ok(events)
    }

    fn data(text: &[u8]) -> Vec<String> {
        parse([text]).unwrap().into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn b21_all_line_ends_are_the_same() {
        for text in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\rdata: b\r\r",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\n\ndata: b\n\r",
        ] {
            assert_eq!(data(text.as_bytes()), ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn b21_a_line_end_split_over_chunks_is_one() {
        let chunks: [&[u8]; 4] = [b"data: a\r", b"\ndata: b\r", b"", b"\n\r\n"];
        assert_eq!(parse(chunks).unwrap()[0].1, "a\nb");
    }

    #[test]
    fn b21_comments_types_and_unknown_fields() {
        let text =
            b": hi\nevent: error\nid: 7\nretry: 10\nwhat\ndata:x\ndata\ndata:  y\n\n:\n\nevent: lost\n\ndata: z\n\n";
        let events = parse([text.as_slice()]).unwrap();
        assert_eq!(events[0], ("error".into(), "x\n\n y".into()));
        assert_eq!(events[1], (String::new(), "z".into()));
    }

    #[test]
    fn b21_the_first_byte_order_mark_is_dropped() {
        assert_eq!(data("\u{feff}data: a\n\n\u{feff}data: b\n\n".as_bytes()), ["a"]);
    }

    #[test]
    fn b21_invalid_utf8_is_replaced_and_the_rest_goes_on() {
        assert_eq!(data(b"data: a\xFFb\n\ndata: \xE2\x82\n\n"), ["a\u{fffd}b", "\u{fffd}"]);
    }

    #[test]
    fn b21_the_end_closes_the_last_event() {
        assert_eq!(data(b"data: a\n\ndata: b"), ["a", "b"]);
        assert_eq!(data(b"data: a\n"), ["a"]);
        assert_eq!(data(b""), [""; 0]);
    }

    #[test]
    fn lines_and_events_are_bounded() {
        let piece = vec![b'x'; 1 << 20];
        let endless_line = std::iter::once(b"data: ".as_slice()).chain(std::iter::repeat_n(piece.as_slice(), 17));
        assert_eq!(parse(endless_line), Err(EventTooLarge));
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert_eq!(parse(std::iter::repeat_n(line.as_slice(), 17)), Err(EventTooLarge));
        assert_eq!(parse(std::iter::repeat_n(line.as_slice(), 15)).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn b21_any_split_gives_the_same_events(
            lines in prop::collection::vec(("(data|event|id|:)?", "(: |:)?", "[a-zé☃🦀 \u{feff}]{0,6}", "(\n|\r|\r\n)"), 0..24),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut text: Vec<u8> = lines.iter().flat_map(|(a, b, c, d)| [a, b, c, d]).flat_map(|s| s.bytes()).collect();
            for (at, byte) in noise {
                text.insert(at.index(text.len() + 1), byte);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let whole = parse([text.as_slice()]).unwrap();
            prop_assert_eq!(&parse(cuts.windows(2).map(|cut| &text[cut[0]..cut[1]])).unwrap(), &whole);
            prop_assert_eq!(&parse(text.chunks(1)).unwrap(), &whole);
        }
    }
}
