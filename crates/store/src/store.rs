//! The store: opens the database, hands closures to the threads that own connections, and closes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::change::{Change, Changes};
use crate::dialect::leader::{self, LeaderGuard};
use crate::dialect::postgres::background::Listener;
use crate::dialect::postgres::session::Session;
use crate::dialect::postgres::target::Target;
use crate::dialect::postgres::worker::{self, Signals};
use crate::dialect::sqlite::writer::Writer;
use crate::dialect::{Dialect, sqlite};
use crate::error::{Result, StoreError};
use crate::migrate::migrate;
use crate::options::{Options, StoreUrl};
use crate::tx::{Engine, Tx};
use crate::work::{Unit, unit};

/// Changes kept for a slow subscriber; beyond, it is told to look at everything.
const CHANGES: usize = 1024;

/// What a thread takes from its queue.
pub(crate) enum Message {
    Unit(Access, Box<dyn Unit>),
    /// Accept nothing more, finish what is queued, end.
    Close,
}

/// What a unit may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A handle to the database; clones share connections. Its threads end when the last clone is dropped, or at
/// [`Store::close`].
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Dialect,
    writes: mpsc::Sender<Message>,
    reads: mpsc::Sender<Message>,
    changes: broadcast::Sender<Change>,
    /// PostgreSQL: where leaders' connections are made and driven.
    background: Option<(Handle, Arc<Target>)>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dialect", &self.inner.dialect).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database, making it (SQLite) and bringing its schema up to date; refuses a newer schema and an
    /// edited migration. On PostgreSQL the database itself must exist.
    pub async fn open(options: Options) -> Result<Self> {
        match options.url.clone() {
            StoreUrl::Sqlite(path) => Self::open_sqlite(path, &options).await,
            StoreUrl::Postgres(url) => Self::open_postgres(&url, &options).await,
        }
    }

    async fn open_sqlite(path: PathBuf, options: &Options) -> Result<Self> {
        let file = path.clone();
        let connection = blocking(move || {
            let connection = sqlite::open_writer(&file)?;
            migrate(Engine::Sqlite(&connection))?;
            Ok(connection)
        })
        .await?;
        let (changes, _) = broadcast::channel(CHANGES);
        let (writes, write_queue) = mpsc::channel(options.queue);
        let (reads, read_queue) = mpsc::channel(options.queue);
        let writer = Writer::new(connection, path.clone(), changes.clone());
        let mut threads = vec![spawn("store-write".into(), move || writer.run(write_queue))?];
        let read_queue = Arc::new(Mutex::new(read_queue));
        for number in 0..options.readers.max(1) {
            let (path, queue) = (path.clone(), Arc::clone(&read_queue));
            threads.push(spawn(format!("store-read-{number}"), move || sqlite::reader::run(&path, &queue))?);
        }
        Ok(Self::new(Dialect::Sqlite, writes, reads, changes, None, threads))
    }

    async fn open_postgres(url: &str, options: &Options) -> Result<Self> {
        let target = Arc::new(Target::parse(url, options.statement_timeout)?);
        let first = Arc::clone(&target);
        blocking(move || {
            let mut session = Session::patient(first)?;
            migrate(Engine::Postgres(&mut session))
        })
        .await?;
        let (changes, _) = broadcast::channel(CHANGES);
        let (others, committed) = mpsc::unbounded_channel();
        let (ready, listening) = oneshot::channel();
        let listener = Listener { target: Arc::clone(&target), local: changes.clone(), committed, ready };
        let mut threads = vec![spawn("store-listen".into(), move || listener.run())?];
        let handle = listening.await.map_err(|_| StoreError::Closed)??;
        let (units, queue) = mpsc::channel(options.queue);
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        let signals = Signals { local: changes.clone(), others };
        for number in 0..options.pool.max(1) {
            let (target, queue, signals) = (Arc::clone(&target), Arc::clone(&queue), signals.clone());
            threads.push(spawn(format!("store-{number}"), move || worker::run(target, &queue, &signals))?);
        }
        Ok(Self::new(Dialect::Postgres, units.clone(), units, changes, Some((handle, target)), threads))
    }

    fn new(
        dialect: Dialect,
        writes: mpsc::Sender<Message>,
        reads: mpsc::Sender<Message>,
        changes: broadcast::Sender<Change>,
        background: Option<(Handle, Arc<Target>)>,
        threads: Vec<JoinHandle<()>>,
    ) -> Self {
        let threads = Mutex::new(threads);
        Self { inner: Arc::new(Inner { dialect, writes, reads, changes, background, threads }) }
    }

    /// Which engine is below.
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Runs `closure` as one transaction, which commits if it returns `Ok`. The answer comes only after the commit is
    /// durable. The closure blocks a thread and SQLite's only writer: it computes and queries, nothing else.
    ///
    /// Once the call is queued (the first poll, unless 1,024 wait already), it runs to its end even if this future is
    /// dropped. A panic rolls back and becomes [`StoreError::Panicked`].
    pub async fn write<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        call(&self.inner.writes, Access::Write, closure).await
    }

    /// Runs `closure` on one snapshot of the database; writing fails with [`StoreError::ReadOnly`].
    pub async fn read<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        call(&self.inner.reads, Access::Read, closure).await
    }

    /// Changes committed from now on, by this server and by others.
    pub fn subscribe(&self) -> Changes {
        Changes::new(self.inner.changes.subscribe())
    }

    /// Takes the leadership of `name` unless another server holds it or the database cannot be asked; try again after
    /// a while. SQLite: always given.
    pub async fn leader(&self, name: &str) -> Option<LeaderGuard> {
        let Some((handle, target)) = &self.inner.background else {
            return Some(LeaderGuard::always());
        };
        let (answer, taken) = oneshot::channel();
        handle.spawn(leader::lead(Arc::clone(target), name.to_owned(), answer));
        match taken.await {
            Ok(Ok(guard)) => guard,
            Ok(Err(error)) => {
                tracing::debug!(%error, name, "could not ask for the leadership");
                None
            }
            Err(_) => None,
        }
    }

    /// Stops accepting calls, finishes those that are queued, and waits for the threads to end. Later calls on any
    /// clone fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        for queue in [&self.inner.writes, &self.inner.reads] {
            // An error means that it is closed already.
            let _ = queue.send(Message::Close).await;
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
    }
}

async fn call<T, E, F>(queue: &mpsc::Sender<Message>, access: Access, closure: F) -> Result<T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (unit, answer) = unit(closure);
    if queue.send(Message::Unit(access, unit)).await.is_err() {
        return Err(E::from(StoreError::Closed));
    }
    answer.await.unwrap_or_else(|_| Err(E::from(StoreError::Closed)))
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = Builder::new().name(name).spawn(body);
    thread.map_err(|error| StoreError::Other(format!("cannot start a thread: {error}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Panicked)?
}
