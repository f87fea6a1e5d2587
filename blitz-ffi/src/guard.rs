//! The boundary: every body runs in here, and neither an error nor a panic goes past it.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blitz::{Error, ErrorCode, Result};

use crate::error::Failure;
use crate::handle::Out;

/// What a call came to: 0, or the number of an error.
pub type Status = c_int;

/// All went well.
pub(crate) const OK: Status = 0;

/// Runs a body; its error goes to the caller, who owns it.
pub(crate) fn guard(out_error: *mut *mut Failure, body: impl FnOnce() -> Result<()>) -> Status {
    let out = Out::optional(out_error);
    match caught(body) {
        Ok(()) => OK,
        Err(error) => {
            let status = error.code() as Status;
            if let Some(out) = out {
                // Where there is no room for one more handle the status has to do.
                out.set_handle(Failure::new(&error)).ok();
            }
            status
        }
    }
}

/// Runs a body that tells its error by the status alone.
pub(crate) fn status_of(body: impl FnOnce() -> Result<()>) -> Status {
    guard(std::ptr::null_mut(), body)
}

/// Runs a body that gives a plain value, and `otherwise` where it cannot.
pub(crate) fn value_of<T>(otherwise: T, body: impl FnOnce() -> Result<T>) -> T {
    caught(body).unwrap_or(otherwise)
}

/// A panic is an error like others, without the panic's text: that may hold anything.
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a body shares with others is behind locks of the engine, which mind poison themselves.
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(Error::new(ErrorCode::Panic, "the engine panicked: report it, with what was called")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::{blitz_error_code, blitz_error_free, blitz_error_message};
    use crate::handle::text;

    #[test]
    fn t65_a_panic_becomes_a_status_and_an_error() {
        let mut error = std::ptr::null_mut();
        let status = guard(&raw mut error, || panic!("a secret"));
        assert_eq!(status, ErrorCode::Panic as Status);
        assert_eq!(blitz_error_code(error), status);
        let message = text(blitz_error_message(error), "message").unwrap().to_owned();
        assert!(message.contains("panicked") && !message.contains("secret"), "{message}");
        assert_eq!(blitz_error_free(error), OK);
    }

    #[test]
    fn a_panic_without_a_place_for_its_error_is_a_status_too() {
        assert_eq!(status_of(|| panic!("on purpose")), ErrorCode::Panic as Status);
        assert_eq!(value_of(-1, || panic!("on purpose")), -1);
    }

    #[test]
    fn the_error_is_null_where_all_went_well() {
        let mut error = std::ptr::without_provenance_mut(5);
        assert_eq!(guard(&raw mut error, || Ok(())), OK);
        assert!(error.is_null());
    }
}
