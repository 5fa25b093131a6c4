//! Instances as rows: what is wanted and what was last seen. Deleted ones stay as tombstones for a while, since only a
//! tombstone allows the orphan search to remove an engine's volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::LazyLock;

use ryokan_model::addon::Addon;
use ryokan_model::billing::Suspension;
use ryokan_model::instance::{Desired, State};
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Millis, Name, ProjectId};

use crate::{Result, Row, StoreError, Tx, Value, params};

/// A spec that has run, with its image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Previous {
    pub generation: i64,
    pub spec: InstanceSpec,
    pub image_id: Option<String>,
    pub image_digest: Option<String>,
    /// When the update began that may go back to it, or when its image was there.
    #[serde(default)]
    pub since: Millis,
}

/// What is remembered of a deleted instance for the sake of its volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    pub keep_volumes: bool,
    pub deleted_at: Millis,
}

/// An update that could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TakenBack {
    pub generation: i64,
    pub reason: String,
}

/// One instance. `version` grows with every write and guards against lost updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    pub project: ProjectId,
    pub project_name: String,
    pub name: Name,
    pub template: String,
    pub spec: InstanceSpec,
    pub desired: Desired,
    pub state: State,
    pub since: Millis,
    pub message: Option<String>,
    /// Grows with the spec.
    pub generation: i64,
    /// The generation that `image_id` was found for; smaller than `generation` while the image is still to be made present.
    pub image_generation: i64,
    pub image_id: Option<String>,
    pub image_digest: Option<String>,
    /// Restarts asked for, and carried out.
    pub restart_wanted: i64,
    pub restart_done: i64,
    pub crashes: u32,
    pub exit_code: Option<i64>,
    /// What ran before the update that is under way; what a failed update goes back to.
    pub previous: Option<Previous>,
    /// The last update, if it was taken back.
    pub taken_back: Option<TakenBack>,
    /// Not started again before this.
    pub retry_at: Option<Millis>,
    pub endpoints: BTreeMap<String, SocketAddr>,
    pub reach: Option<String>,
    pub keep_volumes: bool,
    /// Why the server keeps it from running, whatever its user wants.
    pub suspended: Option<Suspension>,
    /// What it is, if it is a database beside an agent. Never changes.
    pub addon: Option<Addon>,
    /// That agent, once it has been released.
    pub addon_of: Option<InstanceId>,
    pub version: i64,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub deleted_at: Option<Millis>,
}

impl Instance {
    /// What is to be: what the user wants, unless it is suspended.
    pub fn goal(&self) -> Desired {
        match (self.desired, self.suspended) {
            (Desired::Running, Some(_)) => Desired::Stopped,
            (desired, _) => desired,
        }
    }

    /// One that was asked for just now, and of which nothing exists yet.
    pub fn new(id: InstanceId, project: ProjectId, name: Name, spec: InstanceSpec, now: Millis) -> Self {
        Self {
            id,
            project,
            project_name: String::new(),
            name,
            template: String::new(),
            spec,
            desired: Desired::Running,
            state: State::Pending,
            since: now,
            message: None,
            generation: 1,
            image_generation: 0,
            image_id: None,
            image_digest: None,
            restart_wanted: 0,
            restart_done: 0,
            crashes: 0,
            exit_code: None,
            previous: None,
            taken_back: None,
            retry_at: None,
            endpoints: BTreeMap::new(),
            reach: None,
            keep_volumes: false,
            suspended: None,
            addon: None,
            addon_of: None,
            version: 1,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }
}

// Not `JOIN`: SQLite would go through the projects, and look in each for instances that fit. It does so as soon as
// it has counted the rows.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT i.*, p.name AS project_name FROM instances i CROSS JOIN projects p WHERE p.id = i.project_id AND ",
            $rest
        )
    };
}

const PAGE: &str = select!("i.deleted_at IS NULL AND i.name > $1 ORDER BY i.name LIMIT $2");
const PROJECT_PAGE: &str =
    select!("i.deleted_at IS NULL AND i.project_id = $3 AND i.name > $1 ORDER BY i.name LIMIT $2");
const STATE_PAGE: &str =
    select!("i.deleted_at IS NULL AND i.state = $3 AND i.name > $1 ORDER BY i.name LIMIT $2");
const PROJECT_STATE_PAGE: &str = select!(
    "i.deleted_at IS NULL AND i.project_id = $3 AND i.state = $4 AND i.name > $1 ORDER BY i.name LIMIT $2"
);

const OF_IDS: &str =
    select!("i.deleted_at IS NULL AND i.id IN (SELECT value FROM json_each(CAST($1 AS TEXT)))");
