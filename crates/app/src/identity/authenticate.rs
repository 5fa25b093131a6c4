//! From a presented credential to a `Caller`, by a snapshot: no database in the path of a request.
//!
//! The snapshot is refreshed before a write to credentials is answered, so a revoked token is refused at once; other
//! servers on the same database follow by notification. A token that the snapshot does not know is looked up once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{Millis, ProjectId, SessionId, UserId};
use ryokan_store::credentials::{Session, Token};
use ryokan_store::users::User;
use subtle::ConstantTimeEq;

use super::fingerprint;
use crate::{App, Error, Result};

/// Everything that a request's credential is checked against.
#[derive(Default)]
pub struct Snapshot {
    users: HashMap<UserId, User>,
    projects: HashMap<UserId, BTreeSet<ProjectId>>,
    tokens: HashMap<String, Token>,
    sessions: HashMap<String, Session>,
    live_sessions: BTreeSet<SessionId>,
}

impl Snapshot {
    /// The members of a project, sorted.
    pub(crate) fn logins_of(&self, project: ProjectId) -> Vec<&str> {
        let members = self.projects.iter().filter(|(_, projects)| projects.contains(&project));
        let mut logins: Vec<&str> =
            members.filter_map(|(user, _)| Some(self.users.get(user)?.login.as_str())).collect();
        logins.sort_unstable();
        logins
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
        for (project, user) in tx.all_memberships()? {
            snapshot.projects.entry(user).or_default().insert(project);
        }
        let mut after = String::new();
        loop {
            let page = tx.tokens(None, &after, 500)?;
            let Some(last) = page.last() else { break };
            after = last.id.to_string();
            snapshot.tokens.extend(page.into_iter().map(|t| (t.hash.clone(), t)));
        }
        for session in tx.live_sessions(now)? {
            snapshot.live_sessions.insert(session.id);
            snapshot.sessions.insert(session.hash.clone(), session);
        }
        Ok(snapshot)
    }

    fn caller(
        &self,
        user: UserId,
        scope: Scope,
        only: Option<ProjectId>,
        credential: String,
        address: &str,
    ) -> Option<Caller> {
        let user = self.users.get(&user).filter(|u| !u.disabled)?;
        Some(Caller {
            user: user.id,
            login: user.login.clone(),
            operator: user.operator,
            scope,
            only_project: only,
            projects: self.projects.get(&user.id).cloned().unwrap_or_default(),
            expires_at: None,
            credential,
            address: address.to_owned(),
            request_id: None,
        })
    }

    /// Whether the account may look at the project, for agents' cookies that outlive the request that made them.
    pub fn user_may_read(&self, user: UserId, project: ProjectId) -> bool {
        self.users.get(&user).is_some_and(|u| {
            !u.disabled && (u.operator || self.projects.get(&user).is_some_and(|p| p.contains(&project)))
        })
    }

    /// The login of an account that may sign in.
    pub fn login(&self, user: UserId) -> Option<String> {
        self.users.get(&user).filter(|u| !u.disabled).map(|u| u.login.clone())
    }

    pub fn session_is_live(&self, session: SessionId) -> bool {
        self.live_sessions.contains(&session)
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
        let hash = fingerprint(token);
        if let Some(admin) = &self.settings.admin_secret
            && bool::from(fingerprint(admin.expose()).as_bytes().ct_eq(hash.as_bytes()))
        {
            return self.admin_caller(address);
        }
        let snapshot = self.identity.load();
        let found =
            snapshot.tokens.get(&hash).filter(|t| bool::from(t.hash.as_bytes().ct_eq(hash.as_bytes())))?;
        if found.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return None;
        }
        let caller = snapshot.caller(
            found.user,
            found.scope,
            found.project,
            format!("token:{}", found.id),
            address,
        )?;
        self.used_tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(found.id, self.clock.now());
        Some(Caller { expires_at: found.expires_at, ..caller })
    }

    /// The caller of an API request with a bearer token. Guessing is throttled by address.
    pub async fn authenticate_bearer(&self, token: &str, address: &str) -> Result<Caller> {
        if let Some(caller) = self.bearer(token, address) {
            return Ok(caller);
        }
        // Apart from failed sign-ins: a program with an old token must not lock out the people at its address.
        let key = format!("bearer:{address}");
        self.throttle.begin(&[&key], self.clock.as_ref())?;
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
                self.throttle.take_back(&key);
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
        if session.expires_at <= self.clock.now() {
            return None;
        }
        let caller =
            snapshot.caller(session.user, Scope::Admin, None, format!("session:{}", session.id), address)?;
        Some((caller, session.id))
    }

    /// The configured admin secret acts for the first operator.
    fn admin_caller(&self, address: &str) -> Option<Caller> {
        let snapshot = self.identity.load();
        let first = snapshot.users.values().filter(|u| u.operator && !u.disabled).min_by_key(|u| u.id)?.id;
        snapshot.caller(first, Scope::Admin, None, "admin-secret".to_owned(), address)
    }
}
