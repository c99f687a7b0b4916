//! Identity's pure types and rules.

mod caller;
mod catalog;
mod credential;
mod extra;
mod name;
mod password;
mod role;
mod scope;
mod token;
mod user;

pub use caller::{Caller, DEFAULT_DOMAIN, Delegation, Grant, Product, Right, RoleRef, TenantRef};
pub use catalog::{Catalog, CatalogService, Endpoint, Interface, Names, Region, ServiceRecord};
pub use credential::{ApplicationCredential, Ec2Credential};
pub use extra::{EXTRA_MAX, Extra, ExtraError};
pub use name::{NAME_MAX, NameError, SCOPE_NAME_MAX, check_acl_name, check_name, check_scope_name, is_id};
pub use password::{HISTORY_MAX, PasswordPolicy, PasswordPolicyError};
pub use role::{ADMIN, BUILTIN_ROLES, BuiltinRole, MANAGER, Role, USER_ADMIN, builtin_role_id};
pub use scope::Scope;
pub use token::{Method, Session, Token, hash_of};
pub use user::{Assignment, Domain, Tenant, User};