const ADDONS: &str = select!("i.addon_of = $1 AND i.deleted_at IS NULL ORDER BY i.name");
const LIVE_AMONG: &str = "SELECT id FROM instances WHERE deleted_at IS NULL AND id IN (SELECT value FROM json_each(CAST($1 AS TEXT)))";
const IN_USE: &str = "SELECT DISTINCT project_id FROM instances
     WHERE deleted_at IS NULL AND project_id IN (SELECT value FROM json_each(CAST($1 AS TEXT)))";
const VERSIONS: &str = "SELECT id, version FROM instances WHERE deleted_at IS NULL ORDER BY id";
const TOMBSTONES: &str = "SELECT id, keep_volumes, deleted_at FROM instances WHERE deleted_at IS NOT NULL";

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::Other(format!("a value cannot be written as JSON: {e}")))
}

fn instance(row: &Row) -> Result<Instance> {
    Ok(Instance {
        id: row.parse("id")?,
        project: row.parse("project_id")?,
        project_name: row.text("project_name")?,
        name: row.parse("name")?,
        template: row.text("template")?,
        spec: row.json("spec")?,
        desired: row.parse("desired")?,
        state: row.parse("state")?,
        since: Millis(row.int("since")?),
        message: row.opt_text("message")?,
        generation: row.int("generation")?,
        image_generation: row.int("image_generation")?,
        image_id: row.opt_text("image_id")?,
        image_digest: row.opt_text("image_digest")?,
        restart_wanted: row.int("restart_wanted")?,
        restart_done: row.int("restart_done")?,
        crashes: u32::try_from(row.int("crashes")?).unwrap_or(u32::MAX),
        exit_code: row.opt_int("exit_code")?,
        previous: row.opt_json("previous")?,
        taken_back: row.opt_json("taken_back")?,
        retry_at: row.opt_int("retry_at")?.map(Millis),
        endpoints: row.json("endpoints")?,
        reach: row.opt_text("reach")?,
        keep_volumes: row.bool("keep_volumes")?,
        suspended: row.opt_parse("suspended")?,
        addon: row.opt_parse("addon")?,
        addon_of: row.opt_parse("addon_of")?,
        version: row.int("version")?,
        created_at: Millis(row.int("created_at")?),
        updated_at: Millis(row.int("updated_at")?),
        deleted_at: row.opt_int("deleted_at")?.map(Millis),
    })
}

/// What may change in a row, in the order of [`changeable`].
const CHANGEABLE: [&str; 23] = [
    "spec",
    "desired",
    "state",
    "since",
    "message",
    "generation",
    "image_generation",
    "image_id",
    "image_digest",
    "restart_wanted",
    "restart_done",
    "crashes",
    "exit_code",
    "previous",
    "taken_back",
    "retry_at",
    "endpoints",
    "reach",
    "keep_volumes",
    "suspended",
    "addon_of",
    "updated_at",
    "deleted_at",
];

fn changeable(i: &Instance) -> Result<Vec<Value>> {
    Ok(vec![
        json(&i.spec)?.into(),
        i.desired.as_str().into(),
        i.state.as_str().into(),
        i.since.0.into(),
        (&i.message).into(),
        i.generation.into(),
        i.image_generation.into(),
        (&i.image_id).into(),
        (&i.image_digest).into(),
        i.restart_wanted.into(),
        i.restart_done.into(),
        i.crashes.into(),
        i.exit_code.into(),
        i.previous.as_ref().map(json).transpose()?.into(),
        i.taken_back.as_ref().map(json).transpose()?.into(),
        i.retry_at.map(|t| t.0).into(),
        json(&i.endpoints)?.into(),
        (&i.reach).into(),
        i.keep_volumes.into(),
        i.suspended.map(Suspension::as_str).into(),
        i.addon_of.map(|id| id.to_string()).into(),
        i.updated_at.0.into(),
        i.deleted_at.map(|t| t.0).into(),
    ])
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = ["id", "project_id", "name", "template", "addon", "version", "created_at"];
    let columns: Vec<&str> = columns.into_iter().chain(CHANGEABLE).collect();
    let values: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    format!("INSERT INTO instances ({}) VALUES ({})", columns.join(", "), values.join(", "))
});

static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let set: Vec<String> = CHANGEABLE.iter().zip(3..).map(|(column, n)| format!("{column} = ${n}")).collect();
    format!(
        "UPDATE instances SET {}, version = version + 1 WHERE id = $1 AND version = $2 AND deleted_at IS NULL",
        set.join(", ")
    )
});

