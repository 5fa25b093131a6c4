//! Secrets taken out of text before it is kept.
