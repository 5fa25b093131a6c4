//! A field of a merge patch (RFC 7396): absent keeps what is there, `null` removes it, anything else replaces it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What becomes of a field that may be missing. Fields of this type need `#[serde(default)]` and
/// `skip_serializing_if = "Change::is_keep"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    #[default]
    Keep,
    Remove,
    Set(T),
}

impl<T> Change<T> {
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    pub fn apply(self, target: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Remove => *target = None,
            Self::Set(value) => *target = Some(value),
        }
    }
}

impl<T> From<Option<T>> for Change<T> {
    /// Nothing is no change.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Keep, Self::Set)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Remove, Self::Set))
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(value) => serializer.serialize_some(value),
            Self::Keep | Self::Remove => serializer.serialize_none(),
        }
    }
}

/// For a field that has no absent state: `null` is refused rather than taken for "keep".
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    match Option::deserialize(deserializer)? {
        Some(value) => Ok(Some(value)),
        None => Err(serde::de::Error::custom("cannot be null: leave it out, or give a value")),
    }
}
