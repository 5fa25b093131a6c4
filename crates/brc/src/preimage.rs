//! What a signature over an HTTP request or answer covers (BRC-104): the exact bytes, built from the parts and read back
//! into them.
//!
//! Path and query stand as on the wire, never decoded. A request without a body has an absent one; an answer without a
//! body has an empty one, because clients hang for ever on the other.

use crate::order;
use crate::varint::{self, ReadError, Reader};

/// An id that the client chose for its request.
pub type RequestId = [u8; 32];

/// Names in small letters with their values, sorted.
pub type Headers = Vec<(String, String)>;

/// The signed parts of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: RequestId,
    pub method: String,
    pub path: Option<String>,
    /// With its `?`.
    pub query: Option<String>,
    pub headers: Headers,
    pub body: Option<Vec<u8>>,
}

/// The signed parts of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub id: RequestId,
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// Headers that carry the authentication itself, and are not signed.
pub const AUTH_PREFIX: &str = "x-bsv-auth";

fn is_extension(name: &str) -> bool {
    name.starts_with("x-bsv-") && !name.starts_with(AUTH_PREFIX)
}

/// Those of a request's headers that are signed. Values of a name that occurs twice are joined as HTTP joins them.
pub fn request_headers<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Headers {
    select(all, |name, value| {
        if name == "content-type" {
            return Some(value.split(';').next().unwrap_or_default().trim());
        }
        (name == "authorization" || is_extension(name)).then_some(value)
    })
}

/// Those of an answer's headers that are signed; not its content type.
pub fn response_headers<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Headers {
    select(all, |name, value| (name == "authorization" || is_extension(name)).then_some(value))
}

fn select<'a>(
    all: impl Iterator<Item = (&'a str, &'a str)>,
    signed: impl Fn(&str, &'a str) -> Option<&'a str>,
) -> Headers {
    let mut headers: Headers = Vec::new();
    for (name, value) in all {
        let name = name.to_ascii_lowercase();
        let Some(value) = signed(&name, value) else { continue };
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push_str(", ");
                values.push_str(value);
            }
            None => headers.push((name, value.to_owned())),
        }
    }
    headers.sort_by(|(a, _), (b, _)| order::compare(a, b));
    headers
}

fn write_headers(out: &mut Vec<u8>, headers: &Headers) {
    varint::write(out, headers.len() as u64);
    for (name, value) in headers {
        varint::write_bytes(out, name.as_bytes());
        varint::write_bytes(out, value.as_bytes());
    }
}

fn read_headers(reader: &mut Reader<'_>) -> Result<Headers, ReadError> {
    // No room is made for what the number says: it may say anything.
    let mut headers = Vec::new();
    for _ in 0..reader.number()? {
        headers.push((reader.text()?.to_owned(), reader.text()?.to_owned()));
    }
    Ok(headers)
}

fn read_id(reader: &mut Reader<'_>) -> Result<RequestId, ReadError> {
    reader.take(32)?.try_into().map_err(|_| ReadError::Short)
}

impl Request {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.as_ref().map_or(0, Vec::len));
        out.extend_from_slice(&self.id);
        varint::write_bytes(&mut out, self.method.as_bytes());
        varint::write_optional(&mut out, self.path.as_deref().map(str::as_bytes));
        varint::write_optional(&mut out, self.query.as_deref().map(str::as_bytes));
        write_headers(&mut out, &self.headers);
        varint::write_optional(&mut out, self.body.as_deref());
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let request = Self {
            id: read_id(&mut reader)?,
            method: reader.text()?.to_owned(),
            path: reader.optional_text()?.map(str::to_owned),
            query: reader.optional_text()?.map(str::to_owned),
            headers: read_headers(&mut reader)?,
            body: reader.optional_bytes()?.map(<[u8]>::to_vec),
        };
        reader.end()?;
        Ok(request)
    }
}

impl Response {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.len());
        out.extend_from_slice(&self.id);
        varint::write(&mut out, self.status.into());
        write_headers(&mut out, &self.headers);
        varint::write_bytes(&mut out, &self.body);
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let response = Self {
            id: read_id(&mut reader)?,
            status: u16::try_from(reader.number()?).map_err(|_| ReadError::Long)?,
            headers: read_headers(&mut reader)?,
            body: reader.optional_bytes()?.ok_or(ReadError::Absent)?.to_vec(),
        };
        reader.end()?;
        Ok(response)
    }
}
