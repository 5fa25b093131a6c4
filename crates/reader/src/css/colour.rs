//! Colours, as far as it takes to see that two are the same to the eye.

use super::tokens::Token;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Colour {
    Rgb(u8, u8, u8),
    Clear,
    /// A name that we have no values for: the same as itself only.
    Named(String),
}

impl Colour {
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rgb(..), Self::Rgb(..)) => {
                let (ours, theirs) = (self.channels(), other.channels());
                ours.iter().zip(theirs).all(|(ours, theirs)| ours.abs_diff(theirs) <= 8)
            }
            _ => self == other,
        }
    }

    fn channels(&self) -> [u8; 3] {
        match self {
            Self::Rgb(red, green, blue) => [*red, *green, *blue],
            _ => [0; 3],
        }
    }

    /// The first colour among the tokens of a value; `None` when there is none that we understand.
    pub(crate) fn read(value: &[Token]) -> Option<Self> {
        value.iter().enumerate().find_map(|(at, token)| match token {
            Token::Hash(digits) => hex(digits),
            Token::Ident(name) => named(name),
            Token::Function(name) if matches!(name.as_str(), "rgb" | "rgba") => rgb(&value[at + 1..]),
            Token::Function(name) if matches!(name.as_str(), "hsl" | "hsla") => hsl(&value[at + 1..]),
            _ => None,
        })
    }

    /// As HTML's own attributes have it: `#ffffff`, `ffffff`, `white`.
    pub(crate) fn attribute(value: &str) -> Option<Self> {
        let value = value.trim();
        hex(value.trim_start_matches('#')).or_else(|| named(&value.to_ascii_lowercase()))
    }
}

fn hex(digits: &str) -> Option<Colour> {
    let digits: Vec<u8> =
        digits.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    match digits[..] {
        [_, _, _, 0] | [_, _, _, _, _, _, 0, 0] => return Some(Colour::Clear),
        _ => {}
    }
    let pair = |at: usize| digits[at] * 16 + digits[at + 1];
    match digits.len() {
        3 | 4 => Some(Colour::Rgb(digits[0] * 17, digits[1] * 17, digits[2] * 17)),
        6 | 8 => Some(Colour::Rgb(pair(0), pair(2), pair(4))),
        _ => None,
    }
}

/// Numbers up to the closing bracket; percentages as a share of 255.
fn numbers(value: &[Token], whole: f64) -> Vec<f64> {
    let inside = value.iter().take_while(|token| **token != Token::Sign(')'));
    inside
        .filter_map(|token| match token {
            Token::Number(number) | Token::Length(number, _) => Some(*number),
            Token::Percent(share) => Some(share * whole / 100.0),
            _ => None,
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte before")]
fn byte(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

fn is_clear(value: &[Token]) -> bool {
    numbers(value, 1.0).get(3).is_some_and(|alpha| *alpha <= 0.05)
}

fn rgb(value: &[Token]) -> Option<Colour> {
    if is_clear(value) {
        return Some(Colour::Clear);
    }
    match numbers(value, 255.0)[..] {
        [r, g, b, ..] => Some(Colour::Rgb(byte(r), byte(g), byte(b))),
        _ => None,
    }
}

fn hsl(value: &[Token]) -> Option<Colour> {
    if is_clear(value) {
        return Some(Colour::Clear);
    }
    let [hue, saturation, light, ..] = numbers(value, 1.0)[..] else { return None };
    let channel = |offset: f64| {
        let k = (offset + hue / 30.0).rem_euclid(12.0);
        let a = saturation * light.min(1.0 - light);
        byte(255.0 * (light - a * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)))
    };
    Some(Colour::Rgb(channel(0.0), channel(8.0), channel(4.0)))
}

fn named(name: &str) -> Option<Colour> {
    let (r, g, b) = match name {
        "transparent" => return Some(Colour::Clear),
        "white" => (255, 255, 255),
        "snow" => (255, 250, 250),
        "ivory" => (255, 255, 240),
        "ghostwhite" => (248, 248, 255),
        "floralwhite" => (255, 250, 240),
        "whitesmoke" => (245, 245, 245),
        "black" => (0, 0, 0),
        "gray" | "grey" => (128, 128, 128),
        "silver" => (192, 192, 192),
        "lightgray" | "lightgrey" => (211, 211, 211),
        "darkgray" | "darkgrey" => (169, 169, 169),
        "dimgray" | "dimgrey" => (105, 105, 105),
        "red" => (255, 0, 0),
        "maroon" => (128, 0, 0),
        "yellow" => (255, 255, 0),
        "olive" => (128, 128, 0),
        "lime" => (0, 255, 0),
        "green" => (0, 128, 0),
        "aqua" | "cyan" => (0, 255, 255),
        "teal" => (0, 128, 128),
        "blue" => (0, 0, 255),
        "navy" => (0, 0, 128),
        "fuchsia" | "magenta" => (255, 0, 255),
        "purple" => (128, 0, 128),
        "orange" => (255, 165, 0),
        "pink" | "beige" | "linen" | "azure" | "mintcream" | "honeydew" | "lavender" | "gold" | "tan"
        | "brown" | "indigo" | "crimson" | "coral" | "khaki" | "canvas" | "canvastext" => {
            return Some(Colour::Named(name.to_owned()));
        }
        _ => return None,
    };
    Some(Colour::Rgb(r, g, b))
}
