//! Resolves tokens to callers. Every request of every service takes this path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::Tx;
use quick_cache::sync::Cache;
use tokio::time::Instant;
use work::Time;

use crate::model::{
    ApplicationCredential, BUILTIN_ROLES, Caller, Delegation, Domain, RoleRef, Scope, Session, Tenant,
    TenantRef, Token, User, hash_of,
};
use crate::service::Identity;
use crate::service::error::Error;
use crate::store;

/// Maximum number of sessions in memory, at about a kilobyte each.
const SESSIONS_MAX: usize = 50_000;
/// For so long nothing is kept after a change of which it is not known whether it was made: it may be made yet.
const DISTRUST_FOR: Duration = Duration::from_secs(60);
/// Maximum length of a token. Longer text is not looked up.
const TOKEN_MAX: usize = 255;

/// Why a token was rejected.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Denied {
    /// It is unknown, expired or revoked, or its user or tenant is disabled or deleted: 401.
    #[error("the token is not valid")]
    Invalid,
    /// It could not be looked up: 503.
    #[error("tokens cannot be looked up: {0}")]
    Unavailable(#[from] database::Error),
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Invalid => Self::Token,
            Denied::Unavailable(error) => Self::Database(error),
        }
    }
}

/// Cache of sessions by token hash. Entries are removed when anything about them changes.
pub(crate) struct Sessions {
    kept: Option<Cache<[u8; 32], Arc<Session>>>,
    /// Incremented at every change. A session that was read before a change must not be cached after it.
    changes: AtomicU64,
    /// Held while an entry is added or removed, so that stale entries are never visible. Hits do not take it.
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    /// Nothing is kept before.
    trusted_from: Option<Instant>,
}

impl Sessions {
    /// Creates the cache. It stays empty unless this process is `alone` with the database.
    pub(crate) fn new(alone: bool) -> Self {
        Self {
            kept: alone.then(|| Cache::new(SESSIONS_MAX)),
            changes: AtomicU64::new(0),
            gate: Mutex::default(),
        }
    }

    fn get(&self, hash: &[u8; 32]) -> Option<Arc<Session>> {
        self.kept.as_ref()?.get(hash)
    }

    fn keep(&self, session: &Arc<Session>, read_at: u64) {
        let Some(kept) = &self.kept else { return };
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let is_trusted = gate.trusted_from.is_none_or(|from| from <= Instant::now());
        if is_trusted && self.changes.load(Ordering::SeqCst) == read_at {
            kept.insert(session.token.hash, Arc::clone(session));
        }
    }

    /// Removes every session for which `concerned` is true. Called after the change is durable and before the response.
    pub(crate) fn forget(&self, concerned: impl Fn(&Session) -> bool) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::SeqCst);
        if let Some(kept) = &self.kept {
            kept.retain(|_, session| !concerned(session));
        }
    }

    /// Removes one token's session.
    pub(crate) fn forget_token(&self, hash: &[u8; 32]) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::SeqCst);
        if let Some(kept) = &self.kept {
            kept.remove(hash);
        }
    }

    /// Removes a user's sessions.
    pub(crate) fn forget_user(&self, user_id: &str) {
        self.forget(|session| session.user.id == user_id);
    }

    /// Forgets all tokens, and keeps none for a while: a change may or may not have been made, or be made yet.
    pub(crate) fn distrust(&self) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.trusted_from = Some(Instant::now() + DISTRUST_FOR);
        drop(gate);
        self.forget_all();
    }

    /// Removes all sessions.
    pub(crate) fn forget_all(&self) {
        self.forget(|_| true);
    }
}

/// A user's roles and place in a scope.
pub(crate) struct Standing {
    pub(crate) user_domain: Domain,
    pub(crate) roles: Vec<RoleRef>,
    pub(crate) tenant: Option<(Tenant, Domain)>,
    pub(crate) domain: Option<Domain>,
}

impl Identity {
    /// Returns the caller that `token` belongs to.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Denied> {
        Ok(Arc::clone(&self.session(token).await?.caller))
    }

    /// Returns the session of a valid token.
    pub(crate) async fn session(&self, token: &str) -> Result<Arc<Session>, Denied> {
        if token.is_empty() || token.len() > TOKEN_MAX {
            return Err(Denied::Invalid);
        }
        let hash = hash_of(token);
        let now = self.clock.now();
        if let Some(session) = self.sessions.get(&hash) {
            return if session.caller.expires > now { Ok(session) } else { Err(Denied::Invalid) };
        }
        let read_at = self.sessions.changes.load(Ordering::SeqCst);
        let loaded: Result<Session, Error> =
            self.db.read((hash, now), |(hash, now), tx| Box::pin(load(tx, hash, *now))).await;
        match loaded {
            Ok(session) => {
                let session = Arc::new(session);
                self.sessions.keep(&session, read_at);
                Ok(session)
            }
            Err(Error::Database(error)) => Err(Denied::Unavailable(error)),
            Err(_) => Err(Denied::Invalid),
        }
    }
}

