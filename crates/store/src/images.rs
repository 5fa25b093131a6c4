//! Which images the engine got from a registry by a login (see `private_images` in the migrations), and which of those
//! that were built here are needed.

use std::collections::BTreeSet;

use ryokan_model::image::ImageRef;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{DeploymentId, InstanceId, ProjectId};

use crate::{Result, Tx, params};

/// The topic of images that may have become needless.
pub const IMAGES: &str = "images";

/// What a project needs of the images that were built for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeededImages {
    /// Of its instances: what they run, what they go back to when an update fails, what they can be rolled back to.
    pub images: BTreeSet<ImageRef>,
    /// Those that are not over; what they built is needed.
    pub deployments: BTreeSet<DeploymentId>,
}

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

    /// `kept` is how many revisions of each instance count, from the newest that was ever live.
    pub fn images_needed(&mut self, project: ProjectId, kept: u32) -> Result<NeededImages> {
        let mut needed = NeededImages::default();
        for row in self.instances_page(Some(project), None, "", u32::MAX)? {
            let revisions = self.query(
                "SELECT spec FROM revisions WHERE instance_id = $1 AND image_id IS NOT NULL
                 AND state IN ('live', 'superseded') ORDER BY number DESC LIMIT $2",
                params![row.id.to_string(), kept],
            )?;
            for revision in &revisions {
                needed.images.insert(revision.json::<InstanceSpec>("spec")?.image);
            }
            needed.images.extend(row.previous.map(|previous| previous.spec.image));
            needed.images.insert(row.spec.image);
        }
        let open = self.query(
            "SELECT id FROM deployments WHERE project_id = $1 AND state IN ('queued', 'building', 'releasing')",
            params![project.to_string()],
        )?;
        needed.deployments = open.iter().map(|row| row.parse("id")).collect::<Result<_>>()?;
        Ok(needed)
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
