//! Groups: accounts that are given roles in projects, and named in rules, together. Operators make them; a project's admins
//! give them roles. What an account may is looked at anew at each request.

use ryokan_model::GroupId;
use ryokan_model::Name;
use ryokan_model::permission::{Caller, Role};
use ryokan_store::Tx;
use ryokan_store::groups::Group;
use ryokan_store::projects::Project;
use serde_json::{Value, json};

use crate::idempotency::{self, IdempotencyKey};
use crate::page::one_more;
use crate::system::operators;
use crate::{App, Error, Page, Result, events};

/// A group and the logins in it.
#[derive(Debug)]
pub struct GroupView {
    pub group: Group,
    pub members: Vec<String>,
}

fn record(
    tx: &mut Tx<'_>,
    app_now: ryokan_model::Millis,
    by: &Caller,
    group: &Group,
    kind: &str,
    data: Value,
) -> Result<()> {
    events::by_caller(tx, app_now, by, None, kind, "group", &group.id.to_string(), group.name.as_str(), data)
}

impl App {
    pub async fn create_group(
        &self,
        caller: &Caller,
        name: &str,
        key: Option<IdempotencyKey>,
    ) -> Result<GroupView> {
        operators(caller)?;
        let name: Name = name.parse()?;
        let once = self.once(caller, key, "groups.create", &name)?;
        let (now, by) = (self.clock.now(), caller.clone());
        let group = Group { id: GroupId::from_parts(now, self.entropy.bytes()), name, created_at: now };
        self.store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &group.id.to_string(), now)? {
                    let made: Option<GroupId> = made.parse().ok();
                    let made = made.map(|id| tx.group(id)).transpose()?.flatten();
                    return view(tx, made.ok_or_else(idempotency::gone)?);
                }
                tx.insert_group(&group)?;
                record(tx, now, &by, &group, "group.created", json!({}))?;
                view(tx, group)
            })
            .await
    }

    pub async fn list_groups(
        &self,
        caller: &Caller,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<GroupView>> {
        operators(caller)?;
        let (after, wanted) = (after.unwrap_or_default(), one_more(limit));
        let rows = self
            .store
            .read(move |tx| {
                tx.groups(&after, wanted)?
                    .into_iter()
                    .map(|group| view(tx, group))
                    .collect::<Result<Vec<_>>>()
            })
            .await?;
        Ok(Page::cut(rows, limit, |row| row.group.name.to_string()))
    }

    pub async fn get_group(&self, caller: &Caller, id_or_name: &str) -> Result<GroupView> {
        operators(caller)?;
        let group = self.find_group(id_or_name).await?;
        self.store.read(move |tx| view(tx, group)).await
    }

    /// With all that it gave its members. Rules that name it fit nobody any more.
    pub async fn delete_group(&self, caller: &Caller, id_or_name: &str) -> Result<()> {
        operators(caller)?;
        let (group, now, by) = (self.find_group(id_or_name).await?, self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.delete_group(group.id)?;
                record(tx, now, &by, &group, "group.deleted", json!({}))
            })
            .await?;
        self.refresh_identity().await
    }

    /// The same again changes nothing.
    pub async fn put_group_member(&self, caller: &Caller, group: &str, user: &str) -> Result<GroupView> {
        operators(caller)?;
        let group = self.find_group(group).await?;
        let user = self.find_user(user).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        let made = self
            .store
            .write(move |tx| {
                if tx.put_group_member(group.id, user.id, now)? {
                    record(tx, now, &by, &group, "group.member_added", json!({"user": user.login}))?;
                }
                view(tx, group)
            })
            .await?;
        self.refresh_identity().await?;
        Ok(made)
    }

    pub async fn delete_group_member(&self, caller: &Caller, group: &str, user: &str) -> Result<()> {
        operators(caller)?;
        let group = self.find_group(group).await?;
        let user = self.find_user(user).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                if !tx.delete_group_member(group.id, user.id)? {
                    return Err(Error::not_found("member", user.login.as_str()));
                }
                record(tx, now, &by, &group, "group.member_removed", json!({"user": user.login}))
            })
            .await?;
        self.refresh_identity().await
    }

    pub async fn list_project_groups(&self, caller: &Caller, project: &str) -> Result<Vec<(Group, Role)>> {
        let project = self.find_project_as(caller, Role::Viewer, project).await?;
        Ok(self.store.read(move |tx| tx.project_groups(project.id)).await?)
    }

    /// Owners are people, so that it is always known who answers for a project.
    pub async fn put_project_group(
        &self,
        caller: &Caller,
        project: &str,
        group: &str,
        role: Role,
    ) -> Result<(Group, Role)> {
        let project = self.find_project_as(caller, Role::Admin, project).await?;
        if role == Role::Owner {
            return Err(Error::invalid(
                "role",
                "must be viewer, developer or admin: a group owns no project",
            ));
        }
        let group = self.find_group(group).await.map_err(|error| match error {
            Error::NotFound { id, .. } => Error::invalid("group", format!("there is no group `{id}`")),
            other => other,
        })?;
        let (now, by) = (self.clock.now(), caller.clone());
        let answer = group.clone();
        self.store
            .write(move |tx| {
                still_there(tx, &project)?;
                tx.put_project_group(project.id, group.id, role, now)?;
                record_in(
                    tx,
                    now,
                    &by,
                    &project,
                    "project.group_set",
                    json!({"group": group.name, "role": role}),
                )
            })
            .await?;
        self.refresh_identity().await?;
        Ok((answer, role))
    }

    pub async fn delete_project_group(&self, caller: &Caller, project: &str, group: &str) -> Result<()> {
        let project = self.find_project_as(caller, Role::Admin, project).await?;
        let group = self.find_group(group).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                still_there(tx, &project)?;
                if !tx.delete_project_group(project.id, group.id)? {
                    return Err(Error::not_found("group", group.name.as_str()));
                }
                record_in(tx, now, &by, &project, "project.group_removed", json!({"group": group.name}))
            })
            .await?;
        self.refresh_identity().await
    }

    /// By id or name.
    pub(crate) async fn find_group(&self, id_or_name: &str) -> Result<Group> {
        let wanted = id_or_name.to_owned();
        let found = self
            .store
            .read(move |tx| match wanted.parse::<GroupId>() {
                Ok(id) => tx.group(id),
                Err(_) => tx.group_by_name(&wanted),
            })
            .await?;
        found.ok_or_else(|| Error::not_found("group", id_or_name))
    }
}

fn view(tx: &mut Tx<'_>, group: Group) -> Result<GroupView> {
    Ok(GroupView { members: tx.group_logins(group.id)?, group })
}

fn still_there(tx: &mut Tx<'_>, project: &Project) -> Result<()> {
    tx.lock(&format!("project:{}", project.id))?;
    tx.project(project.id)?.map(drop).ok_or_else(|| Error::not_found("project", project.name.as_str()))
}

fn record_in(
    tx: &mut Tx<'_>,
    now: ryokan_model::Millis,
    by: &Caller,
    project: &Project,
    kind: &str,
    data: Value,
) -> Result<()> {
    let (id, name) = (project.id.to_string(), project.name.as_str());
    events::by_caller(tx, now, by, Some(project.id), kind, "project", &id, name, data)
}
