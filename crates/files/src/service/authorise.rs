//! The one question that every operation asks.

use identity::{Product, Right};

use super::Context;
use crate::error::{Error, Result};
use crate::model::acl::Acl;
use crate::model::metadata::Metadata;
use crate::model::name::tenant_of;

/// What an operation does, as rights and ACLs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make or delete an account (seed 002: admin role required).
    ManageAccount,
    /// Look at an account.
    ReadAccount,
    /// Change an account's metadata.
    WriteAccount,
    /// List a container or look at its metadata.
    ReadContainer,
    /// Make a container or change its metadata.
    WriteContainer,
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
    fn right(self) -> Right {
        match self {
            Self::ReadAccount | Self::ReadContainer | Self::ReadObject => Right::Observe,
            Self::WriteContainer | Self::WriteObject => Right::Create,
            Self::ManageAccount | Self::WriteAccount | Self::DeleteContainer | Self::DeleteObject => {
                Right::Administer
            }
        }
    }
}

/// Whether the caller may do this to `account`, given the container's metadata where one is concerned.
///
/// The operator may everything, a tenant's users what their roles allow, anyone else what the container's ACLs grant:
/// reading and listing by `X-Container-Read`, storing and deleting objects by `X-Container-Write`.
pub(crate) fn authorise(
    context: &Context,
    account: &str,
    container: Option<&Metadata>,
    action: Action,
) -> Result<()> {
    let caller = context.caller.as_deref();
    if caller.is_some_and(|caller| caller.operator) {
        return Ok(());
    }
    let own = account.starts_with("AUTH_")
        && caller.zip(tenant_of(account)).is_some_and(|(caller, tenant)| {
            action != Action::ManageAccount && caller.may(tenant, Product::ObjectStore, action.right())
        });
    if own || container.is_some_and(|metadata| granted(context, metadata, action)) {
        return Ok(());
    }
    Err(if caller.is_some() { Error::Forbidden } else { Error::Unauthenticated })
}

fn granted(context: &Context, container: &Metadata, action: Action) -> bool {
    let (header, by_referrer) = match action {
        Action::ReadObject => ("x-container-read", true),
        Action::ReadContainer => ("x-container-read", true),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use identity::{Caller, Grant, TenantRef};
    use work::Time;

    use super::*;

    fn of(tenant: &str, right: Option<Right>, operator: bool) -> Context {
        let caller = Caller {
            user_id: "u1".into(),
            user_name: "jdoe".into(),
            tenant: Some(TenantRef { id: tenant.into(), name: format!("t{tenant}") }),
            roles: Vec::new(),
            grants: right.map(|right| Grant { product: None, right }).into_iter().collect(),
            operator,
            service: false,
            expires: Time(0),
        };
        Context { caller: Some(Arc::new(caller)), referrer: None }
    }

    #[test]
    fn every_kind_of_caller_gets_what_is_theirs() {
        use Action::*;
        let all = [
            ManageAccount,
            ReadAccount,
            WriteAccount,
            ReadContainer,
            WriteContainer,
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
                let answer = authorise(context, "AUTH_1", on_container.then_some(metadata), action);
                let expected = if allowed.contains(&action) { Ok(()) } else { Err(refusal.clone()) };
                assert_eq!(answer, expected, "case {index}, {action:?}");
            }
        }
    }

    #[test]
    fn a_service_account_is_not_its_tenants() {
        let owner = of("1", Some(Right::Administer), false);
        assert_eq!(authorise(&owner, "SERVICE_1", None, Action::ReadAccount), Err(Error::Forbidden));
        assert_eq!(authorise(&owner, "other", None, Action::ReadAccount), Err(Error::Forbidden));
    }
}
