//! The Python face: `blitz._native`, the module behind the package `blitz`.
//!
//! It holds no rules of the engine. Every operation is a `Pending`: one Rust future that
//! Python either waits for or awaits, so the blocking methods and their `a…` twins are one thing.
//! Python's own work (signatures, schemas of annotations, frozen values) is in `python/blitz`.

mod call;
mod convert;
mod engine;
mod error;
mod mailbox;
mod pending;
mod provider;
mod runtime;
mod session;
mod stream;
mod tool;

use pyo3::prelude::*;

/// The engine as Python reaches it; use the package `blitz`.
///
/// All its classes are frozen and share what they hold by locks, so a free-threaded interpreter need not turn its GIL on.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::call::{Call, next_call};
    #[pymodule_export]
    use crate::engine::{Engine, draw, error_codes, method_names, methods};
    #[pymodule_export]
    use crate::mailbox::Mailbox;
    #[pymodule_export]
    use crate::pending::Pending;
    #[pymodule_export]
    use crate::provider::{Provider, azure_provider, function_provider, scripted};
    #[pymodule_export]
    use crate::runtime::shut_down;
    #[pymodule_export]
    use crate::session::{Execution, Session};
    #[pymodule_export]
    use crate::stream::Events;
    #[pymodule_export]
    use crate::tool::ToolContext;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
