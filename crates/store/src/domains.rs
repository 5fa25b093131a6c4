//! Custom domains: who wants which, and where it stands. That only one project holds a domain is the index
//! `domains_holder`'s to keep.
//!
//! The topic `domains` is signalled when what the gateway serves, or what is due, may have changed; not at each check.

use ryokan_model::domain::{DomainName, Standing};
use ryokan_model::{InstanceId, Millis, Name, ProjectId};

use crate::{Result, Row, StoreError, Tx, params};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub project: ProjectId,
    pub domain: DomainName,
    pub instance: InstanceId,
    pub instance_name: Name,
    /// What the TXT record has to hold.
    pub token: String,
    pub standing: Standing,
    pub created_at: Millis,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.*, i.name AS instance_name FROM domains d JOIN instances i ON i.id = d.instance_id
             WHERE i.deleted_at IS NULL AND ",
            $rest
        )
    };
}

fn domain(row: &Row) -> Result<Domain> {
    let wrong_checks = u32::try_from(row.int("wrong_checks")?);
    Ok(Domain {
        project: row.parse("project_id")?,
        domain: row.parse("domain")?,
        instance: row.parse("instance_id")?,
        instance_name: row.parse("instance_name")?,
        token: row.text("token")?,
        standing: Standing {
            state: row.parse("state")?,
            reason: row.opt_text("reason")?,
            since: Millis(row.int("since")?),
            last_check: row.opt_int("last_check")?.map(Millis),
            next_check: row.opt_int("next_check")?.map(Millis),
            wrong_since: row.opt_int("wrong_since")?.map(Millis),
            wrong_checks: wrong_checks.map_err(|_| StoreError::Decode {
                column: "wrong_checks".into(),
                expected: "a small number",
            })?,
        },
        created_at: Millis(row.int("created_at")?),
    })
}

