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

/// Any way in: what `way` gives becomes the session.
fn enter(
    engine: *const Engine,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
    way: impl FnOnce(&Host) -> Result<blitz::Session>,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_session, "out_session")?;
        let host = Arc::clone(&handle::get(engine)?.host);
        let session = way(&host)?;
        out.set_handle(Session { host, session })
    })
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
    enter(engine, out_session, out_error, |host| {
        host.check_open()?;
        Ok(host.engine.root(handle::text(reason, "reason")?))
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
    enter(engine, out_session, out_error, |host| {
        let (email, password) = (handle::text(email, "email")?, handle::text(password, "password")?);
        host.wait(host.engine.login(email, password))?
    })
}

/// A user's session from a place that the host knows: login_json is an object of email, password and source, and failures
/// from one source are held back together. On BLITZ_OK the caller owns *out_session: blitz_session_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_login_with(
    engine: *const Engine,
    login_json: *const c_char,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
) -> Status {
    enter(engine, out_session, out_error, |host| {
        host.wait(host.engine.login_with(json::read_as(login_json, "login_json")?))?
    })
}

/// A session by a token of a login: an opaque one, or a JSON web token. On BLITZ_OK the caller owns *out_session:
/// blitz_session_free(). BLITZ_UNAUTHENTICATED whatever is wrong with it.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_authenticate(
    engine: *const Engine,
    token: *const c_char,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
) -> Status {
    enter(engine, out_session, out_error, |host| host.wait(host.engine.authenticate(handle::text(token, "token")?))?)
}

/// A session by an API key: it may what the key's scopes and its owner's role both allow. On BLITZ_OK the caller
/// owns *out_session: blitz_session_free(). BLITZ_UNAUTHENTICATED whatever is wrong with it.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_api_key(
    engine: *const Engine,
    key: *const c_char,
    out_session: *mut *mut Session,
    out_error: *mut *mut Failure,
) -> Status {
    enter(engine, out_session, out_error, |host| host.wait(host.engine.api_key(handle::text(key, "key")?))?)
}

/// The next tokens for a refresh token, which is good once, as a JSON object. On BLITZ_OK the caller owns *out_json:
/// blitz_string_free(). A second use ends the login.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_refresh(
    engine: *const Engine,
    refresh_token: *const c_char,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_json, "out_json")?;
        let host = Arc::clone(&handle::get(engine)?.host);
        let token = handle::text(refresh_token, "refresh_token")?;
        let tokens = host.wait(host.engine.refresh(token))??;
        out.set_text(json::write(&tokens)?);
        Ok(())
    })
}

/// Sets a new password by a token of the method users.reset_password, and ends all logins of the user.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_set_password(
    engine: *const Engine,
    token: *const c_char,
    password: *const c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let host = Arc::clone(&handle::get(engine)?.host);
        let (token, password) = (handle::text(token, "token")?, handle::text(password, "password")?);
        host.wait(host.engine.set_password(token, password))?
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
