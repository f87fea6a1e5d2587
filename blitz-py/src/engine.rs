//! The engine: opening, the ways in, closing; and the tables that Python's classes are made from.

use std::sync::Arc;
use std::time::Duration;

use blitz::{Alert, EngineSettings, Login, Method, NodeTypeInfo, PictureFormat, WorkflowDefinition};
use pyo3::prelude::*;
use serde_json::json;

use crate::call::{Around, Function, call};
use crate::convert::{to_json, to_typed, value_to_python};
use crate::error::{rows, to_py};
use crate::pending::Pending;
use crate::provider::Provider;
use crate::runtime::{Kept, runtime};
use crate::session::Session;
use crate::tool::node;

/// One engine on one store.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Engine(Kept<blitz::Engine>);

impl Engine {
    pub(crate) fn engine(&self) -> &blitz::Engine {
        &self.0
    }

    /// The engine, in the process that opened it. Errors: `ClosedError` in a forked child.
    fn here(&self, py: Python<'_>) -> PyResult<&blitz::Engine> {
        runtime().map_err(|error| to_py(py, &error))?;
        Ok(&self.0)
    }
}

#[pymethods]
impl Engine {
    /// Opens a database by settings that are data.
    #[staticmethod]
    fn open(py: Python<'_>, settings: &Bound<'_, PyAny>) -> PyResult<Pending> {
        let settings =
            EngineSettings::from_json(to_json(settings, "the settings")?).map_err(|error| to_py(py, &error))?;
        Ok(Pending::new(blitz::Engine::open_with(settings), |py, engine| {
            Ok(Py::new(py, Self(Kept::new(engine)))?.into_any())
        }))
    }

    /// The host's own session.
    fn root(&self, py: Python<'_>, reason: &str) -> PyResult<Session> {
        Ok(Session::new(self.here(py)?.root(reason)))
    }

    /// A user's session.
    fn login(&self, email: String, password: String, source: Option<String>) -> Pending {
        let engine = self.0.clone();
        let login = Login::new(email, &password);
        let login = match source {
            Some(source) => login.from(source),
            None => login,
        };
        Pending::new(async move { engine.login_with(login).await }, entered)
    }

    /// A session by a token.
    fn authenticate(&self, token: String) -> Pending {
        let engine = self.0.clone();
        Pending::new(async move { engine.authenticate(&token).await }, entered)
    }

    /// A session by an API key.
    fn api_key(&self, key: String) -> Pending {
        let engine = self.0.clone();
        Pending::new(async move { engine.api_key(&key).await }, entered)
    }

    /// The next tokens for a refresh token.
    fn refresh(&self, refresh_token: String) -> Pending {
        let engine = self.0.clone();
        Pending::new(async move { engine.refresh(&refresh_token).await }, |py, tokens| value_to_python(py, &tokens))
    }

    /// A new password by a token.
    fn set_password(&self, token: String, password: String) -> Pending {
        let engine = self.0.clone();
        Pending::new(async move { engine.set_password(&token, &password).await }, |py, ()| Ok(py.None()))
    }

    /// Goes on with the executions whose process is gone.
    fn recover(&self) -> Pending {
        let engine = self.0.clone();
        Pending::new(async move { engine.recover().await }, |py, ids| value_to_python(py, &ids))
    }

    /// Takes no new work, waits a grace of seconds, closes the file.
    fn close(&self, py: Python<'_>, grace: Option<f64>) -> PyResult<Pending> {
        let engine = self.0.clone();
        if grace.is_some_and(f64::is_nan) {
            return Err(to_py(py, &blitz::Error::invalid("grace is a number of seconds")));
        }
        // Past what can be told it is without bound.
        let grace = grace.map(|grace| Duration::try_from_secs_f64(grace.max(0.0)).unwrap_or(Duration::MAX));
        let closed = async move {
            match grace {
                Some(grace) => engine.close_within(grace).await,
                None => engine.close().await,
            }
        };
        Ok(Pending::new(closed, |py, ()| Ok(py.None())))
    }

    /// Serves a provider of the host under its name.
    fn register_provider(&self, py: Python<'_>, provider: &Provider) -> PyResult<()> {
        provider.register(self.here(py)?);
        Ok(())
    }

    /// Serves a Python function as a type of workflow nodes.
    fn register_node(
        &self,
        py: Python<'_>,
        info: &Bound<'_, PyAny>,
        function: Py<PyAny>,
        is_async: bool,
    ) -> PyResult<()> {
        let info: NodeTypeInfo = to_typed(info, "the type")?;
        let node = node(info, Function { function, is_async });
        self.here(py)?.register_node(node).map_err(|error| to_py(py, &error))
    }

    /// Calls a Python function for every alert that this process raises, one after the other.
    fn on_alert(&self, py: Python<'_>, function: Py<PyAny>, is_async: bool) -> PyResult<()> {
        let function = Arc::new(Function { function, is_async });
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<Alert>();
        let runtime = runtime().map_err(|error| to_py(py, &error))?;
        // It ends with the engine, which holds the other end.
        runtime.spawn(async move {
            while let Some(alert) = told.recv().await {
                let alert = serde_json::to_value(&alert).unwrap_or_default();
                // What it raises it has said itself; an alert is told once.
                let _ = call(Arc::clone(&function), alert, Around::default()).await;
            }
        });
        self.here(py)?.on_alert(move |alert| drop(tell.send(alert.clone())));
        Ok(())
    }

    /// Sends every model call to one provider, until `None`.
    fn override_models(&self, py: Python<'_>, provider: Option<&Provider>) -> PyResult<()> {
        self.here(py)?.override_models(provider.map(Provider::shared));
        Ok(())
    }

    /// Whether models outside this process may be asked.
    fn allow_real_requests(&self, py: Python<'_>, allowed: bool) -> PyResult<()> {
        self.here(py)?.allow_real_requests(allowed);
        Ok(())
    }
}

/// The names of the rows of the method table.
#[pyfunction]
pub(crate) fn method_names() -> Vec<&'static str> {
    Method::all().map(|row| row.name).collect()
}

/// The rows of the method table, of one noun, or of one name: name, kind, permission, since, schemas.
#[pyfunction]
#[pyo3(signature = (of = None))]
pub(crate) fn methods(py: Python<'_>, of: Option<&str>) -> PyResult<Py<PyAny>> {
    let rows = Method::all().filter(|row| of.is_none_or(|of| row.name == of || row.name.split('.').next() == Some(of)));
    let rows = rows.map(|row| {
        json!({
            "name": row.name,
            "kind": row.kind,
            "permission": row.permission.map(blitz::Permission::name),
            "since": row.since,
            "input_schema": row.input_schema(),
            "output_schema": row.output_schema(),
        })
    });
    value_to_python(py, &rows.collect::<Vec<_>>())
}

/// A picture of a definition: `"mermaid"` or `"svg"`.
#[pyfunction]
pub(crate) fn draw(definition: &Bound<'_, PyAny>, format: &Bound<'_, PyAny>) -> PyResult<String> {
    let definition: WorkflowDefinition = to_typed(definition, "the definition")?;
    let format: PictureFormat = to_typed(format, "format")?;
    Ok(blitz::draw(&definition, format))
}

/// The rows of the error table: number, name, meaning, whether a retry may help.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<(i32, &'static str, &'static str, bool)> {
    rows()
}

/// The session of whoever came in.
fn entered(py: Python<'_>, session: blitz::Session) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Session::new(session))?.into_any())
}
