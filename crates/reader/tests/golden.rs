//! The specification: what each page of `corpus/` becomes, byte for byte. `RYOKAN_REWRITE_GOLDEN=1` writes what it
//! becomes now; whoever does so reads every difference before it is committed.

#![expect(clippy::unwrap_used, reason = "all of this is a test, also what is outside of its functions")]

#[path = "support/corpus.rs"]
mod corpus;

use corpus::Sample;
use std::fmt::Write as _;

use ryokan_reader::{Page, Refusal, read};

fn written(result: &Result<Page, Refusal>) -> String {
    let page = match result {
        Ok(page) => page,
        Err(refusal) => return format!("refused: {refusal}\n"),
    };
    let mut out = String::new();
    let mut say = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name}: {value}");
        }
    };
    say("title", page.title.as_deref().unwrap_or_default());
    say("description", page.description.as_deref().unwrap_or_default());
    say("language", page.language.as_deref().unwrap_or_default());
    say("charset", page.charset);
    say("format", if page.format == ryokan_reader::Format::Plain { "plain" } else { "" });
    say("truncated", &page.truncated.map(|why| format!("{why:?}").to_lowercase()).unwrap_or_default());
    let removed: Vec<String> =
        page.removed.iter().map(|(reason, count)| format!("{} {count}", reason.as_str())).collect();
    say("removed", &removed.join(", "));
    for marker in &page.markers {
        say(
            if marker.dropped { "dropped" } else { "marker" },
            &format!("{} | {}", marker.rule, marker.excerpt),
        );
    }
    for link in &page.links {
        say("link", &format!("{} | {}", link.url, link.text));
    }
    format!("{out}----\n{}\n", page.text)
}

#[test]
fn every_page_becomes_what_was_judged_right() {
    let rewrite = std::env::var_os("RYOKAN_REWRITE_GOLDEN").is_some();
    let samples = corpus::all();
    assert!(samples.len() >= 50, "the corpus has {} pages", samples.len());
    let mut wrong = Vec::new();
    for sample in &samples {
        let Sample { name, rules, .. } = sample;
        let now = written(&read(&sample.document(), rules));
        let expected = corpus::folder().join(format!("{name}.md"));
        if rewrite {
            std::fs::write(&expected, &now).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != now {
            wrong.push(format!("== {name}\n{now}"));
        }
    }
    assert!(wrong.is_empty(), "{} pages differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_expectation_has_its_page() {
    let names: Vec<String> = corpus::all().into_iter().map(|sample| sample.name).collect();
    for entry in std::fs::read_dir(corpus::folder()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&stem), "{} has no page", path.display());
    }
}
