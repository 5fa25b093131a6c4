//! Declarations of one element, and whether they hide it.

use super::colour::Colour;
use super::tokens::{Token, tokens};

/// Who wins: importance, then specificity (inline above all selectors), then order.
pub(super) type Weight = (bool, u32, usize);

#[derive(Clone, Debug)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) value: Vec<Token>,
    pub(super) important: bool,
}

const INLINE: u32 = u32::MAX;

/// What our questions need; anything else is not kept.
const ASKED: [&str; 34] = [
    "display",
    "visibility",
    "content-visibility",
    "opacity",
    "filter",
    "font-size",
    "font",
    "position",
    "left",
    "right",
    "top",
    "bottom",
    "inset",
    "margin",
    "margin-left",
    "margin-top",
    "text-indent",
    "clip",
    "clip-path",
    "transform",
    "scale",
    "zoom",
    "width",
    "height",
    "max-width",
    "max-height",
    "overflow",
    "overflow-x",
    "overflow-y",
    "color",
    "-webkit-text-fill-color",
    "background",
    "background-color",
    "background-image",
];

/// The declarations of a block's inside, or of a `style` attribute. Nested rules are passed over.
pub(super) fn declarations(tokens: &[Token]) -> Vec<Declaration> {
    let mut out = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for at in 0..=tokens.len() {
        match tokens.get(at) {
            Some(Token::Sign('{' | '(' | '[') | Token::Function(_)) => depth += 1,
            Some(Token::Sign('}')) if depth == 1 => {
                // A nested rule ends; what follows is a declaration again.
                depth = 0;
                start = at + 1;
            }
            Some(Token::Sign('}' | ')' | ']')) => depth = depth.saturating_sub(1),
            Some(Token::Sign(';')) | None if depth == 0 || at == tokens.len() => {
                out.extend(declaration(&tokens[start.min(at)..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    out
}

fn declaration(tokens: &[Token]) -> Option<Declaration> {
    let mut solid = tokens.iter().filter(|token| **token != Token::Space);
    let Some(Token::Ident(name)) = solid.next() else { return None };
    if solid.next() != Some(&Token::Sign(':')) || !ASKED.contains(&name.as_str()) {
        return None;
    }
    let mut value: Vec<Token> = solid.cloned().collect();
    let important = value.ends_with(&[Token::Sign('!'), Token::Ident("important".into())]);
    if important {
        value.truncate(value.len() - 2);
    }
    Some(Declaration { name: name.clone(), value, important })
}

/// What holds for one element once all that applies to it was added.
#[derive(Debug, Default)]
pub(crate) struct Style {
    set: Vec<(String, Weight, Vec<Token>)>,
}

/// What is behind an element's text.
#[derive(Debug, PartialEq)]
pub(crate) enum Behind {
    /// What is behind its parent's.
    Parent,
    Colour(Colour),
    /// A picture, or a colour that we do not know.
    Unknown,
}

/// How an element is, or is not, seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Yes,
    No,
    SameColour,
}

impl Style {
    pub(super) fn add(&mut self, declaration: &Declaration, specificity: u32, order: usize) {
        let weight = (declaration.important, specificity, order);
        match self.set.iter_mut().find(|(name, ..)| *name == declaration.name) {
            Some((_, known, _)) if *known > weight => {}
            Some((_, known, value)) => (*known, *value) = (weight, declaration.value.clone()),
            None => self.set.push((declaration.name.clone(), weight, declaration.value.clone())),
        }
    }

    pub(crate) fn add_inline(&mut self, text: &str) {
        for (order, declaration) in declarations(&tokens(text)).iter().enumerate() {
            self.add(declaration, INLINE, order);
        }
    }

    fn value(&self, name: &str) -> Option<&[Token]> {
        self.set.iter().find(|(known, ..)| known == name).map(|(.., value)| value.as_slice())
    }

    fn is(&self, name: &str, words: &[&str]) -> bool {
        let value = self.value(name).unwrap_or_default();
        value.iter().any(|token| matches!(token, Token::Ident(word) if words.contains(&word.as_str())))
    }

    fn lengths(&self, name: &str) -> impl Iterator<Item = f64> + '_ {
        self.value(name).unwrap_or_default().iter().filter_map(pixels)
    }

    pub(crate) fn colour(&self) -> Option<Colour> {
        Colour::read(self.value("-webkit-text-fill-color").or_else(|| self.value("color"))?)
    }

    pub(crate) fn background(&self) -> Behind {
        let pictured = |value: &[Token]| {
            value.iter().any(|token| {
                matches!(token, Token::Function(name) if name == "url" || name.contains("gradient") || name.contains("image"))
            })
        };
        if self.value("background-image").is_some_and(pictured) {
            return Behind::Unknown;
        }
        // Which of the two came last is not asked: either tells the colour.
        let Some(value) = self.value("background-color").or_else(|| self.value("background")) else {
            return Behind::Parent;
        };
        if pictured(value) {
            return Behind::Unknown;
        }
        match Colour::read(value) {
            Some(Colour::Clear) => Behind::Parent,
            Some(colour) => Behind::Colour(colour),
            None => Behind::Unknown,
        }
    }

    /// `behind` and `ink` are the colours that hold here, of the element's own or inherited.
    pub(crate) fn seen(&self, ink: Option<&Colour>, behind: Option<&Colour>) -> Seen {
        if self.is_gone() || self.is_faint() || self.is_tiny() || self.is_away() || self.is_clipped() {
            return Seen::No;
        }
        let speaks = self.colour().is_some() || self.background() != Behind::Parent;
        let same =
            ink.is_some_and(|ink| *ink == Colour::Clear || behind.is_some_and(|behind| ink.is_like(behind)));
        if speaks && same { Seen::SameColour } else { Seen::Yes }
    }

    fn is_gone(&self) -> bool {
        self.is("display", &["none"])
            || self.is("visibility", &["hidden", "collapse"])
            || self.is("content-visibility", &["hidden"])
    }

    fn is_faint(&self) -> bool {
        let small = |token: &Token| match token {
            Token::Number(number) => *number <= 0.05,
            Token::Percent(share) => *share <= 5.0,
            _ => false,
        };
        self.value("opacity").is_some_and(|value| value.first().is_some_and(small))
            || arguments(self.value("filter"), |name| name == "opacity")
                .any(|inside| inside.iter().any(small))
    }

    fn is_tiny(&self) -> bool {
        // Below two pixels nothing is read. Relative sizes of some other size are taken of 16 pixels.
        let font = self.value("font").and_then(|value| {
            value.iter().find(|token| {
                matches!(token, Token::Length(..) | Token::Percent(_) | Token::Number(0.0..=0.0))
            })
        });
        let size = self.value("font-size").and_then(|value| value.first()).or(font);
        let font_size = size.is_some_and(|token| match token {
            Token::Percent(share) => *share <= 12.0,
            token => pixels(token).is_some_and(|size| size < 2.0),
        });
        let scaled = arguments(self.value("transform"), |name| name.starts_with("scale"))
            .chain(self.value("scale"))
            .chain(self.value("zoom"))
            .any(|inside| {
                inside.iter().any(|token| matches!(token, Token::Number(number) | Token::Percent(number) if number.abs() < 0.05))
            });
        let cut =
            ["overflow", "overflow-x", "overflow-y"].iter().any(|name| self.is(name, &["hidden", "clip"]));
        let flat = ["width", "height", "max-width", "max-height"]
            .iter()
            .any(|name| self.lengths(name).any(|size| size <= 1.0));
        font_size || scaled || (cut && flat)
    }

    /// Moved to where no screen is.
    fn is_away(&self) -> bool {
        const FAR: f64 = 500.0;
        let placed = self.is("position", &["absolute", "fixed", "relative", "sticky"]);
        let left =
            |name: &str| self.value(name).unwrap_or_default().iter().any(|token| away(token, FAR, 100.0));
        placed && ["left", "right", "top", "bottom", "inset"].iter().any(|name| left(name))
            || ["text-indent", "margin", "margin-left", "margin-top"].iter().any(|name| left(name))
            || arguments(self.value("transform"), |name| name.starts_with("translate"))
                .any(|inside| inside.iter().any(|token| away(token, FAR, 300.0)))
    }

    fn is_clipped(&self) -> bool {
        let nothing = |inside: &[Token]| {
            let mut sizes = inside.iter().filter_map(|token| match token {
                Token::Percent(share) => Some(*share),
                token => pixels(token),
            });
            sizes.clone().next().is_some() && sizes.all(|size| size <= 1.0)
        };
        let inset = |inside: &[Token]| {
            inside.iter().any(|token| matches!(token, Token::Percent(share) if *share >= 50.0))
        };
        let clip_path = self.value("clip-path");
        arguments(self.value("clip"), |name| name == "rect").any(nothing)
            || arguments(clip_path, |name| matches!(name, "circle" | "ellipse" | "polygon")).any(nothing)
            || arguments(clip_path, |name| name == "inset").any(inset)
    }
}

/// Far to the left or above, or absurdly far the other way.
fn away(token: &Token, far: f64, share: f64) -> bool {
    match token {
        Token::Percent(percent) => *percent <= -share || *percent >= 1000.0,
        Token::Length(number, unit) if matches!(unit.as_str(), "vw" | "vh" | "vmin" | "vmax") => {
            *number <= -100.0 || *number >= 200.0
        }
        token => pixels(token).is_some_and(|length| length <= -far || length >= 5000.0),
    }
}

fn pixels(token: &Token) -> Option<f64> {
    let (number, unit) = match token {
        Token::Number(number) => return Some(*number),
        Token::Length(number, unit) => (number, unit.as_str()),
        _ => return None,
    };
    let size = match unit {
        "px" => 1.0,
        "pt" => 4.0 / 3.0,
        "pc" | "em" | "rem" | "ic" | "lh" | "rlh" => 16.0,
        "ex" | "ch" => 8.0,
        "in" => 96.0,
        "cm" => 37.8,
        "mm" => 3.78,
        "q" => 0.945,
        "vw" | "vh" | "vmin" | "vmax" => 10.0,
        _ => return None,
    };
    Some(number * size)
}

/// What stands in the brackets of the functions so named.
fn arguments<'a>(
    value: Option<&'a [Token]>,
    named: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a [Token]> + 'a {
    let value = value.unwrap_or_default();
    value.iter().enumerate().filter_map(move |(at, token)| match token {
        Token::Function(name) if named(name) => {
            let inside = &value[at + 1..];
            let end = inside.iter().position(|token| *token == Token::Sign(')')).unwrap_or(inside.len());
            Some(&inside[..end])
        }
        _ => None,
    })
}
