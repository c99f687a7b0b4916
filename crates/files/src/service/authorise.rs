//! The authorisation check of every operation.

use identity::{Product, Right};

use super::Context;
use crate::error::{Error, Result};
use crate::model::account_acl::{self, Access, AccountAcl};
use crate::model::acl::Acl;
use crate::model::entry::{Container, Object, Stored};
use crate::model::metadata::Metadata;
use crate::model::name::tenant_of;
use work::Time;

/// An action, as rights and ACLs distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Create or delete an account (seed 002: admin role required).
    ManageAccount,
    /// Read an account.
    ReadAccount,
    /// Change an account's metadata.
    WriteAccount,
    /// List a container or read its metadata.
    ReadContainer,
    /// Create a container or change its metadata.
    WriteContainer,
    /// Set who else may access a container: its ACLs, keys and synchronisation, any of which can grant deletion.
    ManageContainer,
    /// Delete a container.
    DeleteContainer,
    /// Read an object.
    ReadObject,
    /// Store or change an object.
    WriteObject,
    /// Delete an object.
    DeleteObject,
}

impl Action {
    fn is_of_objects(self) -> bool {
        matches!(self, Self::ReadObject | Self::WriteObject | Self::DeleteObject)
    }

    fn right(self) -> Right {
        match self {
            Self::ReadAccount | Self::ReadContainer | Self::ReadObject => Right::Observe,
            Self::WriteContainer | Self::WriteObject => Right::Create,
            Self::ManageAccount
            | Self::WriteAccount
            | Self::ManageContainer
            | Self::DeleteContainer
            | Self::DeleteObject => Right::Administer,
        }
    }
}

/// What is known of an action's target, in addition to its account's name.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place<'a> {
    /// The container's name.
    pub(crate) container: Option<&'a str>,
    /// The container's metadata, if the container exists.
    pub(crate) metadata: Option<&'a Metadata>,
    /// The account's metadata, if it was read.
    pub(crate) account: Option<&'a Stored>,
}

/// Checks whether the caller may perform `action` on `account`, given what is known of the target.
///
/// The operator may do everything, a tenant's users what their roles permit, and others what ACLs grant: the container's
/// (`X-Container-Read` for reading and listing, `X-Container-Write` for storing and deleting objects) or the account's
/// (`X-Account-Access-Control`). A signature in place of a caller grants access to its own scope only.
pub(crate) fn authorise(context: &Context, account: &str, place: Place<'_>, action: Action) -> Result<()> {
    if let Some(pass) = &context.pass {
        let covered = pass.covers(account, place.container)
            && if context.published.is_some() {
                action == Action::ReadObject || (action == Action::ReadContainer && pass.container.is_some())
            } else {
                action.is_of_objects() || action == Action::ReadContainer
            };
        return if covered { Ok(()) } else { Err(Error::Unauthenticated) };
    }
    if owns(context, account, action)
        || place.metadata.is_some_and(|metadata| granted(context, metadata, action))
        || place.account.is_some_and(|metadata| granted_by_account(context, metadata, action))
    {
        return Ok(());
    }
    Err(if context.caller.is_some() { Error::Forbidden } else { Error::Unauthenticated })
}

/// Returns whether the caller may see and set who may access a container: ACLs, keys and synchronisation. A key can sign
/// deletions, so this requires the right to delete.
pub(crate) fn is_owner(context: &Context, account: &str, stored: Option<&Stored>) -> bool {
    owns(context, account, Action::ManageContainer)
        || stored.is_some_and(|metadata| granted_by_account(context, metadata, Action::WriteAccount))
}

/// Returns whether the caller may change the account's containers by a role there, rather than by a container's ACL.
pub(crate) fn is_member(context: &Context, account: &str, stored: Option<&Stored>) -> bool {
    owns(context, account, Action::WriteContainer)
        || stored.is_some_and(|metadata| granted_by_account(context, metadata, Action::WriteAccount))
}