impl Tx<'_> {
    /// A taken name is `UniqueViolation` of `instances_name`.
    pub fn insert_instance(&mut self, i: &Instance) -> Result<()> {
        let mut values = vec![
            i.id.to_string().into(),
            i.project.to_string().into(),
            i.name.as_str().into(),
            (&i.template).into(),
            i.addon.map(Addon::as_str).into(),
            i.version.into(),
            i.created_at.0.into(),
        ];
        values.extend(changeable(i)?);
        self.execute(&INSERT, &values)?;
        self.notify_row("instances", i.id);
        Ok(())
    }

    /// Writes all that may change, if the row is still at `i.version`; `Fenced` when somebody else was faster.
    pub fn update_instance(&mut self, i: &mut Instance, now: Millis) -> Result<()> {
        i.updated_at = now;
        let mut values = vec![i.id.to_string().into(), i.version.into()];
        values.extend(changeable(i)?);
        if self.execute(&UPDATE, &values)? == 0 {
            return Err(StoreError::Fenced);
        }
        i.version += 1;
        self.notify_row("instances", i.id);
        Ok(())
    }

    /// A live instance.
    pub fn instance(&mut self, id: InstanceId) -> Result<Option<Instance>> {
        self.query_opt(select!("i.id = $1 AND i.deleted_at IS NULL"), params![id.to_string()])?
            .as_ref()
            .map(instance)
            .transpose()
    }

    pub fn instance_by_name(&mut self, name: &str) -> Result<Option<Instance>> {
        self.query_opt(select!("i.name = $1 AND i.deleted_at IS NULL"), params![name])?
            .as_ref()
            .map(instance)
            .transpose()
    }

    /// Those of `ids` that live, in no order.
    pub fn instances_of_ids(&mut self, ids: &[InstanceId]) -> Result<Vec<Instance>> {
        self.query(OF_IDS, params![json(&ids)?])?.iter().map(instance).collect()
    }

    /// The databases beside an agent, by name, with those that are being deleted.
    pub fn addons_of(&mut self, agent: InstanceId) -> Result<Vec<Instance>> {
        self.query(ADDONS, params![agent.to_string()])?.iter().map(instance).collect()
    }

    /// Those of `ids` whose instance lives.
    pub fn live_among(&mut self, ids: &[InstanceId]) -> Result<BTreeSet<InstanceId>> {
        self.query(LIVE_AMONG, params![json(&ids)?])?.iter().map(|row| row.parse("id")).collect()
    }

    /// Those of `projects` that have a live instance.
    pub fn projects_in_use(&mut self, projects: &[ProjectId]) -> Result<BTreeSet<ProjectId>> {
        self.query(IN_USE, params![json(&projects)?])?.iter().map(|row| row.parse("project_id")).collect()
    }

    /// Which version each live instance is at; read from an index alone.
    pub fn live_versions(&mut self) -> Result<BTreeMap<InstanceId, i64>> {
        let rows = self.query(VERSIONS, params![])?;
        rows.iter().map(|row| Ok((row.parse("id")?, row.int("version")?))).collect()
    }

    /// A page by name: of everybody's or of one project's, in any state or in one. Each of the four has an index in the
    /// order of the page, so a page costs the same however many rows there are.
    pub fn instances_page(
        &mut self,
        project: Option<ProjectId>,
        state: Option<State>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Instance>> {
        let project = project.map(|id| id.to_string());
        let rows = match (project, state) {
            (None, None) => self.query(PAGE, params![after, limit]),
            (Some(project), None) => self.query(PROJECT_PAGE, params![after, limit, project]),
            (None, Some(state)) => self.query(STATE_PAGE, params![after, limit, state.as_str()]),
            (Some(project), Some(state)) => {
                self.query(PROJECT_STATE_PAGE, params![after, limit, project, state.as_str()])
            }
        }?;
        rows.iter().map(instance).collect()
    }

    /// How many live instances a project has.
    pub fn count_instances_of(&mut self, project: ProjectId) -> Result<i64> {
        self.query_one(
            "SELECT COUNT(*) AS n FROM instances WHERE deleted_at IS NULL AND project_id = $1",
            params![project.to_string()],
        )?
        .int("n")
    }

    /// Deleted instances, with whether their volumes are to be kept; read from an index alone.
    pub fn tombstones(&mut self) -> Result<BTreeMap<InstanceId, Tombstone>> {
        let rows = self.query(TOMBSTONES, params![])?;
        let tombstone = |row: &Row| {
            let deleted_at = Millis(row.int("deleted_at")?);
            Ok((row.parse("id")?, Tombstone { keep_volumes: row.bool("keep_volumes")?, deleted_at }))
        };
        rows.iter().map(tombstone).collect()
    }

    /// Forgets tombstones older than `before`.
    pub fn purge_tombstones(&mut self, before: Millis) -> Result<u64> {
        self.execute(
            "DELETE FROM instances WHERE deleted_at IS NOT NULL AND deleted_at < $1 AND keep_volumes = $2",
            params![before.0, false],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::for_each_engine;

    /// A page that sorts or scans costs more with each instance of everybody else.
    #[tokio::test]
    async fn every_page_follows_an_index() {
        for_each_engine(async |database| {
            let store = database.open().await;
            let plans = store
                .write(|tx| {
                    let dialect = tx.dialect();
                    if dialect == crate::Dialect::Postgres {
                        // A table with few rows is scanned, whatever its indexes.
                        tx.execute("SET LOCAL enable_seqscan = off", &[])?;
                        tx.execute("SET LOCAL enable_bitmapscan = off", &[])?;
                    }
                    let mut plans = Vec::new();
                    // On PostgreSQL, an index alone is only worth it after a `VACUUM`, which no transaction can do.
                    for (all, index) in
                        [(VERSIONS, "instances_versions"), (TOMBSTONES, "instances_tombstones")]
                    {
                        plans.push((index, explain(tx, all, [""; 4])?));
                    }
                    // As both engines do by themselves after a while: plans are others once the rows are counted.
                    let project = fill(tx)?.to_string();
                    tx.execute("ANALYZE", &[])?;
                    for (page, values, index) in [
                        (PAGE, ["i-0", "20", "", ""], "instances_name"),
                        (PROJECT_PAGE, ["i-0", "20", &project, ""], "instances_project_name"),
                        (STATE_PAGE, ["i-0", "20", "pending", ""], "instances_state_name"),
                        (
                            PROJECT_STATE_PAGE,
                            ["i-0", "20", &project, "pending"],
                            "instances_project_state_name",
                        ),
                    ] {
                        plans.push((index, explain(tx, page, values)?));
                    }
                    if dialect == crate::Dialect::Sqlite {
                        let of_ids = explain(tx, OF_IDS, ["[]", "", "", ""])?;
                        assert!(
                            of_ids.first().is_some_and(|step| step.starts_with("SEARCH i ")),
                            "{of_ids:?}"
                        );
                        for (index, plan) in &plans {
                            assert!(!plan.join("\n").contains("SCAN p"), "{index}: {plan:?}");
                        }
                    }
                    Ok::<_, StoreError>(plans)
                })
                .await
                .unwrap();
            for (index, plan) in plans {
                let plan = plan.join("\n");
                let follows = plan.contains(&format!("INDEX {index} (")) // SQLite
                    || plan.ends_with(&format!("COVERING INDEX {index}"))
                    || plan.contains(&format!("using {index} on"));
                assert!(follows, "{index}:\n{plan}");
                assert!(!plan.contains("TEMP B-TREE") && !plan.contains("Sort"), "{index}:\n{plan}");
            }
        })
        .await;
    }

    /// Many projects with some instances each, in an order of names that has nothing to do with them.
    fn fill(tx: &mut Tx<'_>) -> Result<ProjectId> {
        let now = Millis(1);
        let id = |number: u32| {
            let mut bytes = [7; 10];
            bytes[6..].copy_from_slice(&number.to_be_bytes());
            bytes
        };
        let owner = ryokan_model::UserId::from_parts(now, id(0));
        tx.insert_user(&crate::users::User {
            id: owner,
            login: "a".into(),
            name: "a".into(),
            operator: false,
            password_hash: None,
            disabled: false,
            email: None,
            created_at: now,
        })?;
        for project in 0..40 {
            let project_id = ProjectId::from_parts(now, id(project));
            let name = format!("p-{project}").parse().unwrap();
            tx.insert_project(project_id, &name, owner, false, ryokan_model::project::Network::Mainnet, now)?;
            for number in project * 50..(project + 1) * 50 {
                let name = format!("i-{:08x}", number.wrapping_mul(0x9E37_79B1)).parse().unwrap();
                let spec = InstanceSpec::new("a/b:1".parse().unwrap());
                let row = Instance::new(InstanceId::from_parts(now, id(number)), project_id, name, spec, now);
                tx.insert_instance(&row)?;
            }
        }
        Ok(ProjectId::from_parts(now, id(7)))
    }

    fn explain(tx: &mut Tx<'_>, sql: &str, values: [&str; 4]) -> Result<Vec<String>> {
        let (command, column) = match tx.dialect() {
            crate::Dialect::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
            crate::Dialect::Postgres => ("EXPLAIN", "QUERY PLAN"),
        };
        // PostgreSQL explains no parameters, and SQLite's plan depends on them.
        let sql = values.iter().enumerate().fold(sql.to_owned(), |sql, (at, value)| {
            sql.replace(&format!("${}", at + 1), &format!("'{value}'"))
        });
        let rows = tx.query(Box::leak(format!("{command} {sql}").into_boxed_str()), &[])?;
        rows.iter().map(|row| row.text(column)).collect()
    }
}
