//! One row of a result: columns by name, typed getters that fail with the column's name.
//!
//! Rows are few and narrow here (a page of a list, a job), so a getter searches the names; no reflection, no derive.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError};
use crate::value::Value;

/// One row; columns are found by the name that the query gives them (`AS` included).
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The raw value of a column.
    pub fn value(&self, column: &str) -> Result<&Value> {
        let index = self.columns.iter().position(|name| name == column);
        index.and_then(|index| self.values.get(index)).ok_or_else(|| decode(column, "a column of the result"))
    }

    /// TEXT that is not NULL.
    pub fn text(&self, column: &str) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| decode(column, "text, not NULL"))
    }

    /// TEXT or NULL.
    pub fn opt_text(&self, column: &str) -> Result<Option<String>> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text.clone())),
            _ => Err(decode(column, "text")),
        }
    }

    /// BIGINT that is not NULL.
    pub fn int(&self, column: &str) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| decode(column, "integer, not NULL"))
    }

    /// BIGINT or NULL.
    pub fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            _ => Err(decode(column, "integer")),
        }
    }

    /// BOOLEAN (0 or 1 on SQLite) that is not NULL.
    pub fn bool(&self, column: &str) -> Result<bool> {
        self.opt_bool(column)?.ok_or_else(|| decode(column, "boolean, not NULL"))
    }

    /// BOOLEAN (0 or 1 on SQLite) or NULL.
    pub fn opt_bool(&self, column: &str) -> Result<Option<bool>> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(*value)),
            Value::Int(0) => Ok(Some(false)),
            Value::Int(1) => Ok(Some(true)),
            _ => Err(decode(column, "boolean")),
        }
    }

    /// BYTEA or BLOB that is not NULL.
    pub fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        self.opt_bytes(column)?.ok_or_else(|| decode(column, "bytes, not NULL"))
    }

    /// BYTEA or BLOB or NULL.
    pub fn opt_bytes(&self, column: &str) -> Result<Option<Vec<u8>>> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes.clone())),
            _ => Err(decode(column, "bytes")),
        }
    }

    /// TEXT parsed as JSON.
    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        self.opt_json(column)?.ok_or_else(|| decode(column, "JSON, not NULL"))
    }

    /// TEXT parsed as JSON, or NULL.
    pub fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        match self.value(column)? {
            Value::Null => Ok(None),
            // serde's message would quote the content, so it is dropped.
            Value::Text(text) => {
                serde_json::from_str(text).map(Some).map_err(|_| decode(column, "JSON of its type"))
            }
            _ => Err(decode(column, "JSON")),
        }
    }

    /// TEXT parsed with `FromStr`: ids, names, states.
    pub fn parse<T: std::str::FromStr>(&self, column: &str) -> Result<T> {
        self.text(column)?.parse().map_err(|_| decode(column, "text of its type"))
    }

    /// TEXT parsed with `FromStr`, or NULL.
    pub fn opt_parse<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| decode(column, "text of its type")),
        }
    }
}

fn decode(column: &str, expected: &'static str) -> StoreError {
    StoreError::Decode { column: column.to_owned(), expected }
}