fn owns(context: &Context, account: &str, action: Action) -> bool {
    let Some(caller) = context.caller.as_deref() else { return false };
    if caller.operator {
        return true;
    }
    let Some(tenant) = tenant_of(account) else { return false };
    // A service account requires a service's token in addition to the user's own (Swift, service tokens).
    let admitted =
        account.starts_with("AUTH_") || context.service.as_ref().is_some_and(|service| service.service);
    admitted && action != Action::ManageAccount && caller.may(tenant, Product::ObjectStore, action.right())
}

fn granted(context: &Context, container: &Metadata, action: Action) -> bool {
    let (header, by_referrer) = match action {
        Action::ReadObject | Action::ReadContainer => ("x-container-read", true),
        Action::WriteObject | Action::DeleteObject => ("x-container-write", false),
        _ => return false,
    };
    let Some(text) = container.get(header) else { return false };
    let acl = Acl::parse(text);
    if by_referrer
        && acl.allows_referrer(context.referrer.as_deref())
        && (action == Action::ReadObject || acl.opens_listings())
    {
        return true;
    }
    context.caller.as_deref().is_some_and(|caller| acl.names(caller))
}

fn granted_by_account(context: &Context, account: &Stored, action: Action) -> bool {
    let Some(caller) = context.caller.as_deref().filter(|_| account.may_hold(account_acl::HEADER)) else {
        return false;
    };
    let metadata = account.read();
    let access = metadata.get(account_acl::HEADER).and_then(|text| AccountAcl::parse(text).ok());
    match access.and_then(|acl| acl.access(caller)) {
        Some(Access::Admin) => action != Action::ManageAccount,
        Some(Access::ReadWrite) => {
            !matches!(action, Action::ManageAccount | Action::WriteAccount | Action::ManageContainer)
        }
        Some(Access::ReadOnly) => {
            matches!(action, Action::ReadAccount | Action::ReadContainer | Action::ReadObject)
        }
        None => false,
    }
}

/// Only owners may access versions by their ids, whatever ACLs grant (Swift, Object versioning).
pub(super) fn require_owner(context: &Context, account: &str, container: &Container) -> Result<()> {
    if is_member(context, account, Some(&container.account_metadata)) || context.pass.is_some() {
        return Ok(());
    }
    Err(if context.caller.is_some() { Error::Forbidden } else { Error::Unauthenticated })
}

/// Returns whether the caller may delete objects of the container.
pub(super) fn may_delete(context: &Context, account: &str, container: &Container, name: &str) -> bool {
    let place = Place {
        container: Some(name),
        metadata: Some(&container.metadata),
        account: Some(&container.account_metadata),
    };
    authorise(context, account, place, Action::DeleteObject).is_ok()
}

