//! The dependencies: `cargo deny`, by the rules of `.cargo/deny.toml`.

use super::checks::manifests_below;
use crate::context::{Context, run as start, succeeds};
use crate::machine::want_cargo_tool;
use anyhow::Result;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// The manifests with a lock file of their own; a member of a workspace uses the lock file of the
/// workspace.
fn locked(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut manifests = manifests_below(directory)?;
    manifests.retain(|manifest| manifest.with_file_name("Cargo.lock").is_file());
    Ok(manifests)
}

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let consequence = "NO DEPENDENCY IS CHECKED";
    if !want_cargo_tool(context, "deny", consequence) {
        return context.cannot_run(consequence);
    }
    let rules = context.root.join(".cargo/deny.toml");
    let manifests = locked(&context.root)?;
    let check = |what: &[&str]| -> Result<()> {
        for manifest in &manifests {
            let manifest = manifest.strip_prefix(&context.root)?;
            let options = ["--locked", "--manifest-path"];
            start(cmd!(
                shell,
                "cargo deny {options...} {manifest} --config {rules} check {what...}"
            ))?;
        }
        Ok(())
    };
    check(&["bans", "licenses", "sources"])?;
    // The advisory database needs the network.
    if succeeds(cmd!(shell, "cargo deny --config {rules} fetch db")) {
        return check(&["advisories"]);
    }
    context.cannot_run(
        "NO ADVISORY AND NO YANKED VERSION IS LOOKED FOR: the advisory database cannot be fetched",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lock_file_is_checked() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let manifests = locked(&root).unwrap();
        for name in [
            ".",
            "tests/budgets",
            "tests/xtask",
            "examples/firmware/host",
        ] {
            let manifest = root.join(name).join("Cargo.toml");
            let is_there =
                |path: &PathBuf| path.canonicalize().unwrap() == manifest.canonicalize().unwrap();
            assert!(manifests.iter().any(is_there), "{name}");
        }
        let member = root.join("shim/sim/Cargo.toml");
        assert!(!manifests.contains(&member));
    }
}
