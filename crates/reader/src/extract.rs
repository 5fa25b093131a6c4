//! The tree into blocks: what is no text or is not seen is left out and counted, what remains is cleaned. What cannot
//! be judged any more (deeper than bounds, styles spent) is left out as well: it is never shown unjudged.

use crate::blocks::{Block, Inline, Span};
use crate::boilerplate::{self, Density, Place};
use crate::chars;
use crate::css::{Behind, Colour, Seen, Sheet, Style};
use crate::dom::{DOCUMENT, Data, Dom, Element, Id};
use crate::hidden::{self, Kept};
use crate::limits;
use crate::links::Base;
use crate::page::{Link, Marker, Reason, Removed, Truncation};

/// What the head says.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) language: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Extracted {
    pub(crate) head: Head,
    pub(crate) blocks: Vec<Block>,
    pub(crate) links: Vec<Link>,
    pub(crate) removed: Removed,
    pub(crate) markers: Vec<Marker>,
    pub(crate) truncated: Option<Truncation>,
}

/// What an element's children take over from it.
#[derive(Clone, Default)]
pub(crate) struct Context {
    depth: usize,
    place: Place,
    ink: Option<Colour>,
    behind: Option<Colour>,
}

pub(crate) struct Extractor<'a> {
    pub(crate) dom: &'a Dom,
    root: Id,
    sheet: Sheet,
    density: Option<Density>,
    base: Base,
    pub(crate) inline: Inline,
    pub(crate) blocks: Vec<Block>,
    pub(crate) out: Extracted,
}

pub(crate) fn extract(dom: &Dom, base: Base, keep_boilerplate: bool) -> Extracted {
    let root = body(dom);
    let density = (!keep_boilerplate).then(|| Density::of(dom, root));
    let mut extractor = Extractor {
        dom,
        root,
        sheet: Sheet::default(),
        density,
        base,
        inline: Inline::default(),
        blocks: Vec::new(),
        out: Extracted::default(),
    };
    extractor.read_head();
    extractor.children(DOCUMENT, &Context::default());
    extractor.flush();
    extractor.out.blocks = std::mem::take(&mut extractor.blocks);
    extractor.out
}

fn body(dom: &Dom) -> Id {
    dom.below(DOCUMENT).find(|id| dom.element(*id).is_some_and(|e| &*e.tag() == "body")).unwrap_or(DOCUMENT)
}

