//! Who did what to what: append only, chained by a keyed hash.
