//! The quota of disk. An engine cannot hold a volume to a size, so what a project has is measured, and one that is at its
//! bound is given nothing more: no instance, no start, no upload. What runs goes on, and may write on.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::quantity::Bytes;
use ryokan_model::{Millis, ProjectId};
use ryokan_store::disk::DiskQuota;
use ryokan_store::{StoreError, Tx};
use serde_json::json;

use crate::billing::notify;
use crate::{App, Error, Result, events};

/// Whoever is told again must have had this much room in between, of a hundred: a file that comes and goes is no news.
const ROOM: u64 = 5;
/// Volumes that nobody measured for so long are gone.
const RECENT: Duration = Duration::from_mins(5);

/// As last measured.
pub(crate) fn used(tx: &mut Tx<'_>, project: ProjectId, now: Millis) -> Result<Bytes, StoreError> {
    let recent = i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
    tx.disk_used(project, Millis(now.0.saturating_sub(recent)))
}

/// Refuses `more` bytes, or anything at all, to a project that has no room.
pub(crate) fn must_have_room(tx: &mut Tx<'_>, project: ProjectId, more: u64, now: Millis) -> Result<()> {
    let Some(most) = tx.quotas(project)?.disk else { return Ok(()) };
    let used = used(tx, project, now)?;
    let coming = if more > 0 { more.saturating_add(tx.artifact_bytes(project)?) } else { 0 };
    if used < most && used.get().saturating_add(coming) <= most.get() {
        return Ok(());
    }
    let with = if used < most { format!(", and would have {} more", shown(coming)) } else { String::new() };
    Err(Error::QuotaExceeded(format!(
        "the project may have {most} of disk, and its volumes hold {}{with}; delete files, or instances with their volumes, or ask an operator for more (it is measured about once a minute)",
        shown(used.get())
    )))
}

/// For people: to a tenth of the largest unit that fits.
fn shown(bytes: u64) -> String {
    let units = [(1u64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} bytes"),
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        }
    }
}

impl App {
    /// Tells of each project that has reached its quota since it was last looked at, once, and of each that has room
    /// again.
    pub async fn watch_disk_quotas(self: &Arc<Self>) -> Result<()> {
        let now = self.clock.now();
        let crossed = self
            .store
            .read(move |tx| {
                let mut crossed = Vec::new();
                for quota in tx.disk_quotas()? {
                    if is_crossed(&quota, used(tx, quota.project, now)?) {
                        crossed.push(quota.project);
                    }
                }
                Ok::<_, StoreError>(crossed)
            })
            .await?;
        for project in crossed {
            let app = self.clone();
            self.store.write(move |tx| app.tell_of_disk(tx, project, now)).await?;
            crate::crash::point("disk.told");
        }
        Ok(())
    }

    fn tell_of_disk(&self, tx: &mut Tx<'_>, project: ProjectId, now: Millis) -> Result<()> {
        tx.lock(&format!("project:{project}"))?;
        let Some(quota) = tx.disk_quotas()?.into_iter().find(|quota| quota.project == project) else {
            return Ok(());
        };
        let used = used(tx, project, now)?;
        if !is_crossed(&quota, used) {
            return Ok(());
        }
        let reached = quota.reached_at.is_none();
        tx.set_disk_reached(project, reached.then_some(now))?;
        let name = tx.project(project)?.map(|p| p.name.to_string()).unwrap_or_default();
        let kind = if reached { notify::DISK_REACHED } else { "project.disk_quota_cleared" };
        let data = json!({"used": used.get(), "quota": quota.most.get()});
        let id = project.to_string();
        events::system(tx, now, kind, "project", &id, &name, Some(project), data.clone())?;
        if reached {
            self.tell_project(tx, project, kind, &format!("{id}:disk:{}", now.0), data, now)?;
        }
        Ok(())
    }
}

/// Whether it is on the other side of its bound than when it was last told.
fn is_crossed(quota: &DiskQuota, used: Bytes) -> bool {
    let most = quota.most.get();
    match quota.reached_at {
        None => used >= quota.most,
        Some(_) => used.get() < most - most / 100 * ROOM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_needs_room_before_the_next() {
        let quota = |reached: bool| DiskQuota {
            project: ProjectId::from_parts(Millis(1), [1; 10]),
            most: Bytes::new(1000),
            reached_at: reached.then_some(Millis(1)),
        };
        let crossed = |reached, used| is_crossed(&quota(reached), Bytes::new(used));
        assert!(!crossed(false, 999) && crossed(false, 1000));
        assert!(!crossed(true, 1000) && !crossed(true, 950) && crossed(true, 949));
        let nothing = DiskQuota { most: Bytes::new(0), ..quota(true) };
        assert!(!is_crossed(&nothing, Bytes::new(0)));
    }

    #[test]
    fn sizes_for_people() {
        let sizes = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5Ki"),
            (5 << 30, "5.0Gi"),
            (u64::MAX, "16777215.9Ti"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(shown(bytes), text);
        }
    }
}
