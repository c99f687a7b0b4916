//! One SQL text for both engines. For SQLite, `$n` placeholders become `?n` and row locks are removed, since there is a
//! single writer. `now_micros()` becomes the engine's own clock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// The database's clock in microseconds since 1970, as statements write it.
const NOW: &str = "now_micros()";
const NOW_SQLITE: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
const NOW_POSTGRES: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
/// Row lock clause, removed for SQLite, which has one writer and no row locks.
const ROW_LOCK: &str = "FOR UPDATE SKIP LOCKED";

static REWRITTEN: LazyLock<Mutex<HashMap<&'static str, &'static str>>> = LazyLock::new(Mutex::default);

thread_local! {
    // Keyed by address, so that looking up a literal does not hash its text.
    static SEEN: RefCell<HashMap<(usize, usize), &'static str>> = RefCell::default();
}

/// Returns the text for SQLite. SQLite binds `$n` by order of appearance and would silently swap values, so they become
/// `?n`.
pub(crate) fn for_sqlite(sql: &'static str) -> &'static str {
    let address = (sql.as_ptr() as usize, sql.len());
    SEEN.with(|seen| {
        *seen.borrow_mut().entry(address).or_insert_with(|| {
            let mut rewritten = REWRITTEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Texts are literals, so the leaked memory is bounded by the program's size.
            rewritten.entry(sql).or_insert_with(|| {
                let numbered = numbered(sql).replace(NOW, NOW_SQLITE).replace(ROW_LOCK, "");
                Box::leak(numbered.into_boxed_str())
            })
        })
    })
}

/// Returns the text for PostgreSQL.
pub(crate) fn for_postgres(sql: &str) -> String {
    sql.replace(NOW, NOW_POSTGRES)
}

fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut in_literal = false;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            in_literal = !in_literal;
        }
        let placeholder = c == '$' && !in_literal && chars.peek().is_some_and(char::is_ascii_digit);
        out.push(if placeholder { '?' } else { c });
    }
    out
}

/// Returns a migration's text for PostgreSQL, with its type for bytes and without SQLite's table options.
pub(crate) fn schema_for_postgres(sql: &str) -> String {
    sql.replace("BLOB", "BYTEA").replace(") WITHOUT ROWID", ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_and_literals_kept() {
        assert_eq!(numbered("a = $2 AND b = $1 AND c = '$1'"), "a = ?2 AND b = ?1 AND c = '$1'");
    }

    #[test]
    fn the_same_text_is_rewritten_once() {
        let sql = "SELECT $1";
        assert_eq!(for_sqlite(sql), "SELECT ?1");
        assert_eq!(for_sqlite(sql).as_ptr(), for_sqlite(sql).as_ptr());
    }

    #[test]
    fn the_clock_is_the_engines_own_and_row_locks_are_postgresqls() {
        let sql = "SELECT id FROM t WHERE due <= now_micros() FOR UPDATE SKIP LOCKED";
        assert_eq!(for_sqlite(sql), format!("SELECT id FROM t WHERE due <= {NOW_SQLITE} "));
        assert_eq!(
            for_postgres(sql),
            format!("SELECT id FROM t WHERE due <= {NOW_POSTGRES} FOR UPDATE SKIP LOCKED")
        );
    }

    #[test]
    fn schema_is_spelled_for_postgres() {
        assert_eq!(
            schema_for_postgres("CREATE TABLE t (n BLOB) WITHOUT ROWID;"),
            "CREATE TABLE t (n BYTEA);"
        );
    }
}
