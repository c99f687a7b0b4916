//! Sign-in: from credentials to a token.

use std::net::IpAddr;
use std::sync::Arc;

use database::Tx;
use work::Time;

use crate::model::{
    ApplicationCredential, DEFAULT_DOMAIN, Method, Scope, Session, Tenant, Token, User, hash_of, is_id,
};
use crate::service::Identity;
use crate::service::error::Error;
use crate::service::guard::{self, Known};
use crate::service::passwords::Rank;
use crate::service::secrets::{self, matches_random_hash};
use crate::service::sessions::{Standing, session_of, standing_in};
use crate::store;
use crate::store::users::Secrets;

/// Purpose for which API keys are sealed.
pub(crate) const API_KEYS: &str = "api keys";

/// A domain, by id or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DomainName {
    Id(String),
    Name(String),
}

/// A user or tenant, by id, or by name with an optional domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdOrName {
    Id(String),
    Name { name: String, domain: Option<DomainName> },
}

impl IdOrName {
    /// Creates a name in the domain `default`.
    pub(crate) fn name(name: &str) -> Self {
        Self::Name { name: name.to_owned(), domain: None }
    }

    /// The name under which failed attempts are counted until a user is found.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Id(text) | Self::Name { name: text, .. } => text,
        }
    }
}

/// Credentials that prove who the caller is.
#[derive(Clone)]
pub(crate) enum Proof {
    /// An API key or, for TempAuth's users, the password.
    Key { user: IdOrName, key: String },
    /// An API key.
    ApiKey { user: IdOrName, key: String },
    /// A password.
    Password { user: IdOrName, password: String },
    /// A valid token.
    Token { token: String },
    /// An application credential.
    Application { credential: CredentialName, secret: String },
}

/// Identifies an application credential by its id, or by its user and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CredentialName {
    Id(String),
    Of { user: IdOrName, name: String },
}

/// The requested scope of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestedScope {
    /// The user's own tenant, if it has one.
    Usual,
    /// No scope.
    Unscoped,
    /// A tenant.
    Tenant(IdOrName),
    /// A tenant of that id or name: v1.0's `tenant:user`.
    TenantIdOrName(String),
    /// A domain.
    Domain(DomainName),
    /// The whole cloud.
    Cloud,
}

/// A request to sign in.
#[derive(Clone)]
pub(crate) struct SignIn {
    pub(crate) proof: Proof,
    pub(crate) wanted: RequestedScope,
    /// The client's address.
    pub(crate) address: Option<IpAddr>,
    pub(crate) kind: TokenKind,
}

/// The kind of token to issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenKind {
    /// A new token each time (v3).
    Fresh,
    /// The same token until shortly before it expires (v1.0, v1.1, v2.0).
    Reissued,
    /// The same, in TempAuth's format.
    TempAuth,
}

/// Key under which a reusable token is found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reusable {
    user_id: String,
    scope: Scope,
    method: Method,
    kind: TokenKind,
}

/// A token and its session.
pub(crate) struct SignedIn {
    pub(crate) token: Arc<str>,
    pub(crate) session: Arc<Session>,
}

/// The user that the credentials identified.
struct IdentifiedUser {
    user: User,
    method: Method,
    /// The session or credential that was presented.
    base: Option<Arc<Session>>,
    credential: Option<ApplicationCredential>,
}

impl Identity {
    /// Signs in.
    pub(crate) async fn sign_in(&self, request: SignIn) -> Result<SignedIn, Error> {
        let proven = self.prove(&request.proof, request.address).await?;
        let scope = self.scope_for(&proven, &request).await?;
        if let Some(base) = &proven.base
            && (base.restricted || base.token.credential_id.is_some())
            && base.token.scope != scope
        {
            return Err(Error::forbidden("An application credential's token cannot be given another scope."));
        }
        let reusable = Reusable {
            user_id: proven.user.id.clone(),
            scope: scope.clone(),
            method: proven.method,
            kind: request.kind,
        };
        // A token that was exchanged for another expires with it, so it is never reused.
        let lasting = request.kind != TokenKind::Fresh && proven.base.is_none();
        if lasting && let Some(signed_in) = self.find_reusable_token(&reusable).await? {
            return Ok(signed_in);
        }
        let rule = match (request.kind, &request.wanted) {
            (TokenKind::Fresh, RequestedScope::Usual)
                if proven.base.is_none() && proven.credential.is_none() =>
            {
                RoleRule::UnscopedWithout
            }
            (TokenKind::Fresh, _) => RoleRule::Needed,
            _ => RoleRule::AccountSuffices,
        };
        let signed_in = self.issue(proven, scope, request.kind, rule).await?;
        if lasting {
            self.reusable.insert(reusable, Arc::clone(&signed_in.token));
        }
        Ok(signed_in)
    }

