//! Tells the items of an answer apart, whatever a server makes of their indexes and ids.

use std::collections::HashSet;

use serde_json::Value;

use super::super::wire::body::Unreadable;
use super::super::wire::draft::MAX_BLOCKS;

/// Where the places of items begin whose index another item has.
const BESIDE: u64 = 1 << 32;

/// The items of one answer so far, each with a place of its own.
#[derive(Default)]
pub(super) struct Places {
    items: Vec<Item>,
}

struct Item {
    kind: String,
    id: String,
    index: u64,
    place: u64,
    whole: bool,
}

/// How an event names an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    /// The type of the item.
    pub kind: &'a str,
    /// Empty where the event has none; some servers make a new one for each event.
    pub id: &'a str,
    /// Some servers give all items the same.
    pub index: u64,
}

impl<'a> Named<'a> {
    /// The name of an item by itself.
    pub(super) fn of(item: &'a Value, index: u64) -> Self {
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        Self { kind: text("type"), id: text("id"), index }
    }
}

impl Places {
    /// The place of the item that a piece belongs to.
    pub(super) fn of(&self, named: Named<'_>) -> u64 {
        self.find(named, |_| true).map_or(named.index, |found| self.items[found].place)
    }

    /// The place of an item that begins.
    pub(super) fn begun(&mut self, named: Named<'_>) -> Result<u64, Unreadable> {
        let found = self.find(named, |item| item.is(named));
        let item = found.map_or_else(|| self.add(named), Ok)?;
        Ok(self.items[item].place)
    }

    /// The place of an item that has come whole; one that was whole before is another.
    pub(super) fn ended(&mut self, named: Named<'_>) -> Result<u64, Unreadable> {
        let found = self.find(named, |item| !item.whole || item.is(named));
        let item = found.map_or_else(|| self.add(named), Ok)?;
        self.items[item].whole = true;
        Ok(self.items[item].place)
    }

    /// The places of the items that the end of the answer repeats, each another.
    pub(super) fn repeated<'n>(&mut self, all: impl Iterator<Item = Named<'n>>) -> Result<Vec<u64>, Unreadable> {
        let (mut places, mut taken) = (Vec::new(), HashSet::new());
        for named in all {
            let found = self.find(named, |item| !taken.contains(&item.place));
            let item = found.map_or_else(|| self.add(named), Ok)?;
            taken.insert(self.items[item].place);
            places.push(self.items[item].place);
        }
        Ok(places)
    }

    /// By id and index, else by id, else by index: the newest that fits.
    fn find(&self, named: Named<'_>, may_be: impl Fn(&Item) -> bool) -> Option<usize> {
        let newest = |fits: &dyn Fn(&Item) -> bool| {
            self.items.iter().rposition(|item| item.kind == named.kind && fits(item) && may_be(item))
        };
        newest(&|item| item.is(named))
            .or_else(|| newest(&|item| !named.id.is_empty() && item.id == named.id))
            .or_else(|| newest(&|item| item.index == named.index))
    }

    fn add(&mut self, named: Named<'_>) -> Result<usize, Unreadable> {
        let count = self.items.len();
        if count == MAX_BLOCKS {
            return Err(Unreadable::Malformed("more parts than one answer may hold"));
        }
        let is_taken = self.items.iter().any(|item| item.place == named.index);
        let place = if is_taken { BESIDE + count as u64 } else { named.index };
        let Named { kind, id, index } = named;
        self.items.push(Item { kind: kind.to_owned(), id: id.to_owned(), index, place, whole: false });
        Ok(count)
    }
}

impl Item {
    fn is(&self, named: Named<'_>) -> bool {
        self.kind == named.kind && self.id == named.id && self.index == named.index
    }
}
