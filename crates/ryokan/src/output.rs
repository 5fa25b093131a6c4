//! The two ways out: data on standard output, notes and errors on standard error. Colours only on a terminal.
//!
//! | tone | colour | means |
//! |---|---|---|
//! | good | green | as it should be |
//! | busy | yellow | on its way |
//! | bad | red | needs somebody |
//! | faint | dim | at rest, secondary |
//! | hint | cyan | what to do next |

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;

use owo_colors::{OwoColorize as _, Style};
use ryokan_api::Page;
use ryokan_api::model::instance::State;
use serde::Serialize;

use crate::arguments::{Globals, When};
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};
use crate::text;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Tone {
    pub(crate) fn of(state: State) -> Self {
        match state {
            State::Ready => Self::Good,
            State::Failed | State::Unhealthy => Self::Bad,
            State::Stopped | State::Sleeping => Self::Faint,
            _ => Self::Busy,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    /// Data as JSON.
    pub(crate) json: bool,
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
    /// Standard error is a terminal that can be drawn on.
    pub(crate) animated: bool,
    pub(crate) colored: bool,
    colored_errors: bool,
    quiet: bool,
    stdout: std::io::Stdout,
    /// What to say when the user stops waiting.
    on_interrupt: Mutex<Option<String>>,
}

impl Output {
    pub(crate) fn new(globals: &Globals, environment: &Environment) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let error_terminal = std::io::stderr().is_terminal();
        let color = |terminal: bool| match globals.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && !environment.no_color && !environment.dumb_terminal,
        };
        Self {
            json: globals.json,
            terminal,
            animated: error_terminal && !globals.quiet && !environment.dumb_terminal,
            colored: color(terminal) && !globals.json,
            colored_errors: color(error_terminal),
            quiet: globals.quiet,
            stdout: std::io::stdout(),
            on_interrupt: Mutex::new(None),
        }
    }

    /// Without options: for what fails before they count.
    pub(crate) fn plain() -> Self {
        Self {
            json: false,
            terminal: false,
            animated: false,
            colored: false,
            colored_errors: false,
            quiet: false,
            stdout: std::io::stdout(),
            on_interrupt: Mutex::new(None),
        }
    }

    /// A line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Outcome {
        let mut out = self.stdout.lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// One document.
    pub(crate) fn json(&self, value: &impl Serialize) -> Outcome {
        self.line(serde_json::to_string_pretty(value).map_err(|e| Failure::new(e.to_string()))?)
    }

    /// One of many documents.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Outcome {
        self.line(serde_json::to_string(value).map_err(|e| Failure::new(e.to_string()))?)
    }

    /// A whole list, in the shape of the API's pages.
    pub(crate) fn json_list<T: Serialize>(&self, items: Vec<T>) -> Outcome {
        self.json(&Page { items, next: None })
    }

    /// Something for the user that is no data.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            say(text.as_ref());
        }
    }

    /// Like a note, with a word in front that `--quiet` does not silence.
    pub(crate) fn warn(&self, text: &str) {
        say(&format!("{} {text}", self.label("warning:", Style::new().yellow().bold())));
    }

    pub(crate) fn paint(&self, text: &str, tone: Tone) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => Style::new().green(),
            Tone::Busy => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
            Tone::Faint => Style::new().dimmed(),
        };
        if self.colored { text.style(style).to_string() } else { text.to_owned() }
    }

    /// Tells the failure and returns its code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        self.report(failure);
        ExitCode::from(failure.code)
    }

    /// Tells the failure.
    pub(crate) fn report(&self, failure: &Failure) {
        if let Some(message) = &failure.message {
            let message = text::one_line(message);
            say(&format!("{} {message}", self.label("error:", Style::new().red().bold())));
        }
        for line in &failure.detail {
            say(&format!("  {}", text::printable(line)));
        }
        if let Some(hint) = &failure.hint {
            say(&format!("{} {hint}", self.label("hint:", Style::new().cyan().bold())));
        }
    }

    /// From now on an interruption leaves something running on the server.
    pub(crate) fn on_interrupt(&self, text: Option<String>) {
        if let Ok(mut slot) = self.on_interrupt.lock() {
            *slot = text;
        }
    }

    pub(crate) fn interrupted(&self) {
        let text = self.on_interrupt.lock().ok().and_then(|mut slot| slot.take());
        if let Some(text) = text {
            say(&format!("\n{text}"));
        }
    }

    fn label(&self, word: &str, style: Style) -> String {
        if self.colored_errors { word.style(style).to_string() } else { word.to_owned() }
    }
}

/// Standard error may be gone; there is nowhere to say so.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
