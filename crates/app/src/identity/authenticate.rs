//! From a presented credential to a `Caller`, by a snapshot: no database in the path of a request.
//!
//! The snapshot is refreshed before a write to credentials is answered, so a revoked token is refused at once; other
//! servers on the same database follow by notification. A token that the snapshot does not know is looked up once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ryokan_model::permission::{Caller, Role, Scope};
use ryokan_model::{GroupId, Millis, ProjectId, SessionId, TokenId, UserId};
use ryokan_store::identity_keys::IdentityKey;
use ryokan_store::tokens::{Session, Token};
use ryokan_store::users::User;
use subtle::ConstantTimeEq;

use super::keys::BRC;
use super::{TOKEN_PREFIX, fingerprint};
use crate::{App, Error, Result};

/// What wrong bearer tokens of an address count under. Apart from failed sign-ins: a program with an old token must not
/// lock out the people at its address. Nor must it lock out the admin secret, which does not look like a token.
fn guesses(token: &str, address: &str) -> String {
    let kind = if token.starts_with(TOKEN_PREFIX) { "token" } else { "bearer" };
    format!("{kind}:{address}")
}

/// How [`Caller::credential`] names the configured admin secret.
const ADMIN_SECRET: &str = "admin-secret";
/// How it begins for an identity key.
pub(crate) const IDENTITY: &str = "identity";

/// Everything that a request's credential is checked against.
#[derive(Default)]
pub struct Snapshot {
    users: HashMap<UserId, User>,
    /// The greater of an account's own role and those of its groups.
    projects: HashMap<UserId, BTreeMap<ProjectId, Role>>,
    groups: HashMap<UserId, BTreeSet<GroupId>>,
    tokens: HashMap<String, Token>,
    token_hashes: HashMap<TokenId, String>,
    sessions: HashMap<String, Session>,
    session_hashes: HashMap<SessionId, String>,
    /// By their text.
    keys: HashMap<String, IdentityKey>,
}

impl Snapshot {
    /// The members of a project who may act in it, sorted.
    pub(crate) fn logins_of(&self, project: ProjectId) -> Vec<&str> {
        let acts = |role: &Role| *role >= Role::Developer;
        let members = self.projects.iter().filter(|(_, projects)| projects.get(&project).is_some_and(acts));
        let mut logins: Vec<&str> =
            members.filter_map(|(user, _)| Some(self.users.get(user)?.login.as_str())).collect();
        logins.sort_unstable();
        logins
    }

    /// The groups that an account is in, for the policy.
    pub fn groups_of(&self, user: UserId) -> BTreeSet<GroupId> {
        self.groups.get(&user).cloned().unwrap_or_default()
    }

    /// Whether an account that was let in once still has its way with a project.
    pub(crate) fn still_has(&self, user: UserId, project: ProjectId) -> bool {
        let acts = |projects: &BTreeMap<ProjectId, Role>| projects.get(&project) >= Some(&Role::Developer);
        let member = self.projects.get(&user).is_some_and(acts);
        self.users.get(&user).is_some_and(|u| !u.disabled && (member || u.operator))
    }

