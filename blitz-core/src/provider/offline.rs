//! A rule-based stand-in that needs no key and says so wherever it answers.