    async fn find_reusable_token(&self, reusable: &Reusable) -> Result<Option<SignedIn>, Error> {
        let Some(token) = self.reusable.get(reusable) else { return Ok(None) };
        let renew_from = self.clock.now().after(self.settings.token_renewal);
        match self.session(&token).await {
            Ok(session) if session.caller.expires > renew_from => Ok(Some(SignedIn { token, session })),
            Ok(_) | Err(crate::service::sessions::Denied::Invalid) => Ok(None),
            Err(denied) => Err(denied.into()),
        }
    }

    async fn prove(&self, proof: &Proof, address: Option<IpAddr>) -> Result<IdentifiedUser, Error> {
        match proof {
            Proof::Key { user, key } => self.prove_user(user, address, Secret::Either(key)).await,
            Proof::ApiKey { user, key } => self.prove_user(user, address, Secret::ApiKey(key)).await,
            Proof::Password { user, password } => {
                self.prove_user(user, address, Secret::Password(password)).await
            }
            Proof::Token { token } => self.prove_token(token).await,
            Proof::Application { credential, secret } => {
                self.prove_credential(credential, secret, address).await
            }
        }
    }

    /// Finds the user and checks its secret, with the same work whether or not the user exists.
    async fn prove_user(
        &self,
        named: &IdOrName,
        address: Option<IpAddr>,
        secret: Secret<'_>,
    ) -> Result<IdentifiedUser, Error> {
        let found = self.find_user(named).await?;
        let counted = found.as_ref().map_or(named.text(), |(user, _)| &user.id).to_owned();
        // Nobody guesses such a key, and so its holder is never locked out by those who guess.
        if let Secret::ApiKey(key) | Secret::Either(key) = secret
            && secrets::is_strong(key)
            && self.fits_api_key(found.as_ref(), key)?
            && let Some((user, _)) = &found
        {
            self.remember(&user.id, self.guard.signed_in(&user.id, address)).await;
            if !user.enabled {
                return Err(Error::Disabled);
            }
            return Ok(IdentifiedUser {
                user: user.clone(),
                method: Method::ApiKey,
                base: None,
                credential: None,
            });
        }
        let known = self.known_until(&counted, address).await?;
        let attempt = self.guard.admit(&counted, address, known).await?;
        let method = match self.check(found.as_ref(), secret, attempt.rank()).await {
            Ok(method) => method,
            Err(error) => {
                attempt.withdraw();
                return Err(error);
            }
        };
        match (found, method) {
            (Some((user, _)), Some(method)) => {
                self.remember(&user.id, attempt.succeeded()).await;
                if !user.enabled {
                    return Err(Error::Disabled);
                }
                let now = self.clock.now();
                if method == Method::Password && user.password_expires.is_some_and(|end| end <= now) {
                    return Err(Error::PasswordExpired { user_id: user.id });
                }
                Ok(IdentifiedUser { user, method, base: None, credential: None })
            }
            _ => {
                attempt.failed();
                Err(Error::Credentials)
            }
        }
    }

    pub(crate) async fn find_user(&self, named: &IdOrName) -> Result<Option<(User, Secrets)>, Error> {
        self.db.read(named.clone(), |named, tx| Box::pin(find_user(tx, named))).await
    }

