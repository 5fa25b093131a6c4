//! Figures, and the table that is printed of them.

use std::fmt::Write as _;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
    /// Of each round, in the direction in which the goal reads.
    pub(crate) ratios: Vec<f64>,
    pub(crate) goal: Option<Goal>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound:.2}"),
            Self::AtMost(bound) => write!(f, "≤ {bound:.2}"),
        }
    }
}

/// The value below which the share `share` of the samples lies.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a short list"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// Median and range, as a cell.
pub(crate) fn spread(samples: &[f64], unit: &str) -> String {
    let number = |value: f64| match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    let (middle, low, high) = (median(samples), quantile(samples, 0.0), quantile(samples, 1.0));
    if samples.len() < 2 {
        return format!("{} {unit}", number(middle));
    }
    format!("{} {unit} ({}–{})", number(middle), number(low), number(high))
}

/// `a / b`, round by round.
pub(crate) fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

/// A Markdown table.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut text =
        String::from("| what | ours | theirs | ratio (range) | goal | met |\n|---|---|---|---|---|---|\n");
    for line in lines {
        let value = median(&line.ratios);
        let ratio = match line.ratios.len() {
            0 => "–".to_owned(),
            1 => format!("{value:.2}"),
            _ => {
                format!("{value:.2} ({:.2}–{:.2})", quantile(&line.ratios, 0.0), quantile(&line.ratios, 1.0))
            }
        };
        let (goal, met) = match line.goal {
            None => ("–".to_owned(), "–"),
            Some(goal) => (goal.to_string(), if goal.is_met(value) { "yes" } else { "**no**" }),
        };
        let Line { what, ours, theirs, .. } = line;
        let _ = writeln!(text, "| {what} | {ours} | {theirs} | {ratio} | {goal} | {met} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_samples() {
        let samples = [3.0, 1.0, 2.0];
        assert!((median(&samples) - 2.0).abs() < f64::EPSILON);
        assert!((quantile(&samples, 1.0) - 3.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_goal_is_met_at_its_bound() {
        let line = |goal, ratio| Line {
            what: "w".into(),
            ours: "o".into(),
            theirs: "t".into(),
            ratios: vec![ratio],
            goal: Some(goal),
        };
        assert!(table(&[line(Goal::AtMost(1.1), 1.1)]).contains("| yes |"));
        assert!(table(&[line(Goal::AtLeast(1.0), 0.99)]).contains("| **no** |"));
    }
}
