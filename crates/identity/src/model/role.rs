//! Roles, and the rights that each built-in role gives. Roles that an operator creates give no rights here; tokens carry
//! them for other programs.

use super::caller::{Grant, Product, Right};
use super::extra::Extra;

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Role {
    /// Its id.
    pub id: String,
    /// Its name, unique in the cloud.
    pub name: String,
    /// Description of its rights.
    pub description: String,
    /// Whether it is built in: it cannot be renamed or deleted.
    pub builtin: bool,
    /// Further attributes that v3's clients gave it.
    #[serde(skip)]
    pub extra: Extra,
}

/// A built-in role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinRole {
    /// Its name.
    pub name: &'static str,
    /// Description of its rights.
    pub description: &'static str,
    /// The right that it gives on its tenant.
    pub grant: Option<Grant>,
    /// Whether only operators may grant or revoke it.
    pub reserved: bool,
}

const fn on_all(name: &'static str, description: &'static str, right: Right) -> BuiltinRole {
    BuiltinRole { name, description, grant: Some(Grant { product: None, right }), reserved: false }
}

const fn on(name: &'static str, description: &'static str, product: Product, right: Right) -> BuiltinRole {
    BuiltinRole { name, description, grant: Some(Grant { product: Some(product), right }), reserved: false }
}

/// The role of the whole cloud's operators.
pub const OPERATOR: &str = "operator";
/// Everything on one tenant, including its users.
pub const ADMIN: &str = "admin";
/// Keystone's role with the rights of a project's admin.
pub const MANAGER: &str = "manager";
/// The role of a service's own tokens.
pub const SERVICE: &str = "service";
/// The account's owner, as v2.0 names it.
pub const USER_ADMIN: &str = "identity:user-admin";
/// Manages an account's users.
pub const USER_MANAGE: &str = "identity:user-manage";

/// Every built-in role (DESIGN: Identity; v2.0's product roles by their exact names).
pub const BUILTIN_ROLES: &[BuiltinRole] = &[
    BuiltinRole { name: OPERATOR, description: "The whole cloud", grant: None, reserved: true },
    BuiltinRole { name: SERVICE, description: "A service's own tokens", grant: None, reserved: true },
    on_all(ADMIN, "Everything on a tenant", Right::Administer),
    on_all("creator", "Look, create and change on a tenant", Right::Create),
    on_all("observer", "Look at a tenant", Right::Observe),
    // Keystone's names for the same roles, which its clients require.
    on_all(MANAGER, "Everything on a tenant, as admin", Right::Administer),
    on_all("member", "Look, create and change on a tenant, as creator", Right::Create),
    on_all("reader", "Look at a tenant, as observer", Right::Observe),
    on_all(USER_ADMIN, "The account's owner", Right::Administer),
    on(USER_MANAGE, "Manages the account's users", Product::Identity, Right::Administer),
    BuiltinRole {
        name: "identity:default",
        description: "A user of the account",
        grant: None,
        reserved: false,
    },
    on("nova:admin", "Everything on servers", Product::Compute, Right::Administer),
    on("nova:creator", "Look at, create and change servers", Product::Compute, Right::Create),
    on("nova:observer", "Look at servers", Product::Compute, Right::Observe),
    on("object-store:admin", "Everything on files", Product::ObjectStore, Right::Administer),
    on("object-store:creator", "Look at, create and change files", Product::ObjectStore, Right::Create),
    on("object-store:observer", "Look at files", Product::ObjectStore, Right::Observe),
    on("cbs:admin", "Everything on volumes", Product::Volumes, Right::Administer),
    on("cbs:creator", "Look at, create and change volumes", Product::Volumes, Right::Create),
    on("cbs:observer", "Look at volumes", Product::Volumes, Right::Observe),
    on("cloudimages:admin", "Everything on images", Product::Images, Right::Administer),
    on("cloudimages:creator", "Look at, create and change images", Product::Images, Right::Create),
    on("cloudimages:observer", "Look at images", Product::Images, Right::Observe),
    on("neutron:admin", "Everything on networks", Product::Networks, Right::Administer),
    on("neutron:creator", "Look at, create and change networks", Product::Networks, Right::Create),
    on("neutron:observer", "Look at networks", Product::Networks, Right::Observe),
    on("cloudfeeds:observer", "Look at usage events", Product::Feeds, Right::Observe),
];

impl BuiltinRole {
    /// Returns the built-in role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        BUILTIN_ROLES.iter().find(|role| role.name == name)
    }
}

/// Returns a built-in role's id. It is derived from the name, so it is the same in every cloud.
#[must_use]
pub fn builtin_role_id(name: &str) -> String {
    let namespace = uuid::Uuid::from_bytes(*b"nephos:the-roles");
    uuid::Uuid::new_v5(&namespace, name.as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_only_two_roles_are_reserved() {
        let mut names: Vec<_> = BUILTIN_ROLES.iter().map(|role| role.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BUILTIN_ROLES.len());
        let reserved: Vec<_> = BUILTIN_ROLES.iter().filter(|r| r.reserved).map(|r| r.name).collect();
        assert_eq!(reserved, ["operator", "service"]);
    }

    #[test]
    fn ids_are_stable() {
        assert_eq!(builtin_role_id("admin"), builtin_role_id("admin"));
        assert_eq!(builtin_role_id("admin").len(), 32);
        assert_ne!(builtin_role_id("admin"), builtin_role_id("operator"));
    }
}
