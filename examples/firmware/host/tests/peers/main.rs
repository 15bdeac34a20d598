//! The firmware of each board, booted in QEMU, connected to real sockets.
//!
//! Each test compares three accounts: what the firmware reports of the connection (cause
//! and ledger, from its log), what the peer received, and the exit status. In QEMU's own
//! network (`user`) the peer listens on the loopback. QEMU is between the two and answers
//! for the host, so exact causes and counts are only checked over a TAP device in a
//! private network namespace (`tap`), where the kernel's TCP is the peer.
//!
//! They need QEMU; for `tap` also root, /dev/net/tun, `ip` and `nft`. If one is missing,
//! the tests that need it count as ignored and report it; with `CI=true` they fail.

mod beats;
mod bench;
mod boards;
mod cable;
mod ending;
mod last_words;
mod leased;
mod living;
mod logs;
mod network;
mod opening;
mod panics;
mod peer;
mod registers;
mod returning;

use boards::Board;
use lastbyte_firmware_host::Machine;
use libtest_mimic::{Arguments, Failed, Trial};
use network::Place;
use std::process::ExitCode;

/// A test: its name, its network, and what it does.
type Case = (&'static str, Place, fn(&mut bench::Bench));

/// The tests mostly wait, each for its own emulator.
const THREADS: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cases = [
        opening::CASES,
        living::CASES,
        beats::CASES,
        ending::CASES,
        returning::CASES,
        last_words::CASES,
        logs::CASES,
        cable::CASES,
    ]
    .concat();
    let no_tap = network::missing();
    if let Some(missing) = &no_tap {
        eprintln!("peers: THOSE OVER TAP CANNOT RUN HERE: {missing}");
    }
    let no_leases = network::missing_for_leases();
    if let Some(missing) = &no_leases {
        eprintln!("peers: THOSE WITH DHCP AND DNS CANNOT RUN HERE: {missing}");
    }
    let mut trials = Vec::new();
    for board in boards::all() {
        let no_board = if arguments.list {
            None
        } else {
            board.missing()
        };
        if let Some(missing) = &no_board {
            eprintln!(
                "peers: THOSE OF {} CANNOT RUN HERE: {missing}",
                board.name()
            );
        }
        let firmware = board.clone();
        let name = format!("{}::our_code_does_not_panic", board.name());
        trials.push(Trial::test(name, move || {
            panics::our_code_does_not_panic(&firmware);
            Ok(())
        }));
        let leased = match board.leased() {
            Some(_) => leased::CASES,
            None => &[],
        };
        let of_board = match board.machine() {
            Machine::Lm3s6965 => registers::CASES,
            Machine::RiscvVirt => &[],
        };
        for &case in cases.iter().chain(of_board).chain(leased) {
            let missing = match case.1 {
                Place::User => no_board.clone(),
                Place::Tap => no_board.clone().or_else(|| no_tap.clone()),
                Place::Leased => {
                    let no_tap = no_board.clone().or_else(|| no_tap.clone());
                    no_tap.or_else(|| no_leases.clone())
                }
            };
            trials.push(trial(&board, case, missing));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that needs what is `missing` is ignored, but fails with `CI=true`.
fn trial(board: &Board, case: Case, missing: Option<String>) -> Trial {
    let (name, place, test) = case;
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let is_ignored = missing.is_some() && !must_run;
    let name = format!("{}::{}::{name}", board.name(), place.name());
    let board = board.clone();
    Trial::test(name, move || match missing {
        Some(missing) => Err(Failed::from(missing)),
        None => {
            bench::run(&board, place, test);
            Ok(())
        }
    })
    .with_ignored_flag(is_ignored)
}
