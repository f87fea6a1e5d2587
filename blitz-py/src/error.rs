//! The engine's errors as Python exceptions: the classes are made in `_errors.py` from [`error_codes`].

use blitz::{Error, ErrorCode};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::convert::to_python;

/// The exception of an error.
pub(crate) fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    match make(py, error) {
        Ok(made) => made,
        Err(failed) if failed.is_instance_of::<PyException>(py) => PyRuntimeError::new_err(error.chain()),
        // A Ctrl-C, which came while it was made.
        Err(end) => end,
    }
}

fn make(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let info = error.to_info();
    let details = to_python(py, &info.details)?;
    let arguments = (info.code.name(), info.message, info.retryable, details);
    Ok(PyErr::from_value(MAKE.import(py, "blitz._errors", "make")?.call1(arguments)?))
}

/// An exception of a function of the host, as the engine's error: one of ours keeps its code.
pub(crate) fn from_py(py: Python<'_>, error: &PyErr, otherwise: ErrorCode) -> Error {
    let value = error.value(py);
    let code = value.getattr("code").ok().and_then(|code| code.extract::<String>().ok());
    match code.and_then(|code| ErrorCode::from_name(&code)) {
        Some(code) => Error::new(code, crate::convert::shown(value)),
        None => Error::new(otherwise, error.to_string()),
    }
}

/// The rows of the error table: number, name, meaning, whether a retry may help.
pub(crate) fn rows() -> Vec<(i32, &'static str, &'static str, bool)> {
    ErrorCode::ALL.iter().map(|code| (*code as i32, code.name(), code.meaning(), code.retryable())).collect()
}