    /// Until when the database knows the address as the user's.
    pub(crate) async fn known_until(
        &self,
        user_id: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<Time>, Error> {
        let Some(address) = address.filter(|_| is_id(user_id)) else { return Ok(None) };
        self.db
            .read((user_id.to_owned(), guard::place_of(address)), |(user_id, address), tx| {
                Box::pin(async move { Ok(store::known::until(tx, user_id, address).await?) })
            })
            .await
    }

    /// Keeps an address from which a user signed in. The sign-in does not fail if that does.
    pub(crate) async fn remember(&self, user_id: &str, known: Option<Known>) {
        let Some(known) = known else { return };
        let written = self
            .db
            .write((user_id.to_owned(), known), |(user_id, known), tx| {
                Box::pin(async move {
                    let keep = guard::KNOWN_ADDRESSES_MAX;
                    store::known::insert(tx, user_id, &known.address, known.until, keep).await
                })
            })
            .await;
        if let Err(error) = written {
            let _: &database::Error = &error;
            tracing::warn!(%error, user = user_id, "cannot keep the address of a sign-in");
        }
    }

    /// Checks `secret` and returns how it proves the user's identity.
    async fn check(
        &self,
        found: Option<&(User, Secrets)>,
        secret: Secret<'_>,
        rank: Rank,
    ) -> Result<Option<Method>, Error> {
        if let Secret::ApiKey(key) | Secret::Either(key) = secret
            && self.fits_api_key(found, key)?
        {
            return Ok(Some(Method::ApiKey));
        }
        if let Secret::Password(password) | Secret::Either(password) = secret {
            let stored = found.and_then(|(_, secrets)| secrets.password.as_deref());
            if self.passwords.fits(password, stored, rank).await? {
                return Ok(Some(Method::Password));
            }
        }
        Ok(None)
    }

    fn fits_api_key(&self, found: Option<&(User, Secrets)>, key: &str) -> Result<bool, Error> {
        // If there is no key to compare with, the same work is done on the decoy.
        let sealed = found.and_then(|(user, secrets)| Some((user.id.as_str(), secrets.api_key.as_ref()?)));
        let Some((user_id, sealed)) = sealed else {
            let opened = self.key.open(API_KEYS, b"", &self.decoy_key)?;
            let _ = secrets::same(&opened, key.as_bytes());
            return Ok(false);
        };
        let opened = self.key.open(API_KEYS, user_id.as_bytes(), sealed)?;
        Ok(secrets::same(&opened, key.as_bytes()))
    }

    async fn prove_token(&self, token: &str) -> Result<IdentifiedUser, Error> {
        let base = self.session(token).await.map_err(|denied| match Error::from(denied) {
            Error::Token => Error::UnknownToken,
            other => other,
        })?;
        let (id, credential_id) = (base.user.id.clone(), base.token.credential_id.clone());
        let (found, credential) = self
            .db
            .read((id, credential_id), |(id, credential_id), tx| {
                Box::pin(async move {
                    let user = store::users::by_id(tx, id).await?;
                    let credential = match credential_id {
                        Some(id) => {
                            store::credentials::by_id(tx, id).await?.map(|(credential, _)| credential)
                        }
                        None => None,
                    };
                    Ok::<_, Error>((user, credential))
                })
            })
            .await?;
        let user = found.ok_or(Error::Credentials)?;
        Ok(IdentifiedUser { user, method: Method::Token, base: Some(base), credential })
    }

    async fn prove_credential(
        &self,
        named: &CredentialName,
        secret: &str,
        address: Option<IpAddr>,
    ) -> Result<IdentifiedUser, Error> {
        let found = self.db.read(named.clone(), |named, tx| Box::pin(find_credential(tx, named))).await?;
        let counted = match (&found, named) {
            (Some((user, _, _)), _) => user.id.clone(),
            (None, CredentialName::Id(id)) => id.clone(),
            (None, CredentialName::Of { user, .. }) => user.text().to_owned(),
        };
        let now = self.clock.now();
        let stored = found.as_ref().map(|(_, _, stored)| stored.as_str());
        let random = stored.and_then(|stored| matches_random_hash(secret, stored));
        let is_good = |credential: &ApplicationCredential| credential.expires.is_none_or(|end| end > now);
        // Nobody guesses a secret that was made here, and so its holder is never locked out by those who guess.
        if random == Some(true)
            && let Some((user, credential, _)) =
                found.clone().filter(|(_, credential, _)| is_good(credential))
        {
            self.remember(&user.id, self.guard.signed_in(&user.id, address)).await;
            let method = Method::ApplicationCredential;
            return Ok(IdentifiedUser { user, method, base: None, credential: Some(credential) });
        }
        let known = self.known_until(&counted, address).await?;
        let attempt = self.guard.admit(&counted, address, known).await?;
        // Everything that does not match takes as long as a wrong password, whether or not the credential exists.
        let chosen = stored.filter(|_| random.is_none());
        let fits = match self.passwords.fits(secret, chosen, attempt.rank()).await {
            Ok(fits) => fits,
            Err(error) => {
                attempt.withdraw();
                return Err(error);
            }
        };
        match found {
            Some((user, credential, _)) if fits && is_good(&credential) => {
                self.remember(&user.id, attempt.succeeded()).await;
                let method = Method::ApplicationCredential;
                Ok(IdentifiedUser { user, method, base: None, credential: Some(credential) })
            }
            _ => {
                attempt.failed();
                Err(Error::Credentials)
            }
        }
    }

    /// Returns the requested scope. Issuing the token checks whether its user has a role there.
    async fn scope_for(&self, proven: &IdentifiedUser, request: &SignIn) -> Result<Scope, Error> {
        let wanted = &request.wanted;
        if let Some(credential) = proven.credential.as_ref().filter(|_| proven.base.is_none()) {
            return match wanted {
                RequestedScope::Usual => Ok(Scope::Tenant(credential.tenant_id.clone())),
                _ => Err(Error::Credentials),
            };
        }
        match wanted {
            RequestedScope::Unscoped => Ok(Scope::Unscoped),
            RequestedScope::Cloud => Ok(Scope::Cloud),
            RequestedScope::Usual => {
                // A scoped token is exchanged for one with the same scope.
                let kept = proven.base.as_ref().map(|base| base.token.scope.clone());
                let own = proven.user.tenant_id.clone().map_or(Scope::Unscoped, Scope::Tenant);
                Ok(kept.filter(|scope| *scope != Scope::Unscoped).unwrap_or(own))
            }
            RequestedScope::Tenant(named) => {
                let found = self.find_tenant(named.clone()).await?.ok_or(Error::Credentials)?;
                Ok(Scope::Tenant(found.id))
            }
            RequestedScope::TenantIdOrName(text) => {
                let named = if is_id(text) { IdOrName::Id(text.clone()) } else { IdOrName::name(text) };
                let found = self.find_tenant(named).await?;
                Ok(Scope::Tenant(found.ok_or(Error::Credentials)?.id))
            }
            RequestedScope::Domain(named) => {
                let found = self.db.read(named.clone(), |named, tx| Box::pin(domain_id(tx, named))).await?;
                Ok(Scope::Domain(found.ok_or(Error::Credentials)?))
            }
        }
    }

    async fn find_tenant(&self, named: IdOrName) -> Result<Option<Tenant>, Error> {
        self.db
            .read(named, |named, tx| {
                Box::pin(async move {
                    Ok(match named {
                        IdOrName::Id(id) => store::tenants::by_id(tx, id).await?,
                        IdOrName::Name { name, domain } => match domain_of(tx, domain.as_ref()).await? {
                            Some(domain) => store::tenants::by_name(tx, &domain, name).await?,
                            None => None,
                        },
                    })
                })
            })
            .await
    }

    async fn issue(
        &self,
        proven: IdentifiedUser,
        scope: Scope,
        kind: TokenKind,
        rule: RoleRule,
    ) -> Result<SignedIn, Error> {
        let prefix = if kind == TokenKind::TempAuth { "AUTH_tk" } else { "" };
        let text: Arc<str> = format!("{prefix}{}", secrets::random_hex::<16>()?).into();
        let now = self.clock.now();
        let mut token = Token {
            hash: hash_of(&text),
            user_id: proven.user.id.clone(),
            scope,
            methods: vec![proven.method],
            issued: now,
            expires: now.after(self.settings.token_lifetime),
            audit_ids: vec![audit_id()?],
            credential_id: proven.credential.as_ref().map(|credential| credential.id.clone()),
        };
        if let Some(end) = proven.credential.as_ref().and_then(|credential| credential.expires) {
            token.expires = token.expires.min(end);
        }
        if let Some(base) = &proven.base {
            token.expires = base.token.expires;
            token.methods.extend(base.token.methods.iter().filter(|m| **m != Method::Token));
            token.audit_ids.extend(base.token.audit_ids.first().cloned());
        }
        let base = proven.base.as_ref().map(|base| base.token.hash);
        // The new token is written afterwards, so it is not among those that may be deleted.
        let others = i64::from(self.settings.tokens_per_user.max(1)) - 1;
        let (session, ended) = self
            .db
            .write(
                (token, proven.user, proven.credential, base),
                move |(token, user, credential, base), tx| {
                    Box::pin(async move {
                        // Read the user again in the unit, so that a change in between is not missed.
                        let user = store::users::by_id(tx, &user.id).await?.ok_or(Error::Credentials)?;
                        if let Some(base) = base {
                            store::tokens::by_hash(tx, base).await?.ok_or(Error::Credentials)?;
                        }
                        let (scope, standing) =
                            rule.standing(tx, &user, &token.scope, credential.as_ref()).await?;
                        let token = Token { scope, ..token.clone() };
                        let ended = store::tokens::delete_oldest(
                            tx,
                            &user.id,
                            token.credential_id.as_deref(),
                            others,
                        )
                        .await?;
                        store::tokens::insert(tx, &token).await?;
                        Ok::<_, Error>((session_of(token, user, standing, credential.as_ref()), ended))
                    })
                },
            )
            .await?;
        for hash in &ended {
            self.sessions.forget_token(hash);
        }
        Ok(SignedIn { token: text, session: Arc::new(session) })
    }
}

/// Whether a user without a role on a tenant gets a token for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoleRule {
    /// Yes, if it is the user's own tenant (v1.0 to v2.0, where ACLs give such users their rights).
    AccountSuffices,
    /// No (v3, as in Keystone).
    Needed,
    /// It gets an unscoped token (v3, if the request did not name the user's default project, as in Keystone).
    UnscopedWithout,
}

