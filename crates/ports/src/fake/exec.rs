//! Commands inside containers, played: the agent's words, with and without its path before them, and the programs
//! that a test adds.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use super::FakeRuntime;
use super::agent::environment;
use crate::runtime::{Exec, ExecInput, ExecSpec, Output, Result, RuntimeError, Workload};

const WORDS: [&str; 6] = ["echo", "err", "env", "exit", "cat", "sleep"];

/// What a command writes, and how it ends.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: i64,
}

impl FakeRuntime {
    /// What a program does when it is run in any container.
    pub fn add_program(&self, program: &str, outcome: Outcome) {
        self.state().programs.insert(program.to_owned(), outcome);
    }
}

/// How a command without input would end.
pub(super) fn code(
    programs: &HashMap<String, Outcome>,
    workload: &Workload,
    command: &[String],
) -> Result<i64> {
    let spec = ExecSpec { command: command.to_vec(), ..ExecSpec::default() };
    played(programs, workload, &spec).map(|(outcome, _)| outcome.code)
}

/// What a command does between its first words and its end.
enum Middle {
    Nothing,
    /// Gives back what it is given, until that ends.
    Echo,
    /// Stays until nobody looks any more.
    Sleep,
}

fn played(
    programs: &HashMap<String, Outcome>,
    workload: &Workload,
    spec: &ExecSpec,
) -> Result<(Outcome, Middle)> {
    let words: Vec<&str> = spec.command.iter().map(String::as_str).collect();
    let refuse = |reason: String| Err(RuntimeError::Refused { field: "command".to_owned(), reason });
    let Some((program, rest)) = words.split_first() else { return refuse("must not be empty".to_owned()) };
    if let Some(outcome) = programs.get(*program) {
        return Ok((outcome.clone(), Middle::Nothing));
    }
    let words = match program {
        _ if program.ends_with("/agent") => rest,
        _ if WORDS.contains(program) => &words[..],
        _ => return refuse(format!("the container has no program `{program}`")),
    };
    let none = Outcome::default();
    Ok(match words {
        ["echo", words @ ..] => (Outcome { stdout: words.join(" ") + "\n", ..none }, Middle::Nothing),
        ["err", words @ ..] => (Outcome { stderr: words.join(" ") + "\n", ..none }, Middle::Nothing),
        ["env"] => {
            let extra = spec.env.iter().map(|(n, v)| format!("{n}={v}\n"));
            let stdout = extra.fold(environment(workload), |all, one| all + &one);
            (Outcome { stdout, ..none }, Middle::Nothing)
        }
        ["exit", code] => (Outcome { code: code.parse().unwrap_or(2), ..none }, Middle::Nothing),
        ["cat"] => (none, if spec.stdin { Middle::Echo } else { Middle::Nothing }),
        ["sleep", ..] => (none, Middle::Sleep),
        _ => (Outcome { stderr: "agent: unknown word\n".to_owned(), code: 2, ..none }, Middle::Nothing),
    })
}

pub(super) fn exec(
    programs: &HashMap<String, Outcome>,
    workload: &Workload,
    spec: &ExecSpec,
) -> Result<Exec> {
    let (outcome, middle) = played(programs, workload, spec)?;
    let (input, inputs) = mpsc::channel(16);
    let (ended, has_ended) = oneshot::channel::<()>();
    let err = if spec.tty.is_some() { Output::Stdout } else { Output::Stderr };
    let said = [(Output::Stdout, outcome.stdout), (err, outcome.stderr)];
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    let said: Vec<_> = said.map(|(output, text)| Ok((output, Bytes::from(text)))).collect();
    // What is dropped when the output ends tells `exit` that it may.
    let rest = stream::unfold((inputs, ended, middle), |(mut inputs, ended, middle)| async move {
        match middle {
            Middle::Nothing => return None,
            Middle::Echo => {}
            Middle::Sleep => std::future::pending().await,
        }
        loop {
            match inputs.recv().await? {
                ExecInput::Data(bytes) => {
                    return Some((Ok((Output::Stdout, bytes)), (inputs, ended, middle)));
                }
                ExecInput::Resize(..) => {}
                ExecInput::Eof => return None,
            }
        }
    });
    let exit = async move {
        let _ = has_ended.await;
        Ok(outcome.code)
    };
    Ok(Exec { input, output: Box::pin(stream::iter(said).chain(rest)), exit: Box::pin(exit) })
}
