//! What an agent wrote.

use std::time::Duration;

use futures_util::StreamExt;
use ryokan_model::Millis;

use super::{Harness, PATIENCE};
use crate::runtime::{LogOptions, Output, RuntimeError};

pub async fn logs_come_in_order_with_their_streams_and_times(h: &Harness) {
    // For longer than a second, which is as exactly as some engines tell the time of a line.
    let (workload, _) = h.up(&["log", "20", "60"]).await;
    let lines = h.written(workload.instance, 20).await;
    // An engine reads the two streams apart: on a busy machine one may overtake the other.
    for (output, first) in [(Output::Stdout, 1), (Output::Stderr, 2)] {
        let of_it: Vec<_> = lines.iter().filter(|l| l.output == output).collect();
        let texts: Vec<_> = of_it.iter().map(|l| l.text.clone()).collect();
        let expected: Vec<_> = (first..=20).step_by(2).map(|number| format!("line {number}")).collect();
        assert_eq!(texts, expected, "{output:?}");
        assert!(of_it.windows(2).all(|w| w[0].at <= w[1].at), "{lines:?}");
    }
    assert!(lines[0].at > Millis(0) && lines[0].at < lines[19].at, "{lines:?}");
}

pub async fn logs_tail_counts_lines(h: &Harness) {
    let (workload, _) = h.up(&["log", "20"]).await;
    h.ended(workload.instance).await;
    // Without a pause the two streams may overtake each other, so lines are counted, not named.
    let all = h.written(workload.instance, 20).await;
    for tail in [0, 1, 7, 20, 1000] {
        let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
        let lines = h.log_lines(workload.instance, options).await;
        let expected = all.len().saturating_sub(usize::try_from(tail).unwrap());
        assert_eq!(lines, all[expected..], "tail {tail}");
    }
}

pub async fn logs_since_and_until_are_exact(h: &Harness) {
    let (workload, _) = h.up(&["log", "10", "20"]).await;
    let all = h.written(workload.instance, 10).await;
    let (from, to) = (all[3].at, all[6].at);
    let options = LogOptions { since: Some(from), until: Some(to), ..LogOptions::default() };
    let expected: Vec<_> = all.iter().filter(|l| l.at >= from && l.at <= to).cloned().collect();
    assert_eq!(h.log_lines(workload.instance, options.clone()).await, expected);
    let last = LogOptions { tail: Some(2), ..options };
    assert_eq!(h.log_lines(workload.instance, last).await, expected[expected.len() - 2..]);
}

pub async fn logs_follow_until_the_container_ends(h: &Harness) {
    let (workload, _) = h.up(&["log", "30", "20"]).await;
    h.written(workload.instance, 5).await;
    let options = LogOptions { follow: true, tail: Some(2), ..LogOptions::default() };
    let mut lines = h.runtime.logs(workload.instance.into(), options).await.unwrap();
    let mut numbers = Vec::new();
    let mut stopping = false;
    let follow = async {
        while let Some(line) = lines.next().await {
            let text = line.unwrap().text;
            if let Some(number) = text.strip_prefix("line ") {
                numbers.push(number.parse::<u32>().unwrap());
            }
            if numbers.contains(&30) && !stopping {
                stopping = true;
                h.runtime.stop(workload.instance, Duration::from_secs(1)).await.unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, follow).await.expect("following ends with the container");
    assert!(numbers[0] >= 4 && numbers.contains(&30), "{numbers:?}");
    for of_one in [0, 1].map(|odd| numbers.iter().filter(|n| *n % 2 == odd).collect::<Vec<_>>()) {
        assert!(of_one.windows(2).all(|w| *w[1] == w[0] + 2), "{numbers:?}");
    }
}

pub async fn logs_of_nothing_are_not_found(h: &Harness) {
    let missing = h.runtime.logs(h.instance().into(), LogOptions::default()).await.map(drop);
    assert!(matches!(missing, Err(RuntimeError::NotFound(_))), "{missing:?}");
}

pub async fn logs_long_lines_are_joined_and_cut(h: &Harness) {
    let script =
        "head -c 40000 /dev/zero | tr '\\0' a; echo; head -c 200000 /dev/zero | tr '\\0' b; echo; echo end";
    let (workload, _) = h.up_script(script).await;
    h.ended(workload.instance).await;
    let lines = h.log_lines(workload.instance, LogOptions::default()).await;
    let lengths: Vec<_> = lines.iter().map(|l| (l.text.chars().next(), l.text.len())).collect();
    let limit = 64 * 1024;
    let rest = 200_000 - 3 * limit;
    let (a, b, e) = (Some('a'), Some('b'), Some('e'));
    assert_eq!(lengths, [(a, 40_000), (b, limit), (b, limit), (b, limit), (b, rest), (e, 3)]);
    for tail in 1..6 {
        let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
        let last = h.log_lines(workload.instance, options).await;
        assert_eq!(last.len() as u64, tail);
        assert_eq!(last.last().unwrap().text, "end");
    }
}

pub async fn logs_of_garbage(h: &Harness) {
    let (workload, _) =
        h.up_script("printf '\\001\\000\\377\\376\\n\\r\\033[31mred\\r\\n'; printf '\\n'; echo end").await;
    h.ended(workload.instance).await;
    let texts: Vec<_> =
        h.log_lines(workload.instance, LogOptions::default()).await.into_iter().map(|l| l.text).collect();
    assert_eq!(texts, ["\u{1}\0\u{FFFD}\u{FFFD}", "\r\u{1b}[31mred", "", "end"]);
}

pub async fn logs_of_a_line_that_never_ended(h: &Harness) {
    let (workload, _) = h.up_script("printf 'no end'").await;
    h.ended(workload.instance).await;
    h.runtime.ensure(&workload).await.unwrap();
    h.ended(workload.instance).await;
    let texts: Vec<_> =
        h.log_lines(workload.instance, LogOptions::default()).await.into_iter().map(|l| l.text).collect();
    assert_eq!(texts, ["no end", "no end"]);
}
