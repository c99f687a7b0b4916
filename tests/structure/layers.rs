//! The layers (dialect, service, store, engine): what each may depend on.

use crate::imports::Imports;

/// Plain values that any layer may use, wherever they are defined: ids, times and rules for text.
const VALUES: &[&str] = &[
    "BlobId",
    "Location",
    "Mac",
    "Power",
    "Selection",
    "Time",
    "encode",
    "is_single",
    "record_bytes",
    "select",
];

/// Crates that are not services although they have modules with these names.
const ENGINES: &[&str] = &["hypervisor"];

struct Layer {
    /// The module at the root of a service's crate.
    name: &'static str,
    /// Modules of the same crate that the layer must not use: those above it, and those below the next layer.
    modules: &'static [&'static str],
    /// Crates that belong to another layer.
    crates: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "api",
        modules: &["store"],
        crates: &["blobs", "database", "hypervisor", "work", "rusqlite"],
    },
    Layer { name: "service", modules: &["api"], crates: &["axum", "http", "hyper", "quick_xml", "web"] },
    Layer {
        name: "store",
        modules: &["api", "service"],
        crates: &["axum", "blobs", "http", "hyper", "hypervisor", "quick_xml", "web"],
    },
    Layer {
        name: "model",
        modules: &["api", "service", "store"],
        crates: &["axum", "blobs", "database", "http", "hyper", "quick_xml", "tokio", "web"],
    },
];

/// Returns one line for each file that uses what its layer must not.
pub fn faults(imports: &Imports) -> Vec<String> {
    let mut faults = Vec::new();
    let layer = |module: &[String]| {
        let name = module.get(1).filter(|_| !ENGINES.contains(&module[0].as_str()))?;
        LAYERS.iter().find(|layer| name == layer.name)
    };
    for (from, to, names) in imports.arrows() {
        let Some(layer) = layer(from) else { continue };
        let forbidden = if from[0] == to[0] {
            to.get(1).is_some_and(|module| layer.modules.contains(&module.as_str()))
        } else {
            layer.crates.contains(&to[0].as_str())
        };
        let own = from[0] == to[0];
        let names: Vec<_> =
            names.iter().map(String::as_str).filter(|name| own || !VALUES.contains(name)).collect();
        if forbidden && !names.is_empty() {
            faults.push(format!(
                "{}: names {} of {}",
                imports.file(from),
                names.join(", "),
                imports.file(to)
            ));
        }
    }
    for (from, outside) in imports.outside() {
        if layer(from).is_some_and(|layer| layer.crates.contains(&outside)) {
            faults.push(format!("{}: names the crate {outside}", imports.file(from)));
        }
    }
    faults
}
