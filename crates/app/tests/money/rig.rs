//! A server's process over a database: it can be dropped and made anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ryokan_app::entropy::SeededEntropy;
use ryokan_app::ledger::verify::Verified;
use ryokan_app::metering::Billing;
use ryokan_app::{App, Limits, Parts, Settings};
use ryokan_brc::PrivateKey;
use ryokan_model::permission::{Caller, Role, Scope};
use ryokan_model::project::Network;
use ryokan_model::{Clock, Millis, ProjectId, UserId};
use ryokan_ports::conformance::test_server;
use ryokan_ports::fake::{FakeChain, FakeRuntime, FakeUsage};
use ryokan_store::test_util::TestDatabase;
use ryokan_store::users::User;
use ryokan_store::{Seal, StoreError};

/// 2026-11-01, a whole number of intervals.
pub(crate) const BEGIN: i64 = 1_793_491_200_000;
/// `p1` and so on, all of `ada`'s, who operates the server.
pub(crate) const PROJECTS: u8 = 3;

pub(crate) struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}

impl Hands {
    pub(crate) fn set(&self, at: i64) {
        self.0.store(at, Ordering::SeqCst);
    }

    pub(crate) fn forward(&self, by: i64) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

pub(crate) struct Rig {
    pub(crate) database: Arc<TestDatabase>,
    pub(crate) clock: Arc<Hands>,
    pub(crate) usage: FakeUsage,
    pub(crate) chain: FakeChain,
    /// Outputs that a test has made on the chain.
    pub(crate) minted: u64,
    /// As the next life has it.
    pub(crate) billing: Billing,
    lives: u64,
    pub(crate) app: Arc<App>,
}

impl Rig {
    pub(crate) async fn new(database: Arc<TestDatabase>, billing: Billing) -> Self {
        let (clock, usage, chain) =
            (Arc::new(Hands(AtomicI64::new(BEGIN))), FakeUsage::default(), FakeChain::default());
        let app = start(&database, &clock, &usage, &chain, &billing, 1).await;
        app.store
            .write(|tx| {
                tx.insert_user(&User {
                    email: None,
                    id: owner(),
                    login: "ada".into(),
                    name: "Ada".into(),
                    operator: true,
                    password_hash: None,
                    disabled: false,
                    created_at: Millis(BEGIN),
                })?;
                for n in 1..=PROJECTS {
                    let name = format!("p{n}").parse().unwrap();
                    tx.insert_project(project(n), &name, owner(), false, Network::Mainnet, Millis(BEGIN))?;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        Self { database, clock, usage, chain, minted: 0, billing, lives: 1, app }
    }

    /// Dies and comes back: nothing in memory survives.
    pub(crate) async fn reborn(&mut self) {
        self.lives += 1;
        self.app.store.close().await;
        self.app =
            start(&self.database, &self.clock, &self.usage, &self.chain, &self.billing, self.lives).await;
    }

    pub(crate) async fn balance(&self, of: u8) -> i64 {
        self.app.store.read(move |tx| tx.balance(project(of))).await.unwrap().0
    }

    pub(crate) async fn verified(&self) -> Verified {
        let report = self.app.verify_ledger(&operator()).await.unwrap();
        assert_eq!(report.differences, 0, "{:#?}", report.examples);
        report
    }
}

async fn start(
    database: &TestDatabase,
    clock: &Arc<Hands>,
    usage: &FakeUsage,
    chain: &FakeChain,
    billing: &Billing,
    life: u64,
) -> Arc<App> {
    let engine = Arc::new(FakeRuntime::new(test_server()));
    let app = App::new(Parts {
        builder: engine.clone(),
        blobs: Arc::new(ryokan_ports::blob::NoBlobs),
        upload_key: ryokan_app::deployments::UploadKey::new(&[0; 32]),
        instance_tokens: ryokan_app::instances::token::InstanceTokens::new(&[0; 32]),
        dns: Arc::new(ryokan_ports::fake::FakeDns::default()),
        model_providers: Arc::new(ryokan_ports::models::NoModelProviders),
        store: database.open().await,
        seal: Arc::new(Seal::from_file(&database.scratch().join("key")).unwrap()),
        runtime: engine,
        usage: Arc::new(usage.clone()),
        mailer: None,
        webhooks: None,
        payments: Some(Arc::new(chain.clone())),
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::new(life)),
        settings: Settings {
            identity: ryokan_app::identity::keys::IdentitySettings {
                open_registration: true,
                mainnet: PrivateKey::from_hex(&"11".repeat(32)).unwrap(),
                testnet: PrivateKey::from_hex(&"22".repeat(32)).unwrap(),
            },
            zone: "localhost".into(),
            public_url: "http://localhost:7700".into(),
            admin_secret: None,
            limits: Limits::default(),
            retention: ryokan_app::housekeeping::Retention::default(),
            billing: billing.clone(),
            deploy: ryokan_app::deployments::Settings::new("/nonexistent".into()).unwrap(),
            door: None,
            gpus: None,
            worker: "test".into(),
        },
    });
    app.start_billing().await.unwrap();
    app
}

pub(crate) fn owner() -> UserId {
    UserId::from_parts(Millis(1), [1; 10])
}

pub(crate) fn project(n: u8) -> ProjectId {
    ProjectId::from_parts(Millis(1), [n; 10])
}

pub(crate) fn operator() -> Caller {
    Caller {
        user: owner(),
        login: "ada".into(),
        operator: true,
        scope: Scope::Admin,
        only_project: None,
        projects: (1..=PROJECTS).map(|n| (project(n), Role::Owner)).collect(),
        expires_at: None,
        credential: "token:test".into(),
        address: "127.0.0.1".into(),
        request_id: None,
    }
}

/// Whatever is drawn is drawn from a seed, so that a failure can be had again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
