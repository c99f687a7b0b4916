//! Users: create, show, change and delete; passwords and API keys.

use crate::model::{Caller, DEFAULT_DOMAIN, Extra, Method, Right, Scope, User, check_acl_name};
use crate::service::accounts::{
    NOT_AUTHORIZED, account_of, check_full_rights, check_operator, check_operator_remains, managed_user,
    user_for_secrets, visible_user,
};
use crate::service::error::Error;
use crate::service::passwords::PASSWORD_MAX;
use crate::service::signin::{API_KEYS, IdOrName};
use crate::service::text::check_text;
use crate::service::{Identity, Listed, note, page_of, secrets};
use crate::store;
use crate::store::users::{Filter, Secrets};

/// A user to create.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    pub(crate) description: String,
    pub(crate) enabled: bool,
    pub(crate) domain_id: Option<String>,
    /// The account. Only an operator may name an account other than its own.
    pub(crate) tenant_id: Option<String>,
    pub(crate) password: Option<String>,
    /// The API key; generated if absent.
    pub(crate) api_key: Option<String>,
    pub(crate) region: Option<String>,
    /// Names of its roles on its account.
    pub(crate) roles: Vec<String>,
    pub(crate) extra: Extra,
}

/// Changes to a user; `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangedUser {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<Option<String>>,
    pub(crate) description: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) tenant_id: Option<Option<String>>,
    pub(crate) password: Option<String>,
    pub(crate) region: Option<Option<String>>,
    /// Further attributes to set.
    pub(crate) extra: Extra,
}

/// Filters of a list of users.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserQuery {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) domain_id: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) marker: Option<String>,
    pub(crate) limit: Option<i64>,
    /// Whether a marker that names no user is an error (v2.0).
    pub(crate) strict: bool,
}

pub(crate) fn check_password(password: &str) -> Result<(), Error> {
    if password.is_empty() || password.len() > PASSWORD_MAX {
        return Err(Error::invalid(format!("password must have 1 to {PASSWORD_MAX} bytes")));
    }
    Ok(())
}

fn check_email(email: &str) -> Result<(), Error> {
    let fits = email.len() <= 255
        && email.contains('@')
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if fits { Ok(()) } else { Err(Error::invalid("email is not an address")) }
}

fn check_api_key(key: &str) -> Result<(), Error> {
    let fits = (8..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(())
    } else {
        Err(Error::invalid("an API key has 8 to 255 printable characters without blanks"))
    }
}

