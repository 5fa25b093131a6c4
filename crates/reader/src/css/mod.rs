//! As much of CSS as it takes to see that an element is not seen: tokens by the standard's rules (escapes and comments
//! included), declarations, rules whose selector is one compound of tag, classes and id. There is no layout, no
//! inheritance but colour's, no variables, no sheets from elsewhere. `docs/web.md` lists what that leaves out.

mod colour;
mod hides;
mod sheet;
mod tokens;

pub(crate) use colour::Colour;
pub(crate) use hides::{Behind, Seen, Style};
pub(crate) use sheet::Sheet;
