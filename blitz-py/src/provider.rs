//! Models that are Python's: answers from a list, and functions.

use std::sync::Arc;

use blitz::provider::{
    AzureOpenAi, EmbeddingRequest, FunctionProvider, Profile, ProviderCall, Reply, Scripted, Token, TokenSource,
};
use blitz::{Error, ErrorCode, ModelRequest};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::call::{Around, Failure, Function, call};
use crate::convert::{to_typed, value_to_python};
use crate::error::to_py;

/// A provider of the host.
#[pyclass(frozen, module = "blitz._native")]
pub(crate) struct Provider(Kind);

#[derive(Clone)]
enum Kind {
    Scripted(Scripted),
    Function(FunctionProvider),
    Azure(Box<AzureOpenAi>),
}

impl Provider {
    pub(crate) fn register(&self, engine: &blitz::Engine) {
        match self.0.clone() {
            Kind::Scripted(scripted) => engine.register_provider(scripted),
            Kind::Function(function) => engine.register_provider(function),
            Kind::Azure(azure) => drop(engine.register_azure(*azure)),
        }
    }

    pub(crate) fn shared(&self) -> Arc<dyn blitz::provider::Provider> {
        match self.0.clone() {
            Kind::Scripted(scripted) => Arc::new(scripted),
            Kind::Function(function) => Arc::new(function),
            Kind::Azure(azure) => Arc::new(*azure),
        }
    }
}

#[pymethods]
impl Provider {
    /// What a scripted one was asked so far.
    fn requests(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let requests = match &self.0 {
            Kind::Scripted(scripted) => scripted.requests(),
            Kind::Function(_) | Kind::Azure(_) => Vec::new(),
        };
        value_to_python(py, &requests.iter().map(plain).collect::<Vec<_>>())
    }
}

/// A provider that gives these answers, one for each request.
#[pyfunction]
pub(crate) fn scripted(replies: &Bound<'_, PyAny>, name: String) -> PyResult<Provider> {
    let replies: Vec<Reply> = to_typed(replies, "replies")?;
    Ok(Provider(Kind::Scripted(Scripted::new(replies).named(name))))
}

/// A provider whose answers a function makes; it gets a `Call`.
#[pyfunction]
pub(crate) fn function_provider(
    name: String,
    function: Py<PyAny>,
    is_async: bool,
    free: bool,
    remote: bool,
    embeds: bool,
) -> Provider {
    let function = Arc::new(Function { function, is_async });
    let same = Arc::clone(&function);
    let embed = move |request: EmbeddingRequest, model: ProviderCall| {
        let asked = call(Arc::clone(&same), json!(request), Around { context: None, model: Some(model) });
        async move { reply(asked.await) }
    };
    let provider = FunctionProvider::new(name, move |request: ModelRequest, model: ProviderCall| {
        let asked = call(Arc::clone(&function), plain(&request), Around { context: None, model: Some(model) });
        async move { reply(asked.await) }
    });
    let mut profile = Profile::default();
    profile.free = free;
    let provider = provider.with_profile(profile);
    let provider = if embeds { provider.with_embedding(embed) } else { provider };
    Provider(Kind::Function(if remote { provider.remote() } else { provider }))
}

/// Azure OpenAI by tokens that a function gives; it gets a `Call`.
#[pyfunction]
pub(crate) fn azure_provider(settings: &Bound<'_, PyAny>, function: Py<PyAny>, is_async: bool) -> PyResult<Provider> {
    let py = settings.py();
    let settings = to_typed(settings, "the settings")?;
    let function = Arc::new(Function { function, is_async });
    let source: TokenSource = Arc::new(move || {
        let asked = call(Arc::clone(&function), Value::Null, Around::default());
        Box::pin(async move { token(asked.await) })
    });
    let azure = AzureOpenAi::by_token(settings, source).map_err(|error| to_py(py, &error))?;
    Ok(Provider(Kind::Azure(Box::new(azure))))
}

/// Errors: of the code of what the function raised, and never in its words: these may hold secrets.
fn token(answer: Result<Value, Failure>) -> blitz::Result<Token> {
    let code = match answer {
        Ok(given) => return Token::from_json(&given),
        Err(Failure::Typed(error)) => error.code(),
        Err(Failure::Failed(_) | Failure::Retry(_) | Failure::Fatal(_)) => ErrorCode::ProviderAuth,
    };
    Err(Error::new(code, "the token function raised an exception"))
}

fn reply(answer: Result<Value, Failure>) -> blitz::Result<Reply> {
    let answer = answer.map_err(|failure| match failure {
        // What a host's own code raises says nothing of the call: as in C, its provider is out of order.
        Failure::Failed(message) | Failure::Retry(message) => Error::new(ErrorCode::Unavailable, message),
        Failure::Typed(error) | Failure::Fatal(error) => error,
    })?;
    let none = |error| Error::bad_output(format!("the function's answer is none: {}", blitz::told(&error)));
    serde_json::from_value(answer).map_err(none)
}

/// A request as plain data.
fn plain(request: &ModelRequest) -> Value {
    json!({
        "model_name": request.model_name,
        "messages": request.messages,
        "tools": request.tools,
        "tool_choice": request.tool_choice,
        "output_schema": request.output_schema,
        "settings": request.settings,
    })
}
