//! The items of a crate that can be named from outside, and their paths.

use super::text::{is_built, is_hidden, shown};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use syn::{Item, ItemImpl, Type, UseTree, Visibility};

/// A module within the crate, as the names of its path.
type Place = Vec<String>;

/// The items of each module that are built.
pub struct Crate {
    modules: BTreeMap<Place, Vec<Item>>,
}

pub enum Definition<'c> {
    Module {
        path: String,
    },
    Item {
        path: String,
        item: &'c Item,
    },
    /// Another name of an item, which may be of another crate.
    Alias {
        path: String,
        target: String,
    },
}

/// The place of a definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Here(Place, String),
    Elsewhere(String),
}

impl Crate {
    pub fn read(root: &Path) -> Result<Self> {
        let mut source = Self {
            modules: BTreeMap::new(),
        };
        let directory = root.parent().context("a file is in a directory")?;
        source.read_file(Vec::new(), root, directory)?;
        Ok(source)
    }

    fn read_file(&mut self, place: Place, file: &Path, directory: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        self.add(place, parsed.items, directory)
    }

    fn add(&mut self, place: Place, items: Vec<Item>, directory: &Path) -> Result<()> {
        let items: Vec<Item> = items
            .into_iter()
            .filter(|i| is_built(attributes(i)))
            .collect();
        for item in &items {
            let Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            let inner = [place.clone(), vec![name.clone()]].concat();
            let below = directory.join(&name);
            match &module.content {
                Some((_, items)) => self.add(inner, items.clone(), &below)?,
                None => self.read_file(inner, &file_of(directory, &name)?, &below)?,
            }
        }
        self.modules.insert(place, items);
        Ok(())
    }

    /// The `impl` blocks for the type with this name.
    pub fn impls_of(&self, name: &str) -> impl Iterator<Item = &ItemImpl> {
        self.modules
            .values()
            .flatten()
            .filter_map(move |item| match item {
                Item::Impl(block) => match &*block.self_ty {
                    Type::Path(own) if own.path.segments.last()?.ident == *name => Some(block),
                    _ => None,
                },
                _ => None,
            })
    }

    /// The calls of the crate's own macros that generate items.
    pub fn expansions(&self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for (place, items) in &self.modules {
            for item in items {
                if let Item::Macro(call) = item
                    && call.ident.is_none()
                    && call.mac.path.get_ident().is_some()
                {
                    let module = [vec![name.to_owned()], place.clone()].concat().join("::");
                    lines.push(format!("macro in {module}: {}", shown(&call.mac)));
                }
            }
        }
        lines
    }

    /// Everything that can be named from outside, each described once.
    pub fn public(&self, name: &str) -> Result<Vec<Definition<'_>>> {
        let mut named: BTreeMap<Origin, Vec<String>> = BTreeMap::new();
        let mut definitions = Vec::new();
        self.walk(&Vec::new(), name, &mut named, &mut definitions)?;
        for (origin, mut paths) in named {
            paths.sort_by_key(|path| (std::cmp::Reverse(path.matches("::").count()), path.clone()));
            let target = match &origin {
                Origin::Elsewhere(target) => target.clone(),
                Origin::Here(place, item) => {
                    let path = paths.remove(0);
                    let item = self.item(place, item).context("it was found before")?;
                    definitions.push(Definition::Item {
                        path: path.clone(),
                        item,
                    });
                    path
                }
            };
            for path in paths {
                definitions.push(Definition::Alias {
                    path,
                    target: target.clone(),
                });
            }
        }
        Ok(definitions)
    }

    fn walk(
        &self,
        place: &Place,
        path: &str,
        named: &mut BTreeMap<Origin, Vec<String>>,
        definitions: &mut Vec<Definition<'_>>,
    ) -> Result<()> {
        definitions.push(Definition::Module {
            path: path.to_owned(),
        });
        for item in self
            .modules
            .get(place)
            .context("a module without a source")?
        {
            if !is_public(item) || is_hidden(attributes(item)) {
                continue;
            }
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let inner = [place.clone(), vec![name.clone()]].concat();
                    self.walk(&inner, &format!("{path}::{name}"), named, definitions)?;
                }
                Item::Use(item) => {
                    for (parts, name) in leaves(&item.tree)? {
                        let origin = self.resolve(place, &parts)?;
                        named
                            .entry(origin)
                            .or_default()
                            .push(format!("{path}::{name}"));
                    }
                }
                _ => {
                    let Some(name) = name_of(item) else { continue };
                    let origin = Origin::Here(place.clone(), name.clone());
                    named
                        .entry(origin)
                        .or_default()
                        .push(format!("{path}::{name}"));
                }
            }
        }
        Ok(())
    }

    /// The target of the path of a `use` in `place`.
    fn resolve(&self, place: &Place, parts: &[String]) -> Result<Origin> {
        let mut at = place.clone();
        let mut rest = parts;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "crate" => at.clear(),
                "super" => {
                    at.pop();
                }
                _ => break,
            }
            rest = others;
        }
        let Some((name, modules)) = rest.split_last() else {
            bail!("a module is re-exported as a whole: {}", parts.join("::"));
        };
        at.extend(modules.iter().cloned());
        if self.item(&at, name).is_some() {
            return Ok(Origin::Here(at, name.clone()));
        }
        // The module may re-export it from another one.
        for item in self.modules.get(&at).into_iter().flatten() {
            let Item::Use(item) = item else { continue };
            for (parts, known) in leaves(&item.tree).unwrap_or_default() {
                if known == *name && (at != *place || parts != rest) {
                    return self.resolve(&at, &parts);
                }
            }
        }
        if self.modules.contains_key(&at) && at != *place {
            bail!("{} leads nowhere", parts.join("::"));
        }
        Ok(Origin::Elsewhere(parts.join("::")))
    }

    fn item(&self, place: &Place, name: &str) -> Option<&Item> {
        let items = self.modules.get(place)?;
        items
            .iter()
            .find(|item| name_of(item).as_deref() == Some(name))
    }
}

fn file_of(directory: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [
        directory.join(format!("{name}.rs")),
        directory.join(name).join("mod.rs"),
    ];
    match candidates.iter().find(|file| file.is_file()) {
        Some(file) => Ok(file.clone()),
        None => bail!("no source of the module {name} in {}", directory.display()),
    }
}

/// The paths that a `use` names, and the names it gives them.
fn leaves(tree: &UseTree) -> Result<Vec<(Vec<String>, String)>> {
    let single = |name: String, given: String| Ok(vec![(vec![name], given)]);
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let mut all = leaves(&path.tree)?;
            for (parts, _) in &mut all {
                parts.insert(0, first.clone());
            }
            Ok(all)
        }
        UseTree::Name(name) => single(name.ident.to_string(), name.ident.to_string()),
        UseTree::Rename(name) => single(name.ident.to_string(), name.rename.to_string()),
        UseTree::Group(group) => {
            let all: Result<Vec<_>> = group.items.iter().map(leaves).collect();
            Ok(all?.concat())
        }
        _ => bail!("a glob is re-exported: what it names cannot be listed"),
    }
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Use(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
