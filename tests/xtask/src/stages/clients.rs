//! Protocol crates over `lastbyte::asynch`, against real servers and clients: `tests/clients`.

use crate::context::{Context, run as start};
use crate::machine::{SERVERS, need_component, want, want_network_tools};
use crate::project::CLIENTS;
use anyhow::Result;
use xshell::cmd;

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    need_component(context, "clippy", "clippy")?;
    want_network_tools(context);
    // The tests report what is missing, and fail if CI is true.
    want(context, SERVERS, "NO PROTOCOL CRATE MEETS A REAL SERVER");
    let target = context.target("clients");
    let package = ["--locked", "--manifest-path", CLIENTS, "--target-dir"];
    start(cmd!(
        shell,
        "cargo clippy {package...} {target} --workspace --all-targets -- -D warnings"
    ))?;
    start(cmd!(shell, "cargo test {package...} {target} --workspace"))
}
