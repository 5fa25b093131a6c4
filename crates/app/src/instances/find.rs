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
        let (after, wanted) = (after.unwrap_or_default(), one_more(limit));
        let rows = self
            .store
            .read(move |tx| {
                let Some(projects) = visible else { return tx.instances_page(None, state, &after, wanted) };
                // A caller has few projects: a page of each, and of all these the first.
                let mut rows = Vec::new();
                for project in projects {
                    rows.extend(tx.instances_page(Some(project), state, &after, wanted)?);
                }
                rows.sort_by(|a, b| a.name.cmp(&b.name));
                rows.truncate(wanted as usize);
                Ok(rows)
            })
            .await?;
        Ok(Page::cut(rows, limit, |row| row.name.to_string()))
    }
}
