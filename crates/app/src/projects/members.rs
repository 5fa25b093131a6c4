//! Who belongs to a project, and as what. A project always has an owner, and only owners make and unmake owners.

use ryokan_model::permission::{Caller, Role};
use ryokan_store::Tx;
use ryokan_store::projects::{Member, Project};
use serde_json::json;

use super::record;
use crate::{App, Error, Result};

impl App {
    pub async fn list_members(&self, caller: &Caller, project: &str) -> Result<Vec<Member>> {
        let project = self.find_project_as(caller, Role::Viewer, project).await?;
        Ok(self.store.read(move |tx| tx.members(project.id)).await?)
    }

    /// Members with what wallets know them by: identity key and address, where they have one.
    pub async fn list_identities(
        &self,
        caller: &Caller,
        project: &str,
    ) -> Result<Vec<(Member, Option<String>, Option<String>)>> {
        let project = self.find_project_as(caller, Role::Viewer, project).await?;
        let found = self.store.read(move |tx| {
            let mut all = Vec::new();
            for member in tx.members(project.id)? {
                let keys = tx.identity_keys_of(member.user)?;
                let email = tx.user(member.user)?.and_then(|user| user.email);
                all.push((member, keys.into_iter().map(|key| key.public_key).next(), email));
            }
            Ok::<_, ryokan_store::StoreError>(all)
        });
        Ok(found.await?)
    }

    /// The login of whoever has this identity key or, if only one account has it, this address.
    pub async fn login_by_identity(&self, key_or_email: &str) -> Result<String> {
        let wanted = key_or_email.trim().to_owned();
        let users = self
            .store
            .read(move |tx| {
                match tx.identity_key(crate::identity::keys::BRC, &wanted.to_ascii_lowercase())? {
                    Some(key) => Ok(tx.user(key.user)?.into_iter().collect()),
                    None => tx.users_by_email(&wanted),
                }
            })
            .await?;
        match users.as_slice() {
            [user] => Ok(user.login.clone()),
            [] => Err(Error::invalid(
                "identityKeyOrEmail",
                "nobody with this key or address has registered here",
            )),
            _ => {
                Err(Error::invalid("identityKeyOrEmail", "several accounts have this address; give the key"))
            }
        }
    }

    /// Adds a member, or gives it another role. The same again changes nothing.
    pub async fn put_member(&self, caller: &Caller, project: &str, user: &str, role: Role) -> Result<Member> {
        let project = self.find_project_as(caller, Role::Admin, project).await?;
        let user = self.find_user(user).await.map_err(|error| match error {
            Error::NotFound { id, .. } => Error::invalid(
                "user",
                format!("there is no user `{id}`; an operator makes one with `ryokan users create`"),
            ),
            other => other,
        })?;
        let (now, by) = (self.clock.now(), caller.clone());
        let member = self
            .store
            .write(move |tx| {
                tx.lock(&format!("project:{}", project.id))?;
                let before = member(tx, &project, &user.login)?;
                let was = before.as_ref().map(|m| m.role);
                if was != Some(role) {
                    check_owners(tx, &project, &by, user.id, was, Some(role))?;
                    tx.put_member(project.id, user.id, role, now)?;
                    let data = json!({"user": user.login, "role": role, "before": was});
                    record(tx, now, &by, &project, "project.member_set", data)?;
                }
                member(tx, &project, &user.login)?
                    .ok_or_else(|| Error::internal("a member vanished inside its own transaction"))
            })
            .await?;
        self.refresh_identity().await?;
        Ok(member)
    }

    /// Takes somebody out; every member may take itself out.
    pub async fn delete_member(&self, caller: &Caller, project: &str, user: &str) -> Result<()> {
        let myself = user == "me" || user == caller.login || user == caller.user.to_string();
        let need = if myself { Role::Viewer } else { Role::Admin };
        let project = self.find_project_as(caller, need, project).await?;
        if caller.scope < Role::Admin.scope() {
            return Err(Error::scope(Role::Admin.scope()));
        }
        let user = self.find_user(if user == "me" { &caller.login } else { user }).await?;
        let (now, by) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock(&format!("project:{}", project.id))?;
                let was = member(tx, &project, &user.login)?
                    .ok_or_else(|| Error::not_found("member", user.login.as_str()))?
                    .role;
                if user.id != by.user || was == Role::Owner {
                    check_owners(tx, &project, &by, user.id, Some(was), None)?;
                }
                tx.delete_member(project.id, user.id)?;
                let data = json!({"user": user.login, "before": was});
                record(tx, now, &by, &project, "project.member_removed", data)
            })
            .await?;
        self.refresh_identity().await
    }
}

fn member(tx: &mut Tx<'_>, project: &Project, login: &str) -> Result<Option<Member>> {
    if tx.project(project.id)?.is_none() {
        return Err(Error::not_found("project", project.name.as_str()));
    }
    Ok(tx.members(project.id)?.into_iter().find(|m| m.login == login))
}

/// Whether the caller may move somebody from one role to another, and the project keeps an owner.
fn check_owners(
    tx: &mut Tx<'_>,
    project: &Project,
    by: &Caller,
    user: ryokan_model::UserId,
    before: Option<Role>,
    after: Option<Role>,
) -> Result<()> {
    if before != Some(Role::Owner) && after != Some(Role::Owner) {
        return Ok(());
    }
    // By the rows, not by the snapshot: two owners may be unmaking each other.
    let members = tx.members(project.id)?;
    let is_owner = members.iter().any(|m| m.user == by.user && m.role == Role::Owner);
    if !is_owner && !by.is_operator() {
        return Err(Error::Forbidden("only an owner of the project makes or unmakes owners".into()));
    }
    if before == Some(Role::Owner) {
        if project.personal && project.owner == user {
            return Err(Error::Conflict("a personal project stays its user's".into()));
        }
        if !members.iter().any(|m| m.user != user && m.role == Role::Owner) {
            return Err(Error::Conflict("this is the project's last owner; make another one first".into()));
        }
    }
    Ok(())
}
