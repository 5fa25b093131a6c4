//! What a container wrote. The engine keeps pieces of at most 16 KiB, each with a time; we give whole lines, and count
//! lines, not pieces, when asked for the last few.

use std::collections::VecDeque;
use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use ryokan_model::Millis;
use ryokan_ports::runtime::{BoxStream, LogLine, LogOptions, Output, Result, Target};

use super::{Inner, error};

const MAX_LINE: usize = 64 * 1024;
/// The engine's piece.
const PIECE: usize = 16 * 1024;
const PIECES_A_LINE: u64 = (MAX_LINE / PIECE) as u64;
/// The engine keeps 30 MB a container, so this is everything.
const MAX_TAIL: u64 = 1_000_000;

impl Inner {
    pub(super) async fn logs(
        self: Arc<Self>,
        of: Target,
        options: LogOptions,
    ) -> Result<BoxStream<Result<LogLine>>> {
        let container = self.logged(of, options.generation).await?.id;
        // Podman tells the time of a line in whole seconds.
        let coarse = self.facts().await?.is_podman();
        let wanted = {
            let since = options.since.map(|t| if coarse { Millis(t.0 - t.0.rem_euclid(1000)) } else { t });
            let until = options.until;
            move |line: &LogLine| since.is_none_or(|t| line.at >= t) && until.is_none_or(|t| line.at <= t)
        };
        let tail = options.tail.map(|tail| tail.min(MAX_TAIL));
        if coarse && options.follow && tail.is_some() {
            // By their times, the last lines and those after them could not be told apart. The engine's own count may
            // show too little of very long lines.
            let lines = self.lines(&container, &options, true, tail).await?;
            let lines = lines.filter_map(move |line| {
                let line = line.map(|(line, _)| wanted(&line).then_some(line)).transpose();
                async move { line }
            });
            return Ok(Box::pin(lines));
        }
        let (mut last, mut after) = (VecDeque::new(), None);
        if let Some(tail) = tail.filter(|t| *t > 0) {
            let mut lines =
                self.lines(&container, &options, false, Some(tail * PIECES_A_LINE + PIECES_A_LINE)).await?;
            while let Some(line) = lines.next().await {
                let (line, nanos) = line?;
                if !wanted(&line) {
                    continue;
                }
                after = Some(nanos);
                if last.len() as u64 == tail {
                    last.pop_front();
                }
                last.push_back(line);
            }
        }
        let history = stream::iter(last.into_iter().map(Ok));
        if tail.is_some() && !options.follow {
            return Ok(Box::pin(history));
        }
        let skip_all = (tail == Some(0)).then_some(0);
        let rest = self.lines(&container, &options, options.follow, skip_all).await?;
        let rest = rest.filter_map(move |line| {
            let line = match line {
                Ok((line, nanos)) if wanted(&line) && after.is_none_or(|after| nanos > after) => {
                    Some(Ok(line))
                }
                Ok(_) => None,
                Err(e) => Some(Err(e)),
            };
            async move { line }
        });
        Ok(Box::pin(history.chain(rest)))
    }

    /// Lines and their times in nanoseconds; `pieces` counts from the end.
    async fn lines(
        &self,
        container: &str,
        options: &LogOptions,
        follow: bool,
        pieces: Option<u64>,
    ) -> Result<BoxStream<Result<(LogLine, i128)>>> {
        let api = self.link.api().await?;
        let second =
            |t: Millis, round: i64| i32::try_from(t.0.saturating_add(round) / 1000).unwrap_or(i32::MAX);
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            // Whole seconds, on the safe side; the rest is filtered by us. Zero is none.
            since: options.since.map_or(0, |t| second(t, 0)),
            until: options.until.map_or(0, |t| second(t, 1999)),
            timestamps: true,
            tail: pieces.map_or_else(|| "all".to_owned(), |n| n.to_string()),
        };
        Ok(Box::pin(joined(Box::pin(api.logs(container, Some(options))))))
    }
}

fn joined(
    pieces: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin + Send,
) -> impl Stream<Item = Result<(LogLine, i128)>> {
    let state = (Some(pieces), Joiner::default());
    stream::unfold(state, |(mut pieces, mut joiner)| async move {
        loop {
            if let Some(line) = joiner.ready.pop_front() {
                return Some((Ok(line), (pieces, joiner)));
            }
            match pieces.as_mut()?.next().await {
                Some(Ok(piece)) => joiner.take(piece),
                Some(Err(e)) => return Some((Err(error::map(e, "logs")), (None, joiner))),
                None => {
                    joiner.finish();
                    pieces = None;
                    if joiner.ready.is_empty() {
                        return None;
                    }
                }
            }
        }
    })
}

/// Puts pieces together again. A line's pieces all carry its first piece's time.
#[derive(Default)]
struct Joiner {
    ready: VecDeque<(LogLine, i128)>,
    stdout: Option<Open>,
    stderr: Option<Open>,
}

/// A line whose end has not come yet.
struct Open {
    nanos: i128,
    text: BytesMut,
    /// Whether the last piece was as long as pieces get.
    full: bool,
}

