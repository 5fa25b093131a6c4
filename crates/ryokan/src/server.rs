//! `ryokan server`: hands over to `ryokan_server`, which owns its flags and its signals.

use std::process::ExitCode;

pub(crate) use ryokan_server::cli::Args as Arguments;

use crate::environment;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(ryokan_server::cli::run(arguments, environment::all())));
    result.unwrap_or_else(|error| Output::plain().fail(&Failure::new(format!("{error:#}"))))
}