impl RoleRule {
    /// Returns the scope of the token to issue and the user's standing there.
    async fn standing(
        self,
        tx: &mut Tx,
        user: &User,
        scope: &Scope,
        credential: Option<&ApplicationCredential>,
    ) -> Result<(Scope, Standing), Error> {
        let found = match standing_in(tx, user, scope, credential).await {
            Ok(standing) if scope.tenant().is_some() && standing.roles.is_empty() => match self {
                Self::AccountSuffices => Ok(standing),
                Self::Needed | Self::UnscopedWithout => Err(Error::Credentials),
            },
            other => other,
        };
        match found {
            Err(Error::Credentials | Error::Disabled) if self == Self::UnscopedWithout => {
                Ok((Scope::Unscoped, standing_in(tx, user, &Scope::Unscoped, None).await?))
            }
            found => Ok((scope.clone(), found?)),
        }
    }
}

/// The secret that a client presents.
#[derive(Clone, Copy)]
enum Secret<'a> {
    ApiKey(&'a str),
    Password(&'a str),
    Either(&'a str),
}

/// Returns the id of the requested domain, `default` if none was requested; `None` if there is no such domain.
async fn domain_of(tx: &mut Tx, named: Option<&DomainName>) -> Result<Option<String>, Error> {
    match named {
        Some(named) => domain_id(tx, named).await,
        None => Ok(Some(DEFAULT_DOMAIN.to_owned())),
    }
}

async fn domain_id(tx: &mut Tx, named: &DomainName) -> Result<Option<String>, Error> {
    let found = match named {
        DomainName::Id(id) => store::domains::by_id(tx, id).await?,
        // Clients write the first domain's name like its id, and Keystone's databases ignore case.
        DomainName::Name(name) if name.eq_ignore_ascii_case("default") => {
            store::domains::by_id(tx, "default").await?
        }
        DomainName::Name(name) => store::domains::by_name(tx, name).await?,
    };
    Ok(found.map(|domain| domain.id))
}

async fn find_user(tx: &mut Tx, named: &IdOrName) -> Result<Option<(User, Secrets)>, Error> {
    Ok(match named {
        IdOrName::Id(id) => store::users::with_secrets_by_id(tx, id).await?,
        IdOrName::Name { name, domain } => match domain_of(tx, domain.as_ref()).await? {
            Some(domain) => store::users::with_secrets_by_name(tx, &domain, name).await?,
            None => None,
        },
    })
}

type FoundCredential = Option<(User, ApplicationCredential, String)>;

async fn find_credential(tx: &mut Tx, named: &CredentialName) -> Result<FoundCredential, Error> {
    let id = match named {
        CredentialName::Id(id) => Some(id.clone()),
        CredentialName::Of { user, name } => match find_user(tx, user).await? {
            Some((user, _)) => store::credentials::id_of(tx, &user.id, name).await?,
            None => None,
        },
    };
    let Some(id) = id else { return Ok(None) };
    let Some((credential, stored)) = store::credentials::by_id(tx, &id).await? else { return Ok(None) };
    let found = store::users::by_id(tx, &credential.user_id).await?;
    Ok(found.map(|user| (user, credential, stored)))
}

/// Creates a token's id for audit logs (Keystone v3: 16 random bytes in URL-safe base 64).
fn audit_id() -> Result<String, Error> {
    use base64::Engine;
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Busy)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