async fn load(tx: &mut Tx, hash: &[u8; 32], now: Time) -> Result<Session, Error> {
    let token =
        store::tokens::by_hash(tx, hash).await?.filter(|token| token.expires > now).ok_or(Error::Token)?;
    let user = store::users::by_id(tx, &token.user_id).await?.ok_or(Error::Token)?;
    let credential = match &token.credential_id {
        Some(id) => Some(store::credentials::by_id(tx, id).await?.ok_or(Error::Token)?.0),
        None => None,
    };
    if credential.as_ref().and_then(|c| c.expires).is_some_and(|expires| expires <= now) {
        return Err(Error::Token);
    }
    let standing = standing_in(tx, &user, &token.scope, credential.as_ref()).await?;
    Ok(session_of(token, user, standing, credential.as_ref()))
}

/// Returns the user's standing in `scope`. Fails unless both are enabled and the user has a role there or it is its own
/// tenant.
pub(crate) async fn standing_in(
    tx: &mut Tx,
    user: &User,
    scope: &Scope,
    credential: Option<&ApplicationCredential>,
) -> Result<Standing, Error> {
    let user_domain = enabled_domain(tx, &user.domain_id).await?;
    if !user.enabled {
        return Err(Error::Disabled);
    }
    let mut standing = Standing { user_domain, roles: Vec::new(), tenant: None, domain: None };
    if *scope == Scope::Unscoped {
        return Ok(standing);
    }
    for assignment in store::grants::of_user(tx, &user.id).await? {
        let holds = assignment.scope == *scope || assignment.scope == Scope::Cloud;
        let kept = credential.is_none_or(|c| c.roles.contains(&assignment.role.id));
        if holds && kept && !standing.roles.contains(&assignment.role) {
            standing.roles.push(assignment.role);
        }
    }
    match scope {
        Scope::Unscoped => {}
        Scope::Tenant(id) => {
            let tenant = store::tenants::by_id(tx, id).await?.ok_or(Error::Credentials)?;
            let domain = enabled_domain(tx, &tenant.domain_id).await?;
            if !tenant.enabled {
                return Err(Error::Disabled);
            }
            // An application credential only gives the roles that it names and that its user still has.
            let of_it = user.tenant_id.as_deref() == Some(id) && credential.is_none();
            if !of_it && standing.roles.is_empty() {
                return Err(Error::Credentials);
            }
            standing.tenant = Some((tenant, domain));
        }
        Scope::Domain(id) => {
            let domain = enabled_domain(tx, id).await?;
            if standing.roles.is_empty() {
                return Err(Error::Credentials);
            }
            standing.domain = Some(domain);
        }
        Scope::Cloud => {
            if standing.roles.is_empty() {
                return Err(Error::Credentials);
            }
        }
    }
    Ok(standing)
}

async fn enabled_domain(tx: &mut Tx, id: &str) -> Result<Domain, Error> {
    let domain = store::domains::by_id(tx, id).await?.ok_or(Error::Credentials)?;
    if domain.enabled { Ok(domain) } else { Err(Error::Disabled) }
}

/// Creates a session.
pub(crate) fn session_of(
    token: Token,
    user: User,
    standing: Standing,
    credential: Option<&ApplicationCredential>,
) -> Session {
    let named = |name: &str| standing.roles.iter().any(|role| role.name == name);
    let caller = Caller {
        user_id: user.id.clone(),
        user_name: user.name.clone(),
        domain_id: user.domain_id.clone(),
        tenant: standing.tenant.as_ref().map(|(tenant, _)| TenantRef {
            id: tenant.id.clone(),
            name: tenant.name.clone(),
            domain_id: tenant.domain_id.clone(),
        }),
        grants: BUILTIN_ROLES.iter().filter(|role| named(role.name)).filter_map(|role| role.grant).collect(),
        operator: named("operator"),
        service: named("service"),
        expires: credential.and_then(|c| c.expires).map_or(token.expires, |end| end.min(token.expires)),
        roles: standing.roles,
        delegation: credential.map(|credential| Delegation {
            credential_id: credential.id.clone(),
            restricted: !credential.unrestricted,
        }),
    };
    Session {
        caller: Arc::new(caller),
        token,
        user,
        user_domain: standing.user_domain,
        tenant: standing.tenant,
        domain: standing.domain,
        restricted: credential.is_some_and(|c| !c.unrestricted),
    }
}
