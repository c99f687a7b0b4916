//! Finds which file imports what from which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::syntax::{Import, Segments, Source};

/// Maximum number of re-exports followed for one name; more means a cycle of re-exports.
const MAX_REEXPORTS: usize = 16;

struct Module {
    file: String,
    source: Source,
}

/// The modules of all crates and what each imports from the others.
pub struct Imports {
    /// By path: crate, module, submodule.
    modules: BTreeMap<Segments, Module>,
    /// (from, to) → the imported names; both modules by path.
    arrows: BTreeMap<(Segments, Segments), BTreeSet<String>>,
    /// Module → the external crates that it names.
    outside: BTreeMap<Segments, BTreeSet<String>>,
}

impl Imports {
    /// Reads the sources of all crates.
    pub fn read() -> Self {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join("crates");
        let mut modules = BTreeMap::new();
        for entry in std::fs::read_dir(&crates).expect("the crates") {
            let entry = entry.expect("a crate").path();
            let name = entry.file_name().and_then(|name| name.to_str()).expect("a name").replace('-', "_");
            collect(&entry.join("src"), &[name], &crates, &mut modules);
        }
        Self::among(modules)
    }

    /// Parses sources given as (module path, text).
    pub fn of(sources: &[(&str, &str)]) -> Self {
        let module = |(path, text): &(&str, &str)| {
            let segments: Segments = path.split("::").map(str::to_owned).collect();
            (segments, Module { file: (*path).to_owned(), source: Source::read(text).expect("valid source") })
        };
        Self::among(sources.iter().map(module).collect())
    }

    fn among(modules: BTreeMap<Segments, Module>) -> Self {
        let mut imports = Self { modules, arrows: BTreeMap::new(), outside: BTreeMap::new() };
        imports.arrows = imports.find_arrows();
        imports.outside = imports.find_outside();
        imports
    }

    pub fn files(&self) -> Vec<&str> {
        self.modules.values().map(|module| module.file.as_str()).collect()
    }

    /// Returns (module, module that it depends on, the imported names).
    pub fn arrows(&self) -> impl Iterator<Item = (&[String], &[String], &BTreeSet<String>)> {
        self.arrows.iter().map(|((from, to), names)| (from.as_slice(), to.as_slice(), names))
    }

    /// Returns (module, external crate that it names).
    pub fn outside(&self) -> impl Iterator<Item = (&[String], &str)> {
        self.outside
            .iter()
            .flat_map(|(module, crates)| crates.iter().map(|name| (module.as_slice(), name.as_str())))
    }

    pub fn file(&self, module: &[String]) -> &str {
        &self.modules[module].file
    }

    fn find_outside(&self) -> BTreeMap<Segments, BTreeSet<String>> {
        let mut outside: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (module, Module { source, .. }) in &self.modules {
            let taken = source.imports.iter().map(|import| &import.path).chain(&source.paths);
            for first in taken.filter_map(|path| path.first()) {
                let child = [module.as_slice(), std::slice::from_ref(first)].concat();
                let known = self.modules.contains_key(&child)
                    || self.modules.contains_key(std::slice::from_ref(first));
                let written = first.starts_with(|c: char| c.is_ascii_lowercase());
                let local = ["crate", "self", "super"].contains(&first.as_str());
                if written && !local && !known && self.import_of(module, first).is_none() {
                    outside.entry(module.clone()).or_default().insert(first.clone());
                }
            }
        }
        outside
    }

    fn find_arrows(&self) -> BTreeMap<(Segments, Segments), BTreeSet<String>> {
        let mut arrows: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (from, module) in &self.modules {
            // A re-export is not a dependency itself; the modules that use it depend on the definition.
            let imported = module.source.imports.iter().filter(|import| !import.shared);
            let taken = imported.map(|import| &import.path).chain(&module.source.paths);
            let named = taken.filter_map(|path| self.definition(from, path, 0));
            let globs = module.source.imports.iter().filter(|import| import.name.is_none() && !import.shared);
            let all = globs.filter_map(|glob| Some((self.module(from, &glob.path)?, "*".to_owned())));
            for (to, name) in named.chain(all).filter(|(to, _)| to != from) {
                arrows.entry((from.clone(), to)).or_default().insert(name);
            }
        }
        arrows
    }

