//! The policy as front ends use it: properties over all sets of rules, and hostile input.

mod decide;
mod hostile;
mod properties;
mod support;
