//! `lastbyte send`: a file or standard input, as it arrives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lastbyte::Instant;

use super::args::{ConnectionArgs, SendArgs};
use super::connect::{self, HostWriter};
use super::exit::Failure;
use super::logger;
use super::progress::Line;
use super::report::Account;
use super::session::{self, Feed, Supply};

/// How many writes one turn of the loop makes from a regular file, so that
/// signals are seen soon.
const WRITES_PER_TURN: usize = 64;

/// Runs `lastbyte send`.
///
/// # Errors
///
/// There was no connection; [`Failure`] says why.
pub fn run(args: SendArgs) -> Result<u8, Failure> {
    if args.connection.verbose {
        logger::init();
    }
    let done = start(&args);
    report_failure(&args.connection, &done);
    done
}

/// With `--json`, stdout is one object even where no connection was begun; a
/// usage error is not a run at all.
pub(super) fn report_failure(args: &ConnectionArgs, done: &Result<u8, Failure>) {
    let cause = match done {
        Ok(_) | Err(Failure::Usage(_)) => return,
        Err(Failure::Other(_)) => None,
        Err(Failure::Interrupted) => Some(lastbyte::Cause::Aborted),
    };
    if args.json {
        // The failure itself is told on stderr, and by the exit code.
        let _ = Account::unbegun(cause, None).print_json();
    }
}

fn start(args: &SendArgs) -> Result<u8, Failure> {
    let connection = &args.connection;
    // What is wrong with the command line is said before what is wrong with
    // the world.
    connection.network()?;
    connection.options()?;
    let mut input = Input::open(&args.file, connection.write_size)
        .map_err(|error| Failure::other(format!("{}: {error}", args.file.display())))?;
    let prepared = connect::prepare(connection, &args.target, input.to_watch())?;
    let line = Line::new(input.len, connection.shows_progress());
    session::run(connection, prepared, &mut input, line)
}

/// The bytes to send. They are read straight into the transmit buffer, and
/// only while it has room and the connection takes them: there is no read
/// ahead that an end could strand.
#[derive(Debug)]
struct Input {
    file: File,
    /// The length of a regular file: never waited for. Others are read once
    /// each time they are ready.
    len: Option<u64>,
    write_size: usize,
}

impl Input {
    fn open(path: &Path, write_size: Option<usize>) -> io::Result<Self> {
        let file = if path == Path::new("-") {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            // A named pipe without a writer must not hold us up here; it is
            // waited for in the loop, as any other input.
            OpenOptions::new()
                .read(true)
                .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
                .open(path)?
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            len: metadata.is_file().then_some(metadata.len()),
            file,
            write_size: write_size.unwrap_or(usize::MAX),
        })
    }

    /// What the loop has to wait for before each read.
    fn to_watch(&self) -> Option<BorrowedFd<'_>> {
        self.len.is_none().then(|| self.file.as_fd())
    }

    /// One read, straight into one write.
    fn write(&mut self, writer: &mut HostWriter<'_, '_>) -> Supply {
        let mut outcome = None;
        let written = writer.write_with(|room| {
            let len = room.len().min(self.write_size);
            let read = match room.get_mut(..len) {
                Some(room) => self.file.read(room),
                None => Ok(0),
            };
            let taken = *read.as_ref().unwrap_or(&0);
            outcome = Some(read);
            taken
        });
        match (written, outcome) {
            (Err(_), _) => Supply::Refused,
            (Ok(_), None) => Supply::Full,
            (Ok(_), Some(Ok(0))) => Supply::End,
            (Ok(_), Some(Ok(_))) => Supply::Moved,
            (Ok(_), Some(Err(error))) => match error.kind() {
                io::ErrorKind::Interrupted => Supply::Moved,
                io::ErrorKind::WouldBlock => Supply::Hungry,
                _ => Supply::Broken(error),
            },
        }
    }
}

impl Feed for Input {
    fn supply(&mut self, writer: &mut HostWriter<'_, '_>, _: Instant, is_ready: bool) -> Supply {
        if self.len.is_none() {
            // A read without need would block.
            return if is_ready {
                self.write(writer)
            } else {
                Supply::Hungry
            };
        }
        for _ in 0..WRITES_PER_TURN {
            match self.write(writer) {
                Supply::Moved => {}
                other => return other,
            }
        }
        Supply::Moved
    }

    fn is_probe(&self) -> bool {
        false
    }

    fn idle(&self) -> &'static str {
        if self.len.is_none() {
            "waiting for input"
        } else {
            ""
        }
    }
}