impl Joiner {
    fn take(&mut self, piece: LogOutput) {
        let (output, message) = match piece {
            LogOutput::StdErr { message } => (Output::Stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (Output::Stdout, message)
            }
        };
        let (nanos, mut text) = split_time(message);
        let ended = text.ends_with(b"\n");
        if ended {
            text.truncate(text.len() - 1);
        }
        let mut open = match self.slot(output).take() {
            Some(open) if open.full || nanos.is_none_or(|n| n == open.nanos) => open,
            // Its writer died before it ended the line.
            Some(open) => {
                self.emit(output, open.nanos, &open.text);
                Open { nanos: nanos.unwrap_or(open.nanos), text: BytesMut::new(), full: false }
            }
            None => Open { nanos: nanos.unwrap_or(0), text: BytesMut::new(), full: false },
        };
        open.full = text.len() >= PIECE;
        open.text.extend_from_slice(&text);
        while open.text.len() > MAX_LINE || (!ended && open.text.len() == MAX_LINE) {
            let cut = cut_at(&open.text);
            let part = open.text.split_to(cut);
            self.emit(output, open.nanos, &part);
        }
        if ended {
            self.emit(output, open.nanos, &open.text);
        } else {
            *self.slot(output) = Some(open);
        }
    }

    fn slot(&mut self, output: Output) -> &mut Option<Open> {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }

    fn finish(&mut self) {
        for output in [Output::Stdout, Output::Stderr] {
            if let Some(open) = self.slot(output).take()
                && !open.text.is_empty()
            {
                self.emit(output, open.nanos, &open.text);
            }
        }
    }

    fn emit(&mut self, output: Output, nanos: i128, text: &[u8]) {
        // A carriage return belongs to the line's end.
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let at = Millis(i64::try_from(nanos / 1_000_000).unwrap_or(0));
        self.ready
            .push_back((LogLine { at, output, text: String::from_utf8_lossy(text).into_owned() }, nanos));
    }
}

/// Where to cut an overlong line: at the limit, or a little before it so that no character is torn.
fn cut_at(text: &[u8]) -> usize {
    (MAX_LINE - 3..=MAX_LINE)
        .rev()
        .find(|i| text.get(*i).is_none_or(|b| b & 0xC0 != 0x80))
        .unwrap_or(MAX_LINE)
}

fn split_time(mut message: Bytes) -> (Option<i128>, Bytes) {
    let head = &message[..message.len().min(40)];
    let Some(space) = head.iter().position(|b| *b == b' ') else { return (None, message) };
    let time = std::str::from_utf8(&head[..space]).ok().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    match time {
        Some(time) => {
            message.advance(space + 1);
            (Some(time.as_nanosecond()), message)
        }
        None => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn lines(pieces: Vec<LogOutput>) -> Vec<String> {
        let mut joiner = Joiner::default();
        for piece in pieces {
            joiner.take(piece);
        }
        joiner.finish();
        joiner.ready.into_iter().map(|(line, _)| line.text).collect()
    }

    const AT: &str = "2026-11-21T12:00:00.123456789Z";
    const LATER: &str = "2026-11-21T12:00:01.5Z";

    #[test]
    fn pieces_of_one_line_are_joined_and_others_are_not() {
        let piece = "p".repeat(PIECE);
        let long = lines(vec![
            out(&format!("{AT} {piece}")),
            out(&format!("{AT} end\n")),
            out(&format!("{LATER} x\n")),
        ]);
        assert_eq!(long, [format!("{piece}end"), "x".to_owned()]);
        // A process that died without ending its line, and the next one's first line.
        assert_eq!(lines(vec![out(&format!("{AT} abc")), out(&format!("{LATER} def\n"))]), ["abc", "def"]);
        let mut joiner = Joiner::default();
        joiner.take(out(&format!("{AT} x\n")));
        assert_eq!(joiner.ready[0].0.at, Millis(1_795_262_400_123));
    }

    #[test]
    fn overlong_lines_are_cut_between_characters() {
        let text = "é".repeat(50_000);
        let pieces = text
            .as_bytes()
            .chunks(PIECE)
            .map(|c| LogOutput::StdErr { message: Bytes::from([AT.as_bytes(), b" ", c].concat()) });
        let mut pieces: Vec<_> = pieces.collect();
        pieces.push(LogOutput::StdErr { message: Bytes::from(format!("{AT} \n")) });
        let lines = lines(pieces);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|l| l.len() <= MAX_LINE && !l.contains('\u{FFFD}')));
        assert_eq!(lines.concat(), text);
    }

    #[test]
    fn garbage_is_shown_as_far_as_it_can_be() {
        let message = Bytes::from([AT.as_bytes(), b" \xff\x00\x01 ok\r\n"].concat());
        assert_eq!(lines(vec![LogOutput::StdOut { message }]), ["\u{FFFD}\0\u{1} ok"]);
        assert_eq!(lines(vec![out("no time\n"), out("\n")]), ["no time", ""]);
    }
}
