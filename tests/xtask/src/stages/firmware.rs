//! The packages of `examples/firmware`: each is its own workspace, and cargo finds the target and
//! the runner of a board in its directory.

use crate::context::{Context, run as start};
use crate::machine::{EMULATORS, need_component, need_targets, want, want_network_tools};
use crate::project::{CORTEX_M3, RISCV32};
use anyhow::{Result, ensure};
use xshell::cmd;

/// The packages whose tests run on the host. The tests of `host` build the firmware of each
/// board.
const TESTED: [&str; 2] = ["app", "host"];

/// The options of clippy for a package, once for each run.
fn lints_of(package: &str) -> Vec<Vec<&'static str>> {
    let bare_metal = vec!["--target", CORTEX_M3];
    match package {
        "app" => vec![vec!["--all-targets"], bare_metal],
        "semihost" => vec![bare_metal],
        "host" => vec![vec!["--all-targets"]],
        // Its second program needs a feature.
        "lm3s6965" => vec![vec!["--release"], vec!["--release", "--features", "rtic"]],
        // A board has its target in its .cargo/config.toml.
        _ => vec![vec!["--release"]],
    }
}

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    need_component(context, "fmt", "rustfmt")?;
    need_component(context, "clippy", "clippy")?;
    need_targets(context, &[CORTEX_M3, RISCV32])?;
    want_network_tools(context);
    // The tests report which of them cannot run, and fail if CI is true.
    want(context, EMULATORS, "NOT EVERY FIRMWARE IS RUN");
    let directory = context.root.join("examples/firmware");
    let _target = shell.push_env("CARGO_TARGET_DIR", context.target("firmware"));
    let mut packages = Vec::new();
    for path in shell.read_dir(&directory)? {
        if path.join("Cargo.toml").is_file()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            packages.push(name.to_owned());
        }
    }
    for name in TESTED {
        ensure!(
            packages.iter().any(|package| package == name),
            "no firmware/{name}"
        );
    }
    for package in &packages {
        let _directory = shell.push_dir(directory.join(package));
        println!("  in examples/firmware/{package}");
        start(cmd!(shell, "cargo fmt --check"))?;
        for options in lints_of(package) {
            start(cmd!(
                shell,
                "cargo clippy --locked {options...} -- -D warnings"
            ))?;
        }
    }
    for name in TESTED {
        let _directory = shell.push_dir(directory.join(name));
        println!("  in examples/firmware/{name}");
        start(cmd!(shell, "cargo test --locked"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_is_linted_for_the_host_and_for_a_board() {
        let bare_metal = vec!["--target", CORTEX_M3];
        assert_eq!(lints_of("app"), [vec!["--all-targets"], bare_metal.clone()]);
        assert_eq!(lints_of("semihost"), [bare_metal]);
        assert_eq!(lints_of("host"), [vec!["--all-targets"]]);
        assert_eq!(lints_of("riscv-virt"), [vec!["--release"]]);
        assert_eq!(lints_of("lm3s6965").len(), 2);
    }
}
