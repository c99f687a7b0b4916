//! What identity is about: pure types and rules.

mod caller;
mod catalog;
mod credential;
mod name;
mod password;
mod role;
mod scope;
mod token;
mod user;

pub use caller::{Caller, DEFAULT_DOMAIN, Delegation, Grant, Product, Right, RoleRef, TenantRef};
pub use catalog::{Catalog, CatalogService, Endpoint, Interface, Region, ServiceRecord};
pub use credential::{ApplicationCredential, Ec2Credential};
pub use name::{NAME_MAX, NameError, check_acl_name, check_name, is_id};
pub use password::{HISTORY_MAX, PasswordPolicy, PasswordPolicyError};
pub use role::{ADMIN, BUILTIN_ROLES, BuiltinRole, Role, USER_ADMIN, builtin_role_id};
pub use scope::Scope;
pub use token::{Method, Session, Token, hash_of};
pub use user::{Assignment, Domain, Tenant, User};