    pub fn load(tx: &mut ryokan_store::Tx<'_>, now: Millis) -> Result<Self> {
        let mut snapshot = Self::default();
        let mut after = String::new();
        loop {
            let page = tx.users(&after, 500)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.login);
            snapshot.users.extend(page.into_iter().map(|u| (u.id, u)));
        }
        for (project, user, role) in tx.all_memberships()? {
            snapshot.projects.entry(user).or_default().insert(project, role);
        }
        for (project, user, role) in tx.all_group_roles()? {
            let own = snapshot.projects.entry(user).or_default().entry(project).or_insert(role);
            *own = role.max(*own);
        }
        for (group, user) in tx.all_group_members()? {
            snapshot.groups.entry(user).or_default().insert(group);
        }
        let mut after = String::new();
        loop {
            let page = tx.tokens(None, None, &after, 500)?;
            let Some(last) = page.last() else { break };
            after = last.id.to_string();
            snapshot.token_hashes.extend(page.iter().map(|t| (t.id, t.hash.clone())));
            snapshot.tokens.extend(page.into_iter().map(|t| (t.hash.clone(), t)));
        }
        let mut after = String::new();
        loop {
            let page = tx.identity_keys(&after, 500)?;
            let Some(last) = page.last() else { break };
            after = last.id.to_string();
            let brc = page.into_iter().filter(|k| k.kind == BRC);
            snapshot.keys.extend(brc.map(|k| (k.public_key.clone(), k)));
        }
        for session in tx.live_sessions(now)? {
            snapshot.session_hashes.insert(session.id, session.hash.clone());
            snapshot.sessions.insert(session.hash.clone(), session);
        }
        Ok(snapshot)
    }

    fn caller(&self, user: UserId, scope: Scope, credential: String, address: &str) -> Option<Caller> {
        let user = self.users.get(&user).filter(|u| !u.disabled)?;
        Some(Caller {
            user: user.id,
            login: user.login.clone(),
            operator: user.operator,
            scope,
            only_project: None,
            projects: self.projects.get(&user.id).cloned().unwrap_or_default(),
            expires_at: None,
            credential,
            address: address.to_owned(),
            request_id: None,
        })
    }

    fn by_token(&self, token: &Token, address: &str, now: Millis) -> Option<Caller> {
        if token.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        let caller = self.caller(token.user, token.scope, format!("token:{}", token.id), address)?;
        Some(Caller { only_project: token.project, expires_at: token.expires_at, ..caller })
    }

    fn by_session(&self, session: &Session, address: &str, now: Millis) -> Option<Caller> {
        if session.expires_at <= now {
            return None;
        }
        self.caller(session.user, Scope::Admin, format!("session:{}", session.id), address)
    }

    fn by_key(&self, key: &IdentityKey, address: &str) -> Option<Caller> {
        self.caller(key.user, Scope::Admin, format!("{IDENTITY}:{}", key.public_key), address)
    }

    /// The configured admin secret acts for the first operator.
    fn by_admin_secret(&self, address: &str) -> Option<Caller> {
        let first = self.users.values().filter(|u| u.operator && !u.disabled).min_by_key(|u| u.id)?.id;
        self.caller(first, Scope::Admin, ADMIN_SECRET.to_owned(), address)
    }

    /// The login of an account that may sign in.
    pub fn login(&self, user: UserId) -> Option<String> {
        self.users.get(&user).filter(|u| !u.disabled).map(|u| u.login.clone())
    }
}

impl App {
    /// Reads the snapshot anew. Called after every write to credentials, and by notification.
    pub async fn refresh_identity(&self) -> Result<()> {
        let now = self.clock.now();
        // One at a time, so that an older snapshot never replaces a newer one.
        let _turn = self.identity_turn.lock().await;
        let snapshot = self.store.read(move |tx| Snapshot::load(tx, now)).await?;
        self.identity.store(Arc::new(snapshot));
        Ok(())
    }

    /// The caller behind a bearer token, by the snapshot alone.
    pub fn bearer(&self, token: &str, address: &str) -> Option<Caller> {
        if self.is_admin_secret(token) {
            // People choose it, so that it may be short enough to guess: a locked address cannot even be right.
            let locked = self.throttle.is_locked(&guesses(token, address), self.clock.as_ref());
            return self.identity.load().by_admin_secret(address).filter(|_| !locked);
        }
        let hash = fingerprint(token);
        let snapshot = self.identity.load();
        let found =
            snapshot.tokens.get(&hash).filter(|t| bool::from(t.hash.as_bytes().ct_eq(hash.as_bytes())))?;
        let caller = snapshot.by_token(found, address, self.clock.now())?;
        self.used_tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(found.id, self.clock.now());
        Some(caller)
    }

    /// Whether `text` is the configured admin secret, which nobody but us may see.
    pub fn is_admin_secret(&self, text: &str) -> bool {
        self.settings.admin_secret.as_ref().is_some_and(|admin| {
            fingerprint(admin.expose()).as_bytes().ct_eq(fingerprint(text).as_bytes()).into()
        })
    }

    /// Counts a bearer token that let nobody in against its address; an error while that is locked.
    pub fn refuse_bearer(&self, token: &str, address: &str) -> Result<()> {
        self.throttle.begin(&[&guesses(token, address)], self.clock.as_ref())
    }

