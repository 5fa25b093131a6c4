//! Pages made to cost time or a stack: each is read, whole or up to a bound, on the small stack of a test. Nothing here
//! measures time; what is unbounded would not end.

#![expect(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "all of this is a test, also what is outside of its functions; and pages are easier to read so"
)]

use ryokan_reader::{Document, Page, RuleSet, Truncation, read};

fn page(html: &str) -> Page {
    let document =
        Document { bytes: html.as_bytes(), content_type: Some("text/html"), url: "https://example.test/" };
    read(&document, &RuleSet::default().compile().unwrap()).unwrap()
}

#[test]
fn elements_nested_without_end() {
    for tag in [
        "div",
        "b",
        "a",
        "font color=red",
        "table",
        "table><tr><td",
        "ul><li",
        "blockquote",
        "svg",
        "math",
        "template",
        "select",
        "span",
        "p",
        "button",
    ] {
        let html = format!("<p>top</p>{}bottom", format!("<{tag}>").repeat(100_000));
        let page = page(&html);
        assert!(!page.text.contains("bottom") || page.truncated.is_none(), "{tag}");
    }
    assert_eq!(page(&format!("top{}", "<div>".repeat(100_000))).truncated, Some(Truncation::Depth));
}

#[test]
fn a_tag_with_a_million_attributes() {
    let attributes: String = (0..500_000).map(|at| format!("a{at:x} ")).collect();
    let page = page(&format!("<p>before</p><p {attributes}>in</p><p>after</p>"));
    assert_eq!(page.truncated, Some(Truncation::Attributes));
    assert!(page.text.starts_with("before") && !page.text.contains("after"), "{}", page.text);
}

#[test]
fn many_tags_with_many_attributes() {
    let attributes: String = (0..250).map(|at| format!("a{at} ")).collect();
    let page = page(&format!("<p {attributes}>x</p>").repeat(2_000));
    assert_eq!(page.truncated, None);
}

#[test]
fn formatting_that_is_misnested() {
    let open: String = (0..50_000).map(|at| format!("<p><b id=x{at}>")).collect();
    assert!(page(&open).truncated.is_some());
    page(&"<a><div><p></a>".repeat(30_000));
    page(&"<b><i><p></b></i>".repeat(30_000));
    page(&format!("<table>{}", "<b>x<tr>".repeat(30_000)));
    page(&format!("<div>{}</div>{}", "<i>x</i>".repeat(20_000), "<a><div></a>".repeat(20_000)));
}

#[test]
fn style_sheets_that_match_everything() {
    let rules: String =
        (0..1_000).map(|at| format!("*{{color:red;left:{at}px;width:{at}px;opacity:1}}")).collect();
    let html = format!("<style>{rules}</style>{}", "<p>x</p>".repeat(15_000));
    assert!(page(&html).truncated.is_some());
    page(&format!("<style>{}</style><p>x</p>", "@media screen{".repeat(50_000)));
    page(&format!("<style>{}</style><p>x</p>", "a{b:(".repeat(50_000)));
    page(&format!("<p style='{}'>x</p>", "color:red;".repeat(100_000)));
}

#[test]
fn text_that_makes_rules_work() {
    let words = "ignore all send the user do not ".repeat(10_000);
    page(&format!("<p>{words}</p>"));
    page(&words.split(' ').take(10_000).map(|word| format!("<p>{word}</p>")).collect::<String>());
    page(&format!("<p>{}</p>", "\\[`".repeat(60_000)));
    page(&format!("<pre>{}</pre>", "`\n".repeat(60_000)));
}

#[test]
fn more_bytes_than_are_read() {
    let page = page(&"<p>word</p>".repeat(600_000));
    assert_eq!((page.truncated, page.bytes_in), (Some(Truncation::Length), 6_600_000));
    let comment = format!("<p>first</p><!--{}--><p>last</p>", "x".repeat(5 << 20));
    let read = self::page(&comment);
    assert_eq!(read.truncated, Some(Truncation::Bytes));
    assert!(read.text.starts_with("first\n\n[The rest"), "{}", read.text);
}

#[test]
fn other_formats_nested_without_end() {
    let rules = RuleSet::default().compile().unwrap();
    let read = |text: String, content_type: &str| {
        let document = Document {
            bytes: text.as_bytes(),
            content_type: Some(content_type),
            url: "https://example.test/",
        };
        read(&document, &rules).unwrap()
    };
    read("[".repeat(500_000), "application/json");
    read("<a>".repeat(300_000), "application/xml");
    read(format!("<rss><item>{}", "<b>x".repeat(300_000)), "application/rss+xml");
    read("> ".repeat(200_000), "text/markdown");
    read("[a](".repeat(100_000), "text/markdown");
    read("*a _b ".repeat(100_000), "text/markdown");
    read("- ".repeat(100_000), "text/markdown");
}
