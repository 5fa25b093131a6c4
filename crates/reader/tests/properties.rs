//! What holds for every page: no panic, the same answer twice, nothing invisible in it, nothing of a hidden element, and no
//! markup of the page's own.

#![expect(clippy::unwrap_used, reason = "all of this is a test, also what is outside of its functions")]

use std::fmt::Write as _;
use std::sync::LazyLock;

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag};
use ryokan_reader::{Document, Format, Page, RuleSet, Rules, Style, read};

const TYPES: [&str; 8] = [
    "text/html",
    "text/html; charset=shift_jis",
    "text/plain",
    "text/markdown",
    "application/json",
    "application/rss+xml",
    "text/html; charset=utf-16le",
    "",
];

fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| {
        matches!(c,
            '\0'..='\u{8}' | '\u{B}'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{AD}' | '\u{34F}' | '\u{61C}'
            | '\u{115F}' | '\u{1160}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{E000}'..='\u{F8FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFC}' | '\u{E0000}'..='\u{E0FFF}' | '\u{F0000}'..='\u{10FFFF}')
    })
}

/// What must hold of any page.
fn holds(page: &Page, rules: &RuleSet) {
    assert!(is_clean(&page.text), "{:?}", page.text);
    for text in [&page.title, &page.description].into_iter().flatten() {
        assert!(is_clean(text) && !text.contains('\n'), "{text:?}");
    }
    for marker in &page.markers {
        assert!(is_clean(&marker.excerpt) && marker.excerpt.chars().count() <= 120, "{marker:?}");
    }
    assert!(page.text.chars().count() <= rules.max_chars + 120, "{} characters", page.text.chars().count());
    assert!(page.markers.len() <= 100 && page.links.len() <= 500);
    for link in &page.links {
        assert!(is_clean(&link.text) && is_target(&link.url), "{link:?}");
    }
    if page.format == Format::Markdown {
        is_ours(&page.text);
    }
}

fn is_target(url: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| url.starts_with(scheme)) && url.len() <= 2_000
}

/// A Markdown reader finds no HTML in it, no picture to fetch, and no link but to the web.
fn is_ours(text: &str) {
    for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Html(html) | Event::InlineHtml(html) => panic!("HTML {html:?} in {text}"),
            Event::Start(
                Tag::HtmlBlock | Tag::Image { .. } | Tag::Emphasis | Tag::Strong | Tag::Strikethrough,
            ) => {
                panic!("{event:?} in {text}")
            }
            Event::Start(Tag::Link { dest_url, .. }) => assert!(is_target(&dest_url), "{dest_url} in {text}"),
            _ => {}
        }
    }
}

/// Ready made, for to compile patterns costs more than to read a page.
static RULES: LazyLock<Vec<(RuleSet, Rules)>> = LazyLock::new(|| {
    let lengths = [200, 431, 3_000];
    let styles = [Style::Markdown, Style::Markdown, Style::Plain];
    let sets = lengths.into_iter().zip(styles).map(|(max_chars, style)| {
        let rules = RuleSet { max_chars, style, links: true, ..RuleSet::default() };
        (rules.clone(), rules.compile().unwrap())
    });
    sets.collect()
});

static EVERYTHING: LazyLock<Rules> = LazyLock::new(|| {
    RuleSet { max_chars: 1_000_000, keep_boilerplate: true, ..RuleSet::default() }.compile().unwrap()
});

/// The corpus as far as it is small.
static PAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let pages =
        paths.iter().filter(|path| path.extension().is_some_and(|ending| ending != "md" && ending != "toml"));
    pages
        .map(|path| std::fs::read(path).unwrap())
        .map(|bytes| bytes[..bytes.len().min(3_000)].to_vec())
        .collect()
});

fn check(bytes: &[u8], content_type: &str, rules: usize) {
    let (rules, compiled) = &RULES[rules];
    let document = Document { bytes, content_type: Some(content_type), url: "https://example.test/a/b" };
    let first = read(&document, compiled);
    assert_eq!(first, read(&document, compiled));
    if let Ok(page) = first {
        holds(&page, rules);
    }
}

