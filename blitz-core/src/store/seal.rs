//! Secrets at rest: sealed values and the keys derived for them.
