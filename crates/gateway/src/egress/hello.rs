//! The first bytes of a tunnel: TLS, HTTP in the clear, or something else.
//!
//! Nothing is passed on before that is known, so that neither a name in a greeting nor a `Host` header can lead to
//! another site of the same server than the one that was asked for.

use bytes::{Bytes, BytesMut};
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// No greeting is longer; with post-quantum keys it is about 2 KiB.
const LONGEST: usize = 32 * 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

pub(crate) enum Opening {
    Tls(Box<Accepted>),
    Http {
        is_h2: bool,
    },
    Other,
    /// Begins like TLS or HTTP and goes on like neither, or is too long.
    Unreadable,
    Closed,
}

/// What was read of a tunnel so far.
#[derive(Default)]
pub(crate) struct Hello {
    read: BytesMut,
    acceptor: Option<Acceptor>,
}

impl Hello {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.read
    }

    pub(crate) fn take(self) -> Bytes {
        self.read.freeze()
    }

    /// Reads until it is clear what is spoken. Dropping the future loses nothing.
    pub(crate) async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Opening {
        loop {
            let before = self.read.len();
            match stream.read_buf(&mut self.read).await {
                Ok(0) if before == 0 => return Opening::Closed,
                Ok(0) | Err(_) => return Opening::Unreadable,
                Ok(_) => {}
            }
            if let Some(opening) = self.look(before) {
                return opening;
            }
            if self.read.len() > LONGEST {
                return Opening::Unreadable;
            }
        }
    }

    fn look(&mut self, before: usize) -> Option<Opening> {
        if self.read[0] == 0x16 {
            let acceptor = self.acceptor.get_or_insert_with(Acceptor::default);
            let mut fresh = &self.read[before..];
            while !fresh.is_empty() {
                if !matches!(acceptor.read_tls(&mut fresh), Ok(1..)) {
                    return Some(Opening::Unreadable);
                }
            }
            return match acceptor.accept() {
                Ok(None) => None,
                Ok(Some(accepted)) => Some(Opening::Tls(Box::new(accepted))),
                Err(_) => Some(Opening::Unreadable),
            };
        }
        // Servers skip empty lines before a request.
        let skipped = self.read.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let text = &self.read[skipped..];
        match text.first() {
            None => return None,
            Some(first) if !first.is_ascii_alphabetic() => return Some(Opening::Other),
            Some(_) => {}
        }
        let line = &text[..text.iter().position(|byte| *byte == b'\n')?];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if skipped == 0 && self.read.starts_with(PREFACE) {
            return Some(Opening::Http { is_h2: true });
        }
        let version = line.rsplit(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty());
        let is_http = version.is_some_and(|version| version.to_ascii_uppercase().starts_with(b"HTTP/"))
            // HTTP/0.9 has no version; some servers still answer it.
            || line.to_ascii_uppercase().starts_with(b"GET ");
        Some(if is_http { Opening::Http { is_h2: false } } else { Opening::Other })
    }
}