impl Identity {
    /// Creates a user and returns it with its API key.
    pub(crate) async fn create_user(&self, caller: &Caller, new: NewUser) -> Result<(User, String), Error> {
        check_acl_name("name", &new.name)?;
        check_text("description", &new.description)?;
        new.extra.check()?;
        new.email.as_deref().map_or(Ok(()), check_email)?;
        new.password.as_deref().map_or(Ok(()), check_password)?;
        new.api_key.as_deref().map_or(Ok(()), check_api_key)?;
        self.check_region(new.region.as_deref()).await?;
        if !caller.operator {
            // Check before hashing, so that callers without the right cannot make this process hash passwords.
            account_of(caller, Right::Administer)?;
        }
        self.has_full_rights(caller).await?;
        let now = self.clock.now();
        let id = secrets::new_id();
        let api_key = match new.api_key.clone() {
            Some(key) => key,
            None => secrets::random_hex::<16>()?,
        };
        let password = match &new.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let kept = Secrets {
            password_set: password.as_ref().map(|_| now),
            password,
            api_key: Some(self.key.seal(API_KEYS, id.as_bytes(), api_key.as_bytes())?),
        };
        let user = self
            .db
            .write((caller.clone(), new, id, kept), move |(caller, new, id, kept), tx| {
                Box::pin(async move {
                    check_full_rights(tx, caller).await?;
                    let tenant_id = if caller.operator {
                        new.tenant_id.clone()
                    } else {
                        let own = account_of(caller, Right::Administer)?;
                        if new.tenant_id.as_deref().is_some_and(|id| id != own) {
                            return Err(Error::forbidden(NOT_AUTHORIZED));
                        }
                        Some(own.to_owned())
                    };
                    let tenant = match &tenant_id {
                        Some(id) => Some(
                            store::tenants::by_id(tx, id)
                                .await?
                                .ok_or_else(|| Error::not_found("project", id))?,
                        ),
                        None => None,
                    };
                    let own_domain = tenant.map_or_else(|| "default".to_owned(), |tenant| tenant.domain_id);
                    let domain_id = match &new.domain_id {
                        Some(id) if caller.operator || *id == own_domain => {
                            store::domains::by_id(tx, id)
                                .await?
                                .ok_or_else(|| Error::not_found("domain", id))?
                                .id
                        }
                        Some(_) => return Err(Error::forbidden(NOT_AUTHORIZED)),
                        None => own_domain,
                    };
                    let user = User {
                        id: id.clone(),
                        name: new.name.clone(),
                        domain_id,
                        tenant_id: tenant_id.clone(),
                        email: new.email.clone(),
                        description: new.description.clone(),
                        enabled: new.enabled,
                        region: new.region.clone(),
                        created: now,
                        password_expires: None,
                        extra: new.extra.clone(),
                    };
                    if !store::users::insert(tx, &user, kept).await? {
                        return Err(taken(&user.name));
                    }
                    name_is_free(tx, &user).await?;
                    note(tx, now, caller, "user.create", &user.id, &user.name).await?;
                    for role in &new.roles {
                        let Some(tenant_id) = &tenant_id else {
                            return Err(Error::invalid("a user without a tenant cannot have roles on one"));
                        };
                        let scope = Scope::Tenant(tenant_id.clone());
                        crate::service::roles::grant_by_name(tx, now, caller, &user.id, role, &scope).await?;
                    }
                    Ok(store::users::by_id(tx, id).await?.unwrap_or(user))
                })
            })
            .await?;
        Ok((user, api_key))
    }

    /// Returns a user that the caller may see.
    pub(crate) async fn user(&self, caller: &Caller, id: &str) -> Result<User, Error> {
        let input = (caller.clone(), id.to_owned());
        self.db.read(input, |(caller, id), tx| Box::pin(visible_user(tx, caller, id))).await
    }

    /// Returns the user of that name in the domain `default`, if the caller may see it.
    pub(crate) async fn user_named(&self, caller: &Caller, name: &str) -> Result<User, Error> {
        self.db
            .read((caller.clone(), name.to_owned()), |(caller, name), tx| {
                Box::pin(async move {
                    let found = store::users::by_name(tx, DEFAULT_DOMAIN, name).await?;
                    let found = found.ok_or_else(|| Error::not_found("user", name))?;
                    visible_user(tx, caller, &found.id).await.map_err(|_| Error::not_found("user", name))
                })
            })
            .await
    }

    /// Returns the users that the caller may see: all for an operator, the account's for callers who may observe it, else
    /// itself.
    pub(crate) async fn users(&self, caller: &Caller, query: UserQuery) -> Result<Listed<User>, Error> {
        let page = page_of(query.marker.as_deref(), query.limit);
        let mut filter = Filter {
            name: query.name,
            email: query.email,
            domain_id: query.domain_id,
            enabled: query.enabled,
            ..Filter::default()
        };
        if !caller.operator {
            let Ok(account) = account_of(caller, Right::Observe) else {
                return self.itself(caller, &filter).await;
            };
            filter.tenant_id = Some(account.to_owned());
        }
        let strict = query.strict;
        self.db
            .scan((filter, page, caller.clone()), move |(filter, page, caller), tx| {
                Box::pin(async move {
                    let listed = Listed::of(store::users::list(tx, filter, page).await?, page);
                    if !strict || page.marker.is_empty() {
                        return Ok(listed);
                    }
                    visible_user(tx, caller, &page.marker).await?;
                    Ok(listed.after(&store::users::before(tx, filter, page).await?, page))
                })
            })
            .await
    }

