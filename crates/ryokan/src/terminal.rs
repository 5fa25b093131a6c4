//! The terminal as a device: raw mode for `exec`, questions, secrets that are typed unseen. Whoever enters raw mode
//! gets a guard; `restore` is for the ends that skip destructors.

use std::io::{IsTerminal as _, Write as _};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use ryokan_api::model::Secret;

use crate::failure::{Failure, Outcome};

const MAX_SECRET: usize = 64 * 1024;

/// Raw mode while it lives.
#[derive(Debug)]
pub(crate) struct Raw;

impl Raw {
    pub(crate) fn enter() -> Outcome<Self> {
        terminal::enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves raw mode when it is on.
pub(crate) fn restore() {
    let _ = terminal::disable_raw_mode();
}

/// A panic's message is told on a terminal that can show it.
pub(crate) fn restore_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        told(panic);
    }));
}

/// Columns and rows.
pub(crate) fn size() -> Option<(u16, u16)> {
    terminal::size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Somebody can be asked.
pub(crate) fn can_ask() -> bool {
    stdin_is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a line.
pub(crate) async fn ask(question: &str) -> Outcome<String> {
    let _ = write!(std::io::stderr(), "{question} ");
    blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    })
    .await
}

/// A secret: from standard input when `from_stdin`, else typed unseen.
pub(crate) async fn secret(question: &str, from_stdin: bool, flag: &str) -> Outcome<Secret> {
    let secret = if from_stdin {
        blocking(|| {
            use std::io::Read as _;
            let mut text = String::new();
            let limit = u64::try_from(MAX_SECRET).unwrap_or(u64::MAX);
            std::io::stdin().take(limit).read_to_string(&mut text)?;
            Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
        })
        .await?
    } else if can_ask() {
        let _ = write!(std::io::stderr(), "{question} ");
        let typed = blocking(typed_unseen).await;
        let _ = writeln!(std::io::stderr());
        typed?
    } else {
        return Err(Failure::usage("there is no terminal to ask on")
            .hint(format!("give it on standard input with {flag}")));
    };
    if secret.expose().is_empty() { Err(Failure::usage("nothing was entered")) } else { Ok(secret) }
}

fn typed_unseen() -> Outcome<Secret> {
    let _raw = Raw::enter()?;
    let mut text = String::new();
    loop {
        let Event::Key(key) = crossterm::event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Ok(Secret::new(text)),
            KeyCode::Char('c') if control => return Err(Failure::silent(130)),
            KeyCode::Char('d') if control && text.is_empty() => return Err(Failure::silent(130)),
            KeyCode::Char('u') if control => text.clear(),
            KeyCode::Char(c) if !control && text.len() < MAX_SECRET => text.push(c),
            KeyCode::Backspace => {
                text.pop();
            }
            _ => {}
        }
    }
}

/// Waits for the terminal without keeping signals from being seen.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(format!("the terminal cannot be read: {error}"))),
    }
}
