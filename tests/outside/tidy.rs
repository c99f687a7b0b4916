//! Rules for source files: short, in a module named after its content, and complete.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn files(extension: &str) -> Vec<(String, String)> {
    let listed = std::process::Command::new("git").arg("ls-files").current_dir(root()).output().expect("git");
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|path| path.ends_with(extension))
        .filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

#[test]
fn no_file_has_more_than_650_lines() {
    let large: Vec<_> = files(".rs")
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 650)
        .map(|(path, _)| path)
        .collect();
    assert!(large.is_empty(), "split these: {large:?}");
}

#[test]
fn no_module_has_a_vague_name() {
    let vague = ["utils", "util", "common", "misc", "helpers", "helper"];
    for (path, _) in files(".rs") {
        let parts = path.trim_end_matches(".rs").split('/');
        assert!(
            parts.clone().all(|part| !vague.contains(&part)),
            "{path}: name the module after its content"
        );
    }
}

#[test]
fn only_stores_contain_sql() {
    for (path, text) in files(".rs") {
        let says =
            |word: &str| text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
        let sql = ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM"]
            .iter()
            .any(|word| says(&format!("\"{word}")));
        let may =
            path.contains("/store") || path.starts_with("crates/database") || path.starts_with("crates/work");
        assert!(!sql || may || path.contains("tests/"), "{path}: SQL outside a store");
    }
}

#[test]
fn every_file_is_part_of_its_crate() {
    let sources = files(".rs");
    for (path, _) in sources.iter().filter(|(path, _)| path.starts_with("crates/") && path.contains("/src/"))
    {
        let path = Path::new(path);
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap();
        if ["lib", "main"].contains(&name) {
            continue;
        }
        let (dir, name) = if name == "mod" {
            let dir = path.parent().unwrap();
            (dir.parent().unwrap(), dir.file_name().unwrap().to_str().unwrap())
        } else {
            (path.parent().unwrap(), name)
        };
        let parents = [dir.join("lib.rs"), dir.join("main.rs"), dir.join("mod.rs"), dir.with_extension("rs")];
        let declared = sources.iter().any(|(other, text)| {
            parents.iter().any(|parent| Path::new(other) == parent) && text.contains(&format!("mod {name};"))
        });
        assert!(declared, "{}: no `mod {name};`", path.display());
    }
}

#[test]
fn nothing_is_left_undone_or_refers_to_files_outside() {
    for extension in [".rs", ".sh", ".md", ".toml", "Makefile", "run"] {
        for (path, text) in files(extension) {
            if path.ends_with("tidy.rs") {
                continue;
            }
            for word in ["todo!(", "unimplemented!(", "FIXME", "#[ignore"] {
                assert!(!text.contains(word), "{path}: {word}");
            }
            assert!(!text.contains("../shared"), "{path}: the project must not refer to files outside of it");
        }
    }
}
