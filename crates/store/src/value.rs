//! The five kinds of value that a column of ours holds, and how they are bound on both engines.
//!
//! Booleans are BOOLEAN on PostgreSQL and INTEGER 0/1 on SQLite; there are no floats, so that money and quotas
//! cannot become one by accident. `Debug` shows kinds and sizes, never contents: values end up in logs.

use std::error::Error;
use std::fmt;

use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// One parameter or one column.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BOOLEAN, or INTEGER 0/1 on SQLite. Read it with [`crate::Row::bool`].
    Bool(bool),
    /// BIGINT.
    Int(i64),
    /// TEXT: strings, ids, JSON.
    Text(String),
    /// BYTEA or BLOB.
    Bytes(Vec<u8>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bool(_) => f.write_str("Bool(..)"),
            Self::Int(_) => f.write_str("Int(..)"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

macro_rules! value_from {
    ($($source:ty => |$name:ident| $value:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($name: $source) -> Self {
                $value
            }
        })*
    };
}

value_from! {
    bool => |x| Self::Bool(x);
    &bool => |x| Self::Bool(*x);
    i64 => |x| Self::Int(x);
    &i64 => |x| Self::Int(*x);
    i32 => |x| Self::Int(x.into());
    u32 => |x| Self::Int(x.into());
    u16 => |x| Self::Int(x.into());
    String => |x| Self::Text(x);
    &String => |x| Self::Text(x.clone());
    &str => |x| Self::Text(x.to_owned());
    Vec<u8> => |x| Self::Bytes(x);
    &Vec<u8> => |x| Self::Bytes(x.clone());
    &[u8] => |x| Self::Bytes(x.to_vec());
    &serde_json::Value => |x| Self::Text(x.to_string());
    &Option<String> => |x| x.as_deref().into();
    &Option<i64> => |x| (*x).into();
    &Value => |x| x.clone();
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of one statement, `$1` first: `params![id, name, now_ms]`.
#[macro_export]
macro_rules! params {
    () => { &[] as &[$crate::Value] };
    ($($value:expr),+ $(,)?) => { &[$($crate::Value::from($value)),+] as &[$crate::Value] };
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Bool(x) => ValueRef::Integer(i64::from(*x)),
            Self::Int(x) => ValueRef::Integer(*x),
            Self::Text(x) => ValueRef::Text(x.as_bytes()),
            Self::Bytes(x) => ValueRef::Blob(x),
        }))
    }
}

/// A parameter whose kind the column (PostgreSQL's inferred type) cannot take.
#[derive(Debug, thiserror::Error)]
#[error("a parameter of kind {kind} was given where PostgreSQL expects {expected}")]
struct WrongKind {
    kind: &'static str,
    expected: String,
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Bool(x), &Type::BOOL) => x.to_sql(ty, out),
            (Self::Int(x), &Type::INT8) => x.to_sql(ty, out),
            (Self::Int(x), &Type::INT4) => i32::try_from(*x)?.to_sql(ty, out),
            (Self::Int(x), &Type::INT2) => i16::try_from(*x)?.to_sql(ty, out),
            (Self::Text(x), _) if <String as ToSql>::accepts(ty) => x.to_sql(ty, out),
            (Self::Bytes(x), &Type::BYTEA) => x.to_sql(ty, out),
            (Self::Bool(_), _) => Err(wrong("boolean", ty)),
            (Self::Int(_), _) => Err(wrong("integer", ty)),
            (Self::Text(_), _) => Err(wrong("text", ty)),
            (Self::Bytes(_), _) => Err(wrong("bytes", ty)),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn wrong(kind: &'static str, ty: &Type) -> Box<dyn Error + Sync + Send> {
    Box::new(WrongKind { kind, expected: ty.name().to_owned() })
}