/// Checks that a change only extends an object's expiry, for callers who may not delete the object.
pub(super) fn only_extends_expiry(object: &Object, expires: Time) -> Result<()> {
    if object.expires.is_some_and(|end| end <= expires) { Ok(()) } else { Err(Error::Forbidden) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use identity::{Caller, Grant, TenantRef};
    use work::Time;

    use super::super::Pass;
    use super::*;

    fn of(tenant: &str, right: Option<Right>, operator: bool) -> Context {
        let caller = Caller {
            user_id: "u1".into(),
            user_name: "jdoe".into(),
            domain_id: "default".into(),
            tenant: Some(TenantRef {
                id: tenant.into(),
                name: format!("t{tenant}"),
                domain_id: "default".into(),
            }),
            roles: Vec::new(),
            grants: right.map(|right| Grant { product: None, right }).into_iter().collect(),
            operator,
            service: false,
            expires: Time(0),
            delegation: None,
        };
        Context { caller: Some(Arc::new(caller)), ..Context::default() }
    }

    #[test]
    fn every_kind_of_caller_gets_its_rights() {
        use Action::*;
        let all = [
            ManageAccount,
            ReadAccount,
            WriteAccount,
            ReadContainer,
            WriteContainer,
            ManageContainer,
            DeleteContainer,
            ReadObject,
            WriteObject,
            DeleteObject,
        ];
        let open = |read: &str, write: &str| {
            Metadata(BTreeMap::from([
                ("x-container-read".to_owned(), read.to_owned()),
                ("x-container-write".to_owned(), write.to_owned()),
            ]))
        };
        let closed = Metadata::default();
        let own = [
            ReadAccount,
            WriteAccount,
            ReadContainer,
            WriteContainer,
            ManageContainer,
            DeleteContainer,
            ReadObject,
            WriteObject,
            DeleteObject,
        ];
        let cases: Vec<(Context, Metadata, Vec<Action>, Error)> = vec![
            (of("9", None, true), closed.clone(), all.to_vec(), Error::Forbidden),
            (of("1", Some(Right::Administer), false), closed.clone(), own.to_vec(), Error::Forbidden),
            (
                of("1", Some(Right::Create), false),
                closed.clone(),
                vec![ReadAccount, ReadContainer, WriteContainer, ReadObject, WriteObject],
                Error::Forbidden,
            ),
            (
                of("1", Some(Right::Observe), false),
                closed.clone(),
                vec![ReadAccount, ReadContainer, ReadObject],
                Error::Forbidden,
            ),
            (of("1", None, false), closed.clone(), vec![], Error::Forbidden),
            (of("2", Some(Right::Administer), false), closed.clone(), vec![], Error::Forbidden),
            (Context::default(), closed.clone(), vec![], Error::Unauthenticated),
            (
                of("2", None, false),
                open("2:jdoe", "AUTH_2"),
                vec![ReadContainer, ReadObject, WriteObject, DeleteObject],
                Error::Forbidden,
            ),
            (
                of("2", None, false),
                open("*:*", "t2:other"),
                vec![ReadContainer, ReadObject],
                Error::Forbidden,
            ),
            (Context::default(), open(".r:*", ""), vec![ReadObject], Error::Unauthenticated),
            (
                Context::default(),
                open(".r:*,.rlistings", ""),
                vec![ReadContainer, ReadObject],
                Error::Unauthenticated,
            ),
        ];
        for (index, (context, metadata, allowed, refusal)) in cases.iter().enumerate() {
            for action in all {
                let on_container = !matches!(action, ManageAccount | ReadAccount | WriteAccount);
                let answer = authorise(
                    context,
                    "AUTH_1",
                    Place { container: None, metadata: on_container.then_some(metadata), account: None },
                    action,
                );
                let expected = if allowed.contains(&action) { Ok(()) } else { Err(refusal.clone()) };
                assert_eq!(answer, expected, "case {index}, {action:?}");
            }
        }
    }

    #[test]
    fn a_service_account_requires_a_service_token() {
        let owner = of("1", Some(Right::Administer), false);
        let read =
            |context: &Context, account| authorise(context, account, Place::default(), Action::ReadAccount);
        assert_eq!(read(&owner, "SERVICE_1"), Err(Error::Forbidden));
        assert_eq!(read(&owner, "other"), Err(Error::Forbidden));
        let mut helped = owner.clone();
        let service = Caller { service: true, ..(**of("9", None, false).caller.as_ref().unwrap()).clone() };
        helped.service = Some(Arc::new(service));
        assert_eq!(read(&helped, "SERVICE_1"), Ok(()));
        assert_eq!(read(&helped, "SERVICE_2"), Err(Error::Forbidden));
    }

    #[test]
    fn a_signature_grants_access_to_its_scope_only() {
        let pass = |container: Option<&str>| Context {
            pass: Some(Pass { account: "AUTH_1".into(), container: container.map(str::to_owned) }),
            ..Context::default()
        };
        let may = |context: &Context, account, container, action| {
            authorise(context, account, Place { container: Some(container), ..Place::default() }, action)
                .is_ok()
        };
        let (whole, one) = (pass(None), pass(Some("c")));
        assert!(
            may(&whole, "AUTH_1", "c", Action::WriteObject) && may(&whole, "AUTH_1", "d", Action::ReadObject)
        );
        assert!(
            may(&one, "AUTH_1", "c", Action::DeleteObject) && !may(&one, "AUTH_1", "d", Action::ReadObject)
        );
        assert!(!may(&whole, "AUTH_2", "c", Action::ReadObject));
        assert!(!may(&whole, "AUTH_1", "c", Action::WriteContainer));
    }
}
