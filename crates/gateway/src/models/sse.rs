//! Server-sent events, cut out of a stream of bytes that comes in any pieces. An event is returned with the very bytes it
//! came in, so that it can be passed on untouched. What is kept is bounded.

use bytes::{Bytes, BytesMut};

/// An event may not be larger.
const MOST: usize = 8 * 1024 * 1024;

/// One event, blank line included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) raw: Bytes,
    /// The lines of `data:`, joined.
    pub(crate) data: String,
}

#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: BytesMut,
    /// How far it was searched for an end.
    searched: usize,
}

/// An event without an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Events {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.kept.len() + bytes.len() > MOST {
            return Err(TooLarge);
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let end = self.end()?;
        self.searched = 0;
        Some(event(self.kept.split_to(end).freeze()))
    }

    /// What is left when the stream is over: an event that was not ended, if it is one.
    pub(crate) fn rest(&mut self) -> Option<Event> {
        self.searched = 0;
        let rest = self.kept.split().freeze();
        (!rest.is_empty()).then(|| event(rest))
    }

    /// Just after the first blank line, whichever way lines end.
    fn end(&mut self) -> Option<usize> {
        let bytes = &self.kept;
        let mut at = self.searched.saturating_sub(3);
        while let Some(found) = bytes[at..].iter().position(|b| *b == b'\n' || *b == b'\r') {
            let first = at + found;
            let line = line_end(bytes, first)?;
            if line < bytes.len() && (bytes[line] == b'\n' || bytes[line] == b'\r') {
                // A lone CR at the end may be half of CRLF; its LF then begins the next event, which is harmless.
                return Some(line_end(bytes, line).unwrap_or(line + 1));
            }
            at = line;
        }
        self.searched = bytes.len();
        None
    }
}

/// Just after the line end at `at`; `None` while a CR may still be followed by its LF.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r', None) => None,
        _ => Some(at + 1),
    }
}

fn event(raw: Bytes) -> Event {
    let text = String::from_utf8_lossy(&raw);
    let mut data = String::new();
    for line in text.split(['\n', '\r']) {
        if let Some(value) = line.strip_prefix("data:") {
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    Event { raw, data }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
        let (mut events, mut data, mut raw) = (Events::default(), Vec::new(), Vec::new());
        for piece in pieces {
            events.push(piece).unwrap();
            while let Some(event) = events.next() {
                data.push(event.data);
                raw.extend(event.raw);
            }
        }
        if let Some(event) = events.rest() {
            data.push(event.data);
            raw.extend(event.raw);
        }
        data.retain(|d| !d.is_empty());
        (data, raw)
    }

    #[test]
    fn lines_may_end_in_three_ways() {
        for end in ["\n", "\r\n", "\r"] {
            let text =
                format!("event: a{end}data: one{end}{end}: note{end}{end}data:two{end}data: three{end}{end}");
            assert_eq!(all(&[text.as_bytes()]).0, ["one", "two\nthree"], "{end:?}");
        }
        assert_eq!(all(&[b"data: [DONE]"]).0, ["[DONE]"]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        events.push(&vec![b'x'; MOST]).unwrap();
        assert_eq!(events.push(b"y"), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_events_are_the_same(
            words in prop::collection::vec("[a-z{}\" ]{0,12}", 0..8),
            crlf in any::<bool>(),
            cuts in prop::collection::vec(1usize..7, 0..60),
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let text = words.iter().map(|w| format!("data: {w}{end}{end}")).collect::<Vec<_>>().concat();
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            pieces.push(rest);
            let (data, raw) = all(&pieces);
            prop_assert_eq!(raw, text.as_bytes());
            let wanted: Vec<_> = words.into_iter().filter(|w| !w.is_empty()).collect();
            prop_assert_eq!(data, wanted);
        }
    }
}
