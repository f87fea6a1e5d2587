//! Functions of the host that hear of alerts.

use std::ffi::c_void;
use std::sync::Arc;

use blitz::Alert;
use tokio::sync::mpsc;

use crate::callback::{AlertFn, AlertFunction, FreeFn, UserData, on_a_thread};
use crate::engine::Engine;
use crate::error::Failure;
use crate::guard::{Status, guard};
use crate::handle::{self, c_text};
use crate::json;

/// Calls a function for every alert that this process raises, behind its commit, one after the other; it holds no execution
/// up. alert_json is a row of `alerts.list`, where those of other processes are. user_data and destroy: rule DATA; it is
/// freed once the engine is closed.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_on_alert(
    engine: *const Engine,
    function: AlertFn,
    user_data: *mut c_void,
    destroy: FreeFn,
    out_error: *mut *mut Failure,
) -> Status {
    let data = UserData::new(user_data, destroy);
    guard(out_error, || {
        let function = Arc::new(AlertFunction::new(function, data)?);
        let host = Arc::clone(&handle::get(engine)?.host);
        let (tell, mut told) = mpsc::unbounded_channel::<Alert>();
        let hears = async move {
            while let Some(alert) = told.recv().await {
                let Ok(text) = json::write(&alert).map(c_text) else { continue };
                let function = Arc::clone(&function);
                on_a_thread(None, move || function.tell(text)).await;
            }
        };
        host.wait(async move { drop(tokio::spawn(hears)) })?;
        host.engine.on_alert(move |alert| drop(tell.send(alert.clone())));
        Ok(())
    })
}
