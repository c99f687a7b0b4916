//! Credentials for programs: application credentials, and EC2 key pairs for requests with AWS signatures.

use std::sync::Arc;

use work::Time;

use crate::model::{ApplicationCredential, Caller, Ec2Credential, Method, Scope, Session, Token, check_name};
use crate::service::accounts::{NOT_AUTHORIZED, managed_user, user_for_secrets, visible_user};
use crate::service::error::Error;
use crate::service::secrets::{hash_random, new_id, random_hex};
use crate::service::sessions::{Denied, session_of, standing_in};
use crate::service::text::check_text;
use crate::service::{Identity, Listed, note, page_of};
use crate::store;
use crate::store::credentials::SealedEc2;

/// Purpose for which EC2 secrets are sealed.
const EC2_SECRETS: &str = "ec2 secrets";

/// An application credential to create, on the tenant of the caller's token.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewCredential {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The secret; generated if absent.
    pub(crate) secret: Option<String>,
    /// Ids of roles; if empty, all roles of the token.
    pub(crate) roles: Vec<String>,
    pub(crate) expires: Option<Time>,
    pub(crate) unrestricted: bool,
}

/// Fails for a token of an application credential that must not manage application credentials.
fn unrestricted(session: &Session) -> Result<(), Error> {
    if session.restricted {
        return Err(Error::forbidden("A restricted application credential cannot manage credentials."));
    }
    Ok(())
}

impl Identity {
    /// Creates an application credential for the token's user and tenant. Returns it with its secret, which is not shown
    /// again.
    pub(crate) async fn create_credential(
        &self,
        session: &Session,
        user_id: &str,
        new: NewCredential,
    ) -> Result<(ApplicationCredential, String), Error> {
        unrestricted(session)?;
        if user_id != session.user.id {
            return Err(Error::forbidden(NOT_AUTHORIZED));
        }
        check_name("name", &new.name, true)?;
        check_text("description", &new.description)?;
        let Some(tenant_id) = session.token.scope.tenant().map(str::to_owned) else {
            return Err(Error::invalid(
                "an application credential needs a token that is scoped to a project",
            ));
        };
        let now = self.clock.now();
        if new.expires.is_some_and(|expires| expires <= now) {
            return Err(Error::invalid("expires_at must be in the future"));
        }
        let held: Vec<String> = session.caller.roles.iter().map(|role| role.id.clone()).collect();
        if let Some(missing) = new.roles.iter().find(|id| !held.contains(id)) {
            return Err(Error::invalid(format!("the token does not have role {missing}")));
        }
        let (secret, stored) = match &new.secret {
            Some(given) => {
                crate::service::users::check_password(given)?;
                (given.clone(), self.passwords.hash(given).await?)
            }
            None => {
                let secret = random_hex::<32>()?;
                let stored = hash_random(&secret);
                (secret, stored)
            }
        };
        let credential = ApplicationCredential {
            id: new_id(),
            user_id: user_id.to_owned(),
            name: new.name,
            tenant_id,
            description: new.description,
            roles: if new.roles.is_empty() { held } else { new.roles },
            expires: new.expires,
            unrestricted: new.unrestricted,
        };
        let caller = (*session.caller).clone();
        let made = self
            .db
            .write((caller, credential, stored), move |(caller, credential, stored), tx| {
                Box::pin(async move {
                    if !store::credentials::insert(tx, credential, stored).await? {
                        return Err(Error::conflict(format!(
                            "An application credential named {} already exists.",
                            credential.name
                        )));
                    }
                    note(tx, now, caller, "application_credential.create", &credential.id, &credential.name)
                        .await?;
                    Ok(credential.clone())
                })
            })
            .await?;
        Ok((made, secret))
    }

