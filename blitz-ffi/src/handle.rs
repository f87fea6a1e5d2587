//! What crosses the boundary: handles, strings and out-pointers. Nearly all unsafe lives here.
//!
//! A handle is a number that looks like a pointer: a place in a table and how often that place was
//! used before. Nothing is read through it, so one that was freed, or that was never given, is found
//! out instead of followed. A call that uses a handle keeps what is behind it alive.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use blitz::{Error, Result};

/// Something that C holds by a handle.
pub(crate) trait Noun: Any + Send + Sync {
    /// Its name for messages.
    const NAME: &'static str;
    /// Whether it is data alone, which a forked child may use as well.
    const PLAIN: bool = false;
}

/// The process that opened the first engine; 0 before.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Notes that this process has an engine, and so threads that a child forked from it has not. Errors: `Closed` in
/// such a child.
pub(crate) fn claim_process() -> Result<()> {
    let claimed = PROCESS.compare_exchange(0, std::process::id(), Ordering::AcqRel, Ordering::Acquire);
    if claimed.is_ok() || !is_forked() { Ok(()) } else { Err(forked()) }
}

fn is_forked() -> bool {
    let owner = PROCESS.load(Ordering::Acquire);
    owner != 0 && owner != std::process::id()
}

fn forked() -> Error {
    Error::closed(
        "this process was forked from one that uses blitz, whose threads it has not: open the engine behind the fork",
    )
}

/// Bits of a handle that name its place; the lowest is always set, so that no handle is NULL or an aligned address.
const PLACE_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };

static TABLE: RwLock<Table> = RwLock::new(Table { slots: Vec::new(), vacant: Vec::new() });

struct Table {
    slots: Vec<Slot>,
    vacant: Vec<usize>,
}

#[derive(Default)]
struct Slot {
    /// How often it was emptied.
    generation: usize,
    thing: Option<Arc<dyn Any + Send + Sync>>,
}

/// The bits of a generation that fit into a handle.
const GENERATIONS: usize = usize::MAX >> PLACE_BITS;

fn number(place: usize, generation: usize) -> usize {
    ((generation & GENERATIONS) << PLACE_BITS) | (place << 1) | 1
}

impl Table {
    /// The place of a live handle.
    fn find(&self, handle: usize) -> Option<usize> {
        let place = (handle & !(GENERATIONS << PLACE_BITS)) >> 1;
        let slot = self.slots.get(place)?;
        (slot.thing.is_some() && number(place, slot.generation) == handle).then_some(place)
    }

    fn add(&mut self, thing: Arc<dyn Any + Send + Sync>) -> Result<usize> {
        let place = match self.vacant.pop() {
            Some(place) => place,
            None if self.slots.len() < 1 << (PLACE_BITS - 1) => {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
            None => return Err(Error::too_large("there are too many handles: free those that are done with")),
        };
        self.slots[place].thing = Some(thing);
        Ok(number(place, self.slots[place].generation))
    }

    fn remove(&mut self, handle: usize) -> Option<Arc<dyn Any + Send + Sync>> {
        let place = self.find(handle)?;
        let slot = &mut self.slots[place];
        slot.generation += 1;
        self.vacant.push(place);
        slot.thing.take()
    }
}

/// A handle for a thing, live until [`take`].
pub(crate) fn give<T: Noun>(thing: T) -> Result<*mut T> {
    share(Arc::new(thing))
}

fn share<T: Noun>(thing: Arc<T>) -> Result<*mut T> {
    // The lock is never held while foreign code runs, so a poisoned one guards sound data.
    let number = TABLE.write().unwrap_or_else(PoisonError::into_inner).add(thing)?;
    Ok(std::ptr::without_provenance_mut(number))
}

/// What is behind a handle. Errors: `InvalidInput` for NULL, a freed handle or one of another kind; `Closed` in a forked
/// child.
pub(crate) fn get<T: Noun>(handle: *const T) -> Result<Arc<T>> {
    if handle.is_null() {
        return Err(Error::invalid(format!("the {} is NULL", T::NAME)));
    }
    if !T::PLAIN && is_forked() {
        return Err(forked());
    }
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let thing = table.find(handle.addr()).and_then(|place| table.slots[place].thing.clone());
    drop(table);
    let thing = thing.ok_or_else(|| not_live(T::NAME))?;
    thing.downcast().map_err(|_| not_live(T::NAME))
}

/// Ends a handle and gives what was behind it; `None` for NULL, and in a forked child, where it is its parent's.
pub(crate) fn take<T: Noun>(handle: *const T) -> Result<Option<Arc<T>>> {
    if handle.is_null() || (!T::PLAIN && is_forked()) {
        return Ok(None);
    }
    let thing = get(handle)?;
    // Of two threads that free the same handle one comes too late.
    let taken = TABLE.write().unwrap_or_else(PoisonError::into_inner).remove(handle.addr());
    taken.map(|_| Some(thing)).ok_or_else(|| not_live(T::NAME))
}

fn not_live(noun: &str) -> Error {
    Error::invalid(format!("this is no {noun}, or it was freed already"))
}

/// A handle for as long as a callback runs.
pub(crate) struct Lent<T: Noun> {
    handle: *mut T,
    thing: Arc<T>,
}

impl<T: Noun> Lent<T> {
    pub(crate) fn new(thing: T) -> Result<Self> {
        let thing = Arc::new(thing);
        Ok(Self { handle: share(Arc::clone(&thing))?, thing })
    }

