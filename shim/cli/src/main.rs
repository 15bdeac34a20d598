//! The `lastbyte` command.

use std::process::ExitCode;

/// Runs before the standard library replaces closed descriptors.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the linker section is named here")]
// SAFETY: the section is a list of functions to be called before `main`, and
// this one calls nothing that would have to be set up.
#[unsafe(link_section = ".init_array")]
#[used]
static NOTE_CLOSED: extern "C" fn() = lastbyte_cli::command::stdio::note_closed;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    lastbyte_cli::command::run()
}

/// Without TAP devices only the demonstration is available, whatever the arguments.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("lastbyte: send, heartbeat and doctor need Linux; this is the demonstration");
    match lastbyte_cli::demo::run(false) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
