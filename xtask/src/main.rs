//! Checks of the repository itself, run by `make ci`: `cargo xtask layers`, `sizes`, `links`.
//! They read the workspace and change nothing; a check that fails says what to do about it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod layers;
mod links;
mod sizes;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Checks of the repository itself.
#[derive(Parser)]
enum Check {
    /// Every crate imports only what the architecture allows.
    Layers,
    /// No source file is longer than 700 lines of code.
    Sizes,
    /// Relative links in Markdown files lead somewhere.
    Links,
}

fn main() -> ExitCode {
    let faults = match Check::parse() {
        Check::Layers => layers::check(),
        Check::Sizes => sizes::check(),
        Check::Links => links::check(),
    };
    match faults {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in faults {
                eprintln!("error: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.current_dir(root()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Files of the repository, relative to its root: tracked ones, and new ones that are not ignored.
fn files() -> Result<Vec<PathBuf>> {
    let list =
        output(Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files: Vec<PathBuf> =
        list.split_terminator('\0').map(PathBuf::from).filter(|file| root().join(file).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}