    pub(crate) fn handle(&self) -> *mut T {
        self.handle
    }
}

impl<T: Noun> std::ops::Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T: Noun> Drop for Lent<T> {
    fn drop(&mut self) {
        // The callee may have freed what it was lent: then it is gone already.
        take(self.handle.cast_const()).ok();
    }
}

/// The strings that C owns and how many bytes they have, NUL too; by the complement of their addresses: a leak checker
/// must not take this list for an owner.
static STRINGS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// A string for the caller to own.
pub(crate) fn give_string(text: impl Into<Vec<u8>>) -> *mut c_char {
    let bytes = c_text(text).into_bytes_with_nul().into_boxed_slice();
    let length = bytes.len();
    let raw = Box::into_raw(bytes).cast::<c_char>();
    STRINGS.lock().unwrap_or_else(PoisonError::into_inner).insert(!raw.addr(), length);
    raw
}

/// Text as C reads it: it ends at its first NUL, and JSON has none.
pub(crate) fn c_text(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        bytes.retain(|byte| *byte != 0);
        CString::new(bytes).unwrap_or_default()
    })
}

/// Frees a string. Errors: `InvalidInput` where it is not a live string of this library.
pub(crate) fn free_string(text: *mut c_char) -> Result<()> {
    if text.is_null() {
        return Ok(());
    }
    let length = STRINGS.lock().unwrap_or_else(PoisonError::into_inner).remove(&!text.addr());
    let length = length.ok_or_else(|| not_live("string of this library"))?;
    let bytes = std::ptr::slice_from_raw_parts_mut(text.cast::<u8>(), length);
    // SAFETY: rule STRING: the address was in the list, so `give_string` made it with this length, whatever its owner
    // wrote into it, and nobody freed it since.
    drop(unsafe { Box::from_raw(bytes) });
    Ok(())
}

/// How many handles and strings are live.
pub(crate) fn live_count() -> usize {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let handles = table.slots.len() - table.vacant.len();
    drop(table);
    handles + STRINGS.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Text that comes in. Errors: `InvalidInput` for NULL and for what is not UTF-8.
pub(crate) fn text<'a>(given: *const c_char, name: &str) -> Result<&'a str> {
    optional_text(given, name)?.ok_or_else(|| Error::invalid(format!("{name} is NULL")))
}

/// Text that may be NULL. Errors: `InvalidInput` for what is not UTF-8.
pub(crate) fn optional_text<'a>(given: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: rule TEXT: it ends with NUL and stays as it is until the call returns; no function here keeps it.
    let bytes = unsafe { CStr::from_ptr(given) };
    let text = bytes
        .to_str()
        .map_err(|error| Error::invalid(format!("{name} is not UTF-8: see its byte {}", error.valid_up_to())))?;
    Ok(Some(text))
}

