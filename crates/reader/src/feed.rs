//! XML into blocks: feeds (RSS, RDF, Atom) as a list of their entries, anything else as the text of its elements. Entities of
//! a document's own are never expanded. HTML inside entries goes the way of any page.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::blocks::{Block, Span};
use crate::chars;
use crate::extract::{Extracted, extract, language};
use crate::limits;
use crate::links::Base;
use crate::page::{Reason, Truncation};
use crate::parse::parse;

#[derive(Debug, Default)]
struct Entry {
    title: String,
    link: String,
    date: String,
    body: String,
}

/// An element that is open, with the text inside it so far.
struct Open {
    name: String,
    text: String,
    has_elements: bool,
}

struct Feed<'a> {
    base: &'a Base,
    keep_boilerplate: bool,
    out: Extracted,
    open: Vec<Open>,
    entry: Option<Entry>,
    by_entries: bool,
}

pub(crate) fn read(text: &str, base: &Base, keep_boilerplate: bool) -> Extracted {
    let mut feed = Feed {
        base,
        keep_boilerplate,
        out: Extracted::default(),
        open: Vec::new(),
        entry: None,
        by_entries: false,
    };
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    let mut nodes = 0;
    // What comes after a fault is no XML any more.
    while let Ok(event) = reader.read_event() {
        nodes += 1;
        if nodes > limits::NODES {
            feed.out.truncated = Some(Truncation::Nodes);
            break;
        }
        match event {
            Event::Start(start) => {
                if feed.open.len() >= limits::DEPTH {
                    feed.out.truncated = Some(Truncation::Depth);
                    break;
                }
                let name = start.local_name().as_ref().to_ascii_lowercase();
                feed.start(name, |wanted| attribute(&start, wanted));
            }
            Event::Empty(start) => {
                let name = start.local_name().as_ref().to_ascii_lowercase();
                feed.start(name, |wanted| attribute(&start, wanted));
                feed.end();
            }
            Event::End(_) => feed.end(),
            Event::Text(text) => feed.text(&text.xml10_content()),
            Event::CData(text) => feed.text(&text),
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().ok().flatten();
                match (character, quick_xml::escape::resolve_predefined_entity(&name)) {
                    (Some(c), _) => feed.text(c.encode_utf8(&mut [0; 4])),
                    (None, Some(text)) => feed.text(text),
                    // One of the document's own, or of HTML's: as it stands.
                    (None, None) => feed.text(&format!("&{};", &*name)),
                }
            }
            Event::Comment(_) => feed.out.removed.count(Reason::Comment),
            Event::PI(_) => feed.out.removed.count(Reason::Instruction),
            Event::Decl(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    while !feed.open.is_empty() {
        feed.end();
    }
    feed.out
}

fn attribute(start: &quick_xml::events::BytesStart<'_>, wanted: &str) -> Option<String> {
    let mut attributes = start.attributes();
    // Finding duplicates would take the square of their number.
    let attribute = attributes
        .with_checks(false)
        .take(limits::ATTRIBUTES)
        .filter_map(Result::ok)
        .find(|attribute| attribute.key.local_name().as_ref() == wanted)?;
    let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
    Some(value.map_or_else(|_| attribute.value.to_string(), |value| value.into_owned()))
}

impl Feed<'_> {
    fn start(&mut self, name: String, attribute: impl Fn(&str) -> Option<String>) {
        if self.open.is_empty() {
            self.by_entries |= matches!(name.as_str(), "rss" | "rdf" | "feed");
            self.out.head.language = attribute("lang").as_deref().and_then(language);
        }
        if self.by_entries && matches!(name.as_str(), "item" | "entry") && self.entry.is_none() {
            self.entry = Some(Entry::default());
        }
        // Atom has its links in attributes, and several of them.
        if let Some(entry) = self.entry.as_mut().filter(|entry| name == "link" && entry.link.is_empty())
            && attribute("rel").is_none_or(|rel| rel == "alternate")
        {
            entry.link = attribute("href").unwrap_or_default();
        }
        if let Some(parent) = self.open.last_mut() {
            parent.has_elements = true;
        }
        self.open.push(Open { name, text: String::new(), has_elements: false });
    }

    fn text(&mut self, text: &str) {
        if let Some(open) = self.open.last_mut() {
            open.text.push_str(text);
        }
    }

    fn end(&mut self) {
        let Some(Open { name, text, has_elements }) = self.open.pop() else { return };
        let parent = self.open.last().map_or("", |open| open.name.as_str());
        if !self.by_entries {
            if matches!(name.as_str(), "script" | "style") {
                self.out.removed.count(Reason::Element);
                return;
            }
            let text = chars::line(&text, usize::MAX, &mut self.out.removed);
            if !text.is_empty() {
                self.out.blocks.push(Block::Paragraph(vec![Span::Text(text)]));
            }
            return;
        }
        if let Some(entry) = &mut self.entry {
            match (name.as_str(), parent) {
                ("item" | "entry", _) => self.finish(),
                ("title", "item" | "entry") => entry.title = text,
                ("link", "item" | "entry") if entry.link.is_empty() => entry.link = text,
                ("pubdate" | "date" | "published" | "updated", _) if entry.date.is_empty() => {
                    entry.date = text;
                }
                // The longer of what is short and what is all.
                ("description" | "summary" | "content" | "encoded", _) if text.len() > entry.body.len() => {
                    entry.body = text;
                }
                // The inside of XHTML in Atom.
                (_, parent) if has_elements || !matches!(parent, "item" | "entry") => {
                    if let Some(open) = self.open.last_mut() {
                        open.text.push(' ');
                        open.text.push_str(&text);
                    }
                }
                _ => {}
            }
            return;
        }
        let removed = &mut self.out.removed;
        match (name.as_str(), parent) {
            ("title", "channel" | "feed") => {
                self.out.head.title =
                    Some(chars::line(&text, 300, removed)).filter(|title| !title.is_empty());
            }
            ("description" | "subtitle", "channel" | "feed") => {
                let description = chars::line(&text, 500, removed);
                self.out.head.description = Some(description).filter(|text| !text.is_empty());
            }
            ("language", "channel") => self.out.head.language = language(&text),
            _ => {}
        }
    }

    fn finish(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let removed = &mut self.out.removed;
        let link = Some(entry.link.trim()).filter(|link| !link.is_empty()).and_then(|link| {
            let url = self.base.absolute(link);
            if url.is_none() {
                removed.count(Reason::LinkTarget);
            }
            url
        });
        let title = chars::line(&entry.title, 500, removed);
        let title = if title.is_empty() { link.clone().unwrap_or_default() } else { title };
        let text = Span::Text(title.clone());
        let spans = match link {
            Some(url) => vec![Span::LinkStart(url), text, Span::LinkEnd],
            None => vec![text],
        };
        if !title.is_empty() {
            self.out.blocks.push(Block::Heading(2, spans));
        }
        let date = chars::line(&entry.date, 60, removed);
        if !date.is_empty() {
            self.out.blocks.push(Block::Paragraph(vec![Span::Text(date)]));
        }
        let parsed = parse(&entry.body);
        let mut body = extract(&parsed.dom, self.base.clone(), self.keep_boilerplate);
        removed.add(Reason::Comment, parsed.comments);
        for (reason, count) in body.removed.iter() {
            removed.add(reason, count);
        }
        self.out.blocks.append(&mut body.blocks);
        self.out.markers.append(&mut body.markers);
        self.out.markers.truncate(limits::MARKERS);
        self.out.truncated = self.out.truncated.or(body.truncated).or(parsed.dom.bound.map(Into::into));
    }
}
