//! A JSON object's fields as they were sent: one can be read, replaced or added, and the others stay byte for byte. A field
//! that is there twice is refused, since we and the provider might believe different ones.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{Fault, Kind};

#[derive(Debug, Clone)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Fault> {
        serde_json::from_slice(body).map_err(|error| {
            // serde's own text may quote the body.
            let (line, column) = (error.line(), error.column());
            let what = match error.classify() {
                serde_json::error::Category::Data => error.to_string(),
                _ => format!("the body is not JSON (line {line}, column {column})"),
            };
            Fault::new(Kind::Invalid, what)
        })
    }

    fn raw(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    /// A field's value; `null` is none.
    pub(crate) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Fault> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| Fault::invalid(name, "is not of its type"))
    }

    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) -> Result<(), Fault> {
        let raw = serde_json::value::to_raw_value(value)
            .map_err(|_| Fault::new(Kind::Internal, "a field could not be written"))?;
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = raw,
            None => self.0.push((name.to_owned(), raw)),
        }
        Ok(())
    }

    pub(crate) fn to_object(&self) -> Result<serde_json::Map<String, serde_json::Value>, Fault> {
        self.0
            .iter()
            .map(|(name, value)| {
                let parsed = serde_json::from_str(value.get())
                    .map_err(|_| Fault::invalid(name, "is nested too deeply or not JSON"))?;
                Ok((name.clone(), parsed))
            })
            .collect()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend(serde_json::Value::from(name.as_str()).to_string().into_bytes());
            out.push(b':');
            out.extend(value.get().as_bytes());
        }
        out.push(b'}');
        out
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a field of the body is there twice"));
                    }
                    if fields.len() >= 200 {
                        return Err(A::Error::custom("the body has more than 200 fields"));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_stays_byte_for_byte() {
        let body = br#"{"model":"a","big":12345678901234567890123,"f":1.10,"messages":[ {"x" : "\u00e9"} ]}"#;
        let mut fields = Fields::parse(body).unwrap();
        assert_eq!(fields.to_bytes(), body);
        fields.set("model", &"b/c").unwrap();
        fields.set("new", &true).unwrap();
        let expected = r#"{"model":"b/c","big":12345678901234567890123,"f":1.10,"messages":[ {"x" : "\u00e9"} ],"new":true}"#;
        assert_eq!(String::from_utf8(fields.to_bytes()).unwrap(), expected);
        assert_eq!(fields.get::<String>("model").unwrap().as_deref(), Some("b/c"));
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        for bad in [r#"{"model":"a","model":"b"}"#, "[]", "{", "", r#"{"a":1}{"#, "\"x\""] {
            assert!(Fields::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        // The same name, written otherwise.
        assert!(Fields::parse(br#"{"model":"a","mod\u0065l":"b"}"#).is_err());
    }
}
