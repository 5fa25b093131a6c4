//! `ryokan server`: hands over to `ryokan_server`, which owns its flags, its runtime and its signals.
//!
//! Until that crate has a command line, this is a stub that says so.

use std::process::ExitCode;

use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let given = arguments.rest.join(" ");
    Output::plain().fail(&Failure::with(Exit::Failed, format!("this build has no server yet (`{given}`)")))
}
