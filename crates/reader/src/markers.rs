//! Rules against lines: what matches is reported, and dropped when its rule says so. Lines are compared in a normal form,
//! so that width, case, look-alike letters and Markdown's own marks change nothing. This finds the lazy attempt; it is no
//! protection, and `docs/web.md` says so.

use unicode_normalization::UnicodeNormalization as _;

use crate::limits;
use crate::page::{Marker, Reason, Removed};
use crate::render::Line;
use crate::rules::{Action, Rules};

/// A page's text by blocks, with what was found in it.
pub(crate) fn apply(
    blocks: Vec<Vec<Line>>,
    rules: &Rules,
    escaped: bool,
    removed: &mut Removed,
    markers: &mut Vec<Marker>,
) -> Vec<Vec<Line>> {
    let lines: Vec<&Line> = blocks.iter().flatten().collect();
    let normal: Vec<String> = lines
        .iter()
        .map(|line| if line.fence { String::new() } else { normal(&line.text, escaped && !line.verbatim) })
        .collect();
    let mut drop = vec![false; lines.len()];
    let mut found: Vec<(usize, Marker)> = Vec::new();
    for (name, pattern, action) in &rules.lines {
        let dropped = *action == Action::Drop;
        let mut before: Option<(usize, bool)> = None;
        for (at, text) in normal.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let hit = pattern.is_match(text);
            // A sentence cut in two by a tag.
            let joined = before.filter(|(_, known)| !hit && !known).map(|(at, _)| at).filter(|before| {
                let tail: String = tail(&normal[*before]);
                pattern.is_match(&format!("{tail} {}", head(text)))
            });
            if hit || joined.is_some() {
                let first = joined.unwrap_or(at);
                drop[first] |= dropped;
                drop[at] |= dropped;
                let excerpt = excerpt(&normal[first], pattern);
                found.push((first, Marker { rule: name.clone(), excerpt, dropped }));
            }
            before = Some((at, hit || joined.is_some()));
        }
    }
    for (name, begin, end, action) in &rules.sections {
        let mut at = 0;
        while at < normal.len() {
            if normal[at].is_empty() || !begin.is_match(&normal[at]) {
                at += 1;
                continue;
            }
            let last =
                (at + 1..normal.len()).find(|at| !normal[*at].is_empty() && end.is_match(&normal[*at]));
            let dropped = *action == Action::Drop;
            found.push((at, Marker { rule: name.clone(), excerpt: excerpt(&normal[at], begin), dropped }));
            let last = last.unwrap_or(at);
            if dropped {
                drop[at..=last].fill(true);
            }
            at = last + 1;
        }
    }
    // In the order of the text, and of the rules within a line.
    found.sort_by_key(|(at, _)| *at);
    for (_, marker) in found {
        if markers.len() < limits::MARKERS && !markers.contains(&marker) {
            markers.push(marker);
        }
    }
    without(blocks, &drop, removed)
}

/// The text of one line outside the body: a title, a description.
pub(crate) fn single(
    text: Option<String>,
    rules: &Rules,
    removed: &mut Removed,
    markers: &mut Vec<Marker>,
) -> Option<String> {
    let line = Line { text: text?, fence: false, verbatim: true };
    let left = apply(vec![vec![line]], rules, false, removed, markers);
    left.into_iter().flatten().next().map(|line| line.text)
}

fn without(blocks: Vec<Vec<Line>>, drop: &[bool], removed: &mut Removed) -> Vec<Vec<Line>> {
    let mut drop = drop.iter();
    let blocks = blocks.into_iter().map(|lines| {
        let mut dropped = 0;
        let lines: Vec<Line> = lines
            .into_iter()
            .filter(|line| {
                // A fence stays: without it, what is verbatim would become markup.
                let goes = *drop.next().expect("one for each line") && !line.fence;
                dropped += u32::from(goes);
                !goes
            })
            .collect();
        removed.add(Reason::Rule, dropped);
        if dropped > 0 && lines.iter().all(|line| line.fence || line.text.is_empty()) {
            Vec::new()
        } else {
            lines
        }
    });
    blocks.filter(|lines| !lines.is_empty()).collect()
}

fn tail(text: &str) -> String {
    let from = text.char_indices().rev().nth(199).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

fn head(text: &str) -> &str {
    let to = text.char_indices().nth(200).map_or(text.len(), |(at, _)| at);
    &text[..to]
}

fn excerpt(text: &str, pattern: &regex::Regex) -> String {
    let from = pattern.find(text).map_or(0, |found| found.start());
    let from = text[..from].char_indices().rev().nth(20).map_or(0, |(at, _)| at);
    text[from..].chars().take(120).collect()
}

fn normal(text: &str, escaped: bool) -> String {
    let text = if escaped { unescape(text) } else { text.to_owned() };
    let folded: String = text.nfkc().flat_map(char::to_lowercase).map(latin).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without our own marks: escapes, brackets and targets of links, ticks, the starts of headings, items and quotes.
fn unescape(text: &str) -> String {
    let text = text.trim_start_matches([' ', '>', '#', '|']);
    let text = text.strip_prefix("- ").unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next_if(char::is_ascii_punctuation)),
            ']' if chars.peek() == Some(&'(') => {
                for c in chars.by_ref() {
                    if c == ')' {
                        break;
                    }
                }
            }
            '[' | ']' | '`' | '*' => {}
            c => out.push(c),
        }
    }
    out
}

/// Letters of other scripts that are drawn like Latin ones.
fn latin(c: char) -> char {
    match c {
        'а' | 'α' | 'ɑ' => 'a',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ε' | 'ё' => 'e',
        'ɡ' => 'g',
        'һ' => 'h',
        'і' | 'ι' | 'ı' | 'ї' => 'i',
        'ј' => 'j',
        'κ' | 'к' => 'k',
        'ӏ' => 'l',
        'м' => 'm',
        'п' | 'η' => 'n',
        'о' | 'ο' | 'σ' => 'o',
        'р' | 'ρ' => 'p',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ѡ' | 'ω' | 'ԝ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        '’' | 'ʼ' => '\'',
        '–' | '—' | '‐' | '‑' => '-',
        c => c,
    }
}
