//! Blocks into lines of Markdown (`CommonMark` with tables) or of plain text. In Markdown every character of the page that could
//! be markup is escaped; what is verbatim stands in fences longer than any inside.

use crate::blocks::{Block, Span, plain};
use crate::limits;
use crate::rules::Style;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The fence of a code block: it stays when the lines between go.
    pub(crate) fence: bool,
    /// Inside a fence.
    pub(crate) verbatim: bool,
}

impl Line {
    fn new(text: String) -> Self {
        Self { text, fence: false, verbatim: false }
    }
}

/// The lines of each top block.
pub(crate) fn render(blocks: &[Block], style: Style) -> Vec<Vec<Line>> {
    let rendered = blocks.iter().map(|block| lines(block, style, 0));
    rendered.filter(|lines| !lines.is_empty()).collect()
}

fn lines(block: &Block, style: Style, nesting: usize) -> Vec<Line> {
    let markdown = style == Style::Markdown;
    match block {
        Block::Paragraph(spans) => inline(spans, style).into_iter().map(Line::new).collect(),
        Block::Heading(level, spans) if markdown => {
            let mut text = inline(spans, style).join(" ");
            // A closing run of `#` would be taken for markup.
            if text.ends_with('#') {
                text.insert(text.len() - 1, '\\');
            }
            vec![Line::new(format!("{} {text}", "#".repeat(usize::from(*level))))]
        }
        Block::Heading(_, spans) => vec![Line::new(plain(spans))],
        Block::Code { language, text } => code(language, text, markdown),
        Block::Quote(blocks) => {
            let prefix = if nesting < limits::NESTING { "> " } else { "" };
            prefixed(nested(blocks, style, nesting + 1), prefix, prefix)
        }
        Block::List { first, items } => list(*first, items, style, nesting),
        Block::Table { header, rows } if markdown => table(*header, rows),
        Block::Table { rows, .. } => {
            let row =
                |row: &Vec<Vec<Span>>| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>().join("\t");
            rows.iter().map(|cells| Line::new(row(cells).trim_end().to_owned())).collect()
        }
        Block::Rule if markdown => vec![Line::new("---".into())],
        Block::Rule => Vec::new(),
    }
}

fn nested(blocks: &[Block], style: Style, nesting: usize) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    for block in blocks {
        let lines = lines(block, style, nesting);
        if !out.is_empty() && !lines.is_empty() {
            out.push(Line::new(String::new()));
        }
        out.extend(lines);
    }
    out
}

fn prefixed(lines: Vec<Line>, first: &str, rest: &str) -> Vec<Line> {
    let prefixed = lines.into_iter().enumerate().map(|(at, mut line)| {
        let prefix = if at == 0 { first } else { rest };
        line.text = if line.text.is_empty() {
            prefix.trim_end().to_owned()
        } else {
            format!("{prefix}{}", line.text)
        };
        line
    });
    prefixed.collect()
}

fn list(first: Option<u32>, items: &[Vec<Block>], style: Style, nesting: usize) -> Vec<Line> {
    // An item of several paragraphs makes the list a loose one.
    let is_tight = |item: &Vec<Block>| {
        item.iter().filter(|block| !matches!(block, Block::List { .. })).count() <= 1
            && !matches!(item.first(), Some(Block::Table { .. } | Block::Code { .. }))
    };
    let tight = items.iter().all(is_tight);
    let mut out: Vec<Line> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let mut lines = nested(item, style, nesting + 1);
        if tight {
            lines.retain(|line| !line.text.is_empty());
        } else if !out.is_empty() {
            out.push(Line::new(String::new()));
        }
        let marker = match first {
            Some(first) => format!("{}. ", u64::from(first.min(999_999_999)) + at as u64),
            None => "- ".to_owned(),
        };
        let indent = if nesting < limits::NESTING { " ".repeat(marker.len()) } else { String::new() };
        let marker = if nesting < limits::NESTING { marker } else { String::new() };
        out.extend(prefixed(lines, &marker, &indent));
    }
    out
}

