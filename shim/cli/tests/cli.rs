//! The `lastbyte` command as users run it: the binary, with a real peer in a private
//! network.
//!
//! If this machine permits no private network, the tests that need one are clearly
//! reported as ignored; with `CI=true` in the environment they fail.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("skipped: the command's network needs Linux");
}

#[cfg(target_os = "linux")]
#[path = "cli/mod.rs"]
mod cases;
#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // These tests sleep most of the time.
    arguments.test_threads.get_or_insert(6);
    libtest_mimic::run(&arguments, cases::all()).exit_code()
}
