//! Groups of accounts, who is in them, and the roles that they have in projects.

use ryokan_model::permission::Role;
use ryokan_model::{GroupId, Millis, Name, ProjectId, UserId};

use crate::{Result, Row, Tx, params};

/// Signalled when groups, their members or their roles changed.
pub const GROUPS: &str = "groups";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub name: Name,
    pub created_at: Millis,
}

fn group(row: &Row) -> Result<Group> {
    Ok(Group { id: row.parse("id")?, name: row.parse("name")?, created_at: Millis(row.int("created_at")?) })
}

impl Tx<'_> {
    /// A taken name is `UniqueViolation` of `groups_name`.
    pub fn insert_group(&mut self, new: &Group) -> Result<()> {
        self.execute(
            "INSERT INTO groups (id, name, created_at) VALUES ($1, $2, $3)",
            params![new.id.to_string(), new.name.as_str(), new.created_at.0],
        )?;
        self.notify(GROUPS);
        Ok(())
    }

    pub fn group(&mut self, id: GroupId) -> Result<Option<Group>> {
        let found = self.query_opt("SELECT * FROM groups WHERE id = $1", params![id.to_string()])?;
        found.as_ref().map(group).transpose()
    }

    pub fn group_by_name(&mut self, name: &str) -> Result<Option<Group>> {
        self.query_opt("SELECT * FROM groups WHERE name = $1", params![name])?.as_ref().map(group).transpose()
    }

    /// A page, by name.
    pub fn groups(&mut self, after: &str, limit: u32) -> Result<Vec<Group>> {
        let rows =
            self.query("SELECT * FROM groups WHERE name > $1 ORDER BY name LIMIT $2", params![after, limit])?;
        rows.iter().map(group).collect()
    }

    /// With its members and its roles.
    pub fn delete_group(&mut self, id: GroupId) -> Result<()> {
        for sql in [
            "DELETE FROM group_members WHERE group_id = $1",
            "DELETE FROM project_groups WHERE group_id = $1",
            "DELETE FROM groups WHERE id = $1",
        ] {
            self.execute(sql, params![id.to_string()])?;
        }
        self.notify(GROUPS);
        Ok(())
    }

    /// Whether it was not in it.
    pub fn put_group_member(&mut self, id: GroupId, user: UserId, now: Millis) -> Result<bool> {
        let n = self.execute(
            "INSERT INTO group_members (group_id, user_id, added_at) VALUES ($1, $2, $3)
             ON CONFLICT (group_id, user_id) DO NOTHING",
            params![id.to_string(), user.to_string(), now.0],
        )?;
        self.notify(GROUPS);
        Ok(n > 0)
    }

    /// Whether it was in it.
    pub fn delete_group_member(&mut self, id: GroupId, user: UserId) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM group_members WHERE group_id = $1 AND user_id = $2",
            params![id.to_string(), user.to_string()],
        )?;
        self.notify(GROUPS);
        Ok(n > 0)
    }

    /// Logins, sorted.
    pub fn group_logins(&mut self, id: GroupId) -> Result<Vec<String>> {
        let rows = self.query(
            "SELECT u.login FROM group_members m JOIN users u ON u.id = m.user_id WHERE m.group_id = $1 ORDER BY u.login",
            params![id.to_string()],
        )?;
        rows.iter().map(|row| row.text("login")).collect()
    }

    pub fn put_project_group(
        &mut self,
        project: ProjectId,
        id: GroupId,
        role: Role,
        now: Millis,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO project_groups (project_id, group_id, role, added_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id, group_id) DO UPDATE SET role = $3",
            params![project.to_string(), id.to_string(), role.as_str(), now.0],
        )?;
        self.notify(GROUPS);
        Ok(())
    }

    /// Whether it had a role there.
    pub fn delete_project_group(&mut self, project: ProjectId, id: GroupId) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM project_groups WHERE project_id = $1 AND group_id = $2",
            params![project.to_string(), id.to_string()],
        )?;
        self.notify(GROUPS);
        Ok(n > 0)
    }

    /// The groups of a project with their roles, by name.
    pub fn project_groups(&mut self, project: ProjectId) -> Result<Vec<(Group, Role)>> {
        let rows = self.query(
            "SELECT g.*, p.role FROM project_groups p JOIN groups g ON g.id = p.group_id
             WHERE p.project_id = $1 ORDER BY g.name",
            params![project.to_string()],
        )?;
        rows.iter().map(|row| Ok((group(row)?, row.parse("role")?))).collect()
    }

    /// Who is in which group, for the snapshot that callers are checked against.
    pub fn all_group_members(&mut self) -> Result<Vec<(GroupId, UserId)>> {
        let rows = self.query("SELECT group_id, user_id FROM group_members", params![])?;
        rows.iter().map(|row| Ok((row.parse("group_id")?, row.parse("user_id")?))).collect()
    }

    /// What each account has by its groups: a row for each project and group.
    pub fn all_group_roles(&mut self) -> Result<Vec<(ProjectId, UserId, Role)>> {
        let rows = self.query(
            "SELECT p.project_id, m.user_id, p.role FROM project_groups p
             JOIN group_members m ON m.group_id = p.group_id",
            params![],
        )?;
        rows.iter()
            .map(|row| Ok((row.parse("project_id")?, row.parse("user_id")?, row.parse("role")?)))
            .collect()
    }
}
