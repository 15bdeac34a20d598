//! The `lastbyte` command: what it is asked, what it does, what it says.
//!
//! One thread, one loop: [`session`] waits in `ppoll` for the device, the
//! input and signals at once, with the stack's next deadline as the timeout.
//! A [`Feed`](session::Feed) supplies the bytes: an input
//! ([`send`]) or beats ([`heartbeat`]).

use std::io;
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::Parser;

pub mod args;
pub mod connect;
pub mod doctor;
pub mod exit;
pub mod heartbeat;
mod help;
pub mod logger;
pub mod peer;
pub mod progress;
pub mod report;
pub mod send;
pub mod session;
pub mod sim;
pub mod target;

use args::{Cli, Command};
use exit::Failure;

/// Runs the command with the arguments of this process.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and is a success; nothing can be said about
            // a terminal that is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let done = match cli.command.unwrap_or(Command::Demo) {
        Command::Demo => demo(),
        Command::Sim(args) => sim::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Send(args) => send::run(args),
        Command::Heartbeat(args) => heartbeat::run(args),
    };
    ExitCode::from(done.unwrap_or_else(|failure| failure.tell()))
}

fn demo() -> Result<u8, Failure> {
    let colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    match crate::demo::run(colour) {
        // Whoever stops reading early (`| head`) has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("printing: {error}")))
        }
        _ => Ok(0),
    }
}
