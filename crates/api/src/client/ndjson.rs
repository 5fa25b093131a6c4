//! Newline-delimited JSON as it arrives: one value a line, blank lines are keep-alives.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::error::ClientError;

const MAX_LINE: usize = 8 * 1024 * 1024;

/// Cuts chunks into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    /// Up to here there is no line end.
    searched: usize,
}

impl Lines {
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|b| *b == b'\n');
            let Some(end) = end.map(|e| e + self.searched) else {
                self.searched = self.buffer.len();
                return None;
            };
            let rest = self.buffer.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.buffer, rest);
            self.searched = 0;
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Some(line);
            }
        }
    }

    /// What is left when the stream has ended properly.
    fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.buffer);
        self.searched = 0;
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }
}

/// The values of one answer.
#[derive(Debug)]
pub struct NdjsonStream<T> {
    response: reqwest::Response,
    url: String,
    lines: Lines,
    ended: bool,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> NdjsonStream<T> {
    pub(super) fn new(response: reqwest::Response) -> Self {
        let url = super::connection::shown(response.url());
        Self { response, url, lines: Lines::default(), ended: false, values: PhantomData }
    }

    /// The next value; `None` when the server ended the stream. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            let line = if self.ended { self.lines.rest() } else { self.lines.next() };
            if let Some(line) = line {
                return serde_json::from_slice(&line).map(Some).map_err(|e| {
                    ClientError::Protocol(format!("{} sent a line that is not as documented: {e}", self.url))
                });
            }
            if self.ended {
                return Ok(None);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.lines.buffer.extend_from_slice(&chunk),
                Ok(None) => self.ended = true,
                Err(error) => return Err(ClientError::from_reqwest(&self.url, &error)),
            }
            if self.lines.buffer.len() > MAX_LINE && !self.lines.buffer.contains(&b'\n') {
                return Err(ClientError::Protocol(format!("{} sent a line of more than 8 MiB", self.url)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_lines() {
        let text = "{\"a\":1}\n\n\r\n{\"ü\":2}\r\n3".as_bytes();
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in [&text[..cut], &text[cut..]] {
                lines.buffer.extend_from_slice(chunk);
                while let Some(line) = lines.next() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            found.extend(lines.rest().map(|l| String::from_utf8(l).unwrap()));
            assert_eq!(found, ["{\"a\":1}", "{\"ü\":2}", "3"], "cut at {cut}");
            assert_eq!(lines.rest(), None);
        }
    }
}