impl Extractor<'_> {
    /// Title, language, description, base and styles, wherever in the document they are: parsers move them.
    fn read_head(&mut self) {
        let dom = self.dom;
        for id in dom.below(DOCUMENT) {
            let Some(element) = dom.element(id) else {
                if matches!(dom.nodes[id].data, Data::Instruction) {
                    self.out.removed.count(Reason::Instruction);
                }
                continue;
            };
            let removed = &mut self.out.removed;
            match &*element.tag() {
                "html" => {
                    let declared = element.attribute("lang").or_else(|| element.attribute("xml:lang"));
                    self.out.head.language = declared.and_then(language);
                }
                "title"
                    if &*element.name.ns == "http://www.w3.org/1999/xhtml"
                        && self.out.head.title.is_none() =>
                {
                    let title = chars::line(&text(dom, id), 300, removed);
                    self.out.head.title = Some(title).filter(|title| !title.is_empty());
                }
                "meta" if self.out.head.description.is_none() => {
                    let is_it =
                        element.attribute("name").is_some_and(|n| n.eq_ignore_ascii_case("description"));
                    if let Some(content) = element.attribute("content").filter(|_| is_it) {
                        let description = chars::line(content, 500, removed);
                        self.out.head.description = Some(description).filter(|text| !text.is_empty());
                    }
                }
                "base" => {
                    if let Some(elsewhere) = element.attribute("href").and_then(|href| self.base.set(href)) {
                        self.mark("base-elsewhere", &elsewhere);
                    }
                }
                "style" if hidden::is_for_screens(element) => self.sheet.read(&text(dom, id)),
                _ => {}
            }
        }
    }

    pub(crate) fn mark(&mut self, rule: &str, excerpt: &str) {
        let excerpt = chars::line(excerpt, 119, &mut Removed::default());
        let marker = Marker { rule: rule.to_owned(), excerpt, dropped: false };
        if self.out.markers.len() < limits::MARKERS && !self.out.markers.contains(&marker) {
            self.out.markers.push(marker);
        }
    }

    /// What is not to be shown of an element, and why; otherwise what holds inside it.
    fn enter(
        &mut self,
        id: Id,
        element: &Element,
        tag: &str,
        context: &Context,
    ) -> Result<Context, Option<Reason>> {
        match hidden::by_name(element, tag) {
            Kept::Yes => {}
            Kept::NoText => return Err(None),
            Kept::No(reason) => return Err(Some(reason)),
        }
        if self.sheet.is_spent() || context.depth >= limits::DEPTH + 50 {
            let bound = if self.sheet.is_spent() { Truncation::Nodes } else { Truncation::Depth };
            self.out.truncated.get_or_insert(bound);
            return Err(Some(Reason::Element));
        }
        if hidden::by_attribute(element, tag) {
            return Err(Some(Reason::HiddenAttribute));
        }
        let mut inside = Context {
            depth: context.depth + 1,
            place: context.place.inside(element, tag),
            ..context.clone()
        };
        let mut style = Style::default();
        self.sheet.apply(element, tag, &mut style);
        if let Some(inline) = element.attribute("style") {
            style.add_inline(inline);
        }
        let legacy = hidden::colours(element, tag);
        if let Some(ink) = style.colour().or(legacy.ink) {
            inside.ink = Some(ink);
        }
        match style.background() {
            Behind::Colour(colour) => inside.behind = Some(colour),
            Behind::Unknown => inside.behind = None,
            Behind::Parent if legacy.behind.is_some() => inside.behind = legacy.behind,
            Behind::Parent => {}
        }
        match style.seen(inside.ink.as_ref(), inside.behind.as_ref()) {
            Seen::No => return Err(Some(Reason::HiddenStyle)),
            Seen::SameColour => return Err(Some(Reason::HiddenColour)),
            Seen::Yes if legacy.speaks => {
                if let (Some(ink), Some(behind)) = (&inside.ink, &inside.behind)
                    && ink.is_like(behind)
                {
                    return Err(Some(Reason::HiddenColour));
                }
            }
            Seen::Yes => {}
        }
        if let Some(density) = &self.density
            && id != self.root
            && (boilerplate::by_meaning(element, tag, context.place)
                || !context.place.content && density.is_links(self.dom, id, tag, self.root))
        {
            return Err(Some(Reason::Boilerplate));
        }
        Ok(inside)
    }

    pub(crate) fn children(&mut self, of: Id, context: &Context) {
        let dom = self.dom;
        for id in dom.children(of) {
            self.node(id, context);
        }
    }

    pub(crate) fn node(&mut self, id: Id, context: &Context) {
        let dom = self.dom;
        match &dom.nodes[id].data {
            Data::Text(text) => self.text(text),
            Data::Element(element) => {
                let tag = element.tag();
                if let Some(inside) = self.enter_counted(id, element, &tag, context) {
                    self.element(id, element, &tag, &inside);
                }
            }
            Data::Document | Data::Comment | Data::Instruction => {}
        }
    }

    /// As `enter`, with the account kept. The headline of a site's header is the page's if there is one.
    pub(crate) fn enter_counted(
        &mut self,
        id: Id,
        element: &Element,
        tag: &str,
        context: &Context,
    ) -> Option<Context> {
        match self.enter(id, element, tag, context) {
            Ok(inside) => Some(inside),
            Err(reason) => {
                if let Some(reason) = reason {
                    self.out.removed.count(reason);
                }
                if reason == Some(Reason::Boilerplate)
                    && (tag == "header" || element.attribute("role") == Some("banner"))
                {
                    self.headline(id, context);
                }
                None
            }
        }
    }

    fn headline(&mut self, header: Id, context: &Context) {
        let dom = self.dom;
        let found = dom.below(header).find(|id| dom.element(*id).is_some_and(|e| &*e.tag() == "h1"));
        let Some(h1) = found else { return };
        // Everything between the header and its headline may hide it.
        let mut path = vec![h1];
        while let Some(parent) = dom.nodes[path[path.len() - 1]].parent.filter(|parent| *parent != header) {
            path.push(parent);
        }
        let mut inside = context.clone();
        for id in path.into_iter().rev() {
            let Some(element) = dom.element(id) else { return };
            match self.enter(id, element, &element.tag(), &inside) {
                Ok(next) => inside = next,
                Err(_) => return,
            }
        }
        self.heading(h1, 1, &inside);
    }

    fn text(&mut self, text: &str) {
        let text = chars::clean(text, &mut self.out.removed);
        for word in chars::mixed_words(&text) {
            self.mark("mixed-scripts", word);
        }
        self.inline.text(&text);
    }

    /// Ends the paragraph.
    pub(crate) fn flush(&mut self) {
        let spans = self.inline.take();
        if !spans.is_empty() {
            self.blocks.push(Block::Paragraph(spans));
        }
    }

    /// What an element's children make, on their own.
    pub(crate) fn capture(&mut self, of: Id, context: &Context) -> Vec<Block> {
        self.captured(|extractor| extractor.children(of, context))
    }

    pub(crate) fn captured(&mut self, read: impl FnOnce(&mut Self)) -> Vec<Block> {
        self.flush();
        let outside = std::mem::take(&mut self.blocks);
        read(self);
        self.flush();
        std::mem::replace(&mut self.blocks, outside)
    }

    pub(crate) fn link(&mut self, href: Option<&str>) {
        let href = href.filter(|href| !Base::is_here(href));
        let url = href.and_then(|href| {
            let url = self.base.absolute(href);
            if url.is_none() {
                self.out.removed.count(Reason::LinkTarget);
            }
            url
        });
        self.inline.link(url);
    }
}

/// All text below, as it is in the document.
pub(crate) fn text(dom: &Dom, of: Id) -> String {
    let texts = dom.below(of).filter_map(|id| match &dom.nodes[id].data {
        Data::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

pub(crate) fn language(declared: &str) -> Option<String> {
    let declared = declared.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    ((2..=35).contains(&declared.len()) && declared.chars().all(fits)).then(|| declared.to_owned())
}

impl Extractor<'_> {
    pub(crate) fn push_code(&mut self, text: &str) {
        let code = chars::clean(text, &mut self.out.removed).split_whitespace().collect::<Vec<_>>().join(" ");
        if !code.is_empty() {
            self.inline.span(Span::Code(code));
        }
    }
}
