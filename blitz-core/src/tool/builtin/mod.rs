//! The few tools the engine ships: calculator and files below one folder.

mod calculator;
mod files;
mod path;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Tool;
use crate::domain::NewTool;
use crate::error::{Error, Result};

/// One of the engine's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builtin {
    Calculator,
    FileRead,
    FileWrite,
    FileList,
}

impl Builtin {
    const ALL: [Self; 4] = [Self::Calculator, Self::FileRead, Self::FileWrite, Self::FileList];

    /// The builtin that a record names. Errors: `InvalidInput` with the names there are.
    pub(super) fn of(record: &NewTool) -> Result<Self> {
        let name = record.builtin.as_deref().unwrap_or(&record.name);
        Self::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|builtin| builtin.name()).collect();
            Error::invalid(format!("there is no such builtin; there is: {}", names.join(", ")))
        })
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Calculator => "calculator",
            Self::FileRead => "file_read",
            Self::FileWrite => "file_write",
            Self::FileList => "file_list",
        }
    }

    /// Whether settings have the right shape; nothing is opened. Errors: `InvalidInput`.
    pub(super) fn check(self, config: &Map<String, Value>) -> Result<()> {
        match self {
            Self::Calculator if !config.is_empty() => Err(Error::invalid("the calculator has no settings")),
            Self::Calculator => Ok(()),
            _ => files::FileConfig::parse(config).map(drop),
        }
    }

    /// The tool with its settings. Errors: `InvalidInput`; `NotFound` for a folder that cannot be opened.
    pub(super) fn open(self, config: &Map<String, Value>) -> Result<Arc<dyn Tool>> {
        self.check(config)?;
        Ok(match self {
            Self::Calculator => Arc::new(calculator::tool()),
            Self::FileRead => Arc::new(files::read_tool(files::FileConfig::parse(config)?)?),
            Self::FileWrite => Arc::new(files::write_tool(files::FileConfig::parse(config)?)?),
            Self::FileList => Arc::new(files::list_tool(files::FileConfig::parse(config)?)?),
        })
    }
}
