//! `ryokan`: the commands of a client, and the server.
//!
//! Data goes to standard output, everything else to standard error. Whatever ends the program, the terminal is as it
//! was before.

mod arguments;
mod commands;
mod connection;
mod environment;
mod failure;
mod output;
mod progress;
mod server;
mod table;
mod terminal;
mod text;
mod wait;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser as _;
use failure::Failure;
use output::Output;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A request through the gateway allocates some thirty times; glibc's allocator spent a fifth of its time on that, and
/// musl's would spend more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What every command works with.
struct Context {
    environment: environment::Environment,
    globals: arguments::Globals,
    out: Output,
}

impl Context {
    fn client(&self) -> failure::Outcome<ryokan_api::client::Client> {
        connection::client(&self.globals, &self.environment)
    }

    /// As `--url` would have it.
    fn client_of(&self, url: &str) -> failure::Outcome<ryokan_api::client::Client> {
        let globals = arguments::Globals { url: Some(url.to_owned()), ..self.globals.clone() };
        connection::client(&globals, &self.environment)
    }
}

fn main() -> ExitCode {
    let Arguments { command, globals } = Arguments::parse();
    if let Command::Server(arguments) = command {
        return server::run(arguments);
    }
    let environment = environment::Environment::read();
    let out = Output::new(&globals, &environment);
    let context = Context { environment, globals, out };
    terminal::restore_on_panic();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return context.out.fail(&Failure::new(format!("the program cannot start: {error}"))),
    };
    let code = runtime.block_on(until_signalled(command, &context));
    // A read of standard input cannot be called off; it must not keep the program.
    runtime.shutdown_background();
    terminal::restore();
    code
}

async fn until_signalled(command: Command, context: &Context) -> ExitCode {
    let signals = [
        (SignalKind::interrupt(), 130),
        (SignalKind::terminate(), 143),
        (SignalKind::hangup(), 129),
        (SignalKind::quit(), 131),
    ];
    let waits = signals.into_iter().map(|(kind, code)| Box::pin(received(signal(kind), code)));
    let run = Box::pin(commands::run(command, context));
    tokio::select! {
        result = run => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => context.out.fail(&failure),
        },
        (code, ..) = futures_util::future::select_all(waits) => {
            terminal::restore();
            context.out.interrupted();
            ExitCode::from(code)
        }
    }
}

async fn received(signal: std::io::Result<Signal>, code: u8) -> u8 {
    if let Ok(mut signal) = signal
        && signal.recv().await.is_some()
    {
        return code;
    }
    // The signal keeps its default effect.
    std::future::pending().await
}
