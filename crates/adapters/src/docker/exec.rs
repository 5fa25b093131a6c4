//! Commands inside a container.
//!
//! The engine's raw stream is read here and not by bollard, whose reader takes a terminal's bytes 0 to 2 for frame
//! headers. Output is pulled by its reader, so a slow one holds the command back and nothing piles up.
//!
//! The engine has no call that ends a command. When an [`Exec`] is dropped its streams close, so the command sees end
//! of input; if it goes on, and its process is on this very machine (its cgroup names the container), it gets SIGHUP
//! (terminals) or SIGTERM, and SIGKILL two seconds later. Elsewhere it is left to end by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::models::{ExecConfig, ExecInspectResponse};
use bollard::query_parameters::ResizeExecOptions;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use ryokan_ports::runtime::{BoxStream, Exec, ExecInput, ExecSpec, Output, Result, RuntimeError, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Inner, connect, error};

const CHUNK: usize = 32 * 1024;
const INPUTS: usize = 16;
const MAX_COMPLAINT: usize = 4096;
const GRACE: Duration = Duration::from_secs(2);
/// In which an abandoned command begins, if it does at all.
const BEGIN: Duration = Duration::from_secs(15);

type Raw = TokioIo<Upgraded>;

impl Inner {
    pub(super) async fn exec(self: Arc<Self>, of: Target, spec: ExecSpec) -> Result<Exec> {
        let (container, _) = self.running(of).await?;
        self.exec_in(container.id, spec).await
    }

