//! Questions of agents to people: may I, for a while? Whatever an agent says of its reasons is shown, and not believed.
//!
//! A question is of the level that did not allow it, and who may write rules of that level may answer. What is granted is
//! a rule like any other, of that level and for that asker alone, which ends by itself: so nobody can grant what they
//! could not have allowed.

mod ask;
mod decide;
mod expire;
mod list;

pub use ask::Wanted;
pub(crate) use ask::{Asked, open_question};
pub use expire::reconciler;
