//! A real server on a real database, with an engine in memory and a clock that can be put forward. The end of each
//! test deletes what it left and fails when something cannot be deleted: a job, a container, a volume, a network.

pub(crate) mod client;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ryokan_app::App;
use ryokan_app::entropy::SystemClock;
use ryokan_model::{Clock, Millis, Secret};
use ryokan_ports::conformance::test_server;
use ryokan_ports::fake::{FakeDns, FakeRuntime, FakeUsage};
use ryokan_server::compose::{Adjustable, Overrides, Server};
use ryokan_server::config::Config;
use ryokan_server::lifecycle::Shutdown;
use ryokan_store::test_util::{TestDatabase, for_each_engine, on_postgres, sqlite};
use ryokan_store::{JobState, StoreUrl};
use serde_json::Value;
use tokio_util::task::TaskTracker;

pub(crate) use client::{Client, Reply, Sse};

/// The system's time, put forward by a test.
#[derive(Default)]
pub(crate) struct MovedClock {
    passed: AtomicI64,
    jumped: AtomicI64,
}

impl MovedClock {
    /// As if so much time had passed.
    pub(crate) fn forward(&self, by: Duration) {
        self.passed.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// As if somebody had set the clock, by milliseconds.
    pub(crate) fn jump(&self, by: i64) {
        self.jumped.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Millis {
        let moved = self.passed.load(Ordering::SeqCst) + self.jumped.load(Ordering::SeqCst);
        Millis(SystemClock.now().0 + moved)
    }

    fn steady(&self) -> Millis {
        Millis(SystemClock.steady().0 + self.passed.load(Ordering::SeqCst))
    }
}

/// One running server.
pub(crate) struct Running {
    pub app: Arc<App>,
    pub address: SocketAddr,
    adjustable: Adjustable,
    shutdown: Shutdown,
    ended: tokio::sync::oneshot::Receiver<bool>,
}

impl Running {
    /// Stops softly; whether everything ended by itself.
    pub(crate) async fn stop(mut self) -> bool {
        self.shutdown.soft.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut self.ended).await;
        ended.expect("the server stops").unwrap()
    }
}

impl Drop for Running {
    /// A test that fails must not wait for its server's threads.
    fn drop(&mut self) {
        self.shutdown.soft.cancel();
        self.shutdown.hard.cancel();
    }
}

/// What one test has: a database, an engine, a clock, and the servers on them.
pub(crate) struct Site {
    pub database: Arc<TestDatabase>,
    pub engine: FakeRuntime,
    pub usage: FakeUsage,
    pub dns: FakeDns,
    pub clock: Arc<MovedClock>,
    data: tempfile::TempDir,
    tasks: TaskTracker,
    server: Mutex<Option<Running>>,
    first: Mutex<Option<(Secret, Secret)>>,
    /// Volumes that the test keeps on purpose.
    kept_volumes: Mutex<BTreeSet<String>>,
    pub configure: fn(&mut Config),
}

/// Runs `test` against a fresh server, on SQLite and on PostgreSQL.
pub(crate) async fn on_both<F: AsyncFn(&Site)>(test: F) {
    on_both_with(|_| {}, test).await;
}

/// The same with another configuration.
pub(crate) async fn on_both_with<F: AsyncFn(&Site)>(configure: fn(&mut Config), test: F) {
    for_each_engine(|database| run(database, configure, &test)).await;
}

/// For what the database makes no difference to.
pub(crate) async fn on_sqlite<F: AsyncFn(&Site)>(test: F) {
    on_sqlite_with(|_| {}, test).await;
}

pub(crate) async fn on_sqlite_with<F: AsyncFn(&Site)>(configure: fn(&mut Config), test: F) {
    run(Arc::new(sqlite()), configure, &test).await;
}

/// For several servers on one database.
pub(crate) async fn on_postgres_only<F: AsyncFn(&Site)>(test: F) {
    on_postgres(|database| run(database, |_| {}, &test)).await;
}

async fn run<F: AsyncFn(&Site)>(database: Arc<TestDatabase>, configure: fn(&mut Config), test: &F) {
    let tasks = TaskTracker::new();
    let clock = Arc::new(MovedClock::default());
    let engine = FakeRuntime::with_clock(test_server(), clock.clone());
    engine.image("ryokan/hello:0.1.0");
    engine.image("img");
    // As adapters do, and sooner.
    engine.set_patience(Duration::from_millis(400));
    tasks.spawn(engine.listen().await.unwrap());
    let site = Site {
        database,
        engine,
        usage: FakeUsage::default(),
        dns: FakeDns::default(),
        clock,
        data: tempfile::TempDir::new().unwrap(),
        tasks,
        server: Mutex::default(),
        first: Mutex::default(),
        kept_volumes: Mutex::default(),
        configure,
    };
    site.start().await;
    test(&site).await;
    site.finish().await;
}

impl Site {
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.data_dir = self.data.path().join("data");
        config.limits.requests_per_second = 1000;
        config.store.database_url = match self.database.url() {
            StoreUrl::Sqlite(_) => None,
            StoreUrl::Postgres(url) => Some(Secret::new(url.as_str())),
        };
        (self.configure)(&mut config);
        config
    }