    pub(super) async fn exec_in(self: Arc<Self>, container: String, spec: ExecSpec) -> Result<Exec> {
        let Some(program) = spec.command.first().cloned() else {
            return Err(RuntimeError::Refused {
                field: "command".to_owned(),
                reason: "must not be empty".to_owned(),
            });
        };
        let api = self.link.api().await?;
        let config = ExecConfig {
            attach_stdin: Some(spec.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(spec.tty.is_some()),
            env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(spec.command),
            user: spec.user,
            working_dir: spec.workdir,
            ..ExecConfig::default()
        };
        let created = match self.link.call("container", api.create_exec(&container, config)).await {
            Err(RuntimeError::NotFound(_)) => return Err(RuntimeError::NotRunning),
            other => other?,
        };
        // Before the start: whoever stops waiting for it in the middle must not leave a command behind.
        let running = Arc::new(Running {
            inner: self.clone(),
            exec: created.id.clone(),
            container,
            tty: spec.tty.is_some(),
            finished: AtomicBool::new(false),
            closed: CancellationToken::new(),
        });
        // A connection that breaks while the command starts makes Podman forget the process that it starts all the same.
        // So the start is waited for to its end, whoever called is still there or not.
        let starting = {
            let (inner, running, tty) = (self.clone(), running.clone(), spec.tty.is_some());
            self.tasks.spawn(async move { inner.attach(&running.exec, tty).await })
        };
        let attached =
            starting.await.map_err(|e| RuntimeError::Other(format!("the start of a command: {e}")))?;
        let raw = match attached {
            // Podman says here what Docker says in the output.
            Err(RuntimeError::Refused { reason, .. } | RuntimeError::Other(reason))
                if says_never_ran(&reason) =>
            {
                running.finished.store(true, Ordering::Relaxed);
                let e = never_ran(&program, &reason);
                return Err(e.unwrap_or(RuntimeError::Other(reason)));
            }
            other => other?,
        };
        let (read, write) = tokio::io::split(raw);
        let (ended, has_ended) = oneshot::channel();
        let mut output = frames(read, spec.tty.is_some(), ended, running.clone());
        let state = self.wait_started(&created.id).await?;
        if state.pid.unwrap_or(0) == 0 && matches!(state.exit_code, Some(126 | 127)) {
            let (said, rest) = complaint(output).await;
            if let Some(e) = never_ran(&program, &said) {
                running.finished.store(true, Ordering::Relaxed);
                return Err(e);
            }
            output = rest;
        }
        if let Some((columns, rows)) = spec.tty {
            self.resize(&created.id, columns, rows).await;
        }
        let (input, inputs) = mpsc::channel(INPUTS);
        self.tasks.spawn(feed(self.clone(), created.id, spec.stdin, write, inputs, running.closed.clone()));
        let exit = async move {
            // An error means that the output was dropped; the command may go on without it.
            let _ = has_ended.await;
            running.exit_code().await
        };
        Ok(Exec { input, output, exit: Box::pin(exit) })
    }

    /// Starts the command on a connection that then carries its streams.
    async fn attach(&self, exec: &str, tty: bool) -> Result<Raw> {
        let what = format!("command {exec}");
        let path = self.link.versioned(&format!("/exec/{exec}/start")).await?;
        let body = format!(r#"{{"Detach":false,"Tty":{tty}}}"#);
        let request = hyper::Request::post(path)
            .header("content-type", "application/json")
            .header("connection", "Upgrade")
            .header("upgrade", "tcp")
            .body(http_body_util::Either::Left(Full::new(Bytes::from(body))))
            .map_err(|e| RuntimeError::Other(e.to_string()))?;
        let start = async {
            let response = self.link.send(request).await?;
            let status = response.status().as_u16();
            if status == 101 || status == 200 {
                return Ok(hyper::upgrade::on(response).await?);
            }
            Err(connect::refusal(response).await)
        };
        self.link.call_within(self.link.patience * 2, &what, start).await.map(TokioIo::new)
    }

    /// Until the command runs, has ended, or could not be started.
    async fn wait_started(&self, exec: &str) -> Result<ExecInspectResponse> {
        self.poll(exec, self.link.patience * 2, |state| {
            state.pid.unwrap_or(0) != 0 || state.exit_code.is_some() && state.running != Some(true)
        })
        .await?
        .ok_or_else(|| RuntimeError::Unavailable("the engine does not start the command".to_owned()))
    }

    /// Looks at a command until it is as wanted; `None` when it is not in time.
    async fn poll(
        &self,
        exec: &str,
        limit: Duration,
        wanted: impl Fn(&ExecInspectResponse) -> bool,
    ) -> Result<Option<ExecInspectResponse>> {
        let api = self.link.api().await?;
        let podman = self.facts().await?.is_podman();
        let look = async {
            let mut pause = Duration::from_millis(5);
            loop {
                let mut state = self.link.call("command", api.inspect_exec(exec)).await?;
                // Podman's word for what has not begun is the exit code 0.
                if podman && state.running != Some(true) && state.can_remove == Some(false) {
                    state.exit_code = None;
                }
                if wanted(&state) {
                    return Ok(state);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::time::timeout(limit, look).await.ok().transpose()
    }

    async fn resize(&self, exec: &str, columns: u16, rows: u16) {
        let Ok(api) = self.link.api().await else { return };
        let size = ResizeExecOptions { h: i32::from(rows), w: i32::from(columns) };
        // A command that has ended has no terminal any more.
        if let Err(error) = self.link.call("command", api.resize_exec(exec, size)).await {
            tracing::debug!(%error, "terminal not resized");
        }
    }
}

/// A command that is ours to end once nobody looks at it any more.
struct Running {
    inner: Arc<Inner>,
    exec: String,
    container: String,
    tty: bool,
    finished: AtomicBool,
    closed: CancellationToken,
}

impl Running {
    async fn exit_code(&self) -> Result<i64> {
        const FOREVER: Duration = Duration::from_hours(366 * 24);
        let ended = self.inner.poll(&self.exec, FOREVER, |state| state.running == Some(false)).await;
        let code = match ended {
            Ok(state) => state.and_then(|s| s.exit_code),
            // The container was ended or removed, and the command with it.
            Err(RuntimeError::NotFound(_) | RuntimeError::NotRunning) => Some(137),
            Err(e) => return Err(e),
        };
        self.finished.store(true, Ordering::Relaxed);
        code.ok_or_else(|| RuntimeError::Other("the engine does not tell how the command ended".to_owned()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.closed.cancel();
        if self.finished.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (inner, exec, container) = (self.inner.clone(), self.exec.clone(), self.container.clone());
            let signal = if self.tty { Signal::HUP } else { Signal::TERM };
            self.inner.tasks.spawn_on(async move { inner.end(&exec, &container, signal).await }, &runtime);
        }
    }
}

impl Inner {
    async fn end(&self, exec: &str, container: &str, signal: Signal) {
        // Without an exit code it has not ended but not begun, and the engine may be about to begin it.
        let gone = |state: &ExecInspectResponse| state.running != Some(true) && state.exit_code.is_some();
        let begun = |state: &ExecInspectResponse| {
            state.running == Some(true) && state.pid.unwrap_or(0) != 0 || state.exit_code.is_some()
        };
        for signal in [None, Some(signal), Some(Signal::KILL)] {
            let Ok(Some(state)) = self.poll(exec, BEGIN, begun).await else { return };
            if gone(&state) {
                return;
            }
            let patience = match (signal, state.pid) {
                // End of input is all that a command needs that reads it.
                (None, _) => Duration::from_millis(300),
                (Some(signal), Some(pid)) => {
                    if !send_signal(pid, container, signal) {
                        tracing::debug!(
                            exec,
                            "a command that nobody looks at goes on: its process is not here"
                        );
                        return;
                    }
                    GRACE
                }
                (Some(_), None) => return,
            };
            if matches!(self.poll(exec, patience, gone).await, Ok(Some(_)) | Err(_)) {
                return;
            }
        }
    }
}

/// Signals a process of this machine, but only if it is in that container: the engine may count processes of another
/// machine, and ids are used again.
fn send_signal(pid: i64, container: &str, signal: Signal) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // Read after the process is held fast, so that it is its own.
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
    cgroup.is_ok_and(|text| text.contains(container)) && pidfd_send_signal(&handle, signal).is_ok()
}

/// Passes input on until nobody gives any, the command ends, or nobody looks at it.
async fn feed(
    inner: Arc<Inner>,
    exec: String,
    stdin: bool,
    mut write: WriteHalf<Raw>,
    mut inputs: mpsc::Receiver<ExecInput>,
    closed: CancellationToken,
) {
    let mut open = stdin;
    loop {
        let input = tokio::select! {
            () = closed.cancelled() => return,
            () = inner.ending.cancelled() => return,
            input = inputs.recv() => input,
        };
        let over = input.is_none();
        let done = match input {
            Some(ExecInput::Data(bytes)) if open => {
                let send = async {
                    write.write_all(&bytes).await?;
                    write.flush().await
                };
                tokio::select! {
                    () = closed.cancelled() => return,
                    sent = send => sent,
                }
            }
            Some(ExecInput::Data(_)) => Ok(()),
            Some(ExecInput::Resize(columns, rows)) => {
                inner.resize(&exec, columns, rows).await;
                Ok(())
            }
            Some(ExecInput::Eof) | None if open => {
                open = false;
                write.shutdown().await
            }
            Some(ExecInput::Eof) | None => Ok(()),
        };
        if over {
            // The connection must stay whole until the output has been read.
            closed.cancelled().await;
            return;
        }
        if done.is_err() {
            open = false;
        }
    }
}

/// The output as it comes. Without a terminal it is in frames: the stream's number, three zeroes, a length, a content.
fn frames(
    read: ReadHalf<Raw>,
    tty: bool,
    ended: oneshot::Sender<()>,
    running: Arc<Running>,
) -> BoxStream<Result<(Output, Bytes)>> {
    struct Frames {
        read: ReadHalf<Raw>,
        tty: bool,
        output: Output,
        left: usize,
        /// Both live as long as the output is wanted.
        _ended: oneshot::Sender<()>,
        running: Arc<Running>,
    }
    impl Frames {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            tokio::select! {
                count = self.read.read(buffer) => count.map_err(|e| {
                    RuntimeError::Unavailable(format!("the connection to a command broke: {e}"))
                }),
                () = self.running.inner.ending.cancelled() => {
                    Err(RuntimeError::Unavailable("this server is shutting down".to_owned()))
                }
            }
        }
    }
    let frames = Frames { read, tty, output: Output::Stdout, left: 0, _ended: ended, running };
    Box::pin(stream::try_unfold(frames, move |mut frames| async move {
        if !frames.tty {
            while frames.left == 0 {
                let mut header = [0; 8];
                let mut filled = 0;
                while filled < header.len() {
                    match frames.read(&mut header[filled..]).await? {
                        0 => return Ok(None),
                        count => filled += count,
                    }
                }
                frames.output = if header[0] == 2 { Output::Stderr } else { Output::Stdout };
                let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                frames.left = usize::try_from(length).unwrap_or(usize::MAX);
            }
        }
        let room = if frames.tty { CHUNK } else { frames.left.min(CHUNK) };
        let mut buffer = BytesMut::zeroed(room);
        let count = frames.read(&mut buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        buffer.truncate(count);
        frames.left = frames.left.saturating_sub(count);
        Ok(Some(((frames.output, buffer.freeze()), frames)))
    }))
}

/// The beginning of an output as text, and the whole output again.
async fn complaint(
    mut output: BoxStream<Result<(Output, Bytes)>>,
) -> (String, BoxStream<Result<(Output, Bytes)>>) {
    let mut said = String::new();
    let mut read = Vec::new();
    let collect = async {
        while said.len() < MAX_COMPLAINT
            && let Some(chunk) = output.next().await
        {
            if let Ok((_, bytes)) = &chunk {
                said.push_str(&String::from_utf8_lossy(bytes));
            }
            read.push(chunk);
        }
    };
    // The command is over, so its output is as well; an engine that forgets to close it must not hold us up.
    let _ = tokio::time::timeout(GRACE, collect).await;
    (said, Box::pin(stream::iter(read).chain(output)))
}

/// Whether these are the engine's words about a command that it could not start.
fn says_never_ran(reason: &str) -> bool {
    ["user", "chdir", "executable", "OCI runtime", "the image cannot run it"]
        .iter()
        .any(|sign| reason.contains(sign))
}

fn never_ran(program: &str, said: &str) -> Option<RuntimeError> {
    let refused =
        |field: &str, reason: String| Some(RuntimeError::Refused { field: field.to_owned(), reason });
    let said = said.trim();
    if said.contains("unable to find user") || said.contains("no matching entries in passwd") {
        return refused("user", "the container does not know this user".to_owned());
    }
    if !said.contains("exec failed") && !said.contains("OCI runtime") && !said.contains("executable file") {
        return None;
    }
    if let Some(exhausted) = error::exhausted(said) {
        return Some(exhausted);
    }
    if said.contains("chdir to cwd") {
        return refused("workdir", "there is no such folder in the container".to_owned());
    }
    if said.contains("executable file not found") || said.contains("no such file or directory") {
        return refused("command", format!("the container has no program `{program}`"));
    }
    if said.contains("permission denied") {
        return refused("command", format!("`{program}` may not be run in the container"));
    }
    Some(RuntimeError::Other(format!("`{program}` could not be started: {said}")))
}