    /// Returns a user's application credentials, for itself and for callers who may see the user.
    pub(crate) async fn credentials(
        &self,
        caller: &Caller,
        user_id: &str,
        name: Option<&str>,
        marker: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Listed<ApplicationCredential>, Error> {
        let page = page_of(marker, limit);
        let input = (caller.clone(), user_id.to_owned(), name.map(str::to_owned), page);
        self.db
            .scan(input, |(caller, user_id, name, page), tx| {
                Box::pin(async move {
                    visible_user(tx, caller, user_id).await?;
                    let items = store::credentials::list(tx, user_id, name.as_deref(), page).await?;
                    Ok(Listed::of(items, page))
                })
            })
            .await
    }

    /// Returns one of a user's application credentials.
    pub(crate) async fn credential(
        &self,
        caller: &Caller,
        user_id: &str,
        id: &str,
    ) -> Result<ApplicationCredential, Error> {
        self.db
            .read((caller.clone(), user_id.to_owned(), id.to_owned()), |(caller, user_id, id), tx| {
                Box::pin(async move {
                    visible_user(tx, caller, user_id).await?;
                    let found = store::credentials::by_id(tx, id).await?;
                    let found = found.map(|(credential, _)| credential).filter(|c| c.user_id == *user_id);
                    found.ok_or_else(|| Error::not_found("application credential", id))
                })
            })
            .await
    }

    /// Deletes an application credential and revokes its tokens.
    pub(crate) async fn delete_credential(
        &self,
        session: &Session,
        user_id: &str,
        id: &str,
    ) -> Result<(), Error> {
        unrestricted(session)?;
        let now = self.clock.now();
        let caller = (*session.caller).clone();
        self.db
            .write((caller, user_id.to_owned(), id.to_owned()), move |(caller, user_id, id), tx| {
                Box::pin(async move {
                    if *user_id != caller.user_id {
                        managed_user(tx, caller, user_id).await?;
                    }
                    let found = store::credentials::by_id(tx, id).await?;
                    let found = found.map(|(credential, _)| credential).filter(|c| c.user_id == *user_id);
                    let found = found.ok_or_else(|| Error::not_found("application credential", id))?;
                    store::credentials::delete(tx, id).await?;
                    note(tx, now, caller, "application_credential.delete", id, &found.name).await
                })
            })
            .await?;
        self.sessions.forget(|session| session.token.credential_id.as_deref() == Some(id));
        Ok(())
    }

    /// Creates an EC2 key pair for a user, on a tenant where it has a role or which is its own.
    pub(crate) async fn create_ec2(
        &self,
        session: &Session,
        user_id: &str,
        tenant_id: &str,
    ) -> Result<Ec2Credential, Error> {
        let pair = Ec2Credential {
            access: random_hex::<16>()?,
            secret: random_hex::<16>()?,
            user_id: user_id.to_owned(),
            tenant_id: tenant_id.to_owned(),
        };
        let sealed = SealedEc2 {
            access: pair.access.clone(),
            secret: self.key.seal(EC2_SECRETS, pair.access.as_bytes(), pair.secret.as_bytes())?,
            user_id: pair.user_id.clone(),
            tenant_id: pair.tenant_id.clone(),
        };
        let now = self.clock.now();
        let caller = (*session.caller).clone();
        self.db
            .write((caller, sealed), move |(caller, sealed), tx| {
                Box::pin(async move {
                    let user = user_for_secrets(tx, caller, &sealed.user_id).await?;
                    let scope = Scope::Tenant(sealed.tenant_id.clone());
                    let standing = standing_in(tx, &user, &scope, None).await;
                    standing.map_err(|_| Error::not_found("project", &sealed.tenant_id))?;
                    store::credentials::insert_ec2(tx, sealed, now).await?;
                    note(tx, now, caller, "ec2_credential.create", &sealed.access, &sealed.tenant_id).await
                })
            })
            .await?;
        Ok(pair)
    }

    /// Returns a user's EC2 key pairs.
    pub(crate) async fn ec2_credentials(
        &self,
        session: &Session,
        user_id: &str,
        marker: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Listed<Ec2Credential>, Error> {
        let page = page_of(marker, limit);
        let caller = (*session.caller).clone();
        let sealed = self
            .db
            .scan((caller, user_id.to_owned(), page), |(caller, user_id, page), tx| {
                Box::pin(async move {
                    user_for_secrets(tx, caller, user_id).await?;
                    Ok::<_, Error>(Listed::of(
                        store::credentials::ec2_of_user(tx, user_id, page).await?,
                        page,
                    ))
                })
            })
            .await?;
        let items = sealed.items.into_iter().map(|sealed| self.unseal(sealed)).collect::<Result<_, _>>()?;
        Ok(Listed { items, more: sealed.more, previous: None })
    }

    /// Returns one of a user's EC2 key pairs.
    pub(crate) async fn ec2_credential(
        &self,
        session: &Session,
        user_id: &str,
        access: &str,
    ) -> Result<Ec2Credential, Error> {
        let caller = (*session.caller).clone();
        let sealed = self
            .db
            .read((caller, user_id.to_owned(), access.to_owned()), |(caller, user_id, access), tx| {
                Box::pin(async move {
                    user_for_secrets(tx, caller, user_id).await?;
                    let found = store::credentials::ec2_by_access(tx, access).await?;
                    let found = found.filter(|pair| pair.user_id == *user_id);
                    found.ok_or_else(|| Error::not_found("credential", access))
                })
            })
            .await?;
        self.unseal(sealed)
    }

    /// Deletes an EC2 key pair.
    pub(crate) async fn delete_ec2(
        &self,
        session: &Session,
        user_id: &str,
        access: &str,
    ) -> Result<(), Error> {
        self.ec2_credential(session, user_id, access).await?;
        let now = self.clock.now();
        let caller = (*session.caller).clone();
        self.db
            .write((caller, access.to_owned()), move |(caller, access), tx| {
                Box::pin(async move {
                    store::credentials::delete_ec2(tx, access).await?;
                    note(tx, now, caller, "ec2_credential.delete", access, "").await
                })
            })
            .await
    }

    fn unseal(&self, sealed: SealedEc2) -> Result<Ec2Credential, Error> {
        let secret = self.key.open(EC2_SECRETS, sealed.access.as_bytes(), &sealed.secret)?;
        Ok(Ec2Credential {
            secret: String::from_utf8(secret).map_err(|_| Error::Secret)?,
            access: sealed.access,
            user_id: sealed.user_id,
            tenant_id: sealed.tenant_id,
        })
    }

    /// Returns the secret of an EC2 key pair and the caller whose requests it signs, for dialects that check AWS signatures.
    ///
    /// # Errors
    /// [`Denied::Invalid`] if there is no such pair, or its user or tenant is disabled.
    pub async fn authenticate_ec2(&self, access: &str) -> Result<(String, Arc<Caller>), Denied> {
        let now = self.clock.now();
        let lifetime = self.token_lifetime();
        let found = self
            .db
            .read(access.to_owned(), move |access, tx| {
                Box::pin(async move {
                    let sealed = store::credentials::ec2_by_access(tx, access).await?.ok_or(Error::Token)?;
                    let user = store::users::by_id(tx, &sealed.user_id).await?.ok_or(Error::Token)?;
                    let scope = Scope::Tenant(sealed.tenant_id.clone());
                    let standing = standing_in(tx, &user, &scope, None).await?;
                    let token = Token {
                        hash: [0; 32],
                        user_id: user.id.clone(),
                        scope,
                        methods: vec![Method::Ec2],
                        issued: now,
                        expires: now.after(lifetime),
                        audit_ids: Vec::new(),
                        credential_id: None,
                    };
                    let session = session_of(token, user, standing, None);
                    Ok::<_, Error>((sealed, session.caller))
                })
            })
            .await;
        match found {
            Ok((sealed, caller)) => match self.unseal(sealed) {
                Ok(pair) => Ok((pair.secret, caller)),
                Err(error) => {
                    error.log();
                    Err(Denied::Invalid)
                }
            },
            Err(Error::Database(error)) => Err(Denied::Unavailable(error)),
            Err(_) => Err(Denied::Invalid),
        }
    }
}
