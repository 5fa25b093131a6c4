//! Text into a tree, by the rules of the HTML standard (html5ever) and within bounds. When a bound is met the rest of
//! the page is left out: to go on without the elements that no longer fit would show what they hide.

use std::cell::Cell;

use html5ever::TokenizerResult;
use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::TreeSink as _;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};

use crate::dom::{Bound, Dom, Id, Sink};
use crate::limits;

/// Between tokenizer and tree: lets nothing through once a bound is met.
struct Guard {
    tree: TreeBuilder<Id, Sink>,
    /// Whether a token came since this was last cleared: if not, the tokenizer is inside a tag or a comment.
    emitted: Cell<bool>,
    comments: Cell<u32>,
}

impl TokenSink for Guard {
    type Handle = Id;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<Id> {
        match token {
            Token::ParseError(_) => return TokenSinkResult::Continue,
            Token::CommentToken(_) => self.comments.set(self.comments.get().saturating_add(1)),
            Token::TagToken(ref tag) if tag.attrs.len() > limits::ATTRIBUTES => {
                self.tree.sink.bound.set(Some(Bound::Attributes));
            }
            _ => {}
        }
        self.emitted.set(true);
        if self.tree.sink.bound.get().is_some() && token != Token::EOFToken {
            return TokenSinkResult::Continue;
        }
        self.tree.process_token(token, line)
    }

    fn end(&self) {
        self.tree.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.tree.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

pub(crate) struct Parsed {
    pub(crate) dom: Dom,
    pub(crate) comments: u32,
}

pub(crate) fn parse(text: &str) -> Parsed {
    // Scripting counts as on: what `noscript` holds is text that a reader does not see.
    let options = TreeBuilderOpts { scripting_enabled: true, ..TreeBuilderOpts::default() };
    let tree = TreeBuilder::new(Sink::new(), options);
    let guard = Guard { tree, emitted: Cell::new(false), comments: Cell::new(0) };
    let tokenizer = Tokenizer::new(guard, TokenizerOpts::default());
    let input = BufferQueue::default();
    let mut tag: Option<Tag> = None;
    for piece in pieces(text) {
        let guard = &tokenizer.sink;
        guard.emitted.set(false);
        input.push_back(StrTendril::from_slice(piece));
        while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
        let guard = &tokenizer.sink;
        if guard.emitted.get() {
            tag = None;
        } else {
            let tag = tag.get_or_insert_with(|| Tag::begins(piece));
            if tag.attributes(piece) > limits::ATTRIBUTES {
                guard.tree.sink.bound.set(Some(Bound::Attributes));
            }
        }
        if guard.tree.sink.bound.get().is_some() {
            break;
        }
    }
    tokenizer.end();
    let comments = tokenizer.sink.comments.get();
    Parsed { dom: tokenizer.sink.tree.sink.finish(), comments }
}

/// The text in pieces that begin at every `<` and are short, so that a tag of endless attributes is noticed while it
/// is still cheap.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const LONGEST: usize = 2048;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let angle = rest.bytes().skip(1).position(|byte| byte == b'<').map_or(rest.len(), |at| at + 1);
        let mut end = angle.min(LONGEST);
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// An unfinished tag, as far as it takes to count its attributes.
struct Tag {
    state: State,
    attributes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    NotATag,
    Between,
    Name,
    Value,
    Unquoted,
    Quoted(u8),
}

impl Tag {
    fn begins(piece: &str) -> Self {
        let bytes = piece.as_bytes();
        let letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
        let is_tag = bytes.first() == Some(&b'<') && (letter(1) || bytes.get(1) == Some(&b'/') && letter(2));
        Self { state: if is_tag { State::Name } else { State::NotATag }, attributes: 0 }
    }

    fn attributes(&mut self, piece: &str) -> usize {
        for byte in piece.bytes() {
            let space = byte.is_ascii_whitespace();
            self.state = match self.state {
                State::NotATag => return 0,
                State::Quoted(quote) if byte == quote => State::Between,
                State::Quoted(_) => self.state,
                State::Value if space => State::Value,
                State::Value if matches!(byte, b'"' | b'\'') => State::Quoted(byte),
                State::Value => State::Unquoted,
                State::Unquoted if space => State::Between,
                State::Unquoted => State::Unquoted,
                State::Name | State::Between if byte == b'=' => State::Value,
                State::Name | State::Between if space || byte == b'/' => State::Between,
                State::Name => State::Name,
                State::Between => {
                    self.attributes += 1;
                    State::Name
                }
            };
        }
        self.attributes
    }
}
