//! `lastbyte send`: sends a file, or standard input as it arrives.

use super::args::{ConnectionArgs, SendArgs};
use super::connect;
use super::exit::Failure;
use super::files;
use super::input::Input;
use super::logger;
use super::progress::Line;
use super::report::Account;
use super::session::{self, Feed};
use super::target::Target;
use lastbyte_host::signals::Signals;

/// The maximum memory of a run besides its transmit buffer, mostly for the stacks of its
/// threads.
const LEAST_MEMORY: usize = 16 << 20;

/// Runs `lastbyte send`.
///
/// # Errors
///
/// There was no connection; [`Failure`] contains the reason.
pub fn run(args: SendArgs) -> Result<u8, Failure> {
    let connection = &args.connection;
    transfer(connection, &args.target, |_| {
        let input = Input::open(&args.file, connection.write_size).map_err(|error| {
            Failure::other(format!("cannot read {}: {error}", args.file.display()))
        })?;
        if let Some(path) = &connection.pcap {
            let input = [("the input", input.file())];
            files::spare("--pcap", path, connection.json, &input)?;
        }
        let line = Line::new(input.len(), connection.shows_progress());
        Ok((input, line))
    })
}

/// Runs one connection that sends what `open` supplies.
pub(super) fn transfer<F: Feed>(
    args: &ConnectionArgs,
    target: &Target,
    open: impl FnOnce(&mut Signals) -> Result<(F, Line), Failure>,
) -> Result<u8, Failure> {
    if args.verbose {
        logger::init();
    }
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            let done = Err(connect::setting_up(error));
            report_failure(args, &done, None);
            return done;
        }
    };
    let done = start(args, target, open, &mut signals);
    report_failure(args, &done, Some(&mut signals));
    done
}

fn start<F: Feed>(
    args: &ConnectionArgs,
    target: &Target,
    open: impl FnOnce(&mut Signals) -> Result<(F, Line), Failure>,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    // A failed allocation of a vector would silently end the process.
    if Vec::<u8>::new().try_reserve_exact(LEAST_MEMORY).is_err() {
        return Err(Failure::other(format!(
            "there is less than {} MiB of memory for this process; raise its limit (ulimit -v)",
            LEAST_MEMORY >> 20
        )));
    }
    // Errors in the command line are reported before errors of the system.
    args.network()?;
    args.options()?;
    args.output()?;
    let (mut feed, line) = open(signals)?;
    let prepared = connect::prepare(args, target, signals, &mut feed)?;
    session::run(args, prepared, &mut feed, line, signals)
}

/// With `--json`, stdout is one object even if no connection was begun; a usage error is
/// not a run.
fn report_failure(
    args: &ConnectionArgs,
    done: &Result<u8, Failure>,
    signals: Option<&mut Signals>,
) {
    let cause = match done {
        Ok(_) | Err(Failure::Usage(_)) => return,
        Err(failure) => failure.cause(),
    };
    if args.json {
        // The failure itself is reported on stderr and by the exit code.
        let _ = Account::unbegun(cause, None).print_json(signals);
    }
}
