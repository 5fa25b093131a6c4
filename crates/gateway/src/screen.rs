//! Refuses HTTP/1 bytes that two parsers could read differently, before hyper reads them.
//!
//! hyper is lenient where the RFC lets it be: it drops a `Content-Length` beside `Transfer-Encoding`, and takes a
//! bare LF as a line end. That is safe for us but not behind another proxy, and it hides what was sent. `Screen`
//! follows the framing of a connection and looks at every head. At the first fault it replaces a byte by NUL,
//! which hyper answers with 400 and a closed connection, and lets nothing after it through. It can therefore
//! only ever refuse: should it disagree with hyper on where a body ends, requests are refused, not let in.

/// What is accepted as one head, beyond hyper's own limit; a backstop.
const MAX_HEAD: usize = 1024 * 1024;
const MAX_CHUNK_LINE: usize = 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In a head; `Screen::head` holds what came in earlier reads.
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    /// The CRLF after a chunk's data.
    ChunkEnd(u8),
    Trailers,
    /// A fault was found: nothing gets through.
    Shut,
}

/// What a head says about what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// What to do with the bytes just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    Pass,
    /// Let this many through, then one NUL, then nothing.
    Cut(usize),
}

/// The screen of one connection.
#[derive(Debug)]
pub(crate) struct Screen {
    state: State,
    head: Vec<u8>,
    line: Vec<u8>,
    /// Heads completed so far.
    pub(crate) heads: u64,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, head: Vec::new(), line: Vec::new(), heads: 0 }
    }

    /// Whether a head has begun but not ended.
    pub(crate) fn mid_head(&self) -> bool {
        self.state == State::Head && !self.head.is_empty()
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.state == State::Shut
    }

    /// Looks at bytes just read, in order.
    pub(crate) fn inspect(&mut self, bytes: &[u8]) -> Ruling {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let step = match self.state {
                State::Shut => Err(0),
                State::Head => self.in_head(rest),
                State::Body(left) => {
                    let taken = take(left, rest.len());
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                    Ok(taken)
                }
                State::ChunkData(left) => {
                    let taken = take(left, rest.len());
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::ChunkEnd(b'\r') } else { State::ChunkData(left) };
                    Ok(taken)
                }
                State::ChunkEnd(expected) => {
                    if rest[0] == expected {
                        self.state =
                            if expected == b'\r' { State::ChunkEnd(b'\n') } else { State::ChunkSize };
                        Ok(1)
                    } else {
                        Err(0)
                    }
                }
                State::ChunkSize => self.in_line(rest, Self::chunk_size),
                State::Trailers => self.in_line(rest, Self::trailer),
            };
            match step {
                Ok(taken) => at += taken,
                Err(offset) => {
                    self.state = State::Shut;
                    return Ruling::Cut(at + offset);
                }
            }
        }
        Ruling::Pass
    }

    /// Consumes up to the end of the head. An error is the offset of the byte to cut at.
    fn in_head(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let earlier = self.head.len();
        if earlier == 0 && (bytes[0] == b'\r' || bytes[0] == b'\n') {
            // An empty line before a request: some old clients send one after a body. RFC 9112 §2.2.
            self.line.push(bytes[0]);
            let is_fine = matches!(self.line.as_slice(), b"\r" | b"\r\n" | b"\r\n\r" | b"\r\n\r\n");
            return if is_fine { Ok(1) } else { Err(0) };
        }
        self.line.clear();
        let mut from = 0;
        while let Some(found) = bytes[from..].iter().position(|b| *b == b'\n') {
            let lf = from + found;
            let before = |back: usize| {
                if lf >= back {
                    Some(bytes[lf - back])
                } else {
                    (earlier + lf).checked_sub(back).map(|i| self.head[i])
                }
            };
            if before(1) != Some(b'\r') {
                return Err(lf);
            }
            if before(2) == Some(b'\n') {
                let end = lf + 1;
                let framing = if earlier == 0 {
                    check_head(&bytes[..end])
                } else {
                    self.head.extend_from_slice(&bytes[..end]);
                    check_head(&self.head)
                };
                self.head.clear();
                self.heads += 1;
                self.state = match framing {
                    Some(Framing::None | Framing::Length(0)) => State::Head,
                    Some(Framing::Length(length)) => State::Body(length),
                    Some(Framing::Chunked) => State::ChunkSize,
                    None => return Err(lf),
                };
                return Ok(end);
            }
            from = lf + 1;
        }
        if earlier + bytes.len() > MAX_HEAD {
            return Err(0);
        }
        self.head.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn in_line(&mut self, bytes: &[u8], done: fn(&mut Self, &[u8]) -> Option<()>) -> Result<usize, usize> {
        let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |lf| lf + 1);
        if self.line.len() + end > MAX_CHUNK_LINE * 16 {
            return Err(0);
        }
        self.line.extend_from_slice(&bytes[..end]);
        if bytes[end - 1] == b'\n' {
            let line = std::mem::take(&mut self.line);
            line.strip_suffix(b"\r\n").and_then(|line| done(self, line)).ok_or(end - 1)?;
        }
        Ok(end)
    }

    /// `hex [; extension]`, RFC 9112 §7.1.
    fn chunk_size(&mut self, line: &[u8]) -> Option<()> {
        let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
        let (size, extension) = line.split_at(digits);
        let extension = extension.trim_ascii_start();
        let has_odd_bytes = line.iter().any(|b| b.is_ascii_control() && *b != b'\t');
        if size.is_empty()
            || size.len() > 15
            || line.len() > MAX_CHUNK_LINE
            || has_odd_bytes
            || !(extension.is_empty() || extension[0] == b';')
        {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Some(())
    }

    fn trailer(&mut self, line: &[u8]) -> Option<()> {
        if line.is_empty() {
            self.state = State::Head;
            return Some(());
        }
        field(line).map(|_| ())
    }
}

