//! The public API of the library, one line for each item, read from its source with all
//! features: what `docs/API.txt` lists.
//!
//! A type is described at its deepest module; at every other path a line with `use` names it.
//! What is hidden from the documentation is left out. What a macro of the crate generates is
//! listed as the call of the macro.

mod names;
mod text;

use anyhow::{Result, bail};
use names::{Crate, Definition};
use std::path::Path;
use syn::{Fields, ImplItem, Item, ItemEnum, ItemImpl, TraitItem, Type, Visibility};
use text::{derived, described, is_hidden, shown, signature};

/// The lines of the crate `name` whose root is this file, in order.
pub fn listing(name: &str, root: &Path) -> Result<Vec<String>> {
    let source = Crate::read(root)?;
    let mut lines = Vec::new();
    lines.extend(source.expansions(name));
    let mut undecided = Vec::new();
    for definition in source.public(name)? {
        match definition {
            Definition::Alias { path, target } => lines.push(format!("use {path} = {target}")),
            Definition::Module { path } => lines.push(format!("mod {path}")),
            Definition::Item { path, item } => {
                describe(&path, item, &mut lines);
                if let Item::Enum(item) = item {
                    undecided.extend(undecided_enum(&path, item));
                }
                if let Some(name) = type_name(item) {
                    for block in source.impls_of(&name) {
                        describe_impl(&path, block, &mut lines);
                    }
                }
            }
        }
    }
    if !undecided.is_empty() {
        bail!("{}", undecided.join("\n"));
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// The error of an enum that is neither declared open nor exhaustive.
fn undecided_enum(path: &str, item: &ItemEnum) -> Option<String> {
    let may_grow = text::has(&item.attrs, "non_exhaustive");
    let may_not = described(&item.attrs).contains("Exhaustive: ");
    match (may_grow, may_not) {
        (true, false) | (false, true) => None,
        (false, false) => Some(format!(
            "{path} is neither #[non_exhaustive] nor documented with \"Exhaustive: \" and why"
        )),
        (true, true) => Some(format!(
            "{path} is #[non_exhaustive], and its documentation says \"Exhaustive: \""
        )),
    }
}

fn type_name(item: &Item) -> Option<String> {
    match item {
        Item::Struct(item) => Some(item.ident.to_string()),
        Item::Enum(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

fn describe(path: &str, item: &Item, lines: &mut Vec<String>) {
    match item {
        Item::Struct(item) => {
            let open = mark(text::has(&item.attrs, "non_exhaustive"));
            lines.push(format!("struct {path}{}{open}", shown(&item.generics)));
            lines.extend(derived(path, &item.attrs));
            fields(path, &item.fields, true, lines);
        }
        Item::Enum(item) => {
            let open = mark(text::has(&item.attrs, "non_exhaustive"));
            lines.push(format!("enum {path}{}{open}", shown(&item.generics)));
            lines.extend(derived(path, &item.attrs));
            for variant in item.variants.iter().filter(|v| !is_hidden(&v.attrs)) {
                let path = format!("{path}::{}", variant.ident);
                lines.push(format!("variant {path}"));
                fields(&path, &variant.fields, false, lines);
            }
        }
        Item::Trait(item) => {
            let supertraits = match item.supertraits.is_empty() {
                true => String::new(),
                false => format!(": {}", shown(&item.supertraits)),
            };
            lines.push(format!(
                "trait {path}{}{supertraits}",
                shown(&item.generics)
            ));
            for inner in &item.items {
                match inner {
                    TraitItem::Fn(inner) if !is_hidden(&inner.attrs) => {
                        let provided = if inner.default.is_some() {
                            " (provided)"
                        } else {
                            ""
                        };
                        lines.push(format!("{}{provided}", signature(path, &inner.sig)));
                    }
                    TraitItem::Const(inner) => {
                        lines.push(format!(
                            "const {path}::{}: {}",
                            inner.ident,
                            shown(&inner.ty)
                        ));
                    }
                    TraitItem::Type(inner) => lines.push(format!("type {path}::{}", inner.ident)),
                    _ => {}
                }
            }
        }
        Item::Fn(item) => {
            let module = path.rsplit_once("::").map_or("", |(module, _)| module);
            lines.push(signature(module, &item.sig));
        }
        Item::Const(item) => lines.push(format!("const {path}: {}", shown(&item.ty))),
        Item::Static(item) => lines.push(format!("static {path}: {}", shown(&item.ty))),
        Item::Type(item) => lines.push(format!("type {path} = {}", shown(&item.ty))),
        _ => {}
    }
}

const fn mark(may_grow: bool) -> &'static str {
    if may_grow { " (non_exhaustive)" } else { "" }
}

/// The public fields of a struct, or all fields of a variant.
fn fields(path: &str, fields: &Fields, only_public: bool, lines: &mut Vec<String>) {
    for (number, field) in fields.iter().enumerate() {
        let is_shown = !only_public || matches!(field.vis, Visibility::Public(_));
        if is_shown && !is_hidden(&field.attrs) {
            let name = match &field.ident {
                Some(name) => name.to_string(),
                None => number.to_string(),
            };
            lines.push(format!("field {path}::{name}: {}", shown(&field.ty)));
        }
    }
}

fn describe_impl(path: &str, block: &ItemImpl, lines: &mut Vec<String>) {
    if let Some(of) = text::implemented(block) {
        let Type::Path(own) = &*block.self_ty else {
            return;
        };
        let arguments = own.path.segments.last().map(|last| shown(&last.arguments));
        let arguments = arguments.unwrap_or_default();
        lines.push(format!("impl {path}{arguments}: {of}"));
        return;
    }
    for inner in &block.items {
        match inner {
            ImplItem::Fn(inner)
                if matches!(inner.vis, Visibility::Public(_)) && !is_hidden(&inner.attrs) =>
            {
                lines.push(signature(path, &inner.sig));
            }
            ImplItem::Const(inner)
                if matches!(inner.vis, Visibility::Public(_)) && !is_hidden(&inner.attrs) =>
            {
                lines.push(format!(
                    "const {path}::{}: {}",
                    inner.ident,
                    shown(&inner.ty)
                ));
            }
            _ => {}
        }
    }
}

/// The lines that only one of two listings has, in the form of a diff.
pub fn difference(listed: &str, present: &[String]) -> Vec<String> {
    let listed: Vec<&str> = listed.lines().collect();
    let removed = listed
        .iter()
        .filter(|line| !present.iter().any(|new| new == *line))
        .map(|line| format!("-{line}"));
    let new = present
        .iter()
        .filter(|line| !listed.contains(&line.as_str()))
        .map(|line| format!("+{line}"));
    removed.chain(new).collect()
}

#[cfg(test)]
mod tests;