impl Tx<'_> {
    /// A project has a domain once. The name of the instance is not written.
    pub fn insert_domain(&mut self, new: &Domain) -> Result<()> {
        self.execute(
            "INSERT INTO domains (project_id, domain, instance_id, token, state, since, next_check, wrong_checks, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)",
            params![
                new.project.to_string(),
                new.domain.as_str(),
                new.instance.to_string(),
                &new.token,
                new.standing.state.as_str(),
                new.standing.since.0,
                new.standing.next_check.map(|at| at.0),
                new.created_at.0
            ],
        )?;
        self.notify("domains");
        Ok(())
    }

    /// Holding what another project holds is `UniqueViolation` of `domains_holder`.
    pub fn put_domain_standing(
        &mut self,
        project: ProjectId,
        name: &DomainName,
        to: &Standing,
    ) -> Result<()> {
        self.execute(
            "UPDATE domains SET state = $3, reason = $4, since = $5, last_check = $6, next_check = $7, wrong_since = $8,
             wrong_checks = $9 WHERE project_id = $1 AND domain = $2",
            params![
                project.to_string(),
                name.as_str(),
                to.state.as_str(),
                to.reason.clone(),
                to.since.0,
                to.last_check.map(|at| at.0),
                to.next_check.map(|at| at.0),
                to.wrong_since.map(|at| at.0),
                to.wrong_checks
            ],
        )
        .map(drop)
    }

    /// Those that the gateway serves now become active; the number of those that were not.
    pub fn activate_domain(&mut self, name: &DomainName, instance: InstanceId) -> Result<u64> {
        self.execute(
            "UPDATE domains SET state = 'active' WHERE domain = $1 AND instance_id = $2 AND state = 'verified'",
            params![name.as_str(), instance.to_string()],
        )
    }

    pub fn domain(&mut self, project: ProjectId, name: &DomainName) -> Result<Option<Domain>> {
        let found = self.query_opt(
            select!("d.project_id = $1 AND d.domain = $2"),
            params![project.to_string(), name.as_str()],
        )?;
        found.as_ref().map(domain).transpose()
    }

    /// Whose it is now.
    pub fn domain_holder(&mut self, name: &DomainName) -> Result<Option<Domain>> {
        let found = self.query_opt(
            select!("d.domain = $1 AND d.state IN ('verified', 'active')"),
            params![name.as_str()],
        )?;
        found.as_ref().map(domain).transpose()
    }

    /// By name.
    pub fn domains_of(&mut self, instance: InstanceId) -> Result<Vec<Domain>> {
        self.query(select!("d.instance_id = $1 ORDER BY d.domain"), params![instance.to_string()])?
            .iter()
            .map(domain)
            .collect()
    }

    pub fn count_domains(&mut self, project: ProjectId) -> Result<i64> {
        self.query_one(
            "SELECT COUNT(*) AS n FROM domains WHERE project_id = $1",
            params![project.to_string()],
        )?
        .int("n")
    }

    /// What is to be checked by `now`, the longest due first.
    pub fn due_domains(&mut self, now: Millis, limit: u32) -> Result<Vec<Domain>> {
        self.query(
            select!("d.next_check <= $1 ORDER BY d.next_check, d.project_id, d.domain LIMIT $2"),
            params![now.0, limit],
        )?
        .iter()
        .map(domain)
        .collect()
    }

    /// All that the gateway is to serve, by domain; whether each is known to be served.
    pub fn served_domains(&mut self) -> Result<Vec<(DomainName, InstanceId, bool)>> {
        let rows = self.query(
            "SELECT domain, instance_id, state FROM domains WHERE state IN ('verified', 'active') ORDER BY domain",
            params![],
        )?;
        let served =
            |row: &Row| Ok((row.parse("domain")?, row.parse("instance_id")?, row.text("state")? == "active"));
        rows.iter().map(served).collect()
    }

    /// Whether there was one.
    pub fn delete_domain(&mut self, project: ProjectId, name: &DomainName) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM domains WHERE project_id = $1 AND domain = $2",
            params![project.to_string(), name.as_str()],
        )?;
        self.notify("domains");
        Ok(n > 0)
    }

    pub fn delete_domains_of(&mut self, instance: InstanceId) -> Result<()> {
        let n = self.execute("DELETE FROM domains WHERE instance_id = $1", params![instance.to_string()])?;
        if n > 0 {
            self.notify("domains");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ryokan_model::UserId;
    use ryokan_model::domain::{Finding, State};
    use ryokan_model::project::Network;
    use ryokan_model::spec::InstanceSpec;

    use super::*;
    use crate::instances::Instance;
    use crate::test_util::for_each_engine;
    use crate::users::User;

    const NOW: Millis = Millis(1_000);

    fn wanted(n: u8, domain: &str) -> Domain {
        Domain {
            project: ProjectId::from_parts(NOW, [n; 10]),
            domain: domain.parse().unwrap(),
            instance: InstanceId::from_parts(NOW, [n; 10]),
            instance_name: format!("a-{n}").parse().unwrap(),
            token: format!("token-{n}"),
            standing: Standing::new(NOW),
            created_at: NOW,
        }
    }

    fn seed(tx: &mut Tx<'_>) -> Result<()> {
        let user = UserId::from_parts(NOW, [1; 10]);
        tx.insert_user(&User {
            id: user,
            login: "ada".into(),
            name: "Ada".into(),
            operator: true,
            password_hash: None,
            disabled: false,
            email: None,
            created_at: NOW,
        })?;
        for n in [1, 2] {
            let Domain { project, instance, instance_name, .. } = wanted(n, "a.example.com");
            tx.insert_project(
                project,
                &format!("p-{n}").parse().unwrap(),
                user,
                false,
                Network::default(),
                NOW,
            )?;
            let spec = InstanceSpec::new("img".parse().unwrap());
            tx.insert_instance(&Instance::new(instance, project, instance_name, spec, NOW))?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn rows_come_back_as_they_went_in_and_one_project_holds() {
        for_each_engine(|database| async move {
            let store = database.open().await;
            let (one, two) = (wanted(1, "a.example.com"), wanted(2, "a.example.com"));
            let (a, b) = (one.clone(), two.clone());
            store
                .write(move |tx| {
                    seed(tx)?;
                    tx.insert_domain(&a)?;
                    tx.insert_domain(&b)?;
                    assert_eq!(tx.domain(a.project, &a.domain)?, Some(a.clone()));
                    assert_eq!(tx.domain_holder(&a.domain)?, None);
                    assert_eq!(tx.due_domains(Millis(999), 9)?, []);
                    assert_eq!(tx.due_domains(NOW, 9)?.len(), 2);
                    assert_eq!(tx.due_domains(NOW, 1)?.len(), 1);
                    let wrong = a.standing.after(&Finding::Wrong("why".into()), false, Millis(2_000));
                    tx.put_domain_standing(a.project, &a.domain, &wrong)?;
                    assert_eq!(tx.domains_of(a.instance)?, [Domain { standing: wrong, ..a.clone() }]);
                    let held = a.standing.after(&Finding::Proven, false, Millis(3_000));
                    tx.put_domain_standing(a.project, &a.domain, &held)?;
                    assert_eq!(tx.domain_holder(&a.domain)?.map(|d| d.project), Some(a.project));
                    assert_eq!(tx.served_domains()?, [(a.domain.clone(), a.instance, false)]);
                    assert_eq!(tx.activate_domain(&a.domain, b.instance)?, 0);
                    assert_eq!(tx.activate_domain(&a.domain, a.instance)?, 1);
                    assert_eq!(tx.served_domains()?, [(a.domain.clone(), a.instance, true)]);
                    Ok::<_, StoreError>(())
                })
                .await
                .unwrap();
            let b = two.clone();
            let second = store
                .write(move |tx| {
                    let held = b.standing.after(&Finding::Proven, false, NOW);
                    tx.put_domain_standing(b.project, &b.domain, &held)
                })
                .await;
            let taken = StoreError::UniqueViolation { constraint: "domains_holder".into() };
            assert_eq!(second, Err(taken));
            let (a, b) = (one.clone(), two.clone());
            store
                .write(move |tx| {
                    assert_eq!(tx.count_domains(a.project)?, 1);
                    tx.delete_domains_of(a.instance)?;
                    assert_eq!(tx.served_domains()?, []);
                    assert_eq!(
                        tx.domain(b.project, &b.domain)?.map(|d| d.standing.state),
                        Some(State::Pending)
                    );
                    tx.delete_project(b.project, NOW)?;
                    assert_eq!(tx.domain(b.project, &b.domain)?, None);
                    assert!(!tx.delete_domain(b.project, &b.domain)?);
                    Ok::<_, StoreError>(())
                })
                .await
                .unwrap();
        })
        .await;
    }
}
