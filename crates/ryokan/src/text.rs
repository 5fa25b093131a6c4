//! How quantities are told to people, and how text from elsewhere is made safe to show.

use std::time::Duration;

use ryokan_api::model::Millis;

/// `42s`, `5m`, `3h`, `2d`: one unit, rounded down. The future is `0s`.
pub(crate) fn age(at: i64, now: Millis) -> String {
    span(now.since(Millis(at)))
}

pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// UTC, as in `2026-11-21T09:30:00.000Z`.
pub(crate) fn time(at: i64) -> String {
    Millis(at).to_string()
}

/// `12.3 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Control characters, with which a text could draw on the terminal, are replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The same in one line.
pub(crate) fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes() {
        let now = Millis(1_000_000_000);
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (7200, "2h"),
            (47 * 3600, "47h"),
            (172_800, "2d"),
        ] {
            assert_eq!(age(now.0 - seconds * 1000, now), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_900_000, "12.3 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn a_name_cannot_draw_on_the_terminal() {
        assert_eq!(one_line("a\x1b[2J\nb"), "a\u{fffd}[2J b");
    }
}
