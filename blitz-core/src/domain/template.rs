//! Fills prompt templates: braces or jinja, strict about names, bounded in work and size.