    /// The caller of an API request with a bearer token. Guessing is throttled by address.
    pub async fn authenticate_bearer(&self, token: &str, address: &str) -> Result<Caller> {
        if let Some(caller) = self.bearer(token, address) {
            return Ok(caller);
        }
        self.refuse_bearer(token, address)?;
        let hash = fingerprint(token);
        // Known, but expired or its user disabled: looking again would change nothing.
        if self.identity.load().tokens.contains_key(&hash) {
            return Err(Error::Unauthenticated);
        }
        // Another server may have made it a moment ago.
        let known = self.store.read(move |tx| tx.token_by_hash(&hash)).await?;
        if known.is_some() {
            self.refresh_identity().await?;
            if let Some(caller) = self.bearer(token, address) {
                self.throttle.take_back(&guesses(token, address));
                return Ok(caller);
            }
        }
        Err(Error::Unauthenticated)
    }

    /// The caller behind a session cookie, and the session's id.
    pub fn authenticate_session(&self, secret: &str, address: &str) -> Option<(Caller, SessionId)> {
        let hash = fingerprint(secret);
        let snapshot = self.identity.load();
        let session =
            snapshot.sessions.get(&hash).filter(|s| bool::from(s.hash.as_bytes().ct_eq(hash.as_bytes())))?;
        Some((snapshot.by_session(session, address, self.clock.now())?, session.id))
    }

    /// The caller behind an identity key that has proved itself, if it is an account's that is not locked.
    pub fn identity_caller(&self, key: &str, address: &str) -> Option<Caller> {
        let snapshot = self.identity.load();
        let known = snapshot.keys.get(key)?;
        let caller = snapshot.by_key(known, address)?;
        self.used_keys.lock().unwrap_or_else(PoisonError::into_inner).insert(known.id, self.clock.now());
        Some(caller)
    }

    /// The same for a request; a key that the snapshot does not know is looked up once.
    pub async fn authenticate_identity(&self, key: &str, address: &str) -> Result<Option<Caller>> {
        if let Some(caller) = self.identity_caller(key, address) {
            return Ok(Some(caller));
        }
        // Known, but its account is locked: looking again would change nothing.
        if self.identity.load().keys.contains_key(key) {
            return Ok(None);
        }
        // Another server may have added it a moment ago.
        let wanted = key.to_owned();
        if self.store.read(move |tx| tx.identity_key(BRC, &wanted)).await?.is_none() {
            return Ok(None);
        }
        self.refresh_identity().await?;
        Ok(self.identity_caller(key, address))
    }

    /// Counts a wrong signature against its address, for each costs us some work; an error while that is locked.
    pub fn refuse_signature(&self, address: &str) -> Result<()> {
        self.throttle.begin(&[&format!("signature:{address}")], self.clock.as_ref())
    }

    pub fn signatures_locked(&self, address: &str) -> bool {
        self.throttle.is_locked(&format!("signature:{address}"), self.clock.as_ref())
    }

    /// Whoever a credential stands for now, by its name in [`Caller::credential`].
    pub fn renewed(&self, credential: &str) -> Option<Caller> {
        let (snapshot, now) = (self.identity.load(), self.clock.now());
        match credential.split_once(':') {
            Some(("token", id)) => {
                let hash = snapshot.token_hashes.get(&id.parse().ok()?)?;
                snapshot.by_token(snapshot.tokens.get(hash)?, "", now)
            }
            Some(("session", id)) => {
                let hash = snapshot.session_hashes.get(&id.parse().ok()?)?;
                snapshot.by_session(snapshot.sessions.get(hash)?, "", now)
            }
            Some((IDENTITY, key)) => snapshot.by_key(snapshot.keys.get(key)?, ""),
            _ if credential == ADMIN_SECRET => snapshot.by_admin_secret(""),
            _ => None,
        }
    }

    /// Waits until the caller's credential is revoked, has expired, or has lost an operator's reach: what was opened with
    /// it must then be cut. Looks once a second, by the snapshot.
    pub async fn until_revoked(self: Arc<Self>, caller: Caller) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match self.renewed(&caller.credential) {
                Some(now) if now.is_operator() || !caller.is_operator() => {}
                _ => return,
            }
        }
    }
}
