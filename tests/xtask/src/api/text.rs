//! Attributes, and the form of code in the listing.

use quote::ToTokens;
use syn::{Attribute, Expr, ItemImpl, Lit, Meta, Signature, Token, punctuated::Punctuated};

type Metas = Punctuated<Meta, Token![,]>;

/// Whether there is an attribute with this name.
pub fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident(name))
}

pub fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("doc") && list.tokens.to_string() == "hidden",
        _ => false,
    })
}

/// The documentation.
pub fn described(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(literal) = &pair.value
            && let Lit::Str(line) = &literal.lit
        {
            text.push_str(&line.value());
            text.push('\n');
        }
    }
    text
}

/// Whether an item is built for users with all features: neither in tests nor in sabotage
/// builds.
pub fn is_built(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .all(|attribute| attribute.parse_args().map_or(true, |meta| holds(&meta)))
}

fn holds(condition: &Meta) -> bool {
    let Meta::List(list) = condition else {
        let names = ["test", "doctest", "lastbyte_sabotage"];
        return !names.iter().any(|name| condition.path().is_ident(name));
    };
    let Ok(inner) = list.parse_args_with(Metas::parse_terminated) else {
        return true;
    };
    if list.path.is_ident("not") {
        !inner.iter().all(holds)
    } else if list.path.is_ident("any") {
        inner.iter().any(holds)
    } else {
        inner.iter().all(holds)
    }
}

/// The derived traits, with the features that some of them need.
pub fn derived(path: &str, attributes: &[Attribute]) -> Vec<String> {
    let mut lines = Vec::new();
    for attribute in attributes {
        let Meta::List(list) = &attribute.meta else {
            continue;
        };
        let Ok(inner) = list.parse_args_with(Metas::parse_terminated) else {
            continue;
        };
        if list.path.is_ident("derive") {
            lines.extend(inner.iter().map(|of| format!("impl {path}: {}", shown(of))));
        } else if list.path.is_ident("cfg_attr") {
            for meta in inner.iter().skip(1) {
                let Meta::List(list) = meta else { continue };
                if list.path.is_ident("derive") {
                    lines.push(format!("impl {path}: {}", spaced(&list.tokens.to_string())));
                }
            }
        }
    }
    lines
}

/// The trait that a block implements.
pub fn implemented(block: &ItemImpl) -> Option<String> {
    let (of, _) = block.trait_.as_ref()?;
    Some(shown(of))
}

pub fn signature(path: &str, signature: &Signature) -> String {
    let mut text = String::new();
    for (is_there, word) in [
        (signature.constness.is_some(), "const "),
        (signature.asyncness.is_some(), "async "),
    ] {
        if is_there {
            text.push_str(word);
        }
    }
    let generics = shown(&signature.generics);
    let inputs = shown(&signature.inputs);
    let inputs = inputs.trim_end_matches(',');
    let output = spaced(&signature.output.to_token_stream().to_string());
    let condition = shown(&signature.generics.where_clause);
    let gap = |text: &str| if text.is_empty() { "" } else { " " };
    text.push_str(&format!(
        "fn {path}::{}{generics}({inputs}){}{output}{}{condition}",
        signature.ident,
        gap(&output),
        gap(&condition),
    ));
    text
}

/// Code in one line, with the spaces of rustfmt.
pub fn shown(code: &impl ToTokens) -> String {
    spaced(&code.to_token_stream().to_string())
}

fn spaced(tokens: &str) -> String {
    let mut text = tokens.split_whitespace().collect::<Vec<_>>().join(" ");
    for (from, to) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        ("& ", "&"),
        (" ,", ","),
        (" ;", ";"),
        (" ! (", "!("),
        (" !(", "!("),
        (" !", "!"),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        (" <", "<"),
        ("< ", "<"),
        (" > ", "> "),
        (" >", ">"),
        (" : ", ": "),
        (" (", "("),
        ("->(", "-> ("),
        (",>", ">"),
        (",)", ")"),
    ] {
        text = text.replace(from, to);
    }
    text
}
