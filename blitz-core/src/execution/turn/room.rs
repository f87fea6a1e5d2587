//! How much one commit takes.

use super::Turn;

/// So many records fill a turn, and so do so many rows of what it starts.
const FULL: usize = 500;
/// The rows of a child that begins: its own, its first records, that of the step it is.
const CHILD_ROWS: usize = 5;

impl Turn {
    /// Whether it is as large as one commit may be: what else follows at once is another turn.
    pub(crate) fn is_full(&self) -> bool {
        self.drafts.len() >= FULL || !self.may_start()
    }

    /// Whether it has room for one more start. Records take none of it: effects do not wait for what follows at once.
    pub(crate) fn may_start(&self) -> bool {
        self.models.len() + self.tools.len() + self.children.len() * CHILD_ROWS < FULL
    }
}
