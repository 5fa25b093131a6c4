//! Which images the engine got from a registry by a login. See `private_images` in the migrations.

use ryokan_model::InstanceId;

use crate::{Result, Tx, params};

impl Tx<'_> {
    pub fn is_private_image(&mut self, repository: &str) -> Result<bool> {
        let rows =
            self.query("SELECT 1 FROM private_images WHERE repository = $1 LIMIT 1", params![repository])?;
        Ok(!rows.is_empty())
    }

    /// Marks a repository before an instance fetches from it with a login.
    pub fn begin_private_fetch(&mut self, repository: &str, instance: InstanceId) -> Result<()> {
        self.mark(repository, &instance.to_string())
    }

    /// The mark stays for good if something was fetched.
    pub fn end_private_fetch(&mut self, repository: &str, instance: InstanceId, fetched: bool) -> Result<()> {
        if fetched {
            self.mark(repository, "")?;
        }
        self.execute(
            "DELETE FROM private_images WHERE repository = $1 AND fetching = $2",
            params![repository, instance.to_string()],
        )
        .map(drop)
    }

    fn mark(&mut self, repository: &str, fetching: &str) -> Result<()> {
        self.execute(
            "INSERT INTO private_images (repository, fetching) VALUES ($1, $2)
             ON CONFLICT (repository, fetching) DO NOTHING",
            params![repository, fetching],
        )
        .map(drop)
    }
}
