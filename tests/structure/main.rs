//! Checks the dependencies between source files: no cycles, and layers are used downward only.
//!
//! Every path in every file is resolved to the file that defines it, through re-exports and however the `use` is written.
//! What is used only by method calls is not detected, since these contain no path.

mod imports;
mod layers;
mod syntax;

use imports::Imports;

/// Finds the smallest sets of files that depend on each other.
#[test]
fn no_files_import_each_other_in_cycles() {
    let imports = Imports::read();
    assert!(imports.files().len() > 300, "the sources were found");
    assert!(imports.arrows().count() > 1000, "their imports were read");
    let cycles = imports.cycles();
    let told: Vec<_> = cycles.iter().map(|cycle| imports.describe(cycle)).collect();
    assert!(cycles.is_empty(), "{} import cycles:\n{}", cycles.len(), told.join("\n"));
}

#[test]
fn layers_are_used_downward_only() {
    let faults = layers::faults(&Imports::read());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// In each variant both files refer to each other.
#[test]
fn a_cycle_is_found_however_the_use_is_written() {
    let ways = [
        "use crate::b::B; struct A(B);",
        "use super::b::B; struct A(B);",
        "use super::b; struct A(b::B);",
        "use super::b::*; struct A(B);",
        "use super::{b::{self, B as Other}}; struct A(Other);",
        "struct A(crate::b::B);",
        "struct A; fn f() { let _ = super::b::B; }",
        "struct A; fn f() { println!(\"{:?}\", crate::b::B); }",
        "use super::B; struct A(B);",
        "use super::renamed::B; struct A(B);",
    ];
    for way in ways {
        let root = "mod a; mod b; pub use b::B; pub use b as renamed;";
        let sources =
            [("x", root), ("x::a", way), ("x::b", "use crate::a::A; pub struct B; impl From<A> for B {}")];
        let cycles = Imports::of(&sources).cycles();
        assert_eq!(cycles, [[["x", "a"], ["x", "b"]]], "{way}");
    }
    let one_way = [("x", "mod a; mod b;"), ("x::a", ways[0]), ("x::b", "pub struct B;")];
    assert!(Imports::of(&one_way).cycles().is_empty());
}

#[test]
fn a_skipped_layer_is_found_however_the_use_is_written() {
    let dialects = [
        "use crate::store::find; fn f() { find() }",
        "use super::store; fn f() { store::find() }",
        "fn f() { crate::store::find() }",
        "use super::*; fn f() { store::find() }",
        "use database::Tx;",
        "fn f(tx: database::Tx) {}",
    ];
    for dialect in dialects {
        let sources = [("x", "mod api; mod store;"), ("x::api", dialect), ("x::store", "pub fn find() {}")];
        assert_eq!(layers::faults(&Imports::of(&sources)).len(), 1, "{dialect}");
    }
    let service = [("x", "mod api; mod service;"), ("x::service", "use http::StatusCode;"), ("x::api", "")];
    assert_eq!(layers::faults(&Imports::of(&service)), ["x::service: names the crate http"]);
}
