//! Following the live rows without reading them all: which version of each was read, which are to be read again, and
//! the signals that say so. A signal names the row that changed. Signals may be lost, so whoever follows also compares
//! all versions now and then, which reads an index and no row. What was read is the follower's to keep or to forget.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use ryokan_model::InstanceId;
use ryokan_store::instances::Instance;
use ryokan_store::{Change, Changes, Store, StoreError};

use crate::Result;

/// Rows that are read in one go: so many are in memory at a time, and nobody else waits long for the reader.
const BATCH: usize = 500;

/// The version of no row.
const NEVER: i64 = -1;

pub(crate) struct Rows {
    changes: Changes,
    /// The version of each live row that was read last.
    known: BTreeMap<InstanceId, i64>,
    /// To be read.
    due: BTreeSet<InstanceId>,
    /// Whether all versions are to be compared.
    compare: bool,
}

/// What a look at the rows has shown.
#[derive(Default)]
pub(crate) struct Look {
    /// Rows that changed, or were asked for.
    pub(crate) read: Vec<Instance>,
    /// Those that live no more.
    pub(crate) gone: Vec<InstanceId>,
}

impl Rows {
    /// Nothing is read yet, and nothing that changes from now on is missed.
    pub(crate) fn new(store: &Store) -> Self {
        Self { changes: store.subscribe(), known: BTreeMap::new(), due: BTreeSet::new(), compare: true }
    }

    /// Waits until a row changed; `false` once the store is gone. Cancel safe.
    pub(crate) async fn changed(&mut self) -> bool {
        let Some(change) = self.changes.next_of("instances").await else { return false };
        self.hear(&change);
        // What was told meanwhile is read with it.
        while let Some(Some(change)) = self.changes.next_of("instances").now_or_never() {
            self.hear(&change);
        }
        true
    }

    fn hear(&mut self, change: &Change) {
        match change {
            Change::Row(_, id) if let Ok(id) = id.parse() => drop(self.due.insert(id)),
            _ => self.compare = true,
        }
    }

    /// Has all versions compared at the next look: signals may have been lost.
    pub(crate) fn compare(&mut self) {
        self.compare = true;
    }

    /// Has this row read at the next look, whether it changed or not.
    pub(crate) fn read_again(&mut self, id: InstanceId) {
        self.due.insert(id);
    }

    /// Has this row read when versions are compared the next time, although it did not change.
    pub(crate) fn forget(&mut self, id: InstanceId) {
        self.known.insert(id, NEVER);
    }

    /// Whether there is something to look at.
    pub(crate) fn is_behind(&self) -> bool {
        self.compare || !self.due.is_empty()
    }

    /// Whether it lived at the last look.
    pub(crate) fn lives(&self, id: InstanceId) -> bool {
        self.known.contains_key(&id)
    }

    /// Reads some of what is due; look again until nothing is. After an error all of it is still due.
    pub(crate) async fn look(&mut self, store: &Store) -> Result<Look> {
        if self.compare {
            let live = store.read(|tx| tx.live_versions()).await?;
            let changed =
                live.iter().filter(|(id, version)| self.known.get(id) != Some(version)).map(|(id, _)| id);
            let gone = self.known.keys().filter(|id| !live.contains_key(id));
            self.due.extend(changed.chain(gone));
            self.compare = false;
        }
        let due: Vec<InstanceId> = self.due.iter().copied().take(BATCH).collect();
        if due.is_empty() {
            return Ok(Look::default());
        }
        let (asked, read) = store
            .read(move |tx| {
                let read = tx.instances_of_ids(&due)?;
                Ok::<_, StoreError>((due, read))
            })
            .await?;
        Ok(self.note(&asked, read))
    }

