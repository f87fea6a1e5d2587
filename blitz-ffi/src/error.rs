//! Errors, as C owns them.

use std::ffi::{CStr, CString, c_char};

use blitz::{Error, ErrorCode};

use crate::guard::{OK, Status, status_of, value_of};
use crate::handle::{self, Noun, c_text};

/// What went wrong in a call: code, name, message, and values for programs.
pub struct Failure {
    code: Status,
    name: CString,
    message: CString,
    details: CString,
    retryable: bool,
}

impl Noun for Failure {
    const NAME: &'static str = "error";
    const PLAIN: bool = true;
}

impl Failure {
    pub(crate) fn new(error: &Error) -> Self {
        let info = error.to_info();
        Self {
            code: info.code as Status,
            name: c_text(info.code.name()),
            message: c_text(info.message),
            details: c_text(info.details.to_string()),
            retryable: info.retryable,
        }
    }
}

/// A code of the table by its number.
pub(crate) fn code_of(status: Status) -> Option<ErrorCode> {
    ErrorCode::ALL.iter().copied().find(|code| *code as Status == status)
}

/// The stable name of a status, such as "not_found"; "ok" for BLITZ_OK, "" for a number that is none. It is there as
/// long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_status_name(status: Status) -> *const c_char {
    // The table's names are plain Rust text; C wants a NUL behind each.
    static NAMES: std::sync::LazyLock<Vec<CString>> =
        std::sync::LazyLock::new(|| ErrorCode::ALL.iter().map(|code| c_text(code.name())).collect());
    value_of(c"".as_ptr(), || {
        let found = ErrorCode::ALL.iter().position(|code| *code as Status == status);
        Ok(match found {
            Some(at) => NAMES[at].as_ptr(),
            None if status == OK => c"ok".as_ptr(),
            None => c"".as_ptr(),
        })
    })
}

/// The status that came with the error; BLITZ_OK for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_error_code(error: *const Failure) -> Status {
    value_of(OK, || Ok(handle::get(error)?.code))
}

/// The stable name of the error's code, such as "budget_exceeded". It is there until the error is freed; "" for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_error_name(error: *const Failure) -> *const c_char {
    shown(error, |failure| &failure.name)
}

/// What happened and what to do, for people. It is there until the error is freed; "" for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_error_message(error: *const Failure) -> *const c_char {
    shown(error, |failure| &failure.message)
}

/// Values for programs, a JSON object or null. It is there until the error is freed; "" for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_error_details(error: *const Failure) -> *const c_char {
    shown(error, |failure| &failure.details)
}

/// Whether the same call may succeed later without a change.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_error_retryable(error: *const Failure) -> bool {
    value_of(false, || Ok(handle::get(error)?.retryable))
}

/// Frees an error. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_error_free(error: *mut Failure) -> Status {
    status_of(|| handle::take(error).map(drop))
}

/// Frees a string that a function of this header gave. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_string_free(text: *mut c_char) -> Status {
    status_of(|| handle::free_string(text))
}

/// Text inside an error. The table keeps the error, and so the text, until it is freed.
fn shown(error: *const Failure, field: fn(&Failure) -> &CStr) -> *const c_char {
    value_of(c"".as_ptr(), || Ok(field(&*handle::get(error)?).as_ptr()))
}
