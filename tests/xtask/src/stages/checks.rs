//! Formatting, lints, compilers, tests, documentation, examples, bare-metal builds.

use crate::api;
use crate::context::{Context, note, quietly, run, run_for, say, setting, succeeds};
use crate::machine::{need_component, need_targets, want_network_tools};
use crate::project::{
    BUDGET_TARGETS, COMBINATIONS, CORTEX_M3, EXAMPLES, LIBRARY, OTHER_LIBRARIES, PIPE_LOOM,
    SMALLEST, TARGETS, TRANSITIONS_PAGE, UNIFICATIONS,
};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xshell::cmd;

/// How long an example may run.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// The packages below `directory` that are separate workspaces: cargo does not format them
/// with the workspace of the root.
pub fn manifests_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut manifests = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                directories.push(path);
            } else if path.ends_with("Cargo.toml") {
                manifests.push(path);
            }
        }
    }
    manifests.sort();
    Ok(manifests)
}

pub fn fmt(context: &Context) -> Result<()> {
    let shell = &context.shell;
    need_component(context, "fmt", "rustfmt")?;
    run(cmd!(shell, "cargo fmt --all --check"))?;
    for manifest in manifests_below(&context.root.join("tests"))? {
        let manifest = manifest.strip_prefix(&context.root)?;
        run(cmd!(shell, "cargo fmt --manifest-path {manifest} --check"))?;
    }
    Ok(())
}

pub fn lint(context: &Context) -> Result<()> {
    let shell = &context.shell;
    need_component(context, "clippy", "clippy")?;
    let deny = ["--", "-D", "warnings"];
    run(cmd!(
        shell,
        "cargo clippy --locked --workspace --all-targets {deny...}"
    ))?;
    let library = ["-p", LIBRARY, "--lib"];
    run(cmd!(
        shell,
        "cargo clippy --locked {library...} --all-features {deny...}"
    ))?;
    for package in SMALLEST {
        let library = ["-p", package, "--lib", "--no-default-features"];
        run(cmd!(shell, "cargo clippy --locked {library...} {deny...}"))?;
    }
    let separate = |manifest: &str, target: &str, arguments: &[&str]| {
        let target = context.target(target);
        let command = cmd!(shell, "cargo clippy --locked --manifest-path {manifest}");
        run(command
            .arg("--target-dir")
            .arg(target)
            .args(arguments)
            .args(deny))
    };
    separate("tests/xtask/Cargo.toml", "xtask", &["--all-targets"])?;
    separate(PIPE_LOOM, "pipe-loom", &["--all-targets"])?;
    need_targets(context, &[CORTEX_M3])?;
    let proof = ["--target", CORTEX_M3, "--features", "ipv6"];
    separate("tests/no-panic/Cargo.toml", "no-panic", &proof)?;
    separate("tests/no-panic/judge/Cargo.toml", "judge", &[])?;
    for (target, _) in BUDGET_TARGETS {
        need_targets(context, &[target])?;
        separate("tests/budgets/Cargo.toml", "budgets", &["--target", target])?;
    }
    Ok(())
}

/// A value of the root's manifest, by its path.
fn manifest_value(manifest: &str, path: &[&str]) -> Result<toml::Value> {
    let mut value = toml::Value::Table(manifest.parse().context("Cargo.toml is not TOML")?);
    for key in path {
        let next = value.get(key).cloned();
        value = next.with_context(|| format!("Cargo.toml has no {}", path.join(".")))?;
    }
    Ok(value)
}

pub fn msrv(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let path = ["workspace", "package", "rust-version"];
    let msrv = manifest_value(&context.read("Cargo.toml")?, &path)?;
    let msrv = msrv.as_str().context("rust-version is no text")?;
    let toolchain = format!("+{msrv}");
    if succeeds(cmd!(shell, "cargo {toolchain} --version")) {
        say(&format!("checking with the Rust {msrv} toolchain"));
        run(cmd!(
            shell,
            "cargo {toolchain} check --locked --workspace --all-targets"
        ))?;
        let library = ["-p", LIBRARY, "--lib", "--no-default-features"];
        return run(cmd!(shell, "cargo {toolchain} check --locked {library...}"));
    }
    note(&format!(
        "NO RUST {msrv} TOOLCHAIN HERE: clippy::incompatible_msrv stands in for it."
    ));
    note(&format!(
        "To check with the compiler itself: rustup toolchain install {msrv} --profile minimal"
    ));
    need_component(context, "clippy", "clippy")?;
    let deny = ["--", "-D", "clippy::incompatible_msrv"];
    run(cmd!(
        shell,
        "cargo clippy --locked --workspace --all-targets {deny...}"
    ))?;
    let library = ["-p", LIBRARY, "--lib", "--all-features"];
    run(cmd!(shell, "cargo clippy --locked {library...} {deny...}"))
}

pub fn test(context: &Context) -> Result<()> {
    let shell = &context.shell;
    want_network_tools(context);
    let xtask = context.target("xtask");
    let manifest = "tests/xtask/Cargo.toml";
    run(cmd!(
        shell,
        "cargo test --locked --manifest-path {manifest} --target-dir {xtask}"
    ))?;
    run(cmd!(
        shell,
        "cargo test --locked --workspace --no-fail-fast"
    ))?;
    // lastbyte built for less than smoltcp, in both combinations.
    let target = context.target("unification");
    let manifest = "tests/unification/Cargo.toml";
    for features in UNIFICATIONS {
        let options = ["--features", features, "--no-fail-fast"];
        run(cmd!(
            shell,
            "cargo test --locked --manifest-path {manifest} --target-dir {target} {options...}"
        ))?;
    }
    Ok(())
}

