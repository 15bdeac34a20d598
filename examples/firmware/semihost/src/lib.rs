//! What an emulated board gets from its host, by semihosting: settings, output for logs,
//! random numbers, an exit status.
//!
//! A real board has other sources: constants or flash, RTT or a UART, a hardware random
//! number generator. It cannot exit, and stops without feeding its watchdog. Every board
//! in this directory uses this code in the same way.
#![no_std]
#![deny(unsafe_code)]

mod check;
mod last_words;
#[expect(unsafe_code, reason = "the trait of a logger is unsafe")]
mod log;

use lastbyte::Clock;
use lastbyte::stack::Buffers;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte_firmware_app::{Board, Settings};
use semihosting::experimental::env;
use semihosting::{fs, io::Read, process};

/// The longest command line, in octets.
const LONGEST_COMMAND_LINE: usize = 512;

/// The exit status for wrong settings.
const USAGE: i32 = 2;
/// The exit status if the host supplies invalid data.
const BROKEN: i32 = 1;

/// Reads the settings, makes the board with a seed for this boot, runs the application,
/// and exits with its outcome.
pub fn run<D: Device, C: Clock, const TX: usize, const RX: usize>(
    buffers: &mut Buffers<1, TX, RX>,
    make: impl FnOnce(u64) -> Board<D, C>,
) -> ! {
    let Ok(words) = env::args::<LONGEST_COMMAND_LINE>() else {
        defmt::error!(
            "settings: the command line is longer than {} octets",
            LONGEST_COMMAND_LINE
        );
        exit(USAGE);
    };
    // The first word is the name of the program.
    let words = (&words).into_iter().skip(1);
    // A word that is not UTF-8 is not a setting; the error names the word.
    let words = words.map(|word| word.unwrap_or("(not UTF-8)"));
    let words = words.filter(|word| !word.is_empty());
    let words = words.inspect(|word| {
        if let Some(check) = word.strip_prefix("check=") {
            check::run(check);
        }
    });
    let settings = match Settings::parse(words) {
        Ok(settings) => settings,
        Err(error) => {
            defmt::error!("settings: {}", error);
            exit(USAGE);
        }
    };
    let board = make(settings.seed.unwrap_or_else(seed));
    let outcome = lastbyte_firmware_app::run(board, &settings, buffers);
    exit(outcome.exit_code().into())
}

/// 64 random bits. The host replaces the random number generator of a real chip. A chip
/// without one counts its boots in non-volatile memory and hashes the count with a secret
/// of the device (`lastbyte::stack::boot_seed`).
#[must_use]
pub fn seed() -> u64 {
    let mut seed = [0; 8];
    let read = fs::File::open(c"/dev/urandom").and_then(|mut file| file.read(&mut seed));
    match read {
        Ok(8) => u64::from_le_bytes(seed),
        Ok(_) | Err(_) => {
            // A constant must not replace it: local ports and sequence numbers could be
            // computed from it.
            defmt::error!("the host gives no random number; give one with seed=");
            exit(BROKEN)
        }
    }
}

/// Ends the run, once the host has the log.
fn exit(status: i32) -> ! {
    log::flush();
    process::exit(status)
}
