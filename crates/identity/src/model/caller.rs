//! The authenticated caller, which is all that services see of authentication.

use work::Time;

use super::name::is_id;

/// A product to whose operations a role gives access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Users, roles and tokens of an account.
    Identity,
    /// Cloud Files: `object-store:…`.
    ObjectStore,
    /// Cloud Servers, both generations: `nova:…`.
    Compute,
    /// Images: `cloudimages:…`.
    Images,
    /// Block storage: `cbs:…`.
    Volumes,
    /// Networks: `neutron:…`.
    Networks,
    /// Usage feeds: `cloudfeeds:…`.
    Feeds,
}

/// The right that an operation needs on its tenant, lowest first. Higher rights include lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Read: GET and HEAD.
    Observe,
    /// Create and change.
    Create,
    /// Everything on the tenant, including deletion.
    Administer,
}

/// A right on one product of the caller's tenant, or on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The product; `None` for all products.
    pub product: Option<Product>,
    /// The right.
    pub right: Right,
}

/// A tenant, as tokens reference it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantRef {
    /// Its numeric id as text, such as `100001`.
    pub id: String,
    /// Its name, unique in its domain.
    pub name: String,
    /// The id of its domain.
    pub domain_id: String,
}

/// The domain whose names v1.0 to v2.0 and ACLs use.
pub const DEFAULT_DOMAIN: &str = "default";

/// The application credential that a caller signed in with, instead of its own password or key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delegation {
    /// The credential's id.
    pub credential_id: String,
    /// Whether the credential must not be used to manage credentials.
    pub restricted: bool,
}

/// A named role that a caller holds, as v2.0 and v3 show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleRef {
    /// Its id.
    pub id: String,
    /// Its name, such as `admin` or `nova:observer`.
    pub name: String,
}

/// The caller of an operation, from a valid token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's id.
    pub user_id: String,
    /// The user's name, unique in its domain.
    pub user_name: String,
    /// The id of the user's domain.
    pub domain_id: String,
    /// The tenant that the token is scoped to.
    pub tenant: Option<TenantRef>,
    /// Roles on that tenant.
    pub roles: Vec<RoleRef>,
    /// The rights that the roles give.
    pub grants: Vec<Grant>,
    /// The whole cloud's operator (Keystone's cloud admin, Swift's reseller admin).
    pub operator: bool,
    /// Whether the token belongs to a service.
    pub service: bool,
    /// When the token expires.
    pub expires: Time,
    /// The application credential that the token was issued for. Such a token may have fewer rights than its user.
    pub delegation: Option<Delegation>,
}

impl Caller {
    /// Returns the caller for administration on the machine itself, by command line or socket: an operator without tenant or
    /// token.
    #[must_use]
    pub fn console() -> Self {
        Self {
            user_id: "console".to_owned(),
            user_name: "console".to_owned(),
            domain_id: DEFAULT_DOMAIN.to_owned(),
            tenant: None,
            roles: Vec::new(),
            grants: Vec::new(),
            operator: true,
            service: false,
            expires: Time(i64::MAX),
            delegation: None,
        }
    }

    /// Whether `text` in an ACL names the caller's tenant: its id, `AUTH_` and its id, or its name.
    ///
    /// Ids match only ids and names match only names: text in the form of an id is never compared with a name. Names count
    /// only in the domain `default`, since other domains may contain the same names.
    #[must_use]
    pub fn is_tenant(&self, text: &str) -> bool {
        let Some(tenant) = &self.tenant else { return false };
        if let Some(id) = text.strip_prefix("AUTH_") {
            return id == tenant.id;
        }
        if is_id(text) {
            text == tenant.id
        } else {
            tenant.domain_id == DEFAULT_DOMAIN && text == tenant.name
        }
    }

    /// Whether `text` in an ACL names the caller's user, by id or name. The rules of [`Caller::is_tenant`] apply.
    #[must_use]
    pub fn is_user(&self, text: &str) -> bool {
        if is_id(text) {
            text == self.user_id
        } else {
            self.domain_id == DEFAULT_DOMAIN && text == self.user_name
        }
    }

    /// Whether the caller's tenant is `tenant_id`.
    #[must_use]
    pub fn is_scoped_to(&self, tenant_id: &str) -> bool {
        self.tenant.as_ref().is_some_and(|tenant| tenant.id == tenant_id)
    }

    /// Whether the caller may perform an operation that needs `right` on `product` of the tenant. Every service authorises
    /// with this function. The union of all roles decides; operators may do everything.
    #[must_use]
    pub fn may(&self, tenant_id: &str, product: Product, right: Right) -> bool {
        if self.operator {
            return true;
        }
        self.is_scoped_to(tenant_id)
            && self
                .grants
                .iter()
                .any(|grant| grant.right >= right && grant.product.is_none_or(|granted| granted == product))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(grants: &[Grant]) -> Caller {
        Caller {
            user_id: "u".into(),
            user_name: "jdoe".into(),
            domain_id: DEFAULT_DOMAIN.into(),
            tenant: Some(TenantRef {
                id: "100001".into(),
                name: "shop".into(),
                domain_id: DEFAULT_DOMAIN.into(),
            }),
            roles: Vec::new(),
            grants: grants.to_vec(),
            operator: false,
            service: false,
            expires: Time(0),
            delegation: None,
        }
    }

    #[test]
    fn the_union_of_roles_decides_only_on_the_callers_own_tenant() {
        let caller = caller(&[
            Grant { product: Some(Product::Compute), right: Right::Create },
            Grant { product: None, right: Right::Observe },
        ]);
        assert!(caller.may("100001", Product::Compute, Right::Create));
        assert!(!caller.may("100001", Product::Compute, Right::Administer));
        assert!(caller.may("100001", Product::ObjectStore, Right::Observe));
        assert!(!caller.may("100001", Product::ObjectStore, Right::Create));
        assert!(!caller.may("100002", Product::Compute, Right::Observe));
    }

    #[test]
    fn ids_match_ids_and_names_match_names() {
        let hex = "0123456789abcdef0123456789abcdef";
        let mut caller = Caller { user_id: hex.into(), ..caller(&[]) };
        for (text, tenant, user) in [
            ("100001", true, false),
            ("AUTH_100001", true, false),
            ("shop", true, false),
            ("AUTH_shop", false, false),
            (hex, false, true),
            ("jdoe", false, true),
            ("100002", false, false),
            ("*", false, false),
            ("", false, false),
        ] {
            assert_eq!((caller.is_tenant(text), caller.is_user(text)), (tenant, user), "{text}");
        }
        // Names from before the rule and names in other domains match nothing.
        caller.user_name = "100002".into();
        assert!(!caller.is_user("100002"));
        if let Some(tenant) = &mut caller.tenant {
            tenant.name = "100002".into();
        }
        assert!(!caller.is_tenant("100002"));
        caller.domain_id = "other".into();
        caller.user_name = "jdoe".into();
        assert!(!caller.is_user("jdoe") && caller.is_user(hex));
    }

    #[test]
    fn the_operator_may_do_everything() {
        let operator = Caller { operator: true, ..caller(&[]) };
        assert!(operator.may("100002", Product::Identity, Right::Administer));
    }
}