/// The features with which the documentation is published, as `--features` takes them.
fn documented(manifest: &str) -> Result<String> {
    let path = ["package", "metadata", "docs", "rs", "features"];
    let features = manifest_value(manifest, &path)?;
    let features = features
        .as_array()
        .context("the features of docs.rs are no list")?;
    let names: Vec<_> = features.iter().filter_map(toml::Value::as_str).collect();
    Ok(names.join(","))
}

/// The file that lists the public API.
const API: &str = "docs/API.txt";

/// Compares the list of the public API with the source, or writes it.
fn compare_api(context: &Context) -> Result<()> {
    let present = api::listing(LIBRARY, &context.root.join("src/lib.rs"))?;
    match setting("UPDATE_API").as_deref() {
        None => {}
        Some("1") => return context.write(API, &(present.join("\n") + "\n")),
        Some(other) => bail!("UPDATE_API is 1 or unset, not {other}"),
    }
    let difference = api::difference(&context.read(API)?, &present);
    if !difference.is_empty() {
        bail!(
            "the public API differs from {API}; if that is intended, UPDATE_API=1 ./ci.sh doc \
             writes it:\n{}",
            difference.join("\n")
        );
    }
    Ok(())
}

pub fn doc(context: &Context) -> Result<()> {
    compare_api(context)?;
    let shell = &context.shell;
    let _flags = shell.push_env("RUSTDOCFLAGS", "-D warnings");
    run(cmd!(
        shell,
        "cargo doc --locked --no-deps -p {LIBRARY} --no-default-features"
    ))?;
    run(cmd!(
        shell,
        "cargo doc --locked --no-deps -p {LIBRARY} --all-features"
    ))?;
    for library in OTHER_LIBRARIES {
        run(cmd!(
            shell,
            "cargo doc --locked --no-deps -p {library} --lib"
        ))?;
    }
    // Last, so that the directory contains what is published.
    let features = documented(&context.read("Cargo.toml")?)?;
    let published = ["--no-default-features", "--features", &features];
    run(cmd!(
        shell,
        "cargo doc --locked --no-deps -p {LIBRARY} {published...}"
    ))?;
    let (page, row) = TRANSITIONS_PAGE;
    let text = shell.read_file(context.target(page))?;
    if !text.contains(row) {
        bail!("the documentation does not show the transition table: {page} has no {row}");
    }
    Ok(())
}

/// The names of the examples in a directory: each file, and each folder with a `main.rs`.
fn examples_in(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_example = path.join("main.rs").is_file()
            || path.is_file() && path.extension().is_some_and(|extension| extension == "rs");
        if is_example && let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

pub fn examples(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let names = examples_in(&context.root.join("examples"))?;
    if names.is_empty() {
        bail!("there are no examples");
    }
    // Optimised: one of them runs thousands of networks, and the simulator is built that way
    // anyway.
    run(cmd!(
        shell,
        "cargo build --locked --release -p {EXAMPLES} --examples"
    ))?;
    for name in names {
        say(&format!("example {name}"));
        let program = context.target("release/examples").join(&name);
        run_for(Command::new(program), EXAMPLE_LIMIT).with_context(|| format!("example {name}"))?;
    }
    Ok(())
}

pub fn no_std(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let _flags = shell.push_env("RUSTFLAGS", "-D warnings");
    need_targets(context, TARGETS)?;
    for target in TARGETS {
        for &features in COMBINATIONS {
            let shown = if features.is_empty() {
                "(no features)"
            } else {
                features
            };
            println!("  {target:<28} {shown}");
            let build = ["build", "--locked", "--quiet", "-p", LIBRARY, "--lib"];
            let options = ["--no-default-features", "--features", features];
            quietly(cmd!(
                shell,
                "cargo {build...} --target {target} {options...}"
            ))
            .with_context(|| format!("does not build for {target} with: {shown}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.package]\nrust-version = \"1.91\"\n\
        [package.metadata.docs.rs]\nfeatures = [\"smoltcp\", \"log\"]\n";

    #[test]
    fn the_manifest_has_the_supported_compiler_and_the_published_features() {
        let path = ["workspace", "package", "rust-version"];
        let msrv = manifest_value(MANIFEST, &path).unwrap();
        assert_eq!(msrv.as_str(), Some("1.91"));
        assert_eq!(documented(MANIFEST).unwrap(), "smoltcp,log");
        let error = manifest_value(MANIFEST, &["workspace", "lints"]).unwrap_err();
        assert_eq!(error.to_string(), "Cargo.toml has no workspace.lints");
    }

    #[test]
    fn every_package_below_tests_is_formatted() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let manifests = manifests_below(&tests).unwrap();
        for name in [
            "xtask",
            "no-panic",
            "no-panic/judge",
            "budgets",
            "fuzz",
            "pipe-loom",
            "unification",
        ] {
            let manifest = tests.join(name).join("Cargo.toml");
            assert!(manifests.contains(&manifest), "{name}");
        }
    }

    #[test]
    fn examples_are_files_and_folders_with_a_main() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("large")).unwrap();
        std::fs::create_dir(path.join("scripts")).unwrap();
        for file in ["small.rs", "large/main.rs", "notes.md", "scripts/run.sh"] {
            std::fs::write(path.join(file), "").unwrap();
        }
        assert_eq!(examples_in(path).unwrap(), ["large", "small"]);
    }
}
