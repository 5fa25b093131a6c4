//! What a body is: by its content type, by its first bytes where there is none, and refused when its first bytes are
//! plainly something else.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Html,
    Markdown,
    Xml,
    Json,
    Plain,
}

/// Why a body is not read at all. The text says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is a PDF, which is not read here: fetch it as a file and convert it in a sandbox")]
    Pdf,
    #[error("`{0}` is no text: fetch it as a file instead")]
    ContentType(String),
    #[error("the body is binary although it is declared as text: fetch it as a file instead")]
    Binary,
    #[error("the final address of a page must be an absolute http or https URL")]
    Url,
}

pub(crate) fn kind(bytes: &[u8], content_type: Option<&str>) -> Result<Kind, Refusal> {
    let start = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let start = start.trim_ascii_start();
    if start.starts_with(b"%PDF-") {
        return Err(Refusal::Pdf);
    }
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let kind = match essence.as_str() {
        "" => sniff(start),
        "text/html" | "application/xhtml+xml" => Kind::Html,
        "text/markdown" | "text/x-markdown" => Kind::Markdown,
        "text/xml" | "application/xml" => Kind::Xml,
        "application/json" | "text/json" => Kind::Json,
        "application/pdf" | "application/x-pdf" => return Err(Refusal::Pdf),
        "application/javascript"
        | "application/ecmascript"
        | "application/x-yaml"
        | "application/yaml"
        | "application/toml"
        | "application/x-sh"
        | "application/x-ndjson"
        | "application/sql" => Kind::Plain,
        other if other.ends_with("+xml") && !other.starts_with("image/") => Kind::Xml,
        other if other.ends_with("+json") => Kind::Json,
        other if other.starts_with("text/") => Kind::Plain,
        other => {
            let shown = |c: &char| c.is_ascii_graphic();
            return Err(Refusal::ContentType(other.chars().filter(shown).take(80).collect()));
        }
    };
    let wide = matches!(bytes, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]);
    // HTML has a rule for NUL; for the others it means that this is no text.
    let binary = kind != Kind::Html && !wide && bytes[..bytes.len().min(4096)].contains(&0);
    if binary || (!wide && has_magic(bytes)) { Err(Refusal::Binary) } else { Ok(kind) }
}

/// Whether XML is a page: its first element is `html`.
pub(crate) fn is_page(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        match rest.bytes().next() {
            Some(b'!' | b'?') => {
                let end = if rest.starts_with("!--") { rest.find("-->") } else { rest.find('>') };
                rest = end.map_or("", |end| &rest[end..]);
            }
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).unwrap_or(rest.len());
                return rest[..end].rsplit(':').next().is_some_and(|name| name.eq_ignore_ascii_case("html"));
            }
        }
    }
    false
}

fn sniff(start: &[u8]) -> Kind {
    let head = start[..start.len().min(256)].to_ascii_lowercase();
    if head.starts_with(b"<?xml") || head.starts_with(b"<rss") || head.starts_with(b"<feed") {
        let is_page = head.windows(5).any(|window| window == b"<html")
            || head.windows(13).any(|w| w == b"<!doctype htm");
        if is_page { Kind::Html } else { Kind::Xml }
    } else if head.starts_with(b"<") {
        Kind::Html
    } else if matches!(head.first(), Some(b'{' | b'[')) {
        Kind::Json
    } else {
        Kind::Plain
    }
}

/// Archives, pictures, programs: what is served as text by mistake, or to look harmless.
fn has_magic(bytes: &[u8]) -> bool {
    const MAGIC: [&[u8]; 14] = [
        b"PK\x03\x04",
        b"\x1F\x8B",
        b"\x89PNG",
        b"\xFF\xD8\xFF",
        b"GIF87a",
        b"GIF89a",
        b"\x7FELF",
        b"BZh",
        b"\xFD7zXZ",
        b"7z\xBC\xAF",
        b"\x28\xB5\x2F\xFD",
        b"wOFF",
        b"wOF2",
        b"\x00asm",
    ];
    MAGIC.iter().any(|magic| bytes.starts_with(magic))
}
