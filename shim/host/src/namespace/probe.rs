//! What this machine permits, for `lastbyte doctor`.
//!
//! Each probe tries the operation itself, without lasting effect and without moving the
//! caller, and reports what to do about a refusal.

use std::env;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Namespace, NamespaceError, setup, thread};
use crate::tap::{self, Offload, TapError};

/// The result of one check of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What was checked.
    pub name: String,
    /// Whether it exists and works.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do, if it is not `ok`.
    pub remedy: Option<String>,
}

impl Probe {
    fn good(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: true,
            found: found.into(),
            remedy: None,
        }
    }

    fn bad(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: false,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Does the TUN/TAP driver exist, and may this user open it?
#[must_use]
pub fn tun_device() -> Probe {
    let name = "TUN/TAP driver";
    match tap::check_driver() {
        Ok(()) => Probe::good(name, "/dev/net/tun can be opened"),
        Err(error) => refused_tap(name, &error),
    }
}

/// What can be offloaded to the driver of a TAP, so that frames may be long and without
/// checksums?
#[must_use]
pub fn tap_offload() -> Probe {
    let name = "TAP offload";
    match tap::offered_by_driver() {
        Some(offload @ (Offload::Segmentation | Offload::Checksum)) => {
            Probe::good(name, format!("{offload}: {}", offload.what()))
        }
        Some(offload @ Offload::None) => Probe::bad(
            name,
            format!("{offload}: {}", offload.what()),
            "nothing has to be done, sending is slower; a kernel with IFF_VNET_HDR has it",
        ),
        None => Probe::bad(
            name,
            "not checked: there is no TUN/TAP driver",
            "see above for the driver",
        ),
    }
}

/// Did a killed program leave offload switched on at a TAP? The next program that
/// attaches would get damaged frames, so offload is switched off.
#[must_use]
pub fn tap_leftovers() -> Probe {
    let name = "TAP settings";
    let (refused, repaired): (Vec<_>, Vec<_>) = tap::repair_all()
        .into_iter()
        .partition(|leftover| leftover.refused.is_some());
    let names = |leftovers: &[tap::Leftover]| {
        let names: Vec<&str> = leftovers.iter().map(|l| l.name.as_str()).collect();
        names.join(", ")
    };
    if !refused.is_empty() {
        return Probe::bad(
            name,
            format!(
                "a program that was killed left offload switched on at {}: it damages the frames \
                 of the next program that attaches",
                names(&refused)
            ),
            "run `lastbyte doctor` as the user of the interface, or as root: it repairs that",
        );
    }
    Probe::good(
        name,
        if repaired.is_empty() {
            "none was left by a program that was killed".to_owned()
        } else {
            format!(
                "a program that was killed had left offload switched on at {}; repaired",
                names(&repaired)
            )
        },
    )
}

/// Can a private network be made, as `lastbyte send --peer` does?
///
/// It is tried on a separate thread as root, otherwise with a child process (`unshare`,
/// of util-linux).
#[must_use]
pub fn network_namespace() -> Probe {
    let name = "private network";
    let attempt = || {
        let (namespace, _tap) = Namespace::enter()?;
        let mut first = Command::new("sh");
        first.args(["-c", ":"]).stdin(Stdio::null());
        namespace
            .spawn_first(&mut first)?
            .wait()
            .map(drop)
            .map_err(setup("waiting"))
    };
    let Ok(thread) = thread::Builder::new().spawn(attempt) else {
        return Probe::bad(
            name,
            "no thread can be started",
            "raise the limit: ulimit -u",
        );
    };
    match thread.join() {
        Ok(Ok(())) => Probe::good(name, "made one, with its TAP, as root"),
        // One thread of many cannot move without root; a process with one thread can.
        Ok(Err(NamespaceError::MultiThreaded)) => Probe {
            name: name.to_owned(),
            ..user_namespace()
        },
        Ok(Err(error)) => refused_namespace(name, &error),
        Err(_) => Probe::bad(name, "the attempt failed", "run as root"),
    }
}

/// Are user namespaces, with a network and PIDs of their own, allowed to this user?
#[must_use]
pub fn user_namespace() -> Probe {
    let name = "user namespaces";
    // Both util-linux and busybox have these options.
    let tried = Command::new("unshare")
        .args(["-U", "-r", "-n", "-p", "-f", "true"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => Probe::good(name, "allowed to this user"),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let is_too_many = ["No space left on device", "Too many users"]
                .iter()
                .any(|errno| stderr.contains(errno));
            let error = match is_too_many {
                true => NamespaceError::TooMany,
                false => NamespaceError::Forbidden,
            };
            refused_namespace(name, &error)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Probe::bad(
            name,
            "not checked: the program `unshare` is missing",
            install("util-linux"),
        ),
        Err(error) => Probe::bad(name, error.to_string(), install("util-linux")),
    }
}

fn refused_namespace(name: &str, error: &NamespaceError) -> Probe {
    match error {
        NamespaceError::Tap(error) => refused_tap(name, error),
        NamespaceError::Setup { .. } => without_remedy(name, error.to_string()),
        error => with_remedy(name, &error.to_string()),
    }
}

fn refused_tap(name: &str, error: &TapError) -> Probe {
    match error {
        TapError::Io { .. } => without_remedy(name, error.to_string()),
        error => with_remedy(name, &error.to_string()),
    }
}

/// The message of an error names the problem and then the remedy.
fn with_remedy(name: &str, message: &str) -> Probe {
    match message.split_once(": ") {
        Some((found, remedy)) => Probe::bad(name, found, remedy),
        None => without_remedy(name, message.to_owned()),
    }
}

/// The message of an error names what the system refused, whatever the reason.
fn without_remedy(name: &str, message: String) -> Probe {
    let remedy = "run as root; in a container, start it with\n  \
                  --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun";
    Probe::bad(name, message, remedy)
}

/// How to install a package that Debian and Ubuntu call `package`.
fn install(package: &str) -> String {
    match find("apt") {
        Some(_) => format!("sudo apt install {package}"),
        None => format!("install what Debian and Ubuntu call {package}"),
    }
}

/// Is `program` on the PATH? `package` names what Debian and Ubuntu call it.
#[must_use]
pub fn program(program: &str, package: &str) -> Probe {
    match find(program) {
        Some(path) => Probe::good(program, path.display().to_string()),
        None => Probe::bad(program, "not on the PATH", install(package)),
    }
}

/// Are these compilation targets installed?
#[must_use]
pub fn rust_targets(wanted: &[&str]) -> Probe {
    let name = "Rust targets";
    // The query must not install a toolchain, so it neither follows a
    // project's pin (the working directory) nor downloads.
    let asked = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .current_dir("/")
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null())
        .output();
    let output = match asked {
        Ok(output) if output.status.success() => output,
        _ => {
            return Probe::bad(
                name,
                "not checked: rustup is missing",
                "install it from https://rustup.rs",
            );
        }
    };
    let list = String::from_utf8_lossy(&output.stdout);
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|target| !list.lines().any(|line| line.trim() == *target))
        .collect();
    if missing.is_empty() {
        Probe::good(name, wanted.join(", "))
    } else {
        let missing = missing.join(" ");
        Probe::bad(
            name,
            format!("missing: {missing}"),
            format!("rustup target add {missing}"),
        )
    }
}

fn find(program: &str) -> Option<PathBuf> {
    // Debian keeps some programs in directories that are only on root's PATH.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&env::var_os("PATH")?)
        .chain(more)
        .map(|directory| directory.join(program))
        .find(|path| {
            path.metadata()
                .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_comes_with_a_remedy() {
        let probes = [
            tun_device(),
            tap_offload(),
            tap_leftovers(),
            network_namespace(),
            user_namespace(),
            program("sh", "dash"),
            program("no-such-program-anywhere", "nothing"),
            rust_targets(&["no-such-target"]),
        ];
        for probe in probes {
            eprintln!("{probe:?}");
            assert!(!probe.found.is_empty());
            assert_eq!(probe.ok, probe.remedy.is_none());
            assert!(probe.remedy.is_none_or(|remedy| !remedy.is_empty()));
        }
    }

    #[test]
    fn a_probe_does_not_move_the_caller() {
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let _ = network_namespace();
        let _ = user_namespace();
        let after = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(before, after);
    }
}
