//! The `lastbyte` command.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    lastbyte_shim::cli::run()
}

/// Without TAP devices only the demonstration is left, whatever is asked for.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("lastbyte: send, heartbeat and doctor need Linux; this is the demonstration");
    match lastbyte_shim::demo::run(false) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
