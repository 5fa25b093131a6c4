//! Projects, their members, registries, variables and quotas.

use ryokan_model::permission::Role;
use ryokan_model::project::{Network, Quotas};
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{Millis, Name, ProjectId, Sats, UserId};

use crate::{Result, Row, StoreError, Tx, params};

#[derive(Debug, Clone)]
pub struct Project {
    pub id: ProjectId,
    pub name: Name,
    /// One of its owners: who made it, as long as that one is.
    pub owner: UserId,
    pub owner_login: String,
    pub personal: bool,
    pub network: Network,
    /// Whether its agents are given its key pair.
    pub funding: bool,
    /// The public part of its agents' key pair, in hex, once there is one.
    pub agent_key: Option<String>,
    pub created_at: Millis,
    pub deleted_at: Option<Millis>,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub user: UserId,
    pub login: String,
    pub name: String,
    pub role: Role,
    pub added_at: Millis,
}

/// A variable of a project.
#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    /// `None`: a secret.
    pub value: Option<String>,
    pub updated_at: Millis,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT p.*, u.login FROM projects p JOIN users u ON u.id = p.owner_id WHERE ", $rest)
    };
}

fn project(row: &Row) -> Result<Project> {
    Ok(Project {
        id: row.parse("id")?,
        name: row.parse("name")?,
        owner: row.parse("owner_id")?,
        owner_login: row.text("login")?,
        personal: row.bool("personal")?,
        network: row.parse("network")?,
        funding: row.bool("funding")?,
        agent_key: row.opt_text("agent_key")?,
        created_at: Millis(row.int("created_at")?),
        deleted_at: row.opt_int("deleted_at")?.map(Millis),
    })
}

