//! The requirements of a stage, and how to install them: `rustup` for components and targets,
//! `cargo install` for cargo's own tools, `apt-get` as root on Debian.

use crate::context::{Context, note, run, say, succeeds};
use crate::project;
use anyhow::{Context as _, Result, bail};
use std::env;
use std::ffi::OsString;
use std::path::Path;
use xshell::cmd;

/// With less free space than this, CI removes builds that no later stage uses.
const DISK_SHORT_MIB: u64 = 4096;

/// A program, or a file by its absolute path, and the Debian package that has it.
pub type Wanted = (&'static str, &'static str);

pub const NETWORK_TOOLS: &[Wanted] = &[
    ("ip", "iproute2"),
    ("nc", "netcat-openbsd"),
    ("python3", "python3"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("dnsmasq", "dnsmasq-base"),
    ("cc", "gcc"),
    ("/usr/include/lwip/lwip/tcp.h", "liblwip-dev"),
];
pub const EMULATORS: &[Wanted] = &[
    ("qemu-system-arm", "qemu-system-arm"),
    ("qemu-system-riscv32", "qemu-system-misc"),
];
pub const SERVERS: &[Wanted] = &[
    ("mosquitto", "mosquitto"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("curl", "curl"),
];
pub const VALGRIND: &[Wanted] = &[("valgrind", "valgrind")];

/// The folders in which programs are searched. Debian keeps some programs in folders that are
/// only on root's PATH.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn is_there(name: &str) -> bool {
    if name.starts_with('/') {
        return Path::new(name).exists();
    }
    which::which_in(name, Some(search_path()), "/").is_ok()
}

/// The packages of missing programs, each once.
fn packages_missing(wanted: &[Wanted], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (name, package) in wanted {
        if !is_there(name) && !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

/// Installs what is missing, if possible. Otherwise prints the consequence and the remedy, and
/// returns false.
pub fn want(context: &Context, wanted: &[Wanted], consequence: &str) -> bool {
    let packages = packages_missing(wanted, is_there);
    if packages.is_empty() {
        return true;
    }
    let options = ["install", "-y", "--no-install-recommends"];
    if rustix::process::geteuid().is_root() && is_there("apt-get") {
        say(&format!("install {}", packages.join(" ")));
        let shell = &context.shell;
        let done = run(cmd!(shell, "apt-get update -q")).and_then(|()| {
            let command = cmd!(shell, "apt-get").args(options).args(&packages);
            run(command.env("DEBIAN_FRONTEND", "noninteractive"))
        });
        match done {
            Ok(()) if packages_missing(wanted, is_there).is_empty() => return true,
            Ok(()) => note("the packages are installed, and something is still missing"),
            Err(error) => note(&format!("that did not work: {error}")),
        }
    }
    let (options, packages) = (options.join(" "), packages.join(" "));
    note(&format!(
        "{consequence}: {packages} missing; as root on Debian: apt-get {options} {packages}"
    ));
    false
}

/// The tests with real peers check for their tools themselves and report what they skip, so
/// nothing fails here.
pub fn want_network_tools(context: &Context) {
    want(
        context,
        NETWORK_TOOLS,
        "some tests will report that they cannot run",
    );
}

/// A component of the toolchain that `cargo NAME` runs.
pub fn need_component(context: &Context, name: &str, component: &str) -> Result<()> {
    let shell = &context.shell;
    if succeeds(cmd!(shell, "cargo {name} --version")) {
        return Ok(());
    }
    if !is_there("rustup") {
        bail!("cargo {name} is missing, and rustup to add it");
    }
    run(cmd!(shell, "rustup component add {component}"))
}

/// Targets whose standard library is needed.
pub fn need_targets(context: &Context, targets: &[&str]) -> Result<()> {
    let shell = &context.shell;
    let mut missing = Vec::new();
    for &target in targets {
        let command = cmd!(shell, "rustc --print target-libdir --target {target}");
        let directory = command.quiet().ignore_stderr().read();
        if !directory.is_ok_and(|directory| Path::new(&directory).is_dir()) {
            missing.push(target);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("rustup") {
        bail!(
            "no standard library for {}, and no rustup",
            missing.join(" ")
        );
    }
    run(cmd!(shell, "rustup target add {missing...}"))
}

/// A cargo tool, which is installed if it is missing. Returns false if that is not possible.
pub fn want_cargo_tool(context: &Context, name: &str, consequence: &str) -> bool {
    let shell = &context.shell;
    let package = format!("cargo-{name}");
    if succeeds(cmd!(shell, "cargo {name} --version"))
        || run(cmd!(shell, "cargo install {package} --locked")).is_ok()
    {
        return true;
    }
    note(&format!(
        "{consequence}: {package} is missing; cargo install {package} --locked"
    ));
    false
}

/// libFuzzer and Miri need a nightly compiler.
pub fn want_nightly(context: &Context, consequence: &str) -> bool {
    let shell = &context.shell;
    if succeeds(cmd!(shell, "cargo +nightly --version"))
        || is_there("rustup")
            && run(cmd!(
                shell,
                "rustup toolchain install nightly --profile minimal"
            ))
            .is_ok()
    {
        return true;
    }
    note(&format!(
        "{consequence}: no nightly compiler here; see https://rustup.rs, then: \
         rustup toolchain install nightly --profile minimal"
    ));
    false
}

/// Miri of the nightly compiler, which is installed if it is missing.
pub fn want_miri(context: &Context, consequence: &str) -> bool {
    let shell = &context.shell;
    if succeeds(cmd!(shell, "cargo +nightly miri --version"))
        || is_there("rustup")
            && run(cmd!(
                shell,
                "rustup component add miri rust-src --toolchain nightly"
            ))
            .is_ok()
    {
        return true;
    }
    note(&format!(
        "{consequence}: no Miri here; rustup component add miri rust-src --toolchain nightly"
    ));
    false
}

/// The version of a package in a lock file.
pub fn locked_version(lock: &str, package: &str) -> Result<String> {
    let lock: toml::Table = lock.parse().context("a lock file that is not TOML")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    packages
        .into_iter()
        .flatten()
        .find(|entry| entry.get("name").and_then(toml::Value::as_str) == Some(package))
        .and_then(|entry| entry.get("version")?.as_str())
        .map(str::to_owned)
        .with_context(|| format!("Cargo.lock has no package {package}"))
}

/// The builds of `after` in the target directory that no later stage uses.
fn unused_builds(after: &str) -> Vec<&'static str> {
    match after {
        "examples" => vec!["debug", "doc"],
        "no_std" => [project::TARGETS, &["debug"]].concat(),
        "no_panic" => vec!["no-panic", "no-panic-stack", "judge"],
        "budgets" => vec!["budgets"],
        "firmware" => vec!["firmware"],
        "clients" => vec!["clients"],
        _ => Vec::new(),
    }
}

/// If there is little disk space: removes what no later stage uses.
pub fn sweep(context: &Context, after: &str) -> Result<()> {
    let disk = rustix::fs::statvfs(&context.target)?;
    if (disk.f_bavail * disk.f_frsize) >> 20 >= DISK_SHORT_MIB {
        return Ok(());
    }
    for name in unused_builds(after) {
        let path = context.target(name);
        println!("  the disk is short: remove {}", path.display());
        context.shell.remove_path(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_listed_once_by_their_package() {
        let wanted = [("a", "one"), ("b", "one"), ("c", "two"), ("d", "three")];
        let missing = packages_missing(&wanted, |name| name == "c");
        assert_eq!(missing, ["one", "three"]);
        assert!(packages_missing(&wanted, |_| true).is_empty());
    }

    #[test]
    fn programs_and_files_are_found() {
        assert!(is_there("sh") && is_there("/bin/sh"));
        assert!(!is_there("no-program-has-this-name") && !is_there("/no/such/file"));
    }

    #[test]
    fn the_version_of_a_package_is_read_from_the_lock_file() {
        let lock = "version = 4\n[[package]]\nname = \"other\"\nversion = \"1.0.0\"\n\
                    [[package]]\nname = \"gungraun\"\nversion = \"0.20.1\"\n";
        assert_eq!(locked_version(lock, "gungraun").unwrap(), "0.20.1");
        assert!(locked_version(lock, "missing").is_err());
        assert!(locked_version("[[package", "gungraun").is_err());
    }

    #[test]
    fn only_builds_that_no_later_stage_uses_are_removed() {
        assert!(unused_builds("test").is_empty());
        assert!(unused_builds("no_std").contains(&project::CORTEX_M3));
        assert_eq!(unused_builds("budgets"), ["budgets"]);
    }
}