    async fn itself(&self, caller: &Caller, filter: &Filter) -> Result<Listed<User>, Error> {
        let user = self.user(caller, &caller.user_id).await?;
        let fits = filter.name.as_ref().is_none_or(|name| *name == user.name)
            && filter.email.as_ref().is_none_or(|email| Some(email) == user.email.as_ref())
            && filter.domain_id.as_ref().is_none_or(|id| *id == user.domain_id)
            && filter.enabled.is_none_or(|enabled| enabled == user.enabled);
        Ok(Listed::whole(if fits { vec![user] } else { Vec::new() }))
    }

    /// Returns users that belong to a tenant or have a role on it.
    pub(crate) async fn users_on_tenant(
        &self,
        caller: &Caller,
        tenant_id: &str,
        query: &UserQuery,
    ) -> Result<Listed<User>, Error> {
        self.tenant(caller, tenant_id).await?;
        if !caller.may(tenant_id, crate::Product::Identity, Right::Observe) {
            return Err(Error::forbidden(NOT_AUTHORIZED));
        }
        let page = page_of(query.marker.as_deref(), query.limit);
        let filter = Filter { on_tenant: Some(tenant_id.to_owned()), ..Filter::default() };
        self.db
            .scan((filter, page, caller.clone()), |(filter, page, caller), tx| {
                Box::pin(async move {
                    let listed = Listed::of(store::users::list(tx, filter, page).await?, page);
                    if page.marker.is_empty() {
                        return Ok(listed);
                    }
                    visible_user(tx, caller, &page.marker).await?;
                    Ok(listed.after(&store::users::before(tx, filter, page).await?, page))
                })
            })
            .await
    }

