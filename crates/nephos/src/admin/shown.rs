//! Formats results for people: a list as a table, a single object as one line per field.

use serde_json::{Map, Value};

/// These fields come first, in this order. Other fields follow by name.
const FIRST: [&str; 5] = ["id", "name", "uuid", "status", "enabled"];

/// Formats a result as text; an empty list gives no text.
pub fn text(answer: &Value) -> String {
    match answer {
        Value::Null => String::new(),
        Value::Array(items) => table(items),
        Value::Object(fields) => card(fields),
        other => cell(other),
    }
}

fn table(items: &[Value]) -> String {
    let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let columns = ordered(rows.iter().flat_map(|row| row.keys()));
    if columns.is_empty() {
        return String::new();
    }
    let mut lines = vec![columns.iter().map(|column| column.to_uppercase().replace('_', " ")).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect()));
    aligned(&lines)
}

fn card(fields: &Map<String, Value>) -> String {
    let lines: Vec<Vec<String>> = ordered(fields.keys())
        .into_iter()
        .map(|name| vec![name.replace('_', " "), cell(&fields[name])])
        .collect();
    aligned(&lines)
}

/// Returns every name once.
fn ordered<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    names.sort_unstable_by_key(|name| (rank(name), *name));
    names.dedup();
    names
}

/// Aligns columns, two spaces apart, without trailing spaces.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // A line feed or escape sequence in a name must not control the operator's terminal.
        Value::String(text) => text.chars().flat_map(visible).collect(),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_a_table_with_identifying_fields_first() {
        let list = json!([
            { "description": "", "enabled": true, "id": "100001", "name": "admin" },
            { "description": "films", "enabled": false, "id": "100002", "name": "acme\u{1b}[2J" },
        ]);
        let lines = [
            "ID      NAME           ENABLED  DESCRIPTION",
            "100001  admin          true",
            r"100002  acme\u{1b}[2J  false    films",
        ];
        assert_eq!(text(&list), lines.join("\n"));
        assert_eq!(text(&json!([])), "");
    }

    #[test]
    fn a_single_object_has_one_line_per_field() {
        let user =
            json!({ "api_key": "k", "name": "ann", "email": null, "roles": ["admin", "nova:observer"] });
        let lines = ["name     ann", "api key  k", "email    -", "roles    admin, nova:observer"];
        assert_eq!(text(&user), lines.join("\n"));
        assert_eq!(text(&Value::Null), "");
    }
}
