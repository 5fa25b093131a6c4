//! `get` and `list`.

use ryokan_model::InstanceId;
use ryokan_model::instance::State;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::instances::Instance;

use crate::page::one_more;
use crate::{App, Error, Page, Result};

impl App {
    /// By id or name, if the caller may do `need` with it. What the caller may not know of does not exist.
    pub async fn find_instance(&self, caller: &Caller, need: Scope, id_or_name: &str) -> Result<Instance> {
        let wanted = id_or_name.to_owned();
        let row = self
            .store
            .read(move |tx| match wanted.parse::<InstanceId>() {
                Ok(id) => tx.instance(id),
                Err(_) => tx.instance_by_name(&wanted),
            })
            .await?
            .ok_or_else(|| Error::not_found("instance", id_or_name))?;
        caller.may(need, row.project).map_err(|refused| Error::refused(refused, "instance", id_or_name))?;
        Ok(row)
    }

    /// The caller's instances by name, after the name `after`.
    pub async fn list_instances(
        &self,
        caller: &Caller,
        project: Option<&str>,
        state: Option<State>,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<Instance>> {
        let visible = match project {
            Some(project) => Some([self.find_project(caller, Scope::Read, project).await?.id].into()),
            None => caller.visible_projects(),
        };
        let mut rows = self.store.read(|tx| tx.live_instances()).await?;
        // Paging compares bytes; a database's order may follow its locale.
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let rows: Vec<Instance> = rows
            .into_iter()
            .filter(|row| {
                visible.as_ref().is_none_or(|v: &std::collections::BTreeSet<_>| v.contains(&row.project))
            })
            .filter(|row| state.is_none_or(|s| row.state == s))
            .filter(|row| after.as_deref().is_none_or(|a| row.name.as_str() > a))
            .take(one_more(limit) as usize)
            .collect();
        Ok(Page::cut(rows, limit, |row| row.name.to_string()))
    }
}