/// Where a result goes; NULL from the beginning.
pub(crate) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// Sets the place to NULL. Errors: `InvalidInput` where there is no place.
    pub(crate) fn new(place: *mut *mut T, name: &str) -> Result<Self> {
        Self::optional(place).ok_or_else(|| Error::invalid(format!("{name} is NULL")))
    }

    /// Sets the place to NULL, where there is one.
    pub(crate) fn optional(place: *mut *mut T) -> Option<Self> {
        if place.is_null() {
            return None;
        }
        let out = Self(place);
        out.set(std::ptr::null_mut());
        Some(out)
    }

    /// Gives the result.
    pub(crate) fn set(&self, value: *mut T) {
        // SAFETY: rule OUT: it points to a writable pointer until the call returns, and `new` has refused NULL.
        unsafe { self.0.write(value) }
    }
}

impl Out<c_char> {
    /// Gives text for the caller to own.
    pub(crate) fn set_text(&self, text: impl Into<Vec<u8>>) {
        self.set(give_string(text));
    }
}

impl<T: Noun> Out<T> {
    /// Gives a handle.
    pub(crate) fn set_handle(&self, thing: T) -> Result<()> {
        self.set(give(thing)?);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Cup(u32);
    struct Plate;

    impl Noun for Cup {
        const NAME: &'static str = "cup";
    }

    impl Noun for Plate {
        const NAME: &'static str = "plate";
    }

    #[test]
    fn a_handle_lives_until_it_is_taken() {
        let cup = give(Cup(7)).unwrap();
        assert_eq!(get(cup).unwrap().0, 7);
        assert!(get(cup.cast::<Plate>()).is_err(), "a cup is no plate");
        assert!(take(cup.cast::<Plate>()).is_err() && get(cup).is_ok());
        let kept = get(cup).unwrap();
        assert!(take(cup).unwrap().is_some());
        assert!(get(cup).is_err() && take(cup).is_err(), "it is freed");
        assert_eq!(kept.0, 7, "who uses it keeps it");
        let next = give(Cup(8)).unwrap();
        assert!(next != cup && get(cup).is_err() && get(next).unwrap().0 == 8);
        take(next).unwrap();
    }

    #[test]
    fn null_and_any_number_are_no_handles() {
        assert!(get::<Cup>(std::ptr::null()).is_err());
        assert!(take::<Cup>(std::ptr::null()).unwrap().is_none());
        for number in [1, 2, 3, 8, usize::MAX, usize::MAX - 1, 1 << 33, 0xdead_beef] {
            assert!(get::<Cup>(std::ptr::without_provenance(number)).is_err(), "{number}");
        }
    }

    #[test]
    fn what_was_lent_ends_with_the_loan() {
        let lent = Lent::new(Cup(1)).unwrap();
        let handle = lent.handle();
        assert!(get(handle).is_ok());
        drop(lent);
        assert!(get(handle).is_err());
    }

    #[test]
    fn a_string_is_freed_once() {
        let text = give_string("a\0b");
        assert_eq!(optional_text(text, "text").unwrap(), Some("ab"));
        free_string(text).unwrap();
        assert!(free_string(text).is_err());
        assert!(free_string(c"literal".as_ptr().cast_mut()).is_err());
        free_string(std::ptr::null_mut()).unwrap();
    }

    #[test]
    fn a_string_that_its_owner_cut_is_freed_whole() {
        let text = give_string("first,second");
        // SAFETY: the string is this test's, and the place is inside of it.
        unsafe { text.add(5).write(0) };
        assert_eq!(optional_text(text, "text").unwrap(), Some("first"));
        assert_eq!(STRINGS.lock().unwrap().get(&!text.addr()), Some(&13));
        free_string(text).unwrap();
        assert!(free_string(text).is_err());
    }

    #[test]
    fn text_is_utf8_or_an_error() {
        assert!(text(c"\xff\xfe".as_ptr(), "name").is_err());
        assert!(text(std::ptr::null(), "name").is_err());
        assert_eq!(text(c"ok".as_ptr(), "name").unwrap(), "ok");
    }

    #[test]
    fn many_threads_share_the_table() {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for round in 0..500 {
                        let cup = give(Cup(thread * 1000 + round)).unwrap();
                        assert_eq!(get(cup).unwrap().0, thread * 1000 + round);
                        take(cup).unwrap();
                        assert!(get(cup).is_err());
                    }
                });
            }
        });
    }
}