/// How many bytes of `available` belong to a body of which `left` are missing.
fn take(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// A field line taken apart; `None` if a parser could stumble over it.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    // Also refuses obs-fold (a line that starts with a blank) and a blank before the colon.
    if name.is_empty() || !name.iter().all(is_token) {
        return None;
    }
    let is_text = |b: &u8| *b == b'\t' || (*b >= 0x20 && *b != 0x7f);
    value.iter().all(is_text).then_some((name, value.trim_ascii()))
}

/// Checks a whole head, blank line included.
fn check_head(head: &[u8]) -> Option<Framing> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next()?;
    let mut words = request_line.split(|b| *b == b' ');
    let (_method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_clean = words.next().is_none() && !target.is_empty() && !target.iter().any(u8::is_ascii_control);
    let is_11 = version == b"HTTP/1.1";
    if !is_clean || !(is_11 || version == b"HTTP/1.0") {
        return None;
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for line in lines {
        if line.is_empty() {
            break;
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let is_number = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
            if length.is_some() || !is_number {
                return None;
            }
            length = Some(std::str::from_utf8(value).ok()?.parse::<u64>().ok()?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !is_11 || !value.eq_ignore_ascii_case(b"chunked") {
                return None;
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    if hosts > 1 || (is_11 && hosts == 0) {
        return None;
    }
    match (length, chunked) {
        (Some(_), true) => None,
        (None, true) => Some(Framing::Chunked),
        (Some(length), false) => Some(Framing::Length(length)),
        (None, false) => Some(Framing::None),
    }
}

/// How the first bytes of a connection look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    Http2,
    /// So far a prefix of the HTTP/2 preface.
    Undecided,
}

pub(crate) fn opening(bytes: &[u8]) -> Opening {
    if bytes.starts_with(PREFACE) {
        Opening::Http2
    } else if PREFACE.starts_with(bytes) {
        Opening::Undecided
    } else {
        Opening::Http1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of `size`; whether everything passed.
    fn passes(bytes: &[u8], size: usize) -> bool {
        let mut screen = Screen::new();
        bytes.chunks(size).all(|piece| screen.inspect(piece) == Ruling::Pass)
    }

    const GOOD: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:  Chunked \r\n\r\n3;x=y\r\na\nb\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\nhost:a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nX: \tt\xc3\xa9\r\n\r\n",
    ];

    const BAD: &[&[u8]] = &[
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff3\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n X: y\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];

    #[test]
    fn good_passes_and_bad_does_not_however_it_is_cut() {
        for size in [1, 2, 3, 7, 16, 1000] {
            for good in GOOD {
                assert!(passes(good, size), "{size} {}", String::from_utf8_lossy(good));
            }
            for bad in BAD {
                assert!(!passes(bad, size), "{size} {}", String::from_utf8_lossy(bad));
            }
        }
    }

    #[test]
    fn the_cut_leaves_the_head_unfinished() {
        for bad in BAD {
            let Ruling::Cut(at) = Screen::new().inspect(bad) else { panic!("passed") };
            if at == 0 {
                continue;
            }
            let mut seen = bad[..at].to_vec();
            seen.push(0);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let parsed = httparse::Request::new(&mut headers).parse(&seen);
            let is_in_body = bad.windows(4).position(|w| w == b"\r\n\r\n").is_some_and(|end| at > end + 4);
            assert!(is_in_body || parsed.is_err(), "{} {parsed:?}", String::from_utf8_lossy(&seen));
        }
    }

    #[test]
    fn the_preface_is_told_apart() {
        assert_eq!(opening(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n rest"), Opening::Http2);
        assert_eq!(opening(b"PR"), Opening::Undecided);
        assert_eq!(opening(b""), Opening::Undecided);
        assert_eq!(opening(b"PUT /"), Opening::Http1);
    }

    proptest! {
        /// Whatever comes, in whatever pieces: no panic, and the pieces do not matter.
        #[test]
        fn pieces_do_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                Just(&b"GET / HTTP/1.1\r\n"[..]), Just(&b"Host: a\r\n"[..]), Just(&b"\r\n"[..]), Just(&b"\n"[..]),
                Just(&b"Content-Length: 2\r\n"[..]), Just(&b"Transfer-Encoding: chunked\r\n"[..]), Just(&b"2\r\n"[..]),
                Just(&b"ab"[..]), Just(&b"0\r\n"[..]), Just(&b" "[..]), Just(&b"\r"[..]), Just(&b"X: y\r\n"[..]),
            ], 0..24),
            size in 1usize..20,
        ) {
            let bytes = parts.concat();
            prop_assert_eq!(passes(&bytes, size), passes(&bytes, 100_000));
        }
    }
}
