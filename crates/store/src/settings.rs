//! Small facts that belong to the whole installation: the server's id, which key seals its secrets.

use crate::error::Result;
use crate::params;
use crate::tx::Tx;

impl Tx<'_> {
    /// A setting's value.
    pub fn setting(&mut self, name: &str) -> Result<Option<String>> {
        let row = self.query_opt("SELECT value FROM settings WHERE name = $1", params![name])?;
        row.map(|row| row.text("value")).transpose()
    }

    /// Sets a value.
    pub fn put_setting(&mut self, name: &str, value: &str, now_ms: i64) -> Result<()> {
        self.execute(
            "INSERT INTO settings (name, value, updated_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            params![name, value, now_ms],
        )
        .map(drop)
    }

    /// The setting's value, which becomes `value` if it had none: of several servers that start at once, one decides.
    pub fn setting_or(&mut self, name: &str, value: &str, now_ms: i64) -> Result<String> {
        self.execute(
            "INSERT INTO settings (name, value, updated_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
            params![name, value, now_ms],
        )?;
        self.query_one("SELECT value FROM settings WHERE name = $1", params![name])?.text("value")
    }
}
