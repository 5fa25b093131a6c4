//! What a page became: its text, and an account of what was taken from it.

use std::collections::BTreeMap;

use serde::Serialize;

/// The pipeline's number: it rises with every change that may give other text for the same bytes and rules.
pub const PIPELINE: u32 = 1;

/// How [`Page::text`] is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Markdown in which nothing of the page's own can be markup: no raw HTML, no fence or heading that we did not set.
    Markdown,
    /// Characters, none of which means anything but itself.
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    pub pipeline: u32,
    pub format: Format,
    /// One line, at most 300 characters; not Markdown.
    pub title: Option<String>,
    /// What the page says of itself in its head: one line, at most 500 characters; not Markdown.
    pub description: Option<String>,
    pub text: String,
    /// Targets of the text's links in order, each once, at most 500; empty unless the rules ask for them.
    pub links: Vec<Link>,
    /// As the page declares it (`de`, `zh-Hant`); nothing is guessed.
    pub language: Option<String>,
    /// The charset that the bytes were read in.
    pub charset: &'static str,
    pub bytes_in: usize,
    /// Why the text is not all of the page.
    pub truncated: Option<Truncation>,
    pub removed: Removed,
    /// What looks like an attempt on the reader, at most 100.
    pub markers: Vec<Marker>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    pub text: String,
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Marker {
    /// A rule's name, or one of ours: `mixed-scripts`, `base-elsewhere`, `rest-of-section`.
    pub rule: String,
    /// At most 120 characters of the place, cleaned; not Markdown.
    pub excerpt: String,
    /// Whether the place was dropped from the text.
    pub dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// More bytes than are looked at.
    Bytes,
    /// Elements nested too deep.
    Depth,
    /// Too many elements.
    Nodes,
    /// A tag with too many attributes.
    Attributes,
    /// Longer than the rules allow.
    Length,
}

/// Why something is not in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Scripts, styles, frames, drawings, media: no text.
    Element,
    /// Buttons, fields and choices.
    FormControl,
    Comment,
    Instruction,
    /// `hidden`, `aria-hidden`, `popover`, a `dialog` that is closed.
    HiddenAttribute,
    /// Hidden by `display`, `visibility`, `opacity`, size, place, clipping.
    HiddenStyle,
    /// Text in the colour of what is behind it.
    HiddenColour,
    Boilerplate,
    /// A link to what is no place on the web (`javascript:`, `data:`); its text stays.
    LinkTarget,
    /// A line or section that a rule drops.
    Rule,
    Control,
    ZeroWidth,
    Bidirectional,
    TagCharacter,
    VariationSelector,
    SoftHyphen,
    PrivateUse,
    CombiningMark,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Element => "element",
            Self::FormControl => "form_control",
            Self::Comment => "comment",
            Self::Instruction => "instruction",
            Self::HiddenAttribute => "hidden_attribute",
            Self::HiddenStyle => "hidden_style",
            Self::HiddenColour => "hidden_colour",
            Self::Boilerplate => "boilerplate",
            Self::LinkTarget => "link_target",
            Self::Rule => "rule",
            Self::Control => "control",
            Self::ZeroWidth => "zero_width",
            Self::Bidirectional => "bidirectional",
            Self::TagCharacter => "tag_character",
            Self::VariationSelector => "variation_selector",
            Self::SoftHyphen => "soft_hyphen",
            Self::PrivateUse => "private_use",
            Self::CombiningMark => "combining_mark",
        }
    }
}

/// How much was taken out, by reason, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Removed(BTreeMap<Reason, u32>);

impl Removed {
    pub(crate) fn count(&mut self, reason: Reason) {
        self.add(reason, 1);
    }

    pub(crate) fn add(&mut self, reason: Reason, more: u32) {
        if more > 0 {
            let count = self.0.entry(reason).or_default();
            *count = count.saturating_add(more);
        }
    }

    pub fn of(&self, reason: Reason) -> u32 {
        self.0.get(&reason).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Reason, u32)> + '_ {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}
