//! The spec's files, put into a container before its agent starts.

use bytes::Bytes;
use ryokan_model::spec::FileOwnership;
use ryokan_ports::files::normal;
use ryokan_ports::runtime::{Result, RuntimeError, Workload};

use super::Inner;
use super::archive::{self, Entry};
use super::files::directory;
use super::owner::Owner;

impl Inner {
    /// Writes the spec's files, before the agent starts.
    pub(super) async fn place_files(&self, workload: &Workload, container: &str, owner: Owner) -> Result<()> {
        for (index, file) in workload.spec.files.iter().enumerate() {
            let named = |e: RuntimeError| match e {
                RuntimeError::Refused { reason, .. } => {
                    RuntimeError::Refused { field: format!("files[{index}].path"), reason }
                }
                other => other,
            };
            let path = normal(&file.path).map_err(named)?;
            let (path, there) = self.resolve(container, &path).await.map_err(named)?;
            if there.is_some() && file.ownership == FileOwnership::Seed {
                continue;
            }
            let (folder, way) = self.folders_for(container, &path).await.map_err(named)?;
            let content = file.content.as_bytes();
            let mut tar: Vec<u8> = way.missing.iter().flat_map(|d| directory(d, owner)).collect();
            let size = content.len() as u64;
            tar.extend(Entry::file(&way.file_name, file.mode_bits(), size, owner.user, owner.group).header());
            tar.extend_from_slice(content);
            tar.resize(tar.len() + archive::padding(size), 0);
            tar.extend(archive::end());
            self.put(container, &folder, Bytes::from(tar)).await.map_err(named)?;
        }
        Ok(())
    }
}
