//! The imports between the files of `src/`: none goes to a higher layer, and there are no
//! cycles.
//!
//! A file names another by a path that begins with `crate`, `super` or `self`, in a `use` or
//! anywhere else. Re-exports are followed to the definition; test code does not count.

use crate::shape::{files_below, is_rust, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A module, as its path: `["guard", "tcb"]`.
type Module = Vec<String>;

/// The remaining cycles, each with its reason. The list may only get shorter.
const CIRCLES: [(&[&str], &str); 2] = [
    (
        &["core/connection.rs", "core/connection/time.rs", "trace.rs"],
        "a connection is reported to the observer of tests; its timeouts are methods of its own",
    ),
    (
        &[
            "stack/driver.rs",
            "stack/reader.rs",
            "stack/socket.rs",
            "stack/writer.rs",
        ],
        "the stack lends writers, readers and sockets of itself",
    ),
];

/// The layers from the bottom up. All may name what is in no layer (clock, trace, coverage,
/// sabotage), which itself names at most the core.
const LAYERS: [&str; 4] = ["core", "guard", "stack", "asynch"];

struct Sources {
    /// The code of each module, without comments and tests, and its file below `src/`.
    modules: BTreeMap<Module, (String, String)>,
    /// The re-exports of a module, by name, with their paths.
    exports: BTreeMap<(Module, String), String>,
}

/// The code of a file without comments, and without the tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The statements of a kind: the text between `opening` and the next semicolon.
fn statements<'c>(code: &'c str, opening: &str) -> Vec<&'c str> {
    let rests = code.split(opening).skip(1);
    rests.filter_map(|rest| rest.split(';').next()).collect()
}

