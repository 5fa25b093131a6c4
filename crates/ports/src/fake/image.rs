//! Images: what the registry has, what the engine has of it, and what containers made from it do.

use std::hash::{DefaultHasher, Hash, Hasher};

use ryokan_model::image::ImageRef;

use super::FakeRuntime;
use super::state::State;
use crate::runtime::{Image, OnProgress, PullProgress, PullRequest, Result, RuntimeError};

/// What a test told of an image.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    /// The engine has it.
    present: bool,
    vanishes: bool,
    pull_waits: bool,
    pull_fails: Option<RuntimeError>,
    credentials: Option<(String, String)>,
    pub(super) refused: Option<(String, String)>,
    pub(super) exits: Option<i64>,
    pub(super) ill: Option<String>,
    pub(super) log: Vec<String>,
}

/// An image that a test commands. Orders hold for the next pulls and starts, not for what runs.
pub struct FakeImage<'a> {
    fake: &'a FakeRuntime,
    name: String,
}

impl FakeRuntime {
    /// Puts an image into its registry, or takes back what it was told before: it can be pulled by everybody, and its
    /// containers do what their words say.
    pub fn image(&self, name: &str) -> FakeImage<'_> {
        let image = FakeImage { fake: self, name: name.to_owned() };
        image.order(|orders| *orders = Orders { present: orders.present, ..Orders::default() });
        image
    }

    /// Neither the registry nor the engine has it any more.
    pub fn forget_image(&self, name: &str) {
        self.state().images.remove(name);
    }

    pub(super) fn present(&self, image: &ImageRef) -> Option<Image> {
        let name = image.as_str();
        self.state().images.get(name).is_some_and(|orders| orders.present).then(|| describe(name))
    }

    pub(super) async fn fetch(&self, request: &PullRequest, progress: OnProgress<'_>) -> Result<Image> {
        let name = request.image.as_str();
        let failure = |reason: &str| {
            let (image, reason) = (name.to_owned(), reason.to_owned());
            Err(RuntimeError::Image { image, reason, retry: false })
        };
        let Some(orders) = self.state().images.get(name).cloned() else {
            return failure("no such image in its registry");
        };
        if let Some((user, password)) = &orders.credentials {
            let given = request.credentials.as_ref().map(|c| (c.username.as_str(), c.password.expose()));
            if given != Some((user, password)) {
                return failure("the registry wants other credentials");
            }
        }
        if let Some(error) = orders.pull_fails {
            return Err(error);
        }
        progress(PullProgress { message: "Downloading".to_owned(), done: 1, total: 2 });
        let mut versions = self.engine.version.subscribe();
        while self.state().images.get(name).is_some_and(|orders| orders.pull_waits) {
            // The engine outlives its users, so this ends only with a change.
            let _ = versions.changed().await;
        }
        progress(PullProgress { message: "Downloading".to_owned(), done: 2, total: 2 });
        if let Some(orders) = self.state().images.get_mut(name) {
            orders.present = true;
        }
        Ok(describe(name))
    }
}

fn describe(name: &str) -> Image {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    Image { id: format!("sha256:{:016x}", hasher.finish()), digest: Some(format!("sha256:digest-of-{name}")) }
}

impl FakeImage<'_> {
    fn order(&self, change: impl FnOnce(&mut Orders)) -> &Self {
        change(self.fake.state().images.entry(self.name.clone()).or_default());
        self.fake.engine.version.send_modify(|v| *v += 1);
        self
    }

    /// The engine has it already.
    pub fn loaded(&self) -> &Self {
        self.order(|orders| orders.present = true)
    }

    /// By the time a container is to be made from it, the engine has lost it again.
    pub fn vanishes(&self) -> &Self {
        self.order(|orders| orders.vanishes = true)
    }

    /// Pulls stand still until [`FakeRuntime::heal`].
    pub fn pull_waits(&self) -> &Self {
        self.order(|orders| orders.pull_waits = true)
    }

    pub fn pull_fails(&self, error: RuntimeError) -> &Self {
        self.order(|orders| orders.pull_fails = Some(error))
    }

    /// The registry gives it to nobody else.
    pub fn wants(&self, user: &str, password: &str) -> &Self {
        self.order(|orders| orders.credentials = Some((user.to_owned(), password.to_owned())))
    }

    /// The engine refuses each start, as late as it can: what ran is gone by then, and a container is made.
    pub fn refuses(&self, field: &str, reason: &str) -> &Self {
        self.order(|orders| orders.refused = Some((field.to_owned(), reason.to_owned())))
    }

    /// Its process ends with this code right after each start.
    pub fn exits(&self, code: i64) -> &Self {
        self.order(|orders| orders.exits = Some(code))
    }

    /// Its probes fail, with this answer.
    pub fn ill(&self, answer: &str) -> &Self {
        self.order(|orders| orders.ill = Some(answer.to_owned()))
    }

    /// Lines that it writes at each start.
    pub fn logs<T: ToString>(&self, lines: impl IntoIterator<Item = T>) -> &Self {
        self.order(|orders| orders.log.extend(lines.into_iter().map(|line| line.to_string())))
    }
}

impl State {
    /// Whether a container can be made from an image.
    pub(super) fn take_image(&mut self, name: &str) -> Result<()> {
        let orders = self.images.get_mut(name);
        let had = orders.is_some_and(|orders| {
            orders.present &= !orders.vanishes;
            orders.present
        });
        let gone = || {
            let (image, reason) = (name.to_owned(), "is not in the engine any more".to_owned());
            RuntimeError::Image { image, reason, retry: false }
        };
        had.then_some(()).ok_or_else(gone)
    }

    pub(super) fn release_pulls(&mut self) {
        for orders in self.images.values_mut() {
            orders.pull_waits = false;
        }
    }
}
