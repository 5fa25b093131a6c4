//! Long work, told while it goes on: spinners and bars on a terminal, one line for each change elsewhere.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ryokan_api::instance::Progress;
use ryokan_api::model::instance::State;

use crate::output::Output;
use crate::text;

/// Where the lines of several operations stand together.
pub(crate) struct Board<'a> {
    out: &'a Output,
    bars: Option<MultiProgress>,
}

/// One operation. Gone from a terminal as soon as it is dropped.
pub(crate) struct Line<'a> {
    out: &'a Output,
    bar: Option<ProgressBar>,
    name: String,
    told: Option<(Option<State>, Option<String>)>,
    measured: bool,
}

impl<'a> Board<'a> {
    pub(crate) fn new(out: &'a Output) -> Self {
        let bars = out.animated.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { out, bars }
    }

    pub(crate) fn line(&self, name: &str) -> Line<'a> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(name.to_owned());
            bar
        });
        Line { out: self.out, bar, name: name.to_owned(), told: None, measured: false }
    }
}

impl Line<'_> {
    /// The name may become known on the way.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    pub(crate) fn show(&mut self, progress: &Progress) {
        let state = progress.state.map_or("", State::as_str);
        let message = progress.message.as_deref().map(text::one_line).filter(|message| message != state);
        let mut words = format!("{}: {state}", self.name);
        if let Some(message) = &message {
            words.push_str(if state.is_empty() { "" } else { ", " });
            words.push_str(message);
        }
        let Some(bar) = &self.bar else {
            // The steps of a pull are for eyes only.
            let same_state = self.told.as_ref().is_some_and(|(told, _)| *told == progress.state);
            let told = (progress.state, message);
            if !(same_state && (progress.done.is_some() || self.told.as_ref() == Some(&told))) {
                self.out.note(words);
                self.told = Some(told);
            }
            return;
        };
        let measured = progress.done.is_some() && progress.total.is_some_and(|t| t > 0);
        if measured != self.measured {
            self.measured = measured;
            bar.set_style(if measured { gauge() } else { spinner() });
        }
        if let (Some(done), Some(total)) = (progress.done, progress.total) {
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
        bar.set_message(words);
    }

    /// Something is not as usual.
    pub(crate) fn remark(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.out.note(format!("{}: {words}", self.name))),
            None => self.out.note(format!("{}: {words}", self.name)),
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes on their way; nothing when there is no terminal.
pub(crate) fn transfer(out: &Output, name: &str, total: Option<u64>) -> ProgressBar {
    if !out.animated {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    bar.set_style(if total.is_some() { gauge() } else { counter() });
    bar.set_message(name.to_owned());
    bar
}

fn spinner() -> ProgressStyle {
    style("{spinner:.yellow} {wide_msg} {elapsed}")
}

fn gauge() -> ProgressStyle {
    style("{msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec}").progress_chars("=> ")
}

fn counter() -> ProgressStyle {
    style("{msg} {bytes} {bytes_per_sec}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
