//! Black-box tests of the engine, one module per topic.

mod dependencies;
mod errors_doc;
mod house;
mod source;
