//! What a reader of pages may choose, as data. Strict: an unknown field, a pattern that is too large or that matches
//! everything is refused before any page is read. Rules never widen what the pipeline lets through.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    #[default]
    Markdown,
    /// No headings, links or tables: their text only.
    Plain,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The text stays, and the page says that it is there.
    #[default]
    Flag,
    Drop,
}

/// A pattern for single lines (a paragraph is one line) and for two that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineRule {
    pub name: String,
    pub pattern: String,
    #[serde(default)]
    pub action: Action,
}

/// From a line that begins a section to the line that ends it, both included. A section without an end is its first
/// line only: else one line would take the rest of any page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionRule {
    pub name: String,
    pub begin: String,
    pub end: String,
    #[serde(default)]
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSet {
    pub style: Style,
    /// Characters of text, 200 to 1,000,000. The note that says so comes on top.
    pub max_chars: usize,
    /// Whether to list links.
    pub links: bool,
    /// Whether navigation, banners and the like stay.
    pub keep_boilerplate: bool,
    pub lines: Vec<LineRule>,
    pub sections: Vec<SectionRule>,
}

const DEFAULT: &str = include_str!("default-rules.toml");

impl Default for RuleSet {
    fn default() -> Self {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Patterns {
            lines: Vec<LineRule>,
            sections: Vec<SectionRule>,
        }
        let Patterns { lines, sections } = toml::from_str(DEFAULT).expect("our own file, read by every test");
        Self {
            style: Style::Markdown,
            max_chars: 20_000,
            links: false,
            keep_boilerplate: false,
            lines,
            sections,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    #[error("`max_chars` is {0}: it must be from 200 to 1,000,000")]
    MaxChars(usize),
    #[error("there are {0} rules: at most 200 are allowed")]
    Count(usize),
    #[error("rule name {0:?}: use 1 to 64 of a-z, 0-9 and `-`")]
    Name(String),
    #[error("rule `{name}`: {reason}")]
    Pattern { name: String, reason: String },
}

/// A rule set that was checked and made ready; reading needs one, and it can be shared.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) style: Style,
    pub(crate) max_chars: usize,
    pub(crate) links: bool,
    pub(crate) keep_boilerplate: bool,
    pub(crate) lines: Vec<(String, Regex, Action)>,
    pub(crate) sections: Vec<(String, Regex, Regex, Action)>,
}

impl Default for Rules {
    fn default() -> Self {
        RuleSet::default().compile().expect("the default rules are ours, compiled by every test")
    }
}

impl RuleSet {
    pub fn compile(self) -> Result<Rules, RuleError> {
        if !(200..=1_000_000).contains(&self.max_chars) {
            return Err(RuleError::MaxChars(self.max_chars));
        }
        let count = self.lines.len() + self.sections.len();
        if count > 200 {
            return Err(RuleError::Count(count));
        }
        let lines = self
            .lines
            .into_iter()
            .map(|rule| Ok((check_name(&rule.name)?, pattern(&rule.name, &rule.pattern)?, rule.action)));
        let lines = lines.collect::<Result<_, RuleError>>()?;
        let sections = self.sections.into_iter().map(|rule| {
            let (begin, end) = (pattern(&rule.name, &rule.begin)?, pattern(&rule.name, &rule.end)?);
            Ok((check_name(&rule.name)?, begin, end, rule.action))
        });
        let sections = sections.collect::<Result<_, RuleError>>()?;
        let Self { style, max_chars, links, keep_boilerplate, .. } = self;
        Ok(Rules { style, max_chars, links, keep_boilerplate, lines, sections })
    }
}

fn check_name(name: &str) -> Result<String, RuleError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        Ok(name.to_owned())
    } else {
        Err(RuleError::Name(name.chars().take(80).collect()))
    }
}

fn pattern(name: &str, text: &str) -> Result<Regex, RuleError> {
    let refuse = |reason: String| RuleError::Pattern { name: name.to_owned(), reason };
    if text.len() > 2_000 {
        return Err(refuse("the pattern is longer than 2,000 bytes".into()));
    }
    let regex = RegexBuilder::new(text)
        .size_limit(2 << 20)
        .dfa_size_limit(1 << 20)
        .nest_limit(50)
        .build()
        .map_err(|error| refuse(format!("the pattern cannot be used: {error}")))?;
    if regex.is_match("") {
        return Err(refuse(
            "the pattern matches an empty line, so every page: make it ask for something".into(),
        ));
    }
    Ok(regex)
}
