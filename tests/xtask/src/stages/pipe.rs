//! Long tests of the pipe: a million random sequences, longer exhaustive ones, every order of
//! two threads (loom), and Miri.

use crate::context::{Context, run as start};
use crate::machine::{want_miri, want_nightly};
use crate::project::{LIBRARY, PIPE_LOOM, PIPE_SIZES, PIPE_TEST};
use anyhow::Result;
use xshell::cmd;

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let test = ["-p", LIBRARY, "--test", PIPE_TEST];
    let at_length = cmd!(
        shell,
        "cargo test --locked --release {test...} -- --nocapture"
    );
    start(at_length.envs(PIPE_SIZES.iter().copied()))?;

    let target = context.target("pipe-loom");
    start(cmd!(
        shell,
        "cargo test --locked --manifest-path {PIPE_LOOM} --target-dir {target}"
    ))?;

    let consequence = "MIRI DOES NOT SEE THE PIPE";
    if !want_nightly(context, consequence) || !want_miri(context, consequence) {
        return context.cannot_run(consequence);
    }
    let target = context.target("miri");
    start(cmd!(
        shell,
        "cargo +nightly miri test --locked {test...} --target-dir {target}"
    ))
}
