//! The conformance suite's agent, played: what its words do to logs, exit codes and ports, without a process.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use ryokan_model::probe::Check;
use ryokan_model::spec::InstanceSpec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exec::{self, Outcome};
use crate::runtime::{Output, PROXY, Workload};

const TERMINATED: i64 = 143;

/// What a container's process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Play {
    /// Answers on all ports, and ends well when told to. Also what any unknown image does.
    Serve,
    IgnoreTerm,
    Sleep,
    Log {
        lines: u32,
        stay: bool,
    },
    Echo(Output, String),
    Env,
    Exit(i64),
}

impl Play {
    pub(super) fn of(spec: &InstanceSpec) -> Self {
        let words: Vec<&str> = spec.command.iter().chain(&spec.args).flatten().map(String::as_str).collect();
        let words = match words.split_first() {
            Some((first, rest)) if first.ends_with("/agent") => rest,
            _ => &words[..],
        };
        match words {
            ["ignore-term"] => Self::IgnoreTerm,
            ["sleep", _] => Self::Sleep,
            ["echo", words @ ..] => Self::Echo(Output::Stdout, words.join(" ")),
            ["err", words @ ..] => Self::Echo(Output::Stderr, words.join(" ")),
            ["env"] => Self::Env,
            ["exit", code] => Self::Exit(code.parse().unwrap_or(2)),
            ["log", lines, rest @ ..] => {
                Self::Log { lines: lines.parse().unwrap_or(0), stay: !rest.is_empty() }
            }
            _ => Self::Serve,
        }
    }

    /// Its exit code after a stop signal; `None` when it takes no notice.
    pub(super) const fn on_term(&self) -> Option<i64> {
        match self {
            Self::Serve => Some(0),
            Self::IgnoreTerm => None,
            _ => Some(TERMINATED),
        }
    }

    pub(super) const fn ends_at_once(&self) -> Option<i64> {
        match self {
            Self::Serve | Self::IgnoreTerm | Self::Sleep | Self::Log { stay: true, .. } => None,
            Self::Log { .. } | Self::Echo(..) | Self::Env => Some(0),
            Self::Exit(code) => Some(*code),
        }
    }

    /// What it writes when it starts.
    pub(super) fn says(&self, workload: &Workload) -> Vec<(Output, String)> {
        match self {
            Self::IgnoreTerm => vec![(Output::Stdout, "ready".to_owned())],
            Self::Log { lines, .. } => (1..=*lines)
                .map(|n| {
                    let output = if n % 2 == 1 { Output::Stdout } else { Output::Stderr };
                    (output, format!("line {n}"))
                })
                .collect(),
            Self::Echo(output, text) => vec![(*output, text.clone())],
            Self::Env => environment(workload).lines().map(|l| (Output::Stdout, l.to_owned())).collect(),
            Self::Serve | Self::Sleep | Self::Exit(_) => Vec::new(),
        }
    }

    /// `programs` are those that a test added.
    pub(super) fn answer(
        &self,
        workload: &Workload,
        check: &Check,
        programs: &HashMap<String, Outcome>,
    ) -> Result<(), String> {
        let port = |name: &str| {
            let found = workload.spec.ports.iter().find(|p| p.name == name).map(|p| p.port);
            match found {
                None => Err(format!("its port `{name}` has no address")),
                Some(_) if *self != Self::Serve => Err("refuses connections".to_owned()),
                Some(port) => Ok(port),
            }
        };
        match check {
            Check::Tcp { port: name } => port(name).map(drop),
            Check::Http { port: name, path, body: wanted, .. } => {
                let (status, body) = page(path, port(name)?);
                match wanted {
                    _ if status >= 400 => Err(format!("answers {path} with {status}")),
                    Some(wanted) if !body.contains(wanted) => {
                        Err(format!("answers {path} with {status}, but without `{wanted}`"))
                    }
                    _ => Ok(()),
                }
            }
            Check::Command { command } => {
                match exec::code(programs, workload, command).map_err(|e| e.to_string())? {
                    0 => Ok(()),
                    code => Err(format!("its command ended with {code}")),
                }
            }
        }
    }
}

fn page(path: &str, port: u16) -> (u16, String) {
    match path {
        "/" => (200, format!("hello from {port}\n")),
        "/health" => (200, "ok\n".to_owned()),
        _ => (404, "not found\n".to_owned()),
    }
}

pub(super) fn environment(workload: &Workload) -> String {
    let mut all = BTreeMap::from([(PROXY.to_owned(), "192.0.2.254".to_owned())]);
    all.extend(workload.facts.clone());
    all.extend(workload.spec.env.clone());
    all.extend(workload.secret_env.iter().map(|(n, v)| (n.clone(), v.expose().to_owned())));
    all.iter().fold(String::new(), |text, (n, v)| text + n + "=" + v + "\n")
}

/// The played agent's web server, on one connection.
pub(super) struct Server {
    port: u16,
    request: Vec<u8>,
    /// What is still to be read; `None` until the request is whole.
    answer: Option<Vec<u8>>,
    reader: Option<Waker>,
}

impl Server {
    pub(super) const fn new(port: u16) -> Self {
        Self { port, request: Vec::new(), answer: None, reader: None }
    }
}

impl AsyncWrite for Server {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.request.extend_from_slice(bytes);
        if self.answer.is_none() && self.request.windows(4).any(|w| w == b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&self.request).into_owned();
            let (status, body) = page(request.split(' ').nth(1).unwrap_or("/"), self.port);
            let head =
                format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            self.answer = Some([head, body].concat().into_bytes());
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Server {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Some(answer) = &mut self.answer else {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let count = answer.len().min(into.remaining());
        into.put_slice(&answer[..count]);
        answer.drain(..count);
        Poll::Ready(Ok(()))
    }
}
