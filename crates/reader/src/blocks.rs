//! A page between its tree and its text: blocks of inline spans. What is here is clean: no invisible characters, no
//! hidden text, targets absolute.

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Span {
    Text(String),
    Code(String),
    /// The `alt` of a picture.
    Image(String),
    LinkStart(String),
    LinkEnd,
    Break,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block {
    Paragraph(Vec<Span>),
    Heading(u8, Vec<Span>),
    Code { language: String, text: String },
    Quote(Vec<Block>),
    List { first: Option<u32>, items: Vec<Vec<Block>> },
    Table { header: bool, rows: Vec<Vec<Vec<Span>>> },
    Rule,
}

/// Gathers spans: white space as a browser lays it out, links that begin at their first text and end at their last.
#[derive(Debug, Default)]
pub(crate) struct Inline {
    spans: Vec<Span>,
    space: bool,
    link: Option<String>,
    open: bool,
}

impl Inline {
    fn begin(&mut self) {
        if std::mem::take(&mut self.space) && !matches!(self.spans.last(), None | Some(Span::Break)) {
            self.raw(" ");
        }
        if let Some(url) = self.link.clone().filter(|_| !self.open) {
            self.spans.push(Span::LinkStart(url));
            self.open = true;
        }
    }

    fn raw(&mut self, text: &str) {
        match self.spans.last_mut() {
            Some(Span::Text(known)) => known.push_str(text),
            _ => self.spans.push(Span::Text(text.to_owned())),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let trimmed = rest.trim_start();
            self.space |= trimmed.len() < rest.len();
            if trimmed.is_empty() {
                return;
            }
            let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            self.begin();
            self.raw(&trimmed[..end]);
            rest = &trimmed[end..];
        }
    }

    pub(crate) fn span(&mut self, span: Span) {
        self.begin();
        self.spans.push(span);
    }

    /// Whether the line so far ends with a break, so that another makes a paragraph.
    pub(crate) fn broken(&self) -> bool {
        self.spans.last() == Some(&Span::Break)
    }

    pub(crate) fn line_break(&mut self) {
        self.space = false;
        if !self.spans.is_empty() {
            self.spans.push(Span::Break);
        }
    }

    pub(crate) fn link(&mut self, url: Option<String>) {
        if std::mem::take(&mut self.open) {
            self.spans.push(Span::LinkEnd);
        }
        self.link = url;
    }

    /// The spans so far. A link goes with the first of the blocks inside it.
    pub(crate) fn take(&mut self) -> Vec<Span> {
        if self.open {
            self.link(None);
        }
        self.space = false;
        let mut spans = std::mem::take(&mut self.spans);
        while let Some(at) = spans.iter().rposition(|span| *span != Span::LinkEnd) {
            if spans[at] != Span::Break {
                break;
            }
            spans.remove(at);
        }
        spans
    }
}

/// All spans of blocks, in one line.
pub(crate) fn flatten(blocks: Vec<Block>) -> Vec<Span> {
    let mut out = Vec::new();
    let mut add = |spans: Vec<Span>| {
        if !out.is_empty() && !spans.is_empty() {
            out.push(Span::Text(" ".into()));
        }
        out.extend(spans.into_iter().map(|span| match span {
            Span::Break => Span::Text(" ".into()),
            span => span,
        }));
    };
    let mut pending: Vec<Block> = blocks.into_iter().rev().collect();
    while let Some(block) = pending.pop() {
        match block {
            Block::Paragraph(spans) | Block::Heading(_, spans) => add(spans),
            Block::Code { text, .. } => {
                add(vec![Span::Code(text.split_whitespace().collect::<Vec<_>>().join(" "))]);
            }
            Block::Quote(blocks) => pending.extend(blocks.into_iter().rev()),
            Block::List { items, .. } => {
                pending.extend(items.into_iter().rev().flat_map(|item| item.into_iter().rev()));
            }
            Block::Table { rows, .. } => rows.into_iter().flatten().for_each(&mut add),
            Block::Rule => {}
        }
    }
    merge(out)
}

/// Neighbouring texts as one: what is escaped depends on neighbours.
fn merge(spans: Vec<Span>) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match (out.last_mut(), span) {
            (Some(Span::Text(known)), Span::Text(more)) => known.push_str(&more),
            (_, span) => out.push(span),
        }
    }
    out
}

pub(crate) fn plain(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        match span {
            Span::Text(text) | Span::Code(text) | Span::Image(text) => out.push_str(text),
            Span::Break => out.push(' '),
            Span::LinkStart(_) | Span::LinkEnd => {}
        }
    }
    out
}
