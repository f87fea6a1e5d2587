//! Which library this is, and what it holds for its host.

use std::ffi::{CStr, c_char};

use crate::handle;

/// The version of the binary interface, as build.rs gives it to the linker too.
pub const ABI_VERSION: u32 = number(env!("BLITZ_ABI_VERSION"));

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

const fn number(text: &str) -> u32 {
    let (digits, mut at, mut number) = (text.as_bytes(), 0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    number
}

/// The version of the library's binary interface. A program that was compiled against this header works with a library
/// that gives BLITZ_ABI_VERSION here.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_abi_version() -> u32 {
    ABI_VERSION
}

/// The version of the library, such as "0.1.0". It is there as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_version() -> *const c_char {
    VERSION.as_ptr()
}

/// How many handles and strings of this library are not freed yet, errors included: for leak checks in tests.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_live_count() -> usize {
    handle::live_count()
}