    /// Returns the module that defines what `path` refers to within `within`, and its name there. Returns `None` for what is
    /// defined outside the crates, and for modules themselves.
    fn definition(&self, within: &Segments, path: &[String], depth: usize) -> Option<(Segments, String)> {
        if depth > MAX_REEXPORTS {
            return None;
        }
        let mut at = within.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                at.truncate(1);
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            "Self" => return None,
            first => {
                let child = [at.as_slice(), &[first.to_owned()]].concat();
                if self.modules.contains_key(&child) {
                    at = child;
                } else if let Some(import) = self.import_of(&at, first) {
                    let full = [import.path.as_slice(), &rest[1..]].concat();
                    return self.definition(within, &full, depth + 1);
                } else if self.modules.contains_key(&[first.to_owned()][..]) {
                    at = vec![first.to_owned()];
                } else {
                    at = self.child_through_globs(within, first)?;
                }
                rest = &rest[1..];
            }
        }
        while let Some(next) = rest.first() {
            let child = [at.as_slice(), std::slice::from_ref(next)].concat();
            if self.modules.contains_key(&child) {
                at = child;
                rest = &rest[1..];
                continue;
            }
            if self.modules.get(&at)?.source.items.contains(next) {
                break;
            }
            if let Some(import) = self.import_of(&at, next) {
                let full = [import.path.as_slice(), &rest[1..]].concat();
                let from = at.clone();
                return self.definition(&from, &full, depth + 1);
            }
            let globs = self.modules[&at].source.imports.iter().filter(|import| import.name.is_none());
            for glob in globs {
                let full = [glob.path.as_slice(), rest].concat();
                let found = self.definition(&at, &full, depth + 1);
                if found.as_ref().is_some_and(|(to, name)| self.modules[to].source.items.contains(name)) {
                    return found;
                }
            }
            break;
        }
        let name = rest.first()?.clone();
        Some((at, name))
    }

    /// Returns the module that a path within `within` refers to.
    fn module(&self, within: &Segments, path: &[String]) -> Option<Segments> {
        let mut at = match path.first()?.as_str() {
            "crate" => within[..1].to_vec(),
            "self" => within.clone(),
            "super" => within[..within.len() - 1].to_vec(),
            first => {
                let child = [within.as_slice(), &[first.to_owned()]].concat();
                if self.modules.contains_key(&child) { child } else { vec![first.to_owned()] }
            }
        };
        for segment in &path[1..] {
            match segment.as_str() {
                "super" => drop(at.pop()),
                name => at.push(name.to_owned()),
            }
        }
        self.modules.contains_key(&at).then_some(at)
    }

    fn child_through_globs(&self, within: &Segments, name: &str) -> Option<Segments> {
        let globs = self.modules.get(within)?.source.imports.iter().filter(|import| import.name.is_none());
        let parents = globs.filter_map(|glob| self.module(within, &glob.path));
        let mut children = parents.map(|parent| [parent.as_slice(), &[name.to_owned()]].concat());
        children.find(|child| self.modules.contains_key(child))
    }

    fn import_of(&self, module: &Segments, name: &str) -> Option<&Import> {
        let imports = &self.modules.get(module)?.source.imports;
        // `use x::x` or `use super::name` of a name that the path itself begins with would refer to itself.
        imports.iter().find(|import| import.name.as_deref() == Some(name) && import.path != [name])
    }

    /// Returns the cycles among the modules of each folder; a module is its file and all files below it. A parent may use its
    /// children and they may use what it defines: those dependencies count as within one module.
    pub fn cycles(&self) -> Vec<Cycle> {
        let mut siblings: BTreeMap<&[String], Graph> = BTreeMap::new();
        for (from, to) in self.arrows.keys() {
            let shared = from.iter().zip(to).take_while(|(one, other)| one == other).count();
            if shared < from.len() && shared < to.len() {
                let graph = siblings.entry(&from[..shared]).or_default();
                graph.entry(&from[..=shared]).or_default().insert(&to[..=shared]);
            }
        }
        siblings.values().flat_map(strongly_connected).collect()
    }

    pub fn describe(&self, cycle: &Cycle) -> String {
        let of = |path: &Segments| cycle.iter().position(|module| path.starts_with(module));
        let within = self.arrows.iter().filter(|((from, to), _)| match (of(from), of(to)) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        });
        let file = |path: &Segments| self.modules[path].file.as_str();
        let lines = within.map(|((from, to), names)| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("    {} -> {}: {}", file(from), file(to), names.join(", "))
        });
        let modules: Vec<_> = cycle.iter().map(|module| module.join("::")).collect();
        format!("  {}\n{}", modules.join(", "), lines.collect::<Vec<_>>().join("\n"))
    }
}

/// The paths of modules that depend on each other.
pub type Cycle = Vec<Segments>;

type Graph<'a> = BTreeMap<&'a [String], BTreeSet<&'a [String]>>;

/// Returns the sets of more than one module in which each module reaches every other.
fn strongly_connected(graph: &Graph) -> Vec<Cycle> {
    let reached = |from: &[String]| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&[String]> = graph.get(from).into_iter().flatten().copied().collect();
        while let Some(module) = open.pop() {
            if seen.insert(module) {
                open.extend(graph.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<_, _> = graph.keys().map(|module| (*module, reached(module))).collect();
    let mut cycles: Vec<Cycle> = Vec::new();
    for (module, reaches) in &reach {
        let mutual =
            reaches.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(module)));
        let cycle: Cycle = mutual.map(|module| module.to_vec()).collect();
        if cycle.len() > 1 && !cycles.contains(&cycle) {
            cycles.push(cycle);
        }
    }
    cycles
}

fn collect(directory: &Path, path: &[String], crates: &Path, modules: &mut BTreeMap<Segments, Module>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries {
        let entry: PathBuf = entry.expect("a source file").path();
        let name = entry.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if entry.is_dir() {
            collect(&entry, &[path, &[name]].concat(), crates, modules);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let file = entry.strip_prefix(crates).expect("below the crates").display().to_string();
            let text = std::fs::read_to_string(&entry).expect("a source file");
            let source = Source::read(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
            let module = match name.as_str() {
                "lib" | "main" if path.len() == 1 => path.to_vec(),
                _ => [path, &[name]].concat(),
            };
            modules.insert(module, Module { file, source });
        }
    }
}
