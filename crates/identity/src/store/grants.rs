//! Role assignments.

use database::{Error, Row, Tx, params};

use crate::model::{Assignment, RoleRef, Scope};
use crate::store::Page;

/// Filters of a list of assignments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) user_id: Option<String>,
    pub(crate) role_id: Option<String>,
    pub(crate) scope: Option<Scope>,
}

fn read(mut row: Row) -> Result<Assignment, Error> {
    Ok(Assignment {
        user_id: row.take(0)?,
        role: RoleRef { id: row.take(1)?, name: row.take(2)? },
        scope: Scope::from_text(&row.take::<String>(3)?),
    })
}

/// Grants a role; returns `false` if the user already has it.
pub(crate) async fn insert(tx: &mut Tx, user_id: &str, role_id: &str, scope: &Scope) -> Result<bool, Error> {
    let sql = "INSERT INTO grants (user_id, scope, role_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![user_id, scope.to_text(), role_id]).await? == 1)
}

/// Revokes a role; returns `false` if the user does not have it.
pub(crate) async fn delete(tx: &mut Tx, user_id: &str, role_id: &str, scope: &Scope) -> Result<bool, Error> {
    let sql = "DELETE FROM grants WHERE user_id = $1 AND scope = $2 AND role_id = $3";
    Ok(tx.execute(sql, params![user_id, scope.to_text(), role_id]).await? == 1)
}

/// Revokes every role in one scope.
pub(crate) async fn delete_scope(tx: &mut Tx, scope: &Scope) -> Result<(), Error> {
    tx.execute("DELETE FROM grants WHERE scope = $1", params![scope.to_text()]).await.map(|_| ())
}

/// Whether an enabled user has the role in the scope.
pub(crate) async fn is_held(tx: &mut Tx, role_id: &str, scope: &Scope) -> Result<bool, Error> {
    let sql = "SELECT g.user_id FROM grants g JOIN users u ON u.id = g.user_id
               WHERE g.role_id = $1 AND g.scope = $2 AND u.enabled = 1 LIMIT 1";
    Ok(tx.row(sql, params![role_id, scope.to_text()]).await?.is_some())
}

/// Returns a user's roles in all scopes.
pub(crate) async fn of_user(tx: &mut Tx, user_id: &str) -> Result<Vec<Assignment>, Error> {
    let sql = "SELECT g.user_id, r.id, r.name, g.scope FROM grants g JOIN roles r ON r.id = g.role_id
               WHERE g.user_id = $1 ORDER BY g.scope, r.name";
    tx.rows(sql, params![user_id]).await?.into_iter().map(read).collect()
}

/// Returns the assignments of the role in all scopes.
pub(crate) async fn holders(tx: &mut Tx, role_id: &str) -> Result<Vec<Assignment>, Error> {
    let sql = "SELECT g.user_id, r.id, r.name, g.scope FROM grants g JOIN roles r ON r.id = g.role_id
               WHERE g.role_id = $1 ORDER BY g.user_id, g.scope";
    tx.rows(sql, params![role_id]).await?.into_iter().map(read).collect()
}

/// Returns assignments after the page's marker, which is `user/scope/role`.
pub(crate) async fn list(tx: &mut Tx, filter: &Filter, page: &Page) -> Result<Vec<Assignment>, Error> {
    let sql = "SELECT g.user_id, r.id, r.name, g.scope FROM grants g JOIN roles r ON r.id = g.role_id
               WHERE (CAST($1 AS TEXT) IS NULL OR g.user_id = $1) AND (CAST($2 AS TEXT) IS NULL OR g.scope = $2)
                 AND (CAST($3 AS TEXT) IS NULL OR g.role_id = $3)
                 AND (g.user_id, g.scope, g.role_id) > ($4, $5, $6)
               ORDER BY g.user_id, g.scope, g.role_id LIMIT $7";
    let scope = filter.scope.as_ref().map(Scope::to_text);
    let mut after = page.marker.splitn(3, '/');
    let [user, place, role] = [(); 3].map(|()| after.next().unwrap_or_default());
    let params = params![filter.user_id, scope, filter.role_id, user, place, role, page.limit];
    tx.rows(sql, params).await?.into_iter().map(read).collect()
}

/// Returns the marker of an assignment for [`list`].
pub(crate) fn marker_of(assignment: &Assignment) -> String {
    format!("{}/{}/{}", assignment.user_id, assignment.scope.to_text(), assignment.role.id)
}
