//! Bounds that are not a matter of taste: without them a page of some megabytes costs minutes or a stack. They count
//! things, never time, so that the same page always meets the same bound.

/// Elements inside each other; browsers stop at 512, pages that somebody wrote at less than 100.
pub(crate) const DEPTH: usize = 250;
/// Nodes of one document.
pub(crate) const NODES: usize = 200_000;
/// Attributes of one tag: finding duplicates takes the square of it.
pub(crate) const ATTRIBUTES: usize = 256;
/// Bytes of a page that are looked at.
pub(crate) const BYTES: usize = 4 << 20;
/// Rules of style sheets that are kept, and bytes of sheets that are read.
pub(crate) const STYLE_RULES: usize = 1_000;
pub(crate) const STYLE_BYTES: usize = 1 << 20;
/// Rules and declarations that are tried on elements, in all.
pub(crate) const STYLE_WORK: usize = 10_000_000;
/// Classes of an element that are looked up.
pub(crate) const CLASSES: usize = 64;
/// Longest address that is passed on.
pub(crate) const URL: usize = 2_000;
/// Links that are listed, markers that are reported.
pub(crate) const LINKS: usize = 500;
pub(crate) const MARKERS: usize = 100;
/// Quotes and lists inside each other that are still shown as such.
pub(crate) const NESTING: usize = 12;
/// Columns of a table.
pub(crate) const COLUMNS: usize = 64;
/// Combining marks on one letter; the fullest writing that is in use takes four.
pub(crate) const MARKS: usize = 4;
