//! Tests in a private network, as any user.

use std::env;
use std::process::{Command, Stdio};
use std::thread;

use super::{Namespace, NamespaceError, probe, run_with, unshare_network};
use crate::tap::{Offload, Tap};

/// Set in a process that runs one test for another process.
const ALONE: &str = "LASTBYTE_TEST_ALONE";

/// Runs a `#[test]` in a private network of its own, as any user: `cargo test` needs no
/// root for it.
///
/// As root a new thread is moved there. Another user needs a user namespace, which only a
/// process with one thread can enter, and a test binary has more. So the binary is
/// started again for this test alone, by `unshare` (of util-linux or busybox).
///
/// If no network can be made, it reports that on stderr and tests nothing; with `CI=true`
/// in the environment it panics.
///
/// # Panics
///
/// If `inside` panics, or if the test cannot run with `CI=true`.
///
/// ```no_run
/// // In a `#[test]`:
/// lastbyte_host::namespace::test(|_namespace, tap| {
///     let server = std::net::TcpListener::bind("10.77.0.1:5000").expect("a free port");
///     // ... a stack on `tap`, with the address 10.77.0.2, connects to the server.
///     # let _ = (server, tap);
/// });
/// ```
#[track_caller]
pub fn test<F: FnOnce(Namespace, Tap) + Send>(inside: F) {
    test_with(Offload::Segmentation, inside);
}

/// Like [`test()`], with at most this much offloaded to the kernel.
///
/// # Panics
///
/// As [`test()`].
#[track_caller]
pub fn test_with<F: FnOnce(Namespace, Tap) + Send>(most: Offload, inside: F) {
    // A separate thread tries it, so that nothing is left of the attempt.
    let tried = thread::scope(|scope| scope.spawn(unshare_network).join());
    let tried = tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let done = match tried {
        Err(NamespaceError::MultiThreaded) => return run_alone(),
        Err(error) => Err(error),
        Ok(()) => run_with(most, inside),
    };
    if let Err(error) = done {
        skip(&error.to_string());
    }
}

/// Reports that nothing is tested, and why; with `CI=true` that is a failure.
#[track_caller]
fn skip(why: &str) {
    let on_ci = env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!on_ci, "CI must be able to make a private network: {why}");
    eprintln!("SKIPPED, and nothing was tested: {why}");
}

/// Runs the calling test in a process that is root in a user namespace.
#[track_caller]
fn run_alone() {
    assert!(
        env::var_os(ALONE).is_none(),
        "in a user namespace one is root"
    );
    let allowed = probe::user_namespace();
    if !allowed.ok {
        let remedy = allowed.remedy.unwrap_or_default();
        return skip(&format!("{}: {remedy}", allowed.found));
    }
    // The harness names the thread of a test after it.
    let thread = thread::current();
    let name = thread.name().unwrap_or_default();
    let output = env::current_exe().and_then(|this| {
        Command::new("unshare")
            .args(["-U", "-r", "-n"])
            .arg(this)
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .stdin(Stdio::null())
            .output()
    });
    let output = match output {
        Ok(output) => output,
        Err(error) => return skip(&format!("starting the test once more: {error}")),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    print!("{printed}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    // Zero tests would also be a success.
    let has_run = printed.contains("1 passed");
    assert!(
        output.status.success() && has_run,
        "{name}, as root of a user namespace: {}",
        output.status
    );
}