    /// Another server beside the test's own, as on another machine: it shares the database and the key.
    pub(crate) async fn beside(&self) -> Running {
        let mut config = self.config();
        config.secrets.key_file = Some(config.server.data_dir.join("secrets.key"));
        config.server.data_dir = self.data.path().join("beside");
        self.launch(config).await
    }

    async fn launch(&self, config: Config) -> Running {
        let overrides = Overrides {
            runtime: Some(Arc::new(self.engine.clone())),
            usage: Some(Arc::new(self.usage.clone())),
            builder: Some(Arc::new(self.engine.clone())),
            dns: Some(Arc::new(self.dns.clone())),
            clock: Some(self.clock.clone()),
            ..Overrides::default()
        };
        let mut server = Server::build(&config, overrides).await.expect("the server is built");
        if let Some(first) = server.take_first_start() {
            *self.first.lock().unwrap() = Some((first.token, first.link));
        }
        let (address, app) = (server.address().unwrap(), server.app().clone());
        let adjustable = server.adjustable();
        let shutdown = Shutdown::default();
        let (ending, ended) = tokio::sync::oneshot::channel();
        let running = server.run(shutdown.clone());
        self.tasks.spawn(async move {
            let _ = ending.send(running.await);
        });
        Running { app, address, adjustable, shutdown, ended }
    }

    /// Starts the test's server.
    pub(crate) async fn start(&self) {
        let running = self.launch(self.config()).await;
        *self.server.lock().unwrap() = Some(running);
    }

    /// Stops the test's server softly.
    pub(crate) async fn stop(&self) {
        let running = self.server.lock().unwrap().take().expect("a running server");
        assert!(running.stop().await, "the server did not end by itself");
    }

    pub(crate) async fn restart(&self) {
        self.stop().await;
        self.start().await;
    }

    /// Another configuration for the running server, as SIGHUP reads it.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        change(&mut config);
        self.server.lock().unwrap().as_ref().expect("a running server").adjustable.apply(&config);
    }

    pub(crate) fn app(&self) -> Arc<App> {
        self.server.lock().unwrap().as_ref().expect("a running server").app.clone()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.lock().unwrap().as_ref().expect("a running server").address
    }

    pub(crate) fn first_token(&self) -> String {
        self.first.lock().unwrap().as_ref().unwrap().0.expose().to_owned()
    }

    pub(crate) fn first_link(&self) -> String {
        self.first.lock().unwrap().as_ref().unwrap().1.expose().to_owned()
    }

    /// Whoever has no credential.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(self.address(), None)
    }

    /// The first operator.
    pub(crate) fn operator(&self) -> Client {
        Client::new(self.address(), Some(&self.first_token()))
    }

    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client::new(self.address(), Some(token))
    }

    /// A new account with an admin token of its own.
    pub(crate) async fn user(&self, login: &str) -> Client {
        let operator = self.operator();
        operator.post("/v1/users", serde_json::json!({"login": login})).await.expect(201);
        let token = serde_json::json!({"label": "t", "scope": "admin", "user": login});
        let made = operator.post("/v1/tokens", token).await.expect(201);
        self.with_token(made["secret"].as_str().unwrap())
    }

    /// The database file's bytes, its log included; empty on PostgreSQL.
    pub(crate) fn database_bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut folders = vec![self.data.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ryokan.db")) {
                    all.extend(std::fs::read(path).unwrap());
                }
            }
        }
        all
    }

    /// This instance's volumes stay at the end, as the test wants.
    pub(crate) fn keeps_volume(&self, id: impl ToString) {
        self.kept_volumes.lock().unwrap().insert(format!("volume of {}", id.to_string()));
    }

    /// All events, oldest first.
    pub(crate) async fn events(&self) -> Vec<Value> {
        self.operator().get("/v1/events?limit=500").await.items()
    }

    async fn finish(&self) {
        self.engine.up();
        self.engine.heal();
        let operator = self.operator();
        let rows = operator.get("/v1/instances?limit=500").await.items();
        // Databases go with their agents.
        for row in rows.iter().filter(|row| row["addon_of"].is_null()) {
            operator.delete(&format!("/v1/instances/{}", row["name"].as_str().unwrap())).await.expect(202);
        }
        let app = self.app();
        eventually("nothing is left behind", async || {
            let live = app.store.read(|tx| tx.live_versions()).await.unwrap().len();
            let jobs = app.store.read(|tx| tx.count_jobs()).await.unwrap();
            let open: i64 = jobs
                .iter()
                .filter(|j| matches!(j.state, JobState::Ready | JobState::Running))
                .map(|j| j.count)
                .sum();
            let kept = self.kept_volumes.lock().unwrap().clone();
            let left: Vec<_> = self.engine.leftovers().into_iter().filter(|l| !kept.contains(l)).collect();
            if live == 0 && open == 0 && left.is_empty() {
                Ok(())
            } else {
                Err(format!("{live} rows, {open} jobs, on the engine {left:?}"))
            }
        })
        .await;
        drop(app);
        self.stop().await;
    }
}

/// Asks until the answer is `Ok`, for at most 20 s.
pub(crate) async fn eventually<T, F: AsyncFn() -> Result<T, String>>(what: &str, ask: F) -> T {
    within(Duration::from_secs(20), what, ask).await
}

pub(crate) async fn within<T, F: AsyncFn() -> Result<T, String>>(time: Duration, what: &str, ask: F) -> T {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(why) if begin.elapsed() > time => panic!("not within {time:?}: {what}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
