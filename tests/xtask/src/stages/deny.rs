//! The dependencies: `cargo deny`, by the rules of `.cargo/deny.toml`.

use super::checks::manifests_below;
use crate::context::{Context, run as start};
use crate::machine::want_cargo_tool;
use anyhow::Result;
use xshell::cmd;

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let consequence = "NO DEPENDENCY IS CHECKED";
    if !want_cargo_tool(context, "deny", consequence) {
        return context.cannot_run(consequence);
    }
    let rules = context.root.join(".cargo/deny.toml");
    for manifest in manifests_below(&context.root)? {
        // A member of a workspace has the lock file of the workspace.
        if !manifest.with_file_name("Cargo.lock").is_file() {
            continue;
        }
        let manifest = manifest.strip_prefix(&context.root)?;
        start(cmd!(
            shell,
            "cargo deny --locked --all-features --manifest-path {manifest} check --config {rules}"
        ))?;
    }
    Ok(())
}
