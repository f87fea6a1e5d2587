//! The façade: sessions, handles and the method table.
