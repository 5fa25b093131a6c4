//! Whom a container's files belong to: the user that its first process runs as, looked up as the engine does.

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use ryokan_ports::runtime::{FileKind, Result, RuntimeError};

use super::Inner;

/// `/etc/passwd` and its like.
const MAX_SMALL_FILE: u64 = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Inner {
    /// The user that the container's first process runs as, looked up as the engine does.
    pub(super) async fn owner(&self, container: &str) -> Result<Owner> {
        let inspected = self.inspect_container("container", container).await?;
        let user = inspected.config.and_then(|c| c.user).unwrap_or_default();
        let (user, group) = user.split_once(':').map_or((user.as_str(), None), |(u, g)| (u, Some(g)));
        let user = if user.is_empty() { "0" } else { user };
        if let (Ok(user), Some(Ok(group))) = (user.parse(), group.map(str::parse)) {
            return Ok(Owner { user, group });
        }
        let passwd = self.small_file(container, "/etc/passwd").await?;
        let known = passwd
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|fields| fields.len() > 3 && (fields[0] == user || fields[2] == user));
        let from_passwd = |index: usize| known.as_ref().and_then(|fields| fields[index].parse().ok());
        let unknown = |what: &str| RuntimeError::Refused {
            field: "security.user".to_owned(),
            reason: format!("the image does not know {what}"),
        };
        let id = user.parse().ok().or_else(|| from_passwd(2)).ok_or_else(|| unknown(user))?;
        let group = match group {
            None => from_passwd(3).unwrap_or(0),
            Some(group) => match group.parse() {
                Ok(group) => group,
                Err(_) => {
                    let groups = self.small_file(container, "/etc/group").await?;
                    groups
                        .lines()
                        .map(|l| l.split(':').collect::<Vec<_>>())
                        .find(|fields| fields.len() > 2 && fields[0] == group)
                        .and_then(|fields| fields[2].parse().ok())
                        .ok_or_else(|| unknown(group))?
                }
            },
        };
        Ok(Owner { user: id, group })
    }

    /// Empty when it is not there.
    async fn small_file(&self, container: &str, path: &str) -> Result<String> {
        let (path, there) = self.resolve(container, path).await?;
        if !there.is_some_and(|t| t.kind == FileKind::File && t.size <= MAX_SMALL_FILE) {
            return Ok(String::new());
        }
        let mut reader = self.archive(container, &path).await?;
        if reader.next().await?.is_none_or(|e| e.size > MAX_SMALL_FILE) {
            return Ok(String::new());
        }
        let chunks = stream::try_unfold(reader, |mut reader| async move {
            Ok::<_, RuntimeError>(reader.chunk().await?.map(|chunk| (chunk, reader)))
        });
        let bytes: Vec<Bytes> = chunks.try_collect().await?;
        Ok(String::from_utf8_lossy(&bytes.concat()).into_owned())
    }
}