/// Pieces of which markup is made, so that random documents are more than text.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,8}",
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "<",
            ">",
            "</",
            "/>",
            "<!--",
            "-->",
            "<p>",
            "</p>",
            "<pre>",
            "</pre>",
            "<code>",
            "</code>",
            "<a href=",
            "</a>",
            "<table>",
            "<tr>",
            "<td>",
            "</table>",
            "<ul>",
            "<li>",
            "</ul>",
            "<ol>",
            "<blockquote>",
            "</blockquote>",
            "<br>",
            "<style>",
            "</style>",
            "<svg>",
            "</svg>",
            "<math>",
            "<b>",
            "</b>",
            "<i>",
            "<h1>",
            "</h1>",
            "<div style='",
            "'>",
            "<img alt=\"",
            "\">",
            "`",
            "```",
            "````\n",
            "~~~",
            "*",
            "_",
            "[",
            "]",
            "(",
            ")",
            "![",
            "](",
            "|",
            "\\",
            "&",
            "&lt;",
            "&#",
            ";",
            "&amp;lt;",
            "#",
            "# ",
            "- ",
            "1. ",
            "> ",
            "---",
            "===",
            "\n",
            "\n\n",
            "    ",
            "\t",
            "<script>",
            "</script>",
            "<plaintext>",
            "<template>",
            "<select>",
            "<frameset>",
            "<title>",
            "</title>",
            "display:none",
            "\u{202E}",
            "\u{200B}",
            "{",
            "}",
            "\"",
            ":",
            ",",
            "http://x.test/",
            "javascript:",
            "<hr>",
            "<dl><dt>",
            "<dd>",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0..TYPES.len()) {
        check(&bytes, TYPES[at], 0);
    }

    #[test]
    fn any_markup_is_read(pieces in prop::collection::vec(piece(), 0..60), at in 0..TYPES.len(), rules in 0..3_usize) {
        check(pieces.concat().as_bytes(), TYPES[at], rules);
    }

    #[test]
    fn changed_pages_are_read(
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, prop::collection::vec(any::<u8>(), 0..6)), 1..8),
        rules in 0..3_usize,
    ) {
        let (mut bytes, second) = (which.get(&PAGES).clone(), other.get(&PAGES));
        for (at, length, put) in cuts {
            let from = at.index(bytes.len() + 1);
            let to = (from + length).min(bytes.len());
            // Sometimes a piece of another page is put in.
            let piece = if put.is_empty() { second.iter().skip(from).take(200).copied().collect() } else { put };
            bytes.splice(from..to, piece);
        }
        check(&bytes, "text/html", rules);
    }

    #[test]
    fn hidden_text_is_never_shown_and_seen_text_always(tree in tree()) {
        let (mut html, mut count) = ("<!DOCTYPE html><style>.gone{display:none}#lost{opacity:0}</style>".to_owned(), 0);
        write(&tree, false, &mut html, &mut count);
        let document = Document { bytes: html.as_bytes(), content_type: Some("text/html"), url: "https://example.test/" };
        let text = read(&document, &EVERYTHING).unwrap().text;
        prop_assert!(!text.contains("HIDDEN"), "{html}\n{text}");
        for at in 0..count {
            let seen = format!("seen{at}x");
            prop_assert!(!html.contains(&seen) || text.contains(&seen), "{seen} in {html}\n{text}");
        }
    }
}

#[derive(Clone, Debug)]
enum Tree {
    Text,
    /// An element that is seen.
    Seen(usize, Vec<Tree>),
    Hidden(usize, Vec<Tree>),
}

const SEEN: [(&str, &str); 10] = [
    ("<div>", "</div>"),
    ("<section class='ad badge'>", "</section>"),
    ("<blockquote>", "</blockquote>"),
    ("<ul><li>", "</li></ul>"),
    ("<table><tr><td>a</td><td>", "</td></tr></table>"),
    ("<main>", "</main>"),
    ("<div style='display:block;opacity:1'>", "</div>"),
    ("<dl><dt>", "</dt></dl>"),
    ("<details>", "</details>"),
    ("<span>", "</span>"),
];

const HIDDEN: [(&str, &str); 20] = [
    ("<div hidden>", "</div>"),
    ("<div aria-hidden=true>", "</div>"),
    ("<div style='display:none'>", "</div>"),
    ("<div style='visibility:hidden'>", "</div>"),
    ("<div style='opacity:0'>", "</div>"),
    ("<div style='font-size:0'>", "</div>"),
    ("<div style='position:absolute;left:-9999px'>", "</div>"),
    ("<div style='color:#fff;background:#fff'>", "</div>"),
    ("<div class=gone>", "</div>"),
    ("<div id=lost>", "</div>"),
    ("<dialog>", "</dialog>"),
    ("<template>", "</template>"),
    ("<noscript>", "</noscript>"),
    ("<svg><text>", "</text></svg>"),
    ("<canvas>", "</canvas>"),
    ("<object>", "</object>"),
    ("<button>", "</button>"),
    ("<video>", "</video>"),
    ("<div style='height:0;overflow:hidden'>", "</div>"),
    ("<div popover>", "</div>"),
];

fn tree() -> impl Strategy<Value = Vec<Tree>> {
    let leaf = Just(Tree::Text);
    let tree = leaf.prop_recursive(5, 40, 4, |inner| {
        let inner = prop::collection::vec(inner, 0..4);
        prop_oneof![
            (0..SEEN.len(), inner.clone()).prop_map(|(at, inside)| Tree::Seen(at, inside)),
            (0..HIDDEN.len(), inner).prop_map(|(at, inside)| Tree::Hidden(at, inside)),
        ]
    });
    prop::collection::vec(tree, 1..6)
}

fn write(trees: &[Tree], hidden: bool, html: &mut String, count: &mut usize) {
    for tree in trees {
        match tree {
            Tree::Text if hidden => html.push_str("<i>HIDDEN</i> "),
            Tree::Text => {
                let _ = write!(html, "seen{count}x ");
                *count += 1;
            }
            Tree::Seen(at, inside) => {
                // What HTML does to tables and lists inside drawings is not the question here.
                let (start, end) = if hidden { ("<em>", "</em>") } else { SEEN[*at] };
                html.push_str(start);
                write(inside, hidden, html, count);
                html.push_str(end);
            }
            Tree::Hidden(at, inside) => {
                if hidden {
                    html.push_str("HIDDEN ");
                    continue;
                }
                let (start, end) = HIDDEN[*at];
                // In a drawing, elements of HTML would end it.
                let inside: &[Tree] = if start.starts_with("<svg") { &[] } else { inside };
                html.push_str(start);
                html.push_str("HIDDEN");
                write(inside, true, html, count);
                html.push_str(end);
            }
        }
    }
}
