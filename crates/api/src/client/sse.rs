//! Server-sent events, parsed as they arrive (WHATWG HTML §9.2.6): chunks may be cut anywhere, lines end with LF, CR or
//! CRLF, comments are keep-alives. What is cut off by the end of the stream is no event.

use std::collections::VecDeque;

use super::error::ClientError;

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The last id that the stream gave, of this event or of an earlier one.
    pub id: Option<String>,
    /// `message` when the stream names none.
    pub event: String,
    pub data: String,
}

/// The stream holds an event larger than [`SseParser::MAX_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Bytes in, events out. Holds no more than one unfinished event.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    begun: bool,
    skip_line_feed: bool,
    id: Option<String>,
    event: String,
    data: Option<String>,
}

impl SseParser {
    pub const MAX_EVENT: usize = 8 * 1024 * 1024;

    /// The id to resume after.
    pub fn last_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub fn push(&mut self, mut chunk: &[u8], out: &mut VecDeque<SseEvent>) -> Result<(), TooLong> {
        while let Some(&first) = chunk.first() {
            if std::mem::take(&mut self.skip_line_feed) && first == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            let Some(end) = chunk.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.line.extend_from_slice(chunk);
                break;
            };
            self.line.extend_from_slice(&chunk[..end]);
            self.skip_line_feed = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            self.end_line(out);
        }
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held > Self::MAX_EVENT { Err(TooLong) } else { Ok(()) }
    }

    fn end_line(&mut self, out: &mut VecDeque<SseEvent>) {
        let bytes = std::mem::take(&mut self.line);
        let mut line: &[u8] = &bytes;
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if let Some(data) = self.data.take() {
                let event = if event.is_empty() { "message".to_owned() } else { event };
                out.push_back(SseEvent { id: self.id.clone(), event, data });
            }
            return;
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // `retry` is the server's wish for its browsers; a comment has an empty field name.
            _ => {}
        }
    }
}

/// The events of one answer.
#[derive(Debug)]
pub(super) struct SseStream {
    response: reqwest::Response,
    url: String,
    parser: SseParser,
    ready: VecDeque<SseEvent>,
}

impl SseStream {
    pub(super) fn new(response: reqwest::Response) -> Self {
        let url = super::connection::shown(response.url());
        Self { response, url, parser: SseParser::default(), ready: VecDeque::new() }
    }

    pub(super) fn last_id(&self) -> Option<&str> {
        self.parser.last_id()
    }

    /// The next event; `None` when the server ended the stream. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.parser.push(&chunk, &mut self.ready).map_err(|TooLong| {
                    ClientError::Protocol(format!("{} sent an event of more than 8 MiB", self.url))
                })?,
                Ok(None) => return Ok(None),
                Err(error) => return Err(ClientError::from_reqwest(&self.url, &error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, event: &str, data: &str) -> SseEvent {
        SseEvent { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let (mut parser, mut out) = (SseParser::default(), VecDeque::new());
        for chunk in chunks {
            parser.push(chunk, &mut out).unwrap();
        }
        out.into()
    }

    #[test]
    fn fields_comments_and_defaults() {
        let text = b": keep-alive\n\nevent: ready\nid: 7\ndata: {\"a\":1}\nretry: 10\nnonsense\n\n:\n\ndata\n\ndata:x\n\n";
        assert_eq!(
            parse(&[text]),
            [
                event(Some("7"), "ready", "{\"a\":1}"),
                event(Some("7"), "message", ""),
                event(Some("7"), "message", "x")
            ]
        );
    }

    #[test]
    fn one_space_is_taken_and_lines_are_joined() {
        assert_eq!(parse(&[b"data:  a\ndata:b\ndata:\n\n"]), [event(None, "message", " a\nb\n")]);
    }

    #[test]
    fn an_event_without_data_sets_only_the_id() {
        let (mut parser, mut out) = (SseParser::default(), VecDeque::new());
        parser.push(b"event: x\nid: 41\n\ndata: y\n\n", &mut out).unwrap();
        assert_eq!(out, [event(Some("41"), "message", "y")]);
        parser.push(b"id: 4\x002\nid\n\n", &mut out).unwrap();
        assert_eq!((parser.last_id(), out.len()), (Some(""), 1));
    }

    #[test]
    fn the_end_cuts_an_unfinished_event_off() {
        assert_eq!(parse(&[b"data: a\n\ndata: b\n"]), [event(None, "message", "a")]);
    }

    #[test]
    fn any_cut_and_any_line_end_give_the_same() {
        let plain = "\u{feff}: hi\nid: 1\nevent: e\ndata: zwölf\ndata: ü\n\nid: 2\ndata: b\n\n";
        let expected = [event(Some("1"), "e", "zwölf\nü"), event(Some("2"), "message", "b")];
        for text in [plain.to_owned(), plain.replace('\n', "\r\n"), plain.replace('\n', "\r")] {
            let bytes = text.as_bytes();
            for cut in 0..bytes.len() {
                assert_eq!(parse(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut} of {text:?}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(parse(&single), expected);
        }
    }

    #[test]
    fn a_byte_order_mark_counts_only_at_the_beginning() {
        let text = b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n";
        assert_eq!(parse(&[text]), [event(None, "message", "a")]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let (mut parser, mut out) = (SseParser::default(), VecDeque::new());
        let chunk = vec![b'x'; SseParser::MAX_EVENT / 2 + 1];
        assert_eq!(parser.push(&chunk, &mut out), Ok(()));
        assert_eq!(parser.push(&chunk, &mut out), Err(TooLong));
    }
}
