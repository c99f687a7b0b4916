//! One SQL text for both engines: `$n` placeholders, rewritten once for SQLite.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

static REWRITTEN: LazyLock<Mutex<HashMap<&'static str, &'static str>>> = LazyLock::new(Mutex::default);

thread_local! {
    // Keyed by address: the same literal costs one look-up without hashing its text.
    static SEEN: RefCell<HashMap<(usize, usize), &'static str>> = RefCell::default();
}

/// `$n` as `?n`. SQLite binds `$n` by order of appearance and would silently swap values.
pub(crate) fn for_sqlite(sql: &'static str) -> &'static str {
    let address = (sql.as_ptr() as usize, sql.len());
    SEEN.with(|seen| {
        *seen.borrow_mut().entry(address).or_insert_with(|| {
            let mut rewritten = REWRITTEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Texts are literals, so what is leaked is bounded by the program's own size.
            rewritten.entry(sql).or_insert_with(|| Box::leak(numbered(sql).into_boxed_str()))
        })
    })
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

/// A migration's text for PostgreSQL: its word for bytes, and no SQLite table options.
pub(crate) fn schema_for_postgres(sql: &str) -> String {
    sql.replace("BLOB", "BYTEA").replace(") WITHOUT ROWID", ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_and_literals_left_alone() {
        assert_eq!(numbered("a = $2 AND b = $1 AND c = '$1'"), "a = ?2 AND b = ?1 AND c = '$1'");
    }

    #[test]
    fn the_same_text_is_rewritten_once() {
        let sql = "SELECT $1";
        assert_eq!(for_sqlite(sql), "SELECT ?1");
        assert_eq!(for_sqlite(sql).as_ptr(), for_sqlite(sql).as_ptr());
    }

    #[test]
    fn schema_is_spelled_for_postgres() {
        assert_eq!(
            schema_for_postgres("CREATE TABLE t (n BLOB) WITHOUT ROWID;"),
            "CREATE TABLE t (n BYTEA);"
        );
    }
}
