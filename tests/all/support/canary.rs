//! Who looks for a secret or a prompt where none may be: in every form of an error, and in every log line.
//!
//! It listens in every process of the suite, from before `main`: whatever test it is in, a line with a mark ends the
//! process. `folder.rs` does the same for files.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use blitz::Error;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What every secret of the suite carries, and prompts that are looked for: no log line holds it, and no panic.
pub const MARK: &str = "canary";
/// What every secret of the suite carries: no file of a database holds it, either.
pub const SECRET: &str = "sk-canary";
/// Runs [`listen`] before `main`, in the processes that tests start as well.
#[used]
#[allow(unsafe_code, reason = "a place in the list of what runs before `main` has no other name")]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = listen;

extern "C" fn listen() {
    Log::of_process();
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A test may show what it looked at, and tools of tests panic on purpose.
        if panic.location().is_none_or(|place| !place.file().starts_with("tests/")) {
            hear("a panic", &panic.to_string());
        }
        told(panic);
    }));
}

/// Ends the process where `text` holds the mark, whoever would have caught a panic.
fn hear(what: &str, text: &str) {
    if text.contains(MARK) {
        // Not by a macro: the runner keeps those lines to itself.
        let _ = writeln!(std::io::stderr(), "CANARY: {what} shows a secret or a prompt: {text}");
        std::process::abort();
    }
}

/// Hears every line of the log of the process, whatever its level, and keeps them once somebody reads.
#[derive(Clone, Default)]
pub struct Log(Arc<OnceLock<Mutex<String>>>);

impl Log {
    /// The process's one. It keeps lines from the first [`Log::read`] on; the tests of a process share it, so what a
    /// test looks for in it has to be its own.
    fn of_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let _ = tracing::subscriber::set_global_default(log.clone());
            // Libraries that do not trace write here.
            if log::set_logger(Box::leak(Box::new(log.clone()))).is_ok() {
                log::set_max_level(log::LevelFilter::Trace);
            }
            log
        })
    }

    /// The process's one, which keeps its lines from now on.
    pub fn read() -> &'static Self {
        let log = Self::of_process();
        log.0.get_or_init(Mutex::default);
        tracing::info!(listens = true);
        log::info!("hears libraries");
        let heard = log.text();
        assert!(heard.contains("listens=true") && heard.contains("hears libraries"), "somebody else listens: {heard}");
        log
    }

    /// All that was logged since.
    pub fn text(&self) -> String {
        self.0.get().map(|kept| kept.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Hears what `record` tells of itself.
    fn line(&self, record: impl FnOnce(&mut Line)) {
        let mut line = Line::default();
        record(&mut line);
        hear("a line of the log", &line.0);
        if let Some(kept) = self.0.get() {
            kept.lock().unwrap().push_str(&line.0);
        }
    }
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = writeln!(self.0, "{field}={value:?}");
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.line(|line| line.0 = format!("{}\n", record.args()));
    }

    fn flush(&self) {}
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.line(|line| attributes.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.line(|line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.line(|line| event.record(line));
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

/// Set in the process that [`t58_a_line_with_a_mark_ends_the_process_that_wrote_it`] starts.
const SPEAKS: &str = "BLITZ_TEST_CANARY_SPEAKS";

#[test]
fn t58_a_line_with_a_mark_ends_the_process_that_wrote_it() {
    match std::env::var(SPEAKS).as_deref() {
        Ok("event") => tracing::trace!(text = MARK),
        Ok("library") => log::trace!("{MARK}"),
        Ok("span") => drop(tracing::trace_span!("span", text = MARK)),
        // Called by its pointer, it panics where it is written: in the library.
        Ok("panic") => drop(std::panic::catch_unwind(|| [Err::<u8, _>(MARK)].map(Result::unwrap))),
        Ok(_) => tracing::error!("nothing to hide"),
        Err(_) => {
            for (says, ends) in
                [("event", true), ("library", true), ("span", true), ("panic", true), ("nothing", false)]
            {
                let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
                let name = "support::canary::t58_a_line_with_a_mark_ends_the_process_that_wrote_it";
                let done = inner.args([name, "--exact", "--nocapture"]).env(SPEAKS, says).output().unwrap();
                let told = String::from_utf8_lossy(&done.stderr).contains("CANARY: ");
                assert_eq!((!done.status.success(), told), (ends, ends), "{says}: {done:?}");
            }
        }
    }
}
