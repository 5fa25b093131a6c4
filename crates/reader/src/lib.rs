//! What a page says, for an agent to read: bytes into Markdown or plain text by a deterministic pipeline. The same bytes,
//! type, address and rules give the same answer, byte for byte, until [`PIPELINE`] rises; there is no network, no
//! clock, no map whose order is chance, and every bound counts things instead of time.
//!
//! What is not text or is not seen is left out, what remains cannot pose as markup, and what looks like an order to
//! the reader is reported. None of that makes the text trustworthy: it is still a stranger's. Whoever passes it on marks
//! where it came from and treats what was told it as tainted (`docs/web.md`).

mod blocks;
mod boilerplate;
mod chars;
mod charset;
mod css;
mod dom;
mod elements;
mod extract;
mod feed;
mod hidden;
mod json;
mod kind;
mod limits;
mod links;
mod markers;
mod page;
mod parse;
mod render;
mod rules;
mod truncate;

use url::Url;

pub use kind::Refusal;
pub use page::{Format, Link, Marker, PIPELINE, Page, Reason, Removed, Truncation};
pub use rules::{Action, LineRule, RuleError, RuleSet, Rules, SectionRule, Style};

use blocks::{Block, Span};
use extract::Extracted;
use kind::Kind;
use links::Base;
use render::Line;

/// A body as it was fetched.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// At most 4 MiB are looked at.
    pub bytes: &'a [u8],
    /// The header's value, parameters included.
    pub content_type: Option<&'a str>,
    /// Where the body came from after all redirects.
    pub url: &'a str,
}

impl From<dom::Bound> for Truncation {
    fn from(bound: dom::Bound) -> Self {
        match bound {
            dom::Bound::Depth => Self::Depth,
            dom::Bound::Nodes => Self::Nodes,
            dom::Bound::Attributes => Self::Attributes,
        }
    }
}

/// Reads a page. It takes CPU time in proportion to the bytes: call it where blocking is allowed.
pub fn read(document: &Document<'_>, rules: &Rules) -> Result<Page, Refusal> {
    let Document { bytes, content_type, url } = *document;
    let url =
        Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or(Refusal::Url)?;
    let kind = kind::kind(bytes, content_type)?;
    let looked_at = &bytes[..bytes.len().min(limits::BYTES)];
    let (text, charset) = charset::decode(looked_at, content_type.and_then(charset::parameter));
    let base = Base::new(url);
    let mut style = rules.style;
    let (extracted, blocks) = match kind {
        Kind::Html => laid_out(html(&text, &base, rules), style),
        Kind::Markdown => laid_out(html(&markdown(&text), &base, rules), style),
        // XHTML that is served as any XML.
        Kind::Xml if kind::is_page(&text) => laid_out(html(&text, &base, rules), style),
        Kind::Xml => laid_out(feed::read(&text, &base, rules.keep_boilerplate), style),
        Kind::Json | Kind::Plain => {
            style = Style::Plain;
            plain(&text, kind)
        }
    };
    let cut = bytes.len() > looked_at.len();
    Ok(finish(extracted, blocks, Body { bytes, charset: charset.name(), cut, style, rules }))
}

fn laid_out(mut extracted: Extracted, style: Style) -> (Extracted, Vec<Vec<Line>>) {
    let blocks = std::mem::take(&mut extracted.blocks);
    extracted.links = links_of(&blocks);
    let lines = render::render(&blocks, style);
    (extracted, lines)
}

fn html(text: &str, base: &Base, rules: &Rules) -> Extracted {
    let parsed = parse::parse(text);
    let mut out = extract::extract(&parsed.dom, base.clone(), rules.keep_boilerplate);
    if out.blocks.is_empty() && out.removed.of(Reason::Boilerplate) > 0 {
        // All of it looked like the frame of a site: then the frame is the page.
        out = extract::extract(&parsed.dom, base.clone(), true);
    }
    out.removed.add(Reason::Comment, parsed.comments);
    out.truncated = parsed.dom.bound.map(Truncation::from).or(out.truncated);
    out
}

/// Markdown may hold any HTML: it goes the way that HTML goes.
fn markdown(text: &str) -> String {
    use pulldown_cmark::{Options, Parser, html};
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, Parser::new_ext(text, options));
    out
}

fn plain(text: &str, kind: Kind) -> (Extracted, Vec<Vec<Line>>) {
    let mut out = Extracted::default();
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    let pretty = if kind == Kind::Json { json::pretty(&text, &mut out.removed) } else { None };
    let text = pretty.unwrap_or_else(|| chars::clean(&text, &mut out.removed));
    let mut blocks: Vec<Vec<Line>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let text = line.trim_end();
        if text.is_empty() {
            open = false;
            continue;
        }
        let line = Line { text: text.to_owned(), fence: false, verbatim: false };
        match blocks.last_mut().filter(|_| open) {
            Some(block) => block.push(line),
            None => blocks.push(vec![line]),
        }
        open = true;
    }
    (out, blocks)
}

fn links_of(blocks: &[Block]) -> Vec<Link> {
    let mut out: Vec<Link> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut take = |spans: &[Span]| {
        for (at, span) in spans.iter().enumerate() {
            let Span::LinkStart(url) = span else { continue };
            if out.len() < limits::LINKS && seen.insert(url.clone()) {
                let end =
                    spans[at..].iter().position(|span| *span == Span::LinkEnd).unwrap_or(spans.len() - at);
                let text = blocks::plain(&spans[at..at + end]).chars().take(200).collect();
                out.push(Link { text, url: url.clone() });
            }
        }
    };
    let mut pending: Vec<&Block> = blocks.iter().rev().collect();
    while let Some(block) = pending.pop() {
        match block {
            Block::Paragraph(spans) | Block::Heading(_, spans) => take(spans),
            Block::Quote(blocks) => pending.extend(blocks.iter().rev()),
            Block::List { items, .. } => {
                pending.extend(items.iter().rev().flat_map(|item| item.iter().rev()));
            }
            Block::Table { rows, .. } => rows.iter().flatten().for_each(|cell| take(cell)),
            Block::Code { .. } | Block::Rule => {}
        }
    }
    out
}

struct Body<'a> {
    bytes: &'a [u8],
    charset: &'static str,
    cut: bool,
    style: Style,
    rules: &'a Rules,
}

fn finish(extracted: Extracted, blocks: Vec<Vec<Line>>, body: Body<'_>) -> Page {
    let Extracted { head, links, mut removed, mut markers, truncated, .. } = extracted;
    let rules = body.rules;
    let title = markers::single(head.title, rules, &mut removed, &mut markers);
    let description = markers::single(head.description, rules, &mut removed, &mut markers);
    let escaped = body.style == Style::Markdown;
    let mut blocks = markers::apply(blocks, rules, escaped, &mut removed, &mut markers);
    let mut truncated = if body.cut { Some(Truncation::Bytes) } else { truncated };
    if truncate::cut(&mut blocks, rules.max_chars) {
        truncated = Some(Truncation::Length);
    }
    let mut text = truncate::join(&blocks);
    if let Some(why) = truncated {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&truncate::note(why, rules.max_chars));
    }
    Page {
        pipeline: PIPELINE,
        format: if escaped { Format::Markdown } else { Format::Plain },
        title,
        description,
        text,
        links: if rules.links { links } else { Vec::new() },
        language: head.language,
        charset: body.charset,
        bytes_in: body.bytes.len(),
        truncated,
        removed,
        markers,
    }
}
