//! The `lastbyte` command as its users meet it: the binary, with a real peer
//! in a private network.
//!
//! Where this machine permits no private network, those tests are reported as
//! ignored, loudly; with `CI=true` in the environment that is a failure.

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
    // Most of their time these tests sleep.
    arguments.test_threads.get_or_insert(6);
    libtest_mimic::run(&arguments, cases::all()).exit_code()
}