    /// Changes a user. Disabling it or setting its password revokes its tokens at once.
    pub(crate) async fn update_user(
        &self,
        caller: &Caller,
        id: &str,
        change: ChangedUser,
    ) -> Result<User, Error> {
        if let Some(name) = &change.name {
            check_acl_name("name", name)?;
        }
        change.description.as_deref().map_or(Ok(()), |text| check_text("description", text))?;
        change.email.as_ref().and_then(|email| email.as_deref()).map_or(Ok(()), check_email)?;
        self.check_region(change.region.as_ref().and_then(|region| region.as_deref())).await?;
        let password = match &change.password {
            Some(password) => {
                check_password(password)?;
                self.may_set_password(caller, id).await?;
                self.check_reuse(id, password).await?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let now = self.clock.now();
        let user = self
            .db
            .write(
                (caller.clone(), id.to_owned(), change, password),
                move |(caller, id, change, password), tx| {
                    Box::pin(async move {
                        let (mut user, _) = managed_user(tx, caller, id).await?;
                        if change.tenant_id.as_ref().is_some_and(|tenant| *tenant != user.tenant_id) {
                            crate::service::accounts::check_operator(caller)?;
                            if let Some(Some(tenant)) = &change.tenant_id {
                                let found = store::tenants::by_id(tx, tenant).await?;
                                found.ok_or_else(|| Error::not_found("project", tenant))?;
                            }
                        }
                        if change.enabled == Some(false) && user.id == caller.user_id {
                            return Err(Error::forbidden("You cannot disable yourself."));
                        }
                        // Whoever can set the mail address can reset the password through it.
                        if change.password.is_some() || change.email.is_some() {
                            check_full_rights(tx, caller).await?;
                        }
                        let detail = changed_fields(change);
                        let c = change.clone();
                        if c.name.as_ref().is_some_and(|name| *name != user.name) {
                            store::users::reserve_former_name(tx, &user).await?;
                        }
                        user.name = c.name.unwrap_or(user.name);
                        user.email = c.email.unwrap_or(user.email);
                        user.description = c.description.unwrap_or(user.description);
                        user.enabled = c.enabled.unwrap_or(user.enabled);
                        user.tenant_id = c.tenant_id.unwrap_or(user.tenant_id);
                        user.region = c.region.unwrap_or(user.region);
                        user.extra.merge(&c.extra);
                        user.extra.check()?;
                        if !store::users::update(tx, &user).await? {
                            return Err(taken(&user.name));
                        }
                        if change.name.is_some() {
                            name_is_free(tx, &user).await?;
                        }
                        if !user.enabled {
                            check_operator_remains(tx).await?;
                        }
                        if let Some(password) = password {
                            store::passwords::set(tx, id, password, now).await?;
                        }
                        if password.is_some() || !user.enabled {
                            store::tokens::delete_of_user(tx, id).await?;
                        }
                        note(tx, now, caller, "user.update", id, &detail).await?;
                        Ok(user)
                    })
                },
            )
            .await?;
        self.sessions.forget_user(id);
        Ok(user)
    }

    /// Changes the user's own password, given the old one, and revokes all of its tokens.
    pub(crate) async fn change_password(
        &self,
        named: &IdOrName,
        original: &str,
        password: &str,
        address: Option<std::net::IpAddr>,
    ) -> Result<(), Error> {
        check_password(password)?;
        let found = self.find_user(named).await?;
        let user_id = found.as_ref().map_or(named.text(), |(user, _)| &user.id).to_owned();
        let user_id = user_id.as_str();
        let known = self.known_until(user_id, address).await?;
        let attempt = self.guard.admit(user_id, address, known).await?;
        let before = found.as_ref().and_then(|(_, secrets)| secrets.password.clone());
        match self.passwords.fits(original, before.as_deref(), attempt.rank()).await {
            Ok(true) => self.remember(user_id, attempt.succeeded()).await,
            Ok(false) => {
                attempt.failed();
                return Err(Error::Credentials);
            }
            Err(error) => {
                attempt.withdraw();
                return Err(error);
            }
        }
        let (user, _) = found.ok_or(Error::Credentials)?;
        if !user.enabled {
            return Err(Error::Disabled);
        }
        self.check_reuse(&user.id, password).await?;
        let hashed = self.passwords.hash(password).await?;
        let now = self.clock.now();
        self.db
            .write((user, hashed, before), move |(user, hashed, before), tx| {
                Box::pin(async move {
                    let found =
                        store::users::with_secrets_by_id(tx, &user.id).await?.ok_or(Error::Credentials)?;
                    if found.1.password != *before {
                        return Err(Error::Credentials);
                    }
                    store::passwords::set(tx, &user.id, hashed, now).await?;
                    store::tokens::delete_of_user(tx, &user.id).await?;
                    let actor = (user.id.as_str(), user.name.as_str());
                    Ok(store::audit::record(tx, now, actor, "user.password", &user.id, "").await?)
                })
            })
            .await?;
        self.sessions.forget_user(user_id);
        Ok(())
    }

    /// Deletes a user with its tokens, credentials and roles.
    pub(crate) async fn delete_user(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    let (user, _) = managed_user(tx, caller, id).await?;
                    if user.id == caller.user_id {
                        return Err(Error::forbidden("You cannot delete yourself."));
                    }
                    store::users::reserve_former_name(tx, &user).await?;
                    store::users::delete(tx, id).await?;
                    check_operator_remains(tx).await?;
                    note(tx, now, caller, "user.delete", id, &user.name).await
                })
            })
            .await?;
        self.sessions.forget_user(id);
        Ok(())
    }

    /// Lets users of any tenant take the name of a deleted or renamed user.
    pub(crate) async fn release_name(
        &self,
        caller: &Caller,
        domain_id: &str,
        name: &str,
    ) -> Result<(), Error> {
        check_operator(caller)?;
        let now = self.clock.now();
        let input = (caller.clone(), domain_id.to_owned(), name.to_owned());
        self.db
            .write(input, move |(caller, domain_id, name), tx| {
                Box::pin(async move {
                    if !store::users::release_name(tx, domain_id, name).await? {
                        return Err(Error::not_found("former user name", name));
                    }
                    note(tx, now, caller, "user.release_name", name, domain_id).await
                })
            })
            .await
    }

    /// Returns the user's API key, for itself and for callers who manage it.
    pub(crate) async fn api_key(&self, caller: &Caller, id: &str) -> Result<(User, Option<String>), Error> {
        let (user, sealed) = self
            .db
            .read((caller.clone(), id.to_owned()), |(caller, id), tx| {
                Box::pin(async move {
                    let user = user_for_secrets(tx, caller, id).await?;
                    let found = store::users::with_secrets_by_id(tx, id).await?;
                    Ok::<_, Error>((user, found.and_then(|(_, secrets)| secrets.api_key)))
                })
            })
            .await?;
        let Some(sealed) = sealed else { return Ok((user, None)) };
        let key = self.key.open(API_KEYS, user.id.as_bytes(), &sealed)?;
        Ok((user, Some(String::from_utf8(key).map_err(|_| Error::Secret)?)))
    }

    /// Sets the user's API key; generates one if none is given. Revokes tokens that were issued for the old key.
    pub(crate) async fn set_api_key(
        &self,
        caller: &Caller,
        id: &str,
        key: Option<String>,
    ) -> Result<(User, String), Error> {
        key.as_deref().map_or(Ok(()), check_api_key)?;
        let key = match key {
            Some(key) => key,
            None => secrets::random_hex::<16>()?,
        };
        let sealed = self.key.seal(API_KEYS, id.as_bytes(), key.as_bytes())?;
        let user = self.put_api_key(caller, id, Some(sealed)).await?;
        Ok((user, key))
    }

    /// Removes the user's API key.
    pub(crate) async fn delete_api_key(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.put_api_key(caller, id, None).await.map(|_| ())
    }

    async fn put_api_key(&self, caller: &Caller, id: &str, sealed: Option<Vec<u8>>) -> Result<User, Error> {
        let now = self.clock.now();
        let user = self
            .db
            .write((caller.clone(), id.to_owned(), sealed), move |(caller, id, sealed), tx| {
                Box::pin(async move {
                    let user = user_for_secrets(tx, caller, id).await?;
                    store::users::set_api_key(tx, id, sealed.as_deref()).await?;
                    store::tokens::delete_by_method(tx, id, Method::ApiKey).await?;
                    let action = if sealed.is_some() { "user.api_key.set" } else { "user.api_key.delete" };
                    note(tx, now, caller, action, id, "").await?;
                    Ok::<_, Error>(user)
                })
            })
            .await?;
        self.sessions.forget_user(id);
        Ok(user)
    }

    /// Checks that a default region is one of the cloud's.
    async fn check_region(&self, region: Option<&str>) -> Result<(), Error> {
        let Some(region) = region else { return Ok(()) };
        if self.regions().await?.iter().any(|found| found.id == region) {
            return Ok(());
        }
        Err(Error::invalid(format!("there is no region {region}")))
    }

    async fn has_full_rights(&self, caller: &Caller) -> Result<(), Error> {
        self.db.read(caller.clone(), |caller, tx| Box::pin(check_full_rights(tx, caller))).await
    }

    /// Fails unless the caller may set the user's password.
    async fn may_set_password(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let input = (caller.clone(), id.to_owned());
        self.db
            .read(input, |(caller, id), tx| {
                Box::pin(async move {
                    check_full_rights(tx, caller).await?;
                    managed_user(tx, caller, id).await.map(|_| ())
                })
            })
            .await
    }
}

/// Fails if the name belonged to a user of another tenant, since ACLs may still refer to that user by it.
async fn name_is_free(tx: &mut database::Tx, user: &User) -> Result<(), Error> {
    let former = store::users::former_tenant(tx, &user.domain_id, &user.name).await?;
    if former.is_some_and(|former| former != user.tenant_id.as_deref().unwrap_or_default()) {
        return Err(Error::conflict(format!(
            "The name {} belonged to a user of another project and may still be in ACLs. An operator can release it: \
             nephos user release-name.",
            user.name
        )));
    }
    Ok(())
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("A user named {name} already exists."))
}

/// Returns the names of the changed fields for the audit log, without the values, which may be secret.
fn changed_fields(change: &ChangedUser) -> String {
    let fields = [
        ("name", change.name.is_some()),
        ("email", change.email.is_some()),
        ("description", change.description.is_some()),
        ("enabled", change.enabled.is_some()),
        ("tenant", change.tenant_id.is_some()),
        ("password", change.password.is_some()),
        ("region", change.region.is_some()),
    ];
    fields.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}
