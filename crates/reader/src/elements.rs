//! What each element becomes.

use crate::blocks::{Block, Span, flatten};
use crate::chars;
use crate::dom::{Data, Element, Id};
use crate::extract::{Context, Extractor};
use crate::limits;

impl Extractor<'_> {
    pub(crate) fn element(&mut self, id: Id, element: &Element, tag: &str, inside: &Context) {
        match tag {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading(id, tag.as_bytes()[1] - b'0', inside),
            "ul" | "menu" | "dir" => self.list(id, None, inside),
            "ol" => {
                let first =
                    element.attribute("start").and_then(|start| start.trim().parse().ok()).unwrap_or(1);
                self.list(id, Some(first), inside);
            }
            "blockquote" => {
                let blocks = self.capture(id, inside);
                if !blocks.is_empty() {
                    self.blocks.push(Block::Quote(blocks));
                }
            }
            "pre" | "listing" | "xmp" | "plaintext" => self.code_block(id, element, inside),
            "table" => self.table(id, element, inside),
            "hr" => {
                self.flush();
                self.blocks.push(Block::Rule);
            }
            "br" => {
                if self.inline.broken() {
                    self.flush();
                } else {
                    self.inline.line_break();
                }
            }
            "a" => {
                self.link(element.attribute("href"));
                self.children(id, inside);
                self.inline.link(None);
            }
            "img" | "image" => self.image(element),
            "code" | "kbd" | "samp" | "tt" => {
                let mut text = String::new();
                self.verbatim(id, inside, &mut text);
                self.push_code(&text);
            }
            "q" => {
                self.inline.span(Span::Text("“".into()));
                self.children(id, inside);
                self.inline.span(Span::Text("”".into()));
            }
            "rt" => {
                let reading = flatten(self.aside(id, inside));
                let reading = crate::blocks::plain(&reading);
                if !reading.is_empty() {
                    self.inline.span(Span::Text(format!("({reading})")));
                }
            }
            "dl" => {
                let blocks = self.capture(id, inside);
                self.blocks.extend(blocks);
            }
            "dd" => {
                let blocks = self.capture(id, inside);
                if !blocks.is_empty() {
                    match self.blocks.last_mut() {
                        // Several meanings of one word are one list.
                        Some(Block::List { first: None, items }) => items.push(blocks),
                        _ => self.blocks.push(Block::List { first: None, items: vec![blocks] }),
                    }
                }
            }
            _ if is_block(tag) => {
                self.flush();
                self.children(id, inside);
                self.flush();
            }
            _ => self.children(id, inside),
        }
    }

    pub(crate) fn heading(&mut self, id: Id, level: u8, inside: &Context) {
        let spans = flatten(self.capture(id, inside));
        if !spans.is_empty() {
            self.blocks.push(Block::Heading(level, spans));
        }
    }

    /// As `capture`, in the middle of a line.
    fn aside(&mut self, id: Id, inside: &Context) -> Vec<Block> {
        let inline = std::mem::take(&mut self.inline);
        let blocks = self.capture(id, inside);
        self.inline = inline;
        blocks
    }

    fn list(&mut self, id: Id, first: Option<u32>, inside: &Context) {
        self.flush();
        let dom = self.dom;
        let mut items: Vec<Vec<Block>> = Vec::new();
        for child in dom.children(id) {
            let blocks = self.captured(|extractor| extractor.node(child, inside));
            if blocks.is_empty() {
                continue;
            }
            // A list inside a list, without an item around it, belongs to the item before.
            let loose = dom.element(child).is_some_and(|element| matches!(&*element.tag(), "ul" | "ol"));
            match items.last_mut().filter(|_| loose) {
                Some(item) => item.extend(blocks),
                None => items.push(blocks),
            }
        }
        if !items.is_empty() {
            self.blocks.push(Block::List { first, items });
        }
    }

    /// Text with its white space.
    fn verbatim(&mut self, of: Id, context: &Context, text: &mut String) {
        let dom = self.dom;
        for id in dom.children(of) {
            match &dom.nodes[id].data {
                Data::Text(more) => text.push_str(more),
                Data::Element(element) => {
                    let tag = element.tag();
                    if let Some(inside) = self.enter_counted(id, element, &tag, context) {
                        let lines =
                            tag == "br" || is_block(&tag) && !text.is_empty() && !text.ends_with('\n');
                        if lines {
                            text.push('\n');
                        }
                        self.verbatim(id, &inside, text);
                    }
                }
                _ => {}
            }
        }
    }

    fn code_block(&mut self, id: Id, element: &Element, inside: &Context) {
        let mut text = String::new();
        self.flush();
        self.verbatim(id, inside, &mut text);
        let text = chars::clean(&text.replace("\r\n", "\n").replace('\r', "\n"), &mut self.out.removed);
        let text = text.trim_end().trim_start_matches('\n').to_owned();
        if text.is_empty() {
            return;
        }
        let dom = self.dom;
        let inner = dom.children(id).filter_map(|id| dom.element(id)).find(|inner| &*inner.tag() == "code");
        let language =
            [Some(element), inner].into_iter().flatten().find_map(code_language).unwrap_or_default();
        self.blocks.push(Block::Code { language, text });
    }

    fn image(&mut self, element: &Element) {
        let side = |name: &str| element.attribute(name).and_then(|size| size.trim().parse::<u32>().ok());
        let pixel =
            side("width").is_some_and(|width| width <= 1) || side("height").is_some_and(|height| height <= 1);
        let alt = element.attribute("alt").filter(|_| !pixel).unwrap_or_default();
        let alt = chars::line(alt, 500, &mut self.out.removed);
        if !alt.is_empty() {
            self.inline.span(Span::Image(alt));
        }
    }

    fn table(&mut self, id: Id, element: &Element, inside: &Context) {
        self.flush();
        let mut rows: Vec<(bool, Vec<Vec<Block>>)> = Vec::new();
        self.rows(id, inside, &mut rows);
        rows.retain(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()));
        // What spans more columns than any row fills makes none.
        let filled =
            |cells: &Vec<Vec<Block>>| cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |at| at + 1);
        let columns = rows.iter().map(|(_, cells)| filled(cells)).max().unwrap_or(0);
        let role = element.attribute("role").unwrap_or_default();
        let simple = |cell: &Vec<Block>| cell.iter().all(|block| matches!(block, Block::Paragraph(_)));
        let is_layout = columns < 2
            || matches!(role, "presentation" | "none")
            || !rows.iter().all(|(_, cells)| cells.iter().all(simple));
        if is_layout {
            self.blocks.extend(rows.into_iter().flat_map(|(_, cells)| cells).flatten());
            return;
        }
        let header = rows.first().is_some_and(|(header, _)| *header);
        let rows = rows.into_iter().map(|(_, cells)| {
            let mut cells: Vec<Vec<Span>> = cells.into_iter().map(flatten).collect();
            cells.resize(columns, Vec::new());
            cells
        });
        self.blocks.push(Block::Table { header, rows: rows.collect() });
    }

    fn rows(&mut self, of: Id, context: &Context, rows: &mut Vec<(bool, Vec<Vec<Block>>)>) {
        let dom = self.dom;
        for id in dom.children(of) {
            let Some(element) = dom.element(id) else { continue };
            let tag = element.tag();
            let Some(inside) = self.enter_counted(id, element, &tag, context) else { continue };
            match &*tag {
                "thead" | "tbody" | "tfoot" => self.rows(id, &inside, rows),
                "tr" => {
                    let row = self.cells(id, &inside);
                    rows.push(row);
                }
                // A caption, and what the parser could not move out.
                _ => {
                    let blocks = self.capture(id, &inside);
                    self.blocks.extend(blocks);
                }
            }
        }
    }

    fn cells(&mut self, row: Id, context: &Context) -> (bool, Vec<Vec<Block>>) {
        let dom = self.dom;
        let (mut cells, mut header) = (Vec::new(), true);
        for id in dom.children(row) {
            let Some(element) = dom.element(id) else { continue };
            let tag = element.tag();
            if cells.len() >= limits::COLUMNS {
                break;
            }
            // A hidden cell keeps its column, so that the others keep theirs.
            let blocks = match self.enter_counted(id, element, &tag, context) {
                Some(inside) => self.capture(id, &inside),
                None => Vec::new(),
            };
            header &= tag == "th";
            cells.push(blocks);
            let wide =
                element.attribute("colspan").and_then(|span| span.trim().parse::<usize>().ok()).unwrap_or(1);
            let wide = wide.clamp(1, limits::COLUMNS - cells.len() + 1);
            cells.resize(cells.len() + wide - 1, Vec::new());
        }
        (header && !cells.is_empty(), cells)
    }
}

fn is_block(tag: &str) -> bool {
    matches!(
        tag,
        "address"
            | "article"
            | "aside"
            | "body"
            | "caption"
            | "center"
            | "details"
            | "dialog"
            | "div"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "hgroup"
            | "html"
            | "legend"
            | "li"
            | "main"
            | "nav"
            | "p"
            | "search"
            | "section"
            | "summary"
            | "tbody"
            | "td"
            | "tfoot"
            | "th"
            | "thead"
            | "tr"
    )
}

/// `language-rust`, `lang-rust`, `highlight-source-rust`.
fn code_language(element: &Element) -> Option<String> {
    element.attribute("class")?.split_ascii_whitespace().find_map(|class| {
        let name = ["language-", "lang-", "highlight-source-"]
            .iter()
            .find_map(|prefix| class.strip_prefix(prefix))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '#' | '-' | '.');
        ((1..=20).contains(&name.len()) && name.chars().all(fits)).then(|| name.to_ascii_lowercase())
    })
}
