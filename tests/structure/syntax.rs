//! Parses what a source file declares, imports and refers to.

use syn::visit::Visit;

/// A path as written, with `use` trees flattened.
pub type Segments = Vec<String>;

/// `use PATH as NAME`, or `use PATH::*` without a name.
pub struct Import {
    pub path: Segments,
    pub name: Option<String>,
    /// Whether other modules can refer to it through this module.
    pub shared: bool,
}

#[derive(Default)]
pub struct Source {
    pub imports: Vec<Import>,
    /// Paths of more than one segment outside of `use`.
    pub paths: Vec<Segments>,
    /// Types, functions, constants, traits and macros defined in the file.
    pub items: Vec<String>,
}

impl Source {
    /// Parses a file, without what is compiled only for its own unit tests.
    pub fn read(text: &str) -> syn::Result<Self> {
        let file = syn::parse_file(text)?;
        let mut source = Self::default();
        source.visit_file(&file);
        Ok(source)
    }

    fn flatten(&mut self, tree: &syn::UseTree, before: &[String], shared: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.flatten(&path.tree, &with(&path.ident), shared),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.flatten(tree, before, shared))
            }
            syn::UseTree::Glob(_) => self.imports.push(Import { path: before.to_vec(), name: None, shared }),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.imports.push(Import { path: before.to_vec(), name: before.last().cloned(), shared });
            }
            syn::UseTree::Name(name) => {
                let name = &name.ident;
                self.imports.push(Import { path: with(name), name: Some(name.to_string()), shared });
            }
            syn::UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                self.imports.push(Import { path, name: Some(rename.rename.to_string()), shared });
            }
        }
    }

    fn define(&mut self, name: &syn::Ident) {
        self.items.push(name.to_string());
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl<'a> Visit<'a> for Source {
    fn visit_item(&mut self, item: &'a syn::Item) {
        match item {
            syn::Item::Mod(module) if is_for_tests(&module.attrs) => return,
            syn::Item::Use(item) if is_for_tests(&item.attrs) => return,
            syn::Item::Fn(item) if is_for_tests(&item.attrs) => return,
            syn::Item::Impl(item) if is_for_tests(&item.attrs) => return,
            syn::Item::Use(item) => {
                let shared = !matches!(item.vis, syn::Visibility::Inherited);
                return self.flatten(&item.tree, &[], shared);
            }
            syn::Item::Fn(item) => self.define(&item.sig.ident),
            syn::Item::Struct(item) => self.define(&item.ident),
            syn::Item::Enum(item) => self.define(&item.ident),
            syn::Item::Trait(item) => self.define(&item.ident),
            syn::Item::Type(item) => self.define(&item.ident),
            syn::Item::Const(item) => self.define(&item.ident),
            syn::Item::Static(item) => self.define(&item.ident),
            syn::Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name);
                }
            }
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.paths.push(segments);
        }
        syn::visit::visit_path(self, path);
    }

    /// The parser does not parse macro arguments, so paths in them are found by their tokens.
    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}

impl Source {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut path: Segments = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                proc_macro2::TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.take(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.take(&mut path);
                    colons = 0;
                    if let proc_macro2::TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.take(&mut path);
    }

    fn take(&mut self, path: &mut Segments) {
        if path.len() > 1 {
            self.paths.push(std::mem::take(path));
        }
        path.clear();
    }
}