fn code(language: &str, text: &str, markdown: bool) -> Vec<Line> {
    let verbatim =
        text.split('\n').map(|line| Line { text: line.trim_end().into(), fence: false, verbatim: markdown });
    if !markdown {
        return verbatim.collect();
    }
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    let fence_line = |text: String| Line { text, fence: true, verbatim: false };
    let mut out = vec![fence_line(format!("{fence}{language}"))];
    out.extend(verbatim);
    out.push(fence_line(fence));
    out
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn table(header: bool, rows: &[Vec<Vec<Span>>]) -> Vec<Line> {
    let cell = |cell: &Vec<Span>| inline_in(cell, Style::Markdown, true).join(" ");
    let row = |cells: Vec<String>| Line::new(format!("| {} |", cells.join(" | ")));
    let columns = rows.first().map_or(0, Vec::len);
    let (head, rest) = if header { rows.split_at(1) } else { rows.split_at(0) };
    let head =
        head.first().map_or_else(|| vec![String::new(); columns], |head| head.iter().map(cell).collect());
    let mut out = vec![row(head), row(vec!["---".to_owned(); columns])];
    out.extend(rest.iter().map(|cells| row(cells.iter().map(cell).collect())));
    out
}

fn inline(spans: &[Span], style: Style) -> Vec<String> {
    inline_in(spans, style, false)
}

fn inline_in(spans: &[Span], style: Style, in_table: bool) -> Vec<String> {
    let markdown = style == Style::Markdown;
    let mut lines = vec![String::new()];
    let mut target: Option<&str> = None;
    for (at, span) in spans.iter().enumerate() {
        let out = lines.last_mut().expect("there is always a line");
        match span {
            Span::Text(text) if markdown => {
                let after_image = at > 0 && matches!(spans[at - 1], Span::Image(_));
                if after_image && text.starts_with('(') {
                    out.push('\\');
                }
                let before_link = !matches!(spans.get(at + 1), None | Some(Span::Text(_)));
                escape(text, out, Surroundings { in_table, before_link });
            }
            Span::Text(text) | Span::Code(text) if !markdown => out.push_str(text),
            Span::Text(text) | Span::Code(text) => code_span(text, out, in_table),
            Span::Image(alt) if markdown => {
                out.push_str("![");
                escape(alt, out, Surroundings { in_table, before_link: false });
                out.push(']');
            }
            Span::Image(alt) => out.push_str(alt),
            Span::LinkStart(url) if markdown => {
                out.push('[');
                target = Some(url);
            }
            Span::LinkEnd if markdown => {
                let Some(url) = target.take() else { continue };
                let angled = url.contains(['(', ')']);
                out.extend(if angled { ["](<", url, ">)"] } else { ["](", url, ")"] });
            }
            Span::LinkStart(_) | Span::LinkEnd => {}
            Span::Break => {
                if markdown && !in_table {
                    out.push('\\');
                }
                lines.push(String::new());
            }
        }
    }
    lines
}

fn code_span(text: &str, out: &mut String, in_table: bool) {
    let fence = "`".repeat(longest_run(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    let text = if in_table { text.replace('|', "\\|") } else { text.to_owned() };
    out.extend([&fence, pad, &text, pad, &fence]);
}

#[derive(Clone, Copy)]
struct Surroundings {
    in_table: bool,
    before_link: bool,
}

/// Writes text so that Markdown shows it as it is.
fn escape(text: &str, out: &mut String, around: Surroundings) {
    let chars: Vec<char> = text.chars().collect();
    let line_start = out.chars().all(char::is_whitespace);
    let start = if line_start { escape_start(&chars, out) } else { 0 };
    for at in start..chars.len() {
        let c = chars[at];
        let before = at.checked_sub(1).map(|at| chars[at]).or_else(|| out.chars().last());
        let next = chars.get(at + 1).copied();
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let special = match c {
            '`' | '*' | '[' | ']' | '<' | '~' => true,
            '_' => !(word(before) && word(next)),
            '\\' => next.is_none_or(|next| next.is_ascii_punctuation()),
            '&' => {
                next.is_some_and(|next| next == '#' || next.is_ascii_alphabetic())
                    && names_entity(&chars[at + 1..])
            }
            '|' => around.in_table,
            '!' => next.is_none() && around.before_link,
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
    }
}

fn names_entity(rest: &[char]) -> bool {
    rest.iter().take(40).find(|c| !c.is_ascii_alphanumeric() && **c != '#') == Some(&';')
}

/// What would make a line a heading, an item, a quote, a rule or a table. The answer: how many characters are written.
fn escape_start(chars: &[char], out: &mut String) -> usize {
    let run = |wanted: char| chars.iter().take_while(|c| **c == wanted).count();
    let ends = |at: usize| chars.get(at).is_none_or(|c| c.is_whitespace());
    let digits = chars.iter().take_while(|c| c.is_ascii_digit()).count();
    match chars.first() {
        Some('#') if ends(run('#')) => out.push('\\'),
        Some('-' | '+') if ends(1) => out.push('\\'),
        Some('-' | '=' | '+') if run('-') > 1 || run('=') > 0 || run('+') > 1 => out.push('\\'),
        Some('>' | '|') => out.push('\\'),
        Some(':') if chars.get(1) == Some(&'-') => out.push('\\'),
        Some('0'..='9')
            if digits <= 9 && matches!(chars.get(digits), Some('.' | ')')) && ends(digits + 1) =>
        {
            out.extend(&chars[..digits]);
            out.push('\\');
            out.push(chars[digits]);
            return digits + 1;
        }
        _ => return 0,
    }
    match chars.first() {
        // One that is escaped anyway would be so twice.
        Some('~' | '*' | '<') | None => 0,
        Some(c) => {
            out.push(*c);
            1
        }
    }
}
