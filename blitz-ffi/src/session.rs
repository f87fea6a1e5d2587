//! Sessions: the ways in.

use std::ffi::c_char;
use std::sync::Arc;

use blitz::Result;

use crate::engine::{Engine, Host};
use crate::error::Failure;
use crate::guard::{Status, guard, status_of};
use crate::handle::{self, Noun, Out};
use crate::json;

/// An authenticated way into an engine. It speaks for the host or for a user, and may do what these may.
pub struct Session {
    pub(crate) host: Arc<Host>,
    pub(crate) session: blitz::Session,
}

impl Noun for Session {
    const NAME: &'static str = "session";
}

/// A session that may be used now. Errors: `InvalidInput` for what is no session, `Closed` once its engine is.
pub(crate) fn open(session: *const Session) -> Result<Arc<Session>> {
    let session = handle::get(session)?;
    session.host.check_open()?;
    Ok(session)
}

/// The host's own session: trusted, and audited with the reason it gives. On BLITZ_OK the caller owns *out_session:
/// blitz_session_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_root(
    engine: *const Engine,
    reason: *const c_char,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_session, "out_session")?;
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        let session = host.engine.root(handle::text(reason, "reason")?);
        out.set_handle(Session { host, session })
    })
}

/// A user's session. On BLITZ_OK the caller owns *out_session: blitz_session_free(). BLITZ_UNAUTHENTICATED is the same for
/// an unknown user, a wrong password and a disabled user.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_login(
    engine: *const Engine,
    email: *const c_char,
    password: *const c_char,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_session, "out_session")?;
        let host = Arc::clone(&handle::get(engine)?.host);
        let (email, password) = (handle::text(email, "email")?, handle::text(password, "password")?);
        let session = host.wait(host.engine.login(email, password))??;
        out.set_handle(Session { host, session })
    })
}

/// Who the session speaks for, as a JSON object. On BLITZ_OK the caller owns *out_json: blitz_string_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_session_principal(
    session: *const Session,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_json, "out_json")?;
        out.set_text(json::write(handle::get(session)?.session.principal())?);
        Ok(())
    })
}

/// Frees a session. What it has started goes on. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_session_free(session: *mut Session) -> Status {
    status_of(|| handle::take(session).map(drop))
}
