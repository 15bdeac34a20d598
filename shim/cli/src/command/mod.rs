//! The `lastbyte` command: arguments, actions and output.
//!
//! One loop: [`session`] waits in `ppoll` for the device, the input, the peer and
//! signals at once, with the stack's next deadline as the timeout. A
//! `Feed` (in `session`) supplies the bytes: an input ([`send`]) or beats
//! ([`heartbeat`]). Other threads do everything that could block the loop: stderr,
//! stdout, the file of a capture, and the reading of files.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstream::{AutoStream, ColorChoice};
use clap::Parser;
use signal_hook::consts::SIGXFSZ;

pub mod addresses;
mod aftermath;
pub mod args;
mod background;
mod bring_up;
pub mod connect;
mod console;
pub mod doctor;
pub mod ends;
pub mod exit;
pub mod files;
pub mod first_process;
pub mod heartbeat;
mod help;
mod input;
pub mod locale;
pub mod logger;
pub mod message;
pub mod over;
pub mod patience;
pub mod peer;
pub mod progress;
pub mod report;
pub mod send;
pub mod session;
pub mod sim;
pub mod stdio;
pub mod target;
pub mod work;

use args::{Cli, Command};
use exit::Failure;

/// Runs the command with the arguments of this process.
#[must_use]
pub fn run() -> ExitCode {
    // So a write beyond the limit of file sizes is an error, and does not end the program. This
    // fails only for signals that cannot be caught.
    let is_over = Arc::new(AtomicBool::new(false));
    let _ = signal_hook::flag::register(SIGXFSZ, is_over);
    let code = match Cli::try_parse() {
        Ok(cli) => match perform(cli.command.unwrap_or(Command::Demo)) {
            Ok(code) => code,
            Err(failure) => failure.tell(),
        },
        // Help is a success too, and goes to stdout.
        Err(error) => print_usage(&error),
    };
    console::finish();
    ExitCode::from(code)
}

fn perform(command: Command) -> Result<u8, Failure> {
    if matches!(
        command,
        Command::Demo | Command::Sim(_) | Command::Doctor(_)
    ) {
        require_stdout()?;
    }
    match command {
        Command::Demo => demo(),
        Command::Sim(args) => sim::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Send(args) => send::run(args),
        Command::Heartbeat(args) => heartbeat::run(args),
        Command::FirstProcess { command } => first_process::run(&command),
    }
}

/// Checks that there is a stdout: a command whose results are lost has not succeeded.
fn require_stdout() -> Result<(), Failure> {
    if stdio::has_stdout() {
        return Ok(());
    }
    Err(Failure::other(
        "standard output is closed, and the results go to it",
    ))
}

/// The output of clap: an error in the command line, or the help.
fn print_usage(error: &clap::Error) -> u8 {
    if error.use_stderr() {
        console::print(&error.render().ansi().to_string());
        return exit::USAGE;
    }
    match require_stdout() {
        Err(failure) => failure.tell(),
        // A reader that stops early has read enough.
        Ok(()) => match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Failure::other(format!("printing: {error}")).tell()
            }
            _ => 0,
        },
    }
}

fn demo() -> Result<u8, Failure> {
    let colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    match crate::demo::run(colour) {
        // A reader that stops early (`| head`) has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("the demonstration: {error}")))
        }
        _ => Ok(0),
    }
}
