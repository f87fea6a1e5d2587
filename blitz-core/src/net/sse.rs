//! Reads server-sent events from chunks of bytes, by the WHATWG rules, bounded in size.
