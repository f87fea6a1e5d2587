//! The tiny trait all SQL goes through, and the values it carries.
//!
//! Repositories are written once over [`Connection`], in the SQL that SQLite and PostgreSQL share.

use crate::error::{Error, Result};

/// A value that goes into or comes out of the database.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    /// NULL.
    Null,
    /// An integer: ids, times in µs, money in nano-USD, booleans as 0 and 1.
    Int(i64),
    /// Text, JSON among it.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One row of an answer, columns by position.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<SqlValue>);

/// An open transaction on some backend.
///
/// Placeholders are `?1`, `?2`, …; statements are prepared once and kept by their text, so build no
/// SQL text from values.
pub trait Connection {
    /// Runs a statement, gives the number of rows it changed.
    fn execute(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<usize>;

    /// Runs an INSERT of one row and gives the row's id; `None` where `ON CONFLICT DO NOTHING` left it out.
    ///
    /// The table's key is one integer column. This is for INSERT alone: a RETURNING clause would do it
    /// too, and costs a temporary table and a savepoint at each call.
    fn insert(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<i64>>;

    /// Runs a query, gives its first row.
    fn query_one(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<Row>>;

    /// Runs a query, gives all its rows. The caller's SQL has a LIMIT.
    fn query_all(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Vec<Row>>;
}

impl Row {
    fn value(&self, column: usize) -> Result<&SqlValue> {
        self.0.get(column).ok_or_else(|| Error::internal("a query gave fewer columns than it names"))
    }

    /// An integer that is never NULL.
    pub fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?
            .ok_or_else(|| Error::storage("a column that always has a value is empty: the file is damaged"))
    }

    /// An integer or NULL.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self.value(column)? {
            SqlValue::Int(value) => Ok(Some(*value)),
            SqlValue::Null => Ok(None),
            _ => Err(Error::storage("a column holds another type than it should: the file is damaged")),
        }
    }

    /// A text that is never NULL.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.opt_text(column)?
            .ok_or_else(|| Error::storage("a column that always has a value is empty: the file is damaged"))
    }

    /// A text or NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>> {
        match self.value(column)? {
            SqlValue::Text(value) => Ok(Some(value)),
            SqlValue::Null => Ok(None),
            _ => Err(Error::storage("a column holds another type than it should: the file is damaged")),
        }
    }

    /// Bytes that are never NULL.
    pub fn blob(&self, column: usize) -> Result<&[u8]> {
        match self.value(column)? {
            SqlValue::Blob(value) => Ok(value),
            _ => Err(Error::storage("a column holds another type than it should: the file is damaged")),
        }
    }

    /// Bytes or NULL.
    pub fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>> {
        match self.value(column)? {
            SqlValue::Null => Ok(None),
            _ => self.blob(column).map(Some),
        }
    }

    /// A boolean kept as 0 or 1.
    pub fn bool(&self, column: usize) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    /// JSON text read into a type.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T> {
        serde_json::from_str(self.text(column)?).map_err(|error| {
            Error::storage("a stored record cannot be read: it is damaged or from a newer version").with_source(error)
        })
    }

    /// JSON text read into a type, or NULL.
    pub fn opt_json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<Option<T>> {
        match self.opt_text(column)? {
            Some(_) => self.json(column).map(Some),
            None => Ok(None),
        }
    }
}

impl From<i64> for SqlValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for SqlValue {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}
impl From<bool> for SqlValue {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}
impl From<&str> for SqlValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<&String> for SqlValue {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}
impl From<String> for SqlValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<Vec<u8>> for SqlValue {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}
impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! from_ids {
    ($($name:ident),*) => {$(
        impl From<crate::domain::$name> for SqlValue {
            fn from(value: crate::domain::$name) -> Self { Self::Int(value.0) }
        }
    )*};
}
from_ids!(UserId, KeyId, SessionId, ResourceId, ExecutionId, BudgetId, ReservationId, Timestamp);

impl From<crate::domain::Money> for SqlValue {
    fn from(value: crate::domain::Money) -> Self {
        Self::Int(value.nanos())
    }
}

/// A count of tokens as the database keeps it: held at the largest integer.
pub fn tokens(count: u64) -> SqlValue {
    SqlValue::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A value as JSON text.
pub fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("a value of ours has no JSON form").with_source(error))
}

/// Params in one line: `params![id, name, at]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::sql::SqlValue::from($value)),*] };
}
pub(crate) use params;