    fn note(&mut self, asked: &[InstanceId], read: Vec<Instance>) -> Look {
        let mut gone = Vec::new();
        let live: BTreeMap<InstanceId, i64> = read.iter().map(|row| (row.id, row.version)).collect();
        for id in asked {
            self.due.remove(id);
            match live.get(id) {
                Some(version) => drop(self.known.insert(*id, *version)),
                None if self.known.remove(id).is_some() => gone.push(*id),
                None => {}
            }
        }
        Look { read, gone }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ryokan_model::spec::InstanceSpec;
    use ryokan_model::{Millis, ProjectId, UserId};
    use ryokan_store::params;
    use ryokan_store::test_util::{TestDatabase, for_each_engine};
    use ryokan_store::users::User;

    use super::*;

    const NOW: Millis = Millis(1_000);

    fn id(n: u16) -> InstanceId {
        let [high, low] = n.to_be_bytes();
        InstanceId::from_parts(NOW, [1, 1, 1, 1, 1, 1, 1, 1, high, low])
    }

    /// By a server that has ended before the next one starts, so that none of its signals comes later.
    async fn seed(database: &TestDatabase, count: u16) {
        let store = database.open().await;
        let (user, project) = (UserId::from_parts(NOW, [1; 10]), ProjectId::from_parts(NOW, [1; 10]));
        let owner = User {
            id: user,
            login: "ada".into(),
            name: "Ada".into(),
            operator: true,
            password_hash: None,
            disabled: false,
            email: None,
            created_at: NOW,
        };
        store
            .write(move |tx| {
                tx.insert_user(&owner)?;
                tx.insert_project(
                    project,
                    &"p".parse().unwrap(),
                    user,
                    false,
                    ryokan_model::project::Network::default(),
                    NOW,
                )?;
                for n in 0..count {
                    let spec = InstanceSpec::new("img".parse().unwrap());
                    let name = format!("a-{n}").parse().unwrap();
                    tx.insert_instance(&Instance::new(id(n), project, name, spec, NOW))?;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        store.close().await;
    }

    async fn change(store: &Store, n: u16, delete: bool) {
        store
            .write(move |tx| {
                let mut row = tx.instance(id(n))?.unwrap();
                row.deleted_at = delete.then_some(NOW);
                tx.update_instance(&mut row, NOW)
            })
            .await
            .unwrap();
    }

    /// As a server that dies between commit and signal.
    async fn change_silently(store: &Store, sql: &'static str, n: u16) {
        store.write(move |tx| tx.execute(sql, params![id(n).to_string()])).await.unwrap();
    }

    /// Looks until nothing is due: what was read, and what is gone.
    async fn all(rows: &mut Rows, store: &Store) -> (Vec<InstanceId>, Vec<InstanceId>) {
        let (mut read, mut gone) = (Vec::new(), Vec::new());
        while rows.is_behind() {
            let look = rows.look(store).await.unwrap();
            assert!(look.read.len() <= BATCH);
            read.extend(look.read.iter().map(|row| row.id));
            gone.extend(look.gone);
        }
        read.sort();
        (read, gone)
    }

    async fn told(rows: &mut Rows) {
        assert!(tokio::time::timeout(Duration::from_secs(20), rows.changed()).await.expect("a signal"));
    }

    #[tokio::test]
    async fn only_what_changed_is_read() {
        for_each_engine(|database| async move {
            seed(&database, 1_001).await;
            let (here, elsewhere) = (database.open().await, database.open().await);
            let mut rows = Rows::new(&here);
            let everything = (0..1_001).map(id).collect();
            assert_eq!(all(&mut rows, &here).await, (everything, vec![]));
            assert!(rows.lives(id(7)));

            change(&here, 7, false).await;
            told(&mut rows).await;
            assert!(!rows.compare);
            assert_eq!(all(&mut rows, &here).await, (vec![id(7)], vec![]));
            if database.dialect() == ryokan_store::Dialect::Postgres {
                change(&elsewhere, 8, false).await;
                told(&mut rows).await;
                assert!(!rows.compare, "another server's signal names the row, too");
                assert_eq!(all(&mut rows, &here).await, (vec![id(8)], vec![]));
            }
            change(&here, 7, true).await;
            told(&mut rows).await;
            assert_eq!(all(&mut rows, &here).await, (vec![], vec![id(7)]));
            assert!(!rows.lives(id(7)));

            rows.compare();
            assert_eq!(all(&mut rows, &here).await, (vec![], vec![]));
            rows.read_again(id(9));
            assert_eq!(all(&mut rows, &here).await, (vec![id(9)], vec![]));
        })
        .await;
    }

    #[tokio::test]
    async fn what_no_signal_told_is_found_by_comparing() {
        for_each_engine(|database| async move {
            seed(&database, 4).await;
            let store = database.open().await;
            let mut rows = Rows::new(&store);
            all(&mut rows, &store).await;
            change_silently(&store, "UPDATE instances SET version = version + 1 WHERE id = $1", 1).await;
            change_silently(&store, "UPDATE instances SET deleted_at = 5 WHERE id = $1", 2).await;
            assert_eq!(all(&mut rows, &store).await, (vec![], vec![]));
            rows.compare();
            assert_eq!(all(&mut rows, &store).await, (vec![id(1)], vec![id(2)]));
            rows.forget(id(3));
            rows.compare();
            assert_eq!(all(&mut rows, &store).await, (vec![id(3)], vec![]));
            rows.forget(id(3));
            change_silently(&store, "UPDATE instances SET deleted_at = 5 WHERE id = $1", 3).await;
            rows.compare();
            assert_eq!(all(&mut rows, &store).await, (vec![], vec![id(3)]));
        })
        .await;
    }

    #[tokio::test]
    async fn what_could_not_be_read_stays_due() {
        for_each_engine(|database| async move {
            seed(&database, 2).await;
            let (here, again) = (database.open().await, database.open().await);
            let mut rows = Rows::new(&here);
            all(&mut rows, &here).await;
            change(&here, 1, false).await;
            told(&mut rows).await;
            here.close().await;
            assert!(rows.look(&here).await.is_err());
            assert!(rows.is_behind());
            assert_eq!(all(&mut rows, &again).await, (vec![id(1)], vec![]));
        })
        .await;
    }

    #[tokio::test]
    async fn a_listener_that_fell_behind_compares() {
        for_each_engine(|database| async move {
            seed(&database, 3).await;
            let store = database.open().await;
            let mut rows = Rows::new(&store);
            all(&mut rows, &store).await;
            change(&store, 2, false).await;
            let mut last = store.subscribe();
            store
                .write(|tx| {
                    (0..1_100).for_each(|n| tx.notify_row("others", n));
                    Ok::<_, StoreError>(())
                })
                .await
                .unwrap();
            // In the order of their texts.
            while last.next().await != Some(Change::Row("others".into(), "999".into())) {}
            told(&mut rows).await;
            assert!(rows.compare);
            assert_eq!(all(&mut rows, &store).await, (vec![id(2)], vec![]));
        })
        .await;
    }
}
