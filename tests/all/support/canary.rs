//! Who looks for a secret or a prompt where none may be: in every form of an error, and in every log line.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, OnceLock};

use blitz::Error;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every word of every log line of the process, whatever its level.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// The process's one, listening from the first call on. The tests of a process share it, so what a test
    /// looks for in it has to be its own.
    pub fn of_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let _ = tracing::subscriber::set_global_default(log.clone());
            tracing::info!(listens = true);
            assert!(log.text().contains("listens=true"), "somebody else listens in place of the canary");
            log
        })
    }

    /// All that was logged so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut log = self.0.lock().unwrap();
        let _ = writeln!(log, "{field}={value:?}");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Every form that an error can be shown in.
pub fn shown(error: &Error) -> String {
    let info = error.to_info();
    let json = serde_json::to_string(&info).unwrap();
    let mut sources = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(sources, "{cause} {cause:?}");
        source = cause.source();
    }
    format!("{error} {error:?} {} {} {info:?} {json} {sources}", error.chain(), error.details())
}
