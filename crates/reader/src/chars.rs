//! Characters that a person does not see and a model does: controls, zero-width and bidirectional ones, tags, fillers,
//! variation selectors, private use, and more combining marks than any writing needs. None of them is in what we
//! hand out. That costs writings that mean something by them (the zero-width joiners of Persian, of some Indic
//! scripts and of emoji): the letters stay, their joining is lost.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_script::{Script, UnicodeScript as _};

use crate::limits;
use crate::page::{Reason, Removed};

/// What to do with a character.
pub(crate) enum Verdict {
    Keep,
    Space,
    Remove(Reason),
}

pub(crate) fn verdict(c: char) -> Verdict {
    use Verdict::{Keep, Remove, Space};
    match c {
        '\n' | '\t' | ' '..='~' => Keep,
        '\r' | '\u{85}' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{2028}' | '\u{2029}' => Space,
        '\u{202F}' | '\u{205F}' | '\u{2800}' | '\u{3000}' | '\u{B}' | '\u{C}' => Space,
        '\u{AD}' => Remove(Reason::SoftHyphen),
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            Remove(Reason::Bidirectional)
        }
        '\u{E0000}'..='\u{E007F}' => Remove(Reason::TagCharacter),
        '\u{180B}'..='\u{180F}' | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' => {
            Remove(Reason::VariationSelector)
        }
        // Fillers are letters by category, and yet nothing is seen.
        '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{3164}' | '\u{FFA0}' => {
            Remove(Reason::ZeroWidth)
        }
        '\u{2065}' | '\u{FFF0}'..='\u{FFFC}' | '\u{E0080}'..='\u{E0FFF}' => Remove(Reason::ZeroWidth),
        // Format characters that are drawn: signs before numbers in Arabic, Syriac and Kaithi.
        '\u{600}'..='\u{605}' | '\u{6DD}' | '\u{70F}' | '\u{890}' | '\u{891}' | '\u{8E2}' => Keep,
        '\u{110BD}' | '\u{110CD}' => Keep,
        _ if u32::from(c) & 0xFFFE == 0xFFFE || ('\u{FDD0}'..='\u{FDEF}').contains(&c) => {
            Remove(Reason::Control)
        }
        _ => match c.general_category() {
            GeneralCategory::Control => Remove(Reason::Control),
            GeneralCategory::Format => Remove(Reason::ZeroWidth),
            GeneralCategory::PrivateUse => Remove(Reason::PrivateUse),
            GeneralCategory::SpaceSeparator => Space,
            _ => Keep,
        },
    }
}

fn is_mark(c: char) -> bool {
    !c.is_ascii()
        && matches!(c.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// The text without them; every kind of space but line feed and tab becomes a space.
pub(crate) fn clean(text: &str, removed: &mut Removed) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        match verdict(c) {
            Verdict::Keep if is_mark(c) => {
                marks += 1;
                if marks > limits::MARKS {
                    removed.count(Reason::CombiningMark);
                } else {
                    out.push(c);
                }
            }
            Verdict::Keep => {
                marks = 0;
                out.push(c);
            }
            Verdict::Space => {
                marks = 0;
                out.push(' ');
            }
            Verdict::Remove(reason) => removed.count(reason),
        }
    }
    out
}

/// As [`clean`], on one line: runs of space become one, and the ends are bare.
pub(crate) fn line(text: &str, longest: usize, removed: &mut Removed) -> String {
    let text = clean(text, removed);
    let mut out = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = out.char_indices().nth(longest) {
        out.truncate(at);
        out.push('…');
    }
    out
}

/// Words that mix Latin with letters that look like it: often a name that is not what it seems.
pub(crate) fn mixed_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| {
        let (mut latin, mut alike) = (false, false);
        for c in word.chars() {
            match c.script() {
                Script::Latin => latin = true,
                Script::Cyrillic | Script::Greek | Script::Armenian | Script::Cherokee | Script::Lisu => {
                    alike = true;
                }
                _ => {}
            }
        }
        // `µm` and `Δx` are no disguise: a single letter beside few.
        latin && alike && word.chars().count() > 3
    })
}
