//! First start: creates the first tenant and user of an empty database.

use crate::model::{Caller, Extra, Scope, Tenant, User, builtin_role_id};
use crate::service::error::Error;
use crate::service::signin::API_KEYS;
use crate::service::users::check_password;
use crate::service::{Identity, note, secrets};
use crate::store;
use crate::store::users::Secrets;

/// The first user with its secrets, which are shown to the operator once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstUser {
    /// Its tenant's id.
    pub tenant_id: String,
    /// Its tenant's name.
    pub tenant_name: String,
    /// Its name.
    pub user_name: String,
    /// Its password.
    pub password: String,
    /// Its API key.
    pub api_key: String,
}

impl Identity {
    /// Creates the tenant and user `admin`, the cloud's operator, in an empty database, with the given password and API key
    /// or random ones. Returns `None` if the database is not empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid password or key; the database's error.
    pub async fn bootstrap(
        &self,
        password: Option<String>,
        api_key: Option<String>,
    ) -> Result<Option<FirstUser>, Error> {
        let empty = self
            .db
            .read((), |(), tx| Box::pin(async move { Ok::<_, Error>(!store::tenants::any(tx).await?) }))
            .await?;
        if !empty {
            return Ok(None);
        }
        let password = match password {
            Some(password) => password,
            None => secrets::random_hex::<12>()?,
        };
        check_password(&password)?;
        let api_key = match api_key {
            Some(key) => key,
            None => secrets::random_hex::<16>()?,
        };
        let now = self.clock.now();
        let id = secrets::new_id();
        let kept = Secrets {
            password: Some(self.passwords.hash(&password).await?),
            password_set: Some(now),
            api_key: Some(self.key.seal(API_KEYS, id.as_bytes(), api_key.as_bytes())?),
        };
        let made = self
            .db
            .write((id, kept), move |(id, kept), tx| {
                Box::pin(async move {
                    // Another process may have been faster.
                    if store::tenants::any(tx).await? {
                        return Ok(None);
                    }
                    let tenant = Tenant {
                        id: store::tenants::next_id(tx).await?,
                        name: "admin".to_owned(),
                        domain_id: "default".to_owned(),
                        description: "The operator's own".to_owned(),
                        enabled: true,
                        created: now,
                        extra: Extra::default(),
                    };
                    store::tenants::insert(tx, &tenant).await?;
                    let user = User {
                        id: id.clone(),
                        name: "admin".to_owned(),
                        domain_id: "default".to_owned(),
                        tenant_id: Some(tenant.id.clone()),
                        email: None,
                        description: "The first user".to_owned(),
                        enabled: true,
                        region: None,
                        created: now,
                        password_expires: None,
                        extra: Extra::default(),
                    };
                    if !store::users::insert(tx, &user, kept).await? {
                        return Err(Error::conflict("A user named admin already exists."));
                    }
                    let places = [
                        ("operator", Scope::Cloud),
                        ("admin", Scope::Tenant(tenant.id.clone())),
                        ("admin", Scope::Domain("default".to_owned())),
                    ];
                    for (role, scope) in places {
                        store::grants::insert(tx, id, &builtin_role_id(role), &scope).await?;
                    }
                    note(tx, now, &Caller::console(), "bootstrap", id, &tenant.id).await?;
                    Ok(Some(tenant))
                })
            })
            .await?;
        Ok(made.map(|tenant| FirstUser {
            tenant_id: tenant.id,
            tenant_name: tenant.name,
            user_name: "admin".to_owned(),
            password,
            api_key,
        }))
    }
}
