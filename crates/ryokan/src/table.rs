//! Tables for people: aligned, no borders, whole lines however narrow the terminal.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table as Grid, presets};

use crate::failure::Outcome;
use crate::output::{Output, Tone};

pub(crate) struct Table {
    grid: Grid,
}

impl Table {
    /// Columns whose title begins with `>` are aligned to the right.
    pub(crate) fn new(out: &Output, columns: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if out.colored {
            grid.enforce_styling();
        } else {
            grid.force_no_tty();
        }
        grid.set_header(
            columns
                .iter()
                .map(|title| Cell::new(title.trim_start_matches('>')).add_attribute(Attribute::Dim)),
        );
        for (column, title) in grid.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            if title.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { grid }
    }

    pub(crate) fn row<I, C>(&mut self, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<Column>,
    {
        self.grid.add_row(cells.into_iter().map(|cell| cell.into().cell()));
    }

    pub(crate) fn text(&self) -> String {
        self.grid.trim_fmt()
    }

    pub(crate) fn print(&self, out: &Output) -> Outcome {
        out.line(self.text())
    }
}

/// One cell. Control characters cannot leave it.
pub(crate) struct Column {
    text: String,
    tone: Tone,
}

impl Column {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    fn cell(self) -> Cell {
        let cell = Cell::new(crate::text::one_line(&self.text));
        match self.tone {
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Busy => cell.fg(Color::Yellow),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Faint => cell.add_attribute(Attribute::Dim),
        }
    }
}

impl From<String> for Column {
    fn from(text: String) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl From<&str> for Column {
    fn from(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Names and values one below the other. What is absent is left out.
pub(crate) struct Sheet {
    lines: Vec<(&'static str, String, Tone)>,
}

impl Sheet {
    pub(crate) fn new() -> Self {
        Self { lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.toned(name, value, Tone::Plain)
    }

    pub(crate) fn toned(&mut self, name: &'static str, value: impl Into<String>, tone: Tone) -> &mut Self {
        let value = value.into();
        if !value.is_empty() {
            self.lines.push((name, value, tone));
        }
        self
    }

    pub(crate) fn print(&self, out: &Output) -> Outcome {
        let width = self.lines.iter().map(|(name, ..)| name.len()).max().unwrap_or(0) + 2;
        for (name, value, tone) in &self.lines {
            let mut name = format!("{name:<width$}");
            for part in value.lines() {
                let part = out.paint(&crate::text::printable(part), *tone);
                out.line(format!("{}{part}", out.paint(&name, Tone::Faint)))?;
                name = " ".repeat(width);
            }
        }
        Ok(())
    }
}
