//! The tiny agent that ryokan ships to show and to test itself with: a page, health, a WebSocket echo and an SSE
//! clock, and commands that exercise a container from inside, because its image is one static binary without a shell.
//!
//! It must run as any user, on a read-only root, as PID 1 (so SIGTERM is handled here: the kernel gives PID 1 no
//! default action), and writes nowhere but where a command is told to. It is a guest: it shares no code with ryokan.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an agent speaks on its standard streams")]
#![expect(
    clippy::disallowed_methods,
    reason = "a guest: ryokan's injected clock, config and tasks end at its door"
)]

mod commands;
mod pages;
mod serve;
mod socket;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Shell convention for a process ended by a signal.
const ENDED_BY_SIGINT: u8 = 128 + 2;
const ENDED_BY_SIGTERM: u8 = 128 + 15;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hello: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(dispatch(&args));
    // A command may still sit in a blocking read of stdin; the process ends without waiting for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(args: &[String]) -> std::io::Result<u8> {
    match args.first().map_or("serve", String::as_str) {
        "serve" => serve::run(serve::OnTerm::Exit).await,
        "ignore-term" => serve::run(serve::OnTerm::Ignore).await,
        "tty" => commands::tty().await,
        _ => {
            let (mut terminate, mut interrupt) =
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let args = args.to_vec();
            let command = tokio::task::spawn_blocking(move || commands::run(&args));
            tokio::select! {
                done = command => done.map_err(std::io::Error::other)?,
                _ = terminate.recv() => Ok(ENDED_BY_SIGTERM),
                _ = interrupt.recv() => Ok(ENDED_BY_SIGINT),
            }
        }
    }
}
