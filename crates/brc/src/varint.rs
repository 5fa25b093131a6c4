//! Bitcoin's `CompactSize` numbers, and the nine bytes `ff` that stand for what is not there (BRC-104 writes it as -1).
//!
//! The reader takes only the shortest form of a number, so that one message has one encoding.

/// What stands for an absent part.
const ABSENT: [u8; 9] = [0xff; 9];

/// Why bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the bytes end too early")]
    Short,
    #[error("a number is not in its shortest form")]
    Long,
    #[error("a part is absent that must be there")]
    Absent,
    #[error("a text is not UTF-8")]
    Text,
    #[error("there are bytes after the end")]
    Rest,
}

pub fn write(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0xfd => out.push(number.to_le_bytes()[0]),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&number.to_le_bytes()[..2]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&number.to_le_bytes()[..4]);
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// A length and as many bytes.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A length and as many bytes, or that they are not there.
pub fn write_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => write_bytes(out, bytes),
        None => out.extend_from_slice(&ABSENT),
    }
}

/// Reads what the functions above write.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// `None` is what is absent.
    fn optional_number(&mut self) -> Result<Option<u64>, ReadError> {
        if self.0.starts_with(&ABSENT) {
            self.take(ABSENT.len())?;
            return Ok(None);
        }
        let first = self.take(1)?[0];
        let (width, least) = match first {
            0xfd => (2, 0xfd),
            0xfe => (4, 0x1_0000),
            0xff => (8, 0x1_0000_0000),
            small => return Ok(Some(small.into())),
        };
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        let number = u64::from_le_bytes(bytes);
        if number < least { Err(ReadError::Long) } else { Ok(Some(number)) }
    }

    pub fn number(&mut self) -> Result<u64, ReadError> {
        self.optional_number()?.ok_or(ReadError::Absent)
    }

    pub fn optional_bytes(&mut self) -> Result<Option<&'a [u8]>, ReadError> {
        match self.optional_number()? {
            Some(length) => self.take(usize::try_from(length).map_err(|_| ReadError::Short)?).map(Some),
            None => Ok(None),
        }
    }

    pub fn text(&mut self) -> Result<&'a str, ReadError> {
        let bytes = self.optional_bytes()?.ok_or(ReadError::Absent)?;
        std::str::from_utf8(bytes).map_err(|_| ReadError::Text)
    }

    pub fn optional_text(&mut self) -> Result<Option<&'a str>, ReadError> {
        let bytes = self.optional_bytes()?;
        bytes.map(|b| std::str::from_utf8(b).map_err(|_| ReadError::Text)).transpose()
    }

    pub fn end(self) -> Result<(), ReadError> {
        if self.0.is_empty() { Ok(()) } else { Err(ReadError::Rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        for (number, encoded) in [
            (0u64, "00"),
            (252, "fc"),
            (253, "fdfd00"),
            (65535, "fdffff"),
            (65536, "fe00000100"),
            (0xffff_ffff, "feffffffff"),
            (0x1_0000_0000, "ff0000000001000000"),
            (u64::MAX - 1, "fffeffffffffffffff"),
        ] {
            let mut out = Vec::new();
            write(&mut out, number);
            assert_eq!(hex::encode(&out), encoded);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.number(), Ok(number));
            reader.end().unwrap();
        }
    }

    #[test]
    fn what_is_absent_is_not_what_is_empty() {
        let mut out = Vec::new();
        write_optional(&mut out, None);
        assert_eq!(out, [0xff; 9]);
        assert_eq!(Reader::new(&out).optional_bytes(), Ok(None));
        assert_eq!(Reader::new(&out).number(), Err(ReadError::Absent));
        let mut out = Vec::new();
        write_optional(&mut out, Some(b""));
        assert_eq!(out, [0]);
        assert_eq!(Reader::new(&out).optional_bytes(), Ok(Some(b"".as_slice())));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        assert_eq!(Reader::new(&[0xfd, 0xfc, 0]).number(), Err(ReadError::Long));
        assert_eq!(Reader::new(&[0xfd, 1]).number(), Err(ReadError::Short));
        assert_eq!(Reader::new(&[5, 1]).text(), Err(ReadError::Short));
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).text(),
            Err(ReadError::Short)
        );
        assert_eq!(Reader::new(&[1, 0xc3]).text(), Err(ReadError::Text));
        assert_eq!(Reader::new(&[1]).end(), Err(ReadError::Rest));
    }
}