/// The paths of a tree of imports: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths_of(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.split_whitespace().collect()];
    };
    let list = list.trim_end().trim_end_matches('}');
    let mut paths = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in list.char_indices().chain([(list.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = list[start..at].trim();
                if !item.is_empty() {
                    paths.extend(paths_of(&format!("{prefix}{item}")));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// Every path in the code that begins with one of our words, except imports.
fn paths_in(code: &str) -> Vec<String> {
    let is_part = |character: char| character.is_alphanumeric() || "_:".contains(character);
    let words = code.split(|character| !is_part(character));
    words
        .filter(|word| word.contains("::"))
        .map(str::to_owned)
        .collect()
}

impl Sources {
    fn read() -> Self {
        let source = root().join("src");
        let mut modules = BTreeMap::new();
        let mut exports = BTreeMap::new();
        for path in files_below(&source).iter().filter(|path| is_rust(path)) {
            let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
            let name = file.trim_end_matches(".rs").split('/').map(str::to_owned);
            let mut module: Module = name.collect();
            if ["mod", "lib"].contains(&module.last().unwrap().as_str()) {
                module.pop();
            }
            let code = code_of(&fs::read_to_string(path).unwrap());
            for statement in ["pub use ", "pub(crate) use "] {
                for path in statements(&code, statement).into_iter().flat_map(paths_of) {
                    let name = path.rsplit("::").next().unwrap().to_owned();
                    exports.insert((module.clone(), name), path);
                }
            }
            modules.insert(module, (code, file.to_owned()));
        }
        Self { modules, exports }
    }

    /// The module of the item that a path in `module` refers to; `None` if it is not ours.
    fn resolve(&self, module: &[String], path: &str) -> Option<Module> {
        let mut parts: Vec<&str> = path.split("::").collect();
        let mut base = module.to_vec();
        match *parts.first()? {
            "crate" => base.clear(),
            "super" | "self" => {}
            first
                if self
                    .modules
                    .contains_key(&[module, &[first.to_owned()]].concat()) => {}
            _ => return None,
        }
        while let Some(first @ ("crate" | "super" | "self")) = parts.first().copied() {
            parts.remove(0);
            if first == "super" {
                base.pop();
            }
        }
        for part in parts {
            let deeper = [&base[..], &[part.to_owned()]].concat();
            if self.modules.contains_key(&deeper) {
                base = deeper;
            } else if let Some(path) = self.exports.get(&(base.clone(), part.to_owned())) {
                return self.resolve(&base, path).or(Some(base));
            } else {
                break;
            }
        }
        Some(base)
    }

    /// The modules that each module names.
    fn named(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let named = self.modules.iter().map(|(module, (code, _))| {
            let imports = statements(code, "use ").into_iter().flat_map(paths_of);
            let others = imports.chain(paths_in(code));
            let mut named: BTreeSet<Module> = others
                .filter_map(|path| self.resolve(module, &path))
                .collect();
            named.remove(module);
            // Lists of modules hold nothing that another needs.
            named.retain(|other| !self.is_list(other));
            (module, named)
        });
        named.collect()
    }

    fn is_list(&self, module: &Module) -> bool {
        let file = self.file(module);
        file == "lib.rs" || file.ends_with("/mod.rs")
    }

    fn file(&self, module: &Module) -> &str {
        &self.modules[module].1
    }
}

fn layer(module: &[String]) -> Option<usize> {
    LAYERS
        .iter()
        .position(|layer| Some(*layer) == module.first().map(String::as_str))
}

#[test]
fn no_import_goes_to_a_higher_layer() {
    let sources = Sources::read();
    let mut findings = Vec::new();
    for (module, named) in sources.named() {
        for other in named {
            // Modules in no layer are at the bottom; the root lists them all.
            let (Some(to), false) = (layer(&other), module.is_empty()) else {
                continue;
            };
            if to > layer(module).unwrap_or(0) {
                findings.push(format!(
                    "{} names {}",
                    sources.file(module),
                    sources.file(&other)
                ));
            }
        }
    }
    crate::shape::assert_none("turn these round", &findings);
}

/// The crates that `src/` may use, as code spells them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

#[test]
fn the_core_and_the_guard_name_no_stack_and_no_dependency() {
    // Errors implement the trait of the first; events are logged with the others.
    let in_the_core = ["embedded_io", "defmt", "log"];
    let dependencies = dependencies();
    assert!(dependencies.contains(&"smoltcp".to_owned()));
    let mut findings = Vec::new();
    for (module, (code, file)) in &Sources::read().modules {
        let Some(name @ ("core" | "guard")) = module.first().map(String::as_str) else {
            continue;
        };
        let paths = statements(code, "use ").into_iter().flat_map(paths_of);
        for path in paths.chain(paths_in(code)) {
            let mut parts = path.trim_start_matches("::").split("::");
            let first = parts.next().unwrap_or_default();
            let is_allowed = name == "core" && in_the_core.contains(&first);
            if dependencies.iter().any(|name| name == first) && !is_allowed {
                findings.push(format!("{file}: {path}"));
            }
        }
    }
    crate::shape::assert_none("the core and the guard stand alone", &findings);
}

/// The cycles of modules, each with all its members.
fn circles(sources: &Sources) -> BTreeSet<Vec<&str>> {
    let named = sources.named();
    let reached = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut next = vec![from.clone()];
        while let Some(module) = next.pop() {
            for other in named.get(&module).into_iter().flatten() {
                if reached.insert(other.clone()) {
                    next.push(other.clone());
                }
            }
        }
        reached
    };
    let all: BTreeMap<&Module, BTreeSet<Module>> = sources
        .modules
        .keys()
        .map(|module| (module, reached(module)))
        .collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &all {
        let back = reached.iter().filter(|other| all[other].contains(*module));
        let files: BTreeSet<&str> = back.map(|other| sources.file(other)).collect();
        if files.len() > 1 {
            circles.insert(files.into_iter().collect::<Vec<_>>());
        }
    }
    circles
}

#[test]
fn no_files_need_each_other() {
    let sources = Sources::read();
    let known = CIRCLES.iter().map(|(files, _)| files.to_vec()).collect();
    let found = circles(&sources);
    let new: Vec<_> = found
        .difference(&known)
        .map(|files| files.join(", "))
        .collect();
    crate::shape::assert_none("break these circles", &new);
    let broken: Vec<_> = known
        .difference(&found)
        .map(|files| files.join(", "))
        .collect();
    crate::shape::assert_none(
        "these cycles do not exist any more: remove them from the list",
        &broken,
    );
}
