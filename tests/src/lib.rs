//! Black-box tests of the engine
