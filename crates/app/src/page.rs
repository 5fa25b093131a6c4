//! Pages of lists. Whether there is a next page is known by asking for one row more than the page holds, so a page
//! that is exactly full and the last does not promise another.

/// A page, and the cursor to go on after.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// `rows` were asked for with [`one_more`]; `cursor` is what the next page begins after.
    pub(crate) fn cut(mut rows: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self { items: rows, next }
    }
}

/// How many rows to ask for, for a page of `limit`.
pub(crate) const fn one_more(limit: u32) -> u32 {
    limit.saturating_add(1)
}
