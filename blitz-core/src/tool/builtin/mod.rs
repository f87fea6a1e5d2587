//! The few tools the engine ships: calculator and files below one folder.

pub(crate) mod calculator;
pub(crate) mod files;

pub(crate) fn prepare(name: &str, _config: &serde_json::Map<String, serde_json::Value>) -> crate::error::Result<std::sync::Arc<dyn super::Tool>> {
    Err(crate::error::Error::invalid(format!("there is no builtin {name:?}")))
}
