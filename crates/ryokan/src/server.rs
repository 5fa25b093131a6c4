//! `ryokan server`: hands over to `ryokan_server`, which owns its flags and its signals.

use std::process::ExitCode;

use crate::environment;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) type Arguments = ryokan_server::cli::Args;

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Output::plain().fail(&Failure::new(format!("the program cannot start: {error}")));
        }
    };
    let outcome = runtime.block_on(ryokan_server::cli::run(arguments, environment::all()));
    // What is still blocked (a hanging engine) must not hold up the exit of a drained server.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => Output::plain().fail(&Failure::new(format!("{error:#}"))),
    }
}
