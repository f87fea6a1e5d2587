//! Parts thinking from text where a server leaves it in: `<think>…</think>` at the beginning.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Takes text in pieces of any size, a tag may be split over several.
#[derive(Debug, Default)]
pub(in crate::provider) struct ThinkTags {
    state: State,
    /// What may still become a tag.
    pending: String,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Nothing but white space so far.
    Begin,
    Thinking,
    /// White space behind the thought.
    Gap,
    /// Text, for the rest of the answer.
    #[default]
    Text,
}

impl ThinkTags {
    /// Looks for tags only where the server is known to leave them in.
    pub(in crate::provider) fn new(looks: bool) -> Self {
        Self { state: if looks { State::Begin } else { State::Text }, pending: String::new() }
    }

    /// Gives what a piece completes, and whether it is thinking.
    pub(in crate::provider) fn split<E>(
        &mut self,
        piece: &str,
        mut take: impl FnMut(bool, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if matches!(self.state, State::Text) && self.pending.is_empty() {
            return if piece.is_empty() { Ok(()) } else { take(false, piece) };
        }
        self.pending.push_str(piece);
        loop {
            match self.state {
                State::Begin => {
                    let text = self.pending.trim_start();
                    if let Some(rest) = text.strip_prefix(OPEN) {
                        (self.state, self.pending) = (State::Thinking, rest.to_owned());
                    } else if OPEN.starts_with(text) {
                        return Ok(());
                    } else {
                        self.state = State::Text;
                    }
                }
                State::Thinking => {
                    let Some(end) = self.pending.find(CLOSE) else {
                        let kept = may_begin_close(&self.pending);
                        let sure = self.pending.len() - kept;
                        take(true, &self.pending[..sure])?;
                        self.pending.drain(..sure);
                        return Ok(());
                    };
                    take(true, &self.pending[..end])?;
                    self.pending.drain(..end + CLOSE.len());
                    self.state = State::Gap;
                }
                State::Gap => {
                    self.pending.drain(..self.pending.len() - self.pending.trim_start().len());
                    if self.pending.is_empty() {
                        return Ok(());
                    }
                    self.state = State::Text;
                }
                State::Text => {
                    let text = std::mem::take(&mut self.pending);
                    return if text.is_empty() { Ok(()) } else { take(false, &text) };
                }
            }
        }
    }

    /// Gives what was held back, at the end of the answer.
    pub(in crate::provider) fn finish<E>(
        &mut self,
        mut take: impl FnMut(bool, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() { Ok(()) } else { take(matches!(self.state, State::Thinking), &rest) }
    }
}

/// How many bytes at the end may be the beginning of the closing tag.
fn may_begin_close(text: &str) -> usize {
    (1..CLOSE.len()).rev().find(|length| text.ends_with(&CLOSE[..*length])).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parted(looks: bool, pieces: &[&str]) -> (String, String) {
        let (mut tags, mut thinking, mut text) = (ThinkTags::new(looks), String::new(), String::new());
        let mut take = |thinks: bool, piece: &str| {
            if thinks {
                thinking.push_str(piece)
            } else {
                text.push_str(piece)
            }
            Ok::<(), ()>(())
        };
        pieces.iter().for_each(|piece| tags.split(piece, &mut take).unwrap());
        tags.finish(&mut take).unwrap();
        (thinking, text)
    }

    #[test]
    fn b26_only_a_leading_thought_is_parted() {
        let part = |text: &str| parted(true, &[text]);
        assert_eq!(part("\n<think>hm</think>\n\na"), ("hm".into(), "a".into()));
        assert_eq!(part("a <think>b</think>"), (String::new(), "a <think>b</think>".into()));
        assert_eq!(part("<think>cut"), ("cut".into(), String::new()));
        assert_eq!(part("<thin"), (String::new(), "<thin".into()));
        assert_eq!(part(" \n"), (String::new(), " \n".into()));
        assert_eq!(parted(false, &["<think>a</think>"]), (String::new(), "<think>a</think>".into()));
    }

    proptest! {
        #[test]
        fn b26_any_split_parts_the_same(
            text in "( |\n)?(<think>|<thi|)[a-z<é/]{0,6}(</think>|</th|)(\n)?[a-z<é]{0,6}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let ends: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&ends)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(parted(true, &pieces), parted(true, &[text.as_str()]));
        }
    }
}
