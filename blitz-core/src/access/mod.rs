//! Who may do what: the one door to the store.

pub(crate) mod gate;
pub(crate) mod password;
