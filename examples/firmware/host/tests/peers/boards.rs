//! The boards, and their firmware.

use lastbyte_firmware_host::Machine;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Each directory of `examples/firmware` that is a board.
const BOARDS: &[(&str, Machine)] = &[
    ("lm3s6965", Machine::Lm3s6965),
    ("riscv-virt", Machine::RiscvVirt),
];

/// A board, and its firmware if that could be built.
#[derive(Debug, Clone)]
pub struct Board {
    name: &'static str,
    machine: Machine,
    firmware: Result<PathBuf, String>,
    /// The same with DHCP and DNS, of a board that is tested with these.
    leased: Option<Result<PathBuf, String>>,
}

/// Every board, with its firmware built.
pub fn all() -> Vec<Board> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let boards = BOARDS.iter().filter_map(|&(name, machine)| {
        let directory = directory.join(name);
        directory.is_dir().then(|| Board {
            name,
            machine,
            // Before the other: cargo puts both at the same place.
            leased: (machine == Machine::Lm3s6965).then(|| build_leased(&directory)),
            firmware: build(&directory, &[]),
        })
    });
    boards.collect()
}

impl Board {
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// What is missing on this machine to run it.
    pub fn missing(&self) -> Option<String> {
        let (program, package) = (self.machine.program(), self.machine.package());
        let version = Command::new(program).arg("--version").output();
        version
            .err()
            .map(|error| format!("{program}: {error} (package {package})"))
    }

    /// The path of the firmware, or why it could not be built. That is never a reason to
    /// skip a test.
    pub fn firmware(&self) -> Result<&Path, &str> {
        self.firmware.as_deref().map_err(String::as_str)
    }

    /// The same of the firmware with DHCP and DNS; `None` if there is none.
    pub fn leased(&self) -> Option<Result<&Path, &str>> {
        let leased = self.leased.as_ref()?;
        Some(leased.as_deref().map_err(String::as_str))
    }
}

/// Builds the firmware with DHCP and DNS, and moves it to a path that the next build does not
/// overwrite.
fn build_leased(directory: &Path) -> Result<PathBuf, String> {
    let built = build(directory, &["--features", "dhcp,dns"])?;
    let moved = built.with_extension("leased");
    std::fs::rename(&built, &moved).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(moved)
}

/// Builds the firmware like `cargo build` in its directory, with these options, and returns
/// its path.
fn build(directory: &Path, options: &[&str]) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--release", "--quiet"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(options)
        // Cargo reads its configuration, including the target, from there.
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("{} does not build", directory.display()));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .ok_or_else(|| format!("{} builds no program", directory.display()))
}
