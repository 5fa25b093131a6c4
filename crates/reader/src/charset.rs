//! Bytes into text: byte order mark, then what the server said, then what the page says of itself, then a guess.
//! A page that says one thing and is plainly another (declared in a legacy charset, but well-formed UTF-8 with more
//! than ASCII; or declared UTF-8 and malformed) is read as what it is.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

pub(crate) fn decode(bytes: &[u8], declared: Option<&str>) -> (String, &'static Encoding) {
    let encoding = if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        encoding
    } else if let Some(encoding) = declared.and_then(|label| Encoding::for_label(label.as_bytes())) {
        encoding
    } else {
        let is_utf8 = std::str::from_utf8(whole_characters(bytes)).is_ok();
        match inside(bytes) {
            _ if is_utf8 => UTF_8,
            Some(encoding) if encoding != UTF_8 => encoding,
            _ => guess(bytes),
        }
    };
    let (text, _) = encoding.decode_with_bom_removal(bytes);
    (text.into_owned(), encoding)
}

/// Without a character that the end of what we look at cut in two.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Allow)
}

/// What the first kilobyte declares: `<meta charset=...>`, `<meta http-equiv content="...charset=...">`, or an XML
/// declaration. UTF-16 is not believed: then we could not have read it.
fn inside(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head);
    let label = label(&head, "charset").or_else(|| {
        let declaration = head.trim_start().strip_prefix("<?xml")?.split("?>").next()?;
        label(declaration, "encoding")
    })?;
    let encoding = Encoding::for_label(label.as_bytes())?;
    Some(if encoding == UTF_16BE || encoding == UTF_16LE {
        UTF_8
    } else if encoding.name() == "x-user-defined" {
        WINDOWS_1252
    } else {
        encoding
    })
}

fn label<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    // Comments are passed over, as the standard's own look ahead does.
    let mut at = 0;
    while let Some(found) = head[at..].find(name).map(|found| at + found) {
        let commented = head[..found].rfind("<!--").is_some_and(|open| !head[open..found].contains("-->"));
        let after = head[found + name.len()..].trim_start();
        if let Some(value) = after.strip_prefix('=').filter(|_| !commented) {
            let value = value.trim_start().trim_start_matches(['"', '\'']);
            let end = value
                .find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.+".contains(c))
                .unwrap_or(value.len());
            return Some(&value[..end]);
        }
        at = found + name.len();
    }
    None
}

/// The `charset` of a content type.
pub(crate) fn parameter(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
}
