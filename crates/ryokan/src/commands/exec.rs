//! `ryokan exec`: a command inside an instance, with our terminal when asked for. Its exit code becomes ours.

use std::collections::BTreeMap;

use bytes::Bytes;
use ryokan_api::client::{ClientError, ExecFrame, ExecInput, ExecOutput};
use ryokan_api::instance::{ExecQuery, ExecRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use super::NO_INSTANCE;
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::{self, Raw};

/// Run a command inside an instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ryokan exec -it claw sh
  ryokan exec claw -- ls -l /data
  tar -c folder | ryokan exec -i claw -- tar -x -C /data")]
pub(crate) struct Exec {
    /// Pass on standard input
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Instance
    name: String,
    /// Command with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        if self.tty && self.interactive && !terminal::stdin_is_terminal() {
            return Err(
                Failure::usage("-t needs a terminal, and standard input is none").hint("leave -t out")
            );
        }
        let client = cx.client()?;
        let not_found = |e: ClientError| Failure::from(e).missing(NO_INSTANCE);
        if cx.out.json && !self.interactive && !self.tty {
            let request = ExecRequest {
                command: self.command,
                stdin: None,
                env: BTreeMap::new(),
                workdir: None,
                user: None,
                timeout: None,
            };
            let result = client.run_command(&self.name, &request).await.map_err(not_found)?;
            cx.out.json(&result)?;
            return ended(result.exit_code);
        }
        let size = if self.tty { terminal::size() } else { None };
        let query = ExecQuery {
            command: self.command,
            tty: self.tty,
            stdin: self.interactive,
            columns: size.map(|s| s.0),
            rows: size.map(|s| s.1),
        };
        let (input, output) = client.exec(&self.name, &query).await.map_err(not_found)?;
        // Dropped on every way out of here, also when a signal drops this future.
        let raw = if self.tty && self.interactive { Some(Raw::enter()?) } else { None };
        let code = tokio::select! {
            code = print(output) => code,
            never = feed(input, self.interactive, self.tty) => match never {},
        };
        drop(raw);
        ended(code?)
    }
}

fn ended(code: i64) -> Outcome {
    match u8::try_from(code & 0xff) {
        Ok(0) if code == 0 => Ok(()),
        // A code that does not fit is still no success.
        Ok(0) | Err(_) => Err(Failure::silent(255)),
        Ok(code) => Err(Failure::silent(code)),
    }
}

/// The command's output to ours, until it ends.
async fn print(mut output: ExecOutput) -> Outcome<i64> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        match output.next().await? {
            ExecFrame::Stdout(bytes) => {
                stdout.write_all(&bytes).await?;
                stdout.flush().await?;
            }
            ExecFrame::Stderr(bytes) => {
                stderr.write_all(&bytes).await?;
                stderr.flush().await?;
            }
            ExecFrame::Exit(code) => return Ok(code),
            ExecFrame::Failed(message) => return Err(Failure::new(message)),
        }
    }
}

enum Never {}

/// Our input and terminal size to the command. Never ends: how the command ends is the output's to tell, and so is a
/// connection that breaks.
async fn feed(mut input: ExecInput, stdin: bool, tty: bool) -> Never {
    let failed =
        if tty { resized_and_typed(&mut input, stdin).await } else { piped(&mut input, stdin).await };
    // The output tells it.
    drop(failed);
    std::future::pending().await
}

async fn piped(input: &mut ExecInput, stdin: bool) -> Result<(), ClientError> {
    if stdin {
        let mut source = tokio::io::stdin();
        while let Some(bytes) = read(&mut source).await {
            input.write(bytes).await?;
        }
        input.end().await?;
    }
    Ok(())
}

async fn resized_and_typed(input: &mut ExecInput, stdin: bool) -> Result<(), ClientError> {
    let mut resized = signal(SignalKind::window_change()).ok();
    let mut source = tokio::io::stdin();
    let mut open = stdin;
    loop {
        let resize = async {
            match &mut resized {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = resize => {
                if let Some((columns, rows)) = terminal::size() {
                    input.resize(columns, rows).await?;
                }
            }
            bytes = read(&mut source), if open => {
                open = bytes.is_some();
                match bytes {
                    Some(bytes) => input.write(bytes).await?,
                    None => input.end().await?,
                }
            }
        }
    }
}

async fn read(source: &mut tokio::io::Stdin) -> Option<Bytes> {
    let mut buffer = vec![0; 16 * 1024];
    match source.read(&mut buffer).await {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            buffer.truncate(length);
            Some(buffer.into())
        }
    }
}