impl Tx<'_> {
    /// A taken name is `UniqueViolation` of `projects_name`. The owner becomes its first member.
    pub fn insert_project(
        &mut self,
        id: ProjectId,
        name: &Name,
        owner: UserId,
        personal: bool,
        network: Network,
        now: Millis,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO projects (id, name, owner_id, personal, network, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
            params![id.to_string(), name.as_str(), owner.to_string(), personal, network.as_str(), now.0],
        )?;
        self.put_member(id, owner, Role::Owner, now)
    }

    pub fn rename_project(&mut self, id: ProjectId, name: &Name) -> Result<()> {
        self.execute("UPDATE projects SET name = $2 WHERE id = $1", params![id.to_string(), name.as_str()])?;
        self.notify("projects");
        Ok(())
    }

    pub fn set_project_funding(&mut self, id: ProjectId, funding: bool) -> Result<()> {
        self.execute("UPDATE projects SET funding = $2 WHERE id = $1", params![id.to_string(), funding])?;
        self.notify("projects");
        Ok(())
    }

    pub fn set_project_agent_key(&mut self, id: ProjectId, public: &str) -> Result<()> {
        self.execute("UPDATE projects SET agent_key = $2 WHERE id = $1", params![id.to_string(), public])?;
        self.notify("projects");
        Ok(())
    }

    /// It stays as a tombstone, since events and the ledger refer to it.
    pub fn delete_project(&mut self, id: ProjectId, now: Millis) -> Result<()> {
        let text = id.to_string();
        for sql in [
            "DELETE FROM members WHERE project_id = $1",
            "DELETE FROM tokens WHERE project_id = $1",
            "DELETE FROM registries WHERE project_id = $1",
            "DELETE FROM project_env WHERE project_id = $1",
            "DELETE FROM quotas WHERE project_id = $1",
            "DELETE FROM domains WHERE project_id = $1",
            "DELETE FROM project_groups WHERE project_id = $1",
            "DELETE FROM policy_rules WHERE project_id = $1",
        ] {
            self.execute(sql, params![&text])?;
        }
        self.execute("UPDATE projects SET deleted_at = $2 WHERE id = $1", params![&text, now.0])?;
        self.execute(
            "UPDATE approvals SET state = 'expired', decided_at = $2 WHERE project_id = $1 AND state = 'open'",
            params![&text, now.0],
        )?;
        self.notify(crate::policies::POLICIES);
        self.notify("projects");
        self.notify("tokens");
        self.notify("domains");
        Ok(())
    }

    /// Also one that is deleted: its money is still its.
    pub fn any_project(&mut self, id: ProjectId) -> Result<Option<Project>> {
        self.query_opt(select!("p.id = $1"), params![id.to_string()])?.as_ref().map(project).transpose()
    }

    /// Deleted ones whose balance is not zero, the last deleted first.
    pub fn deleted_with_balance(&mut self, limit: u32) -> Result<Vec<(Project, Sats)>> {
        let rows = self.query(
            "SELECT p.*, u.login, a.balance FROM projects p JOIN users u ON u.id = p.owner_id
             JOIN accounts a ON a.project_id = p.id AND a.kind = 'project'
             WHERE p.deleted_at IS NOT NULL AND a.balance <> 0 ORDER BY p.deleted_at DESC, p.id LIMIT $1",
            params![limit],
        )?;
        rows.iter().map(|row| Ok((project(row)?, Sats(row.int("balance")?)))).collect()
    }

    /// A live one.
    pub fn project(&mut self, id: ProjectId) -> Result<Option<Project>> {
        let found = self.query_opt(select!("p.deleted_at IS NULL AND p.id = $1"), params![id.to_string()])?;
        found.as_ref().map(project).transpose()
    }

    pub fn project_by_name(&mut self, name: &str) -> Result<Option<Project>> {
        let found = self.query_opt(select!("p.deleted_at IS NULL AND p.name = $1"), params![name])?;
        found.as_ref().map(project).transpose()
    }

    pub fn personal_project(&mut self, owner: UserId) -> Result<Option<Project>> {
        let found = self.query_opt(
            select!("p.deleted_at IS NULL AND p.owner_id = $1 AND p.personal = $2"),
            params![owner.to_string(), true],
        )?;
        found.as_ref().map(project).transpose()
    }

    /// Live projects by name; the caller filters by what may be seen.
    pub fn projects(&mut self) -> Result<Vec<Project>> {
        self.query(select!("p.deleted_at IS NULL ORDER BY p.name"), params![])?.iter().map(project).collect()
    }

    /// Live projects that would have no owner without this user, and its personal one.
    pub fn projects_ending_with(&mut self, user: UserId) -> Result<Vec<ProjectId>> {
        let rows = self.query(
            "SELECT p.id FROM projects p WHERE p.owner_id = $1 AND p.deleted_at IS NULL AND (p.personal = $2 OR NOT EXISTS
                 (SELECT 1 FROM members m WHERE m.project_id = p.id AND m.role = 'owner' AND m.user_id <> $1))",
            params![user.to_string(), true],
        )?;
        rows.iter().map(|row| row.parse("id")).collect()
    }

    /// Adds a member, or gives it another role. The owner of record follows the owners.
    pub fn put_member(&mut self, project: ProjectId, user: UserId, role: Role, now: Millis) -> Result<()> {
        self.execute(
            "INSERT INTO members (project_id, user_id, role, added_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id, user_id) DO UPDATE SET role = $3",
            params![project.to_string(), user.to_string(), role.as_str(), now.0],
        )?;
        self.owner_of_record(project)
    }

    pub fn delete_member(&mut self, project: ProjectId, user: UserId) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM members WHERE project_id = $1 AND user_id = $2",
            params![project.to_string(), user.to_string()],
        )?;
        self.owner_of_record(project)?;
        Ok(n > 0)
    }

    fn owner_of_record(&mut self, project: ProjectId) -> Result<()> {
        self.execute(
            "UPDATE projects SET owner_id = (SELECT MIN(user_id) FROM members WHERE project_id = $1 AND role = 'owner')
             WHERE id = $1 AND owner_id NOT IN (SELECT user_id FROM members WHERE project_id = $1 AND role = 'owner')",
            params![project.to_string()],
        )?;
        self.notify("projects");
        Ok(())
    }

    /// By login.
    pub fn members(&mut self, project: ProjectId) -> Result<Vec<Member>> {
        let rows = self.query(
            "SELECT m.user_id, u.login, u.name, m.role, m.added_at FROM members m JOIN users u ON u.id = m.user_id
             WHERE m.project_id = $1 ORDER BY u.login",
            params![project.to_string()],
        )?;
        let member = |row: &Row| {
            Ok(Member {
                user: row.parse("user_id")?,
                login: row.text("login")?,
                name: row.text("name")?,
                role: row.parse("role")?,
                added_at: Millis(row.int("added_at")?),
            })
        };
        rows.iter().map(member).collect()
    }

    /// All memberships, for the snapshot that callers are checked against.
    pub fn all_memberships(&mut self) -> Result<Vec<(ProjectId, UserId, Role)>> {
        let rows = self.query("SELECT project_id, user_id, role FROM members", params![])?;
        let membership =
            |row: &Row| Ok((row.parse("project_id")?, row.parse("user_id")?, row.parse("role")?));
        rows.iter().map(membership).collect()
    }

    pub fn put_registry(&mut self, project: ProjectId, host: &str, username: &str) -> Result<()> {
        self.execute(
            "INSERT INTO registries (project_id, host, username) VALUES ($1, $2, $3)
             ON CONFLICT (project_id, host) DO UPDATE SET username = $3",
            params![project.to_string(), host, username],
        )
        .map(drop)
    }

    /// Host and user name of each registry that the project has credentials for.
    pub fn registries(&mut self, project: ProjectId) -> Result<Vec<(String, String)>> {
        let rows = self.query(
            "SELECT host, username FROM registries WHERE project_id = $1 ORDER BY host",
            params![project.to_string()],
        )?;
        rows.iter().map(|row| Ok((row.text("host")?, row.text("username")?))).collect()
    }

    pub fn delete_registry(&mut self, project: ProjectId, host: &str) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM registries WHERE project_id = $1 AND host = $2",
            params![project.to_string(), host],
        )?;
        Ok(n > 0)
    }

    /// By name.
    pub fn project_env(&mut self, project: ProjectId) -> Result<Vec<Variable>> {
        let rows = self.query(
            "SELECT name, value, updated_at FROM project_env WHERE project_id = $1 ORDER BY name",
            params![project.to_string()],
        )?;
        let variable = |row: &Row| {
            Ok(Variable {
                name: row.text("name")?,
                value: row.opt_text("value")?,
                updated_at: Millis(row.int("updated_at")?),
            })
        };
        rows.iter().map(variable).collect()
    }

    /// `None` as its value marks a secret, which the caller seals.
    pub fn put_project_env(
        &mut self,
        project: ProjectId,
        name: &str,
        value: Option<&str>,
        now: Millis,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO project_env (project_id, name, value, updated_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id, name) DO UPDATE SET value = $3, updated_at = $4",
            params![project.to_string(), name, value.map(str::to_owned), now.0],
        )
        .map(drop)
    }

    pub fn delete_project_env(&mut self, project: ProjectId, name: &str) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM project_env WHERE project_id = $1 AND name = $2",
            params![project.to_string(), name],
        )?;
        Ok(n > 0)
    }

    pub fn quotas(&mut self, project: ProjectId) -> Result<Quotas> {
        let row =
            self.query_opt("SELECT * FROM quotas WHERE project_id = $1", params![project.to_string()])?;
        let Some(row) = row else { return Ok(Quotas::default()) };
        let small = |column: &str| {
            let value = row.opt_int(column)?.map(u32::try_from).transpose();
            value.map_err(|_| StoreError::Decode { column: column.to_owned(), expected: "a small number" })
        };
        let bytes = |column: &str| {
            let value = row.opt_int(column)?.map(u64::try_from).transpose();
            value
                .map(|n| n.map(Bytes::new))
                .map_err(|_| StoreError::Decode { column: column.to_owned(), expected: "a size" })
        };
        Ok(Quotas {
            instances: small("instances")?,
            cpus: small("cpus")?.map(Cpus::from_millis),
            memory: bytes("memory")?,
            disk: bytes("disk")?,
            tasks: small("tasks")?,
        })
    }

    pub fn put_quotas(&mut self, project: ProjectId, quotas: &Quotas) -> Result<()> {
        let bytes = |value: Option<Bytes>| value.map(|n| i64::try_from(n.get()).unwrap_or(i64::MAX));
        self.execute(
            "INSERT INTO quotas (project_id, instances, cpus, memory, disk, tasks) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (project_id) DO UPDATE SET instances = $2, cpus = $3, memory = $4, disk = $5, tasks = $6,
                disk_reached_at = CASE WHEN quotas.disk = $5 THEN quotas.disk_reached_at END",
            params![
                project.to_string(),
                quotas.instances.map(i64::from),
                quotas.cpus.map(|cpus| i64::from(cpus.millis())),
                bytes(quotas.memory),
                bytes(quotas.disk),
                quotas.tasks.map(i64::from)
            ],
        )
        .map(drop)
    }
}
