//! Endings of real connections: lastbyte over a TAP device in a private network
//! namespace, the host kernel's TCP and Python as the peer.
//!
//! Each test compares the ledger with the wire (the highest acknowledgement
//! the peer ever sent, read from a capture) and with what the peer received.
//!
//! Needs /dev/net/tun and a network namespace. Where a machine has neither, the
//! tests count as ignored and say so; with `CI=true` they fail.

mod attacker;
mod closing;
mod conformance;
mod fixture;
mod injector;
mod living;
mod opening;
mod peer;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// A test: its name and what it does.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = fixture::missing();
    if let Some(missing) = &missing {
        eprintln!("kernel_peers: CANNOT RUN HERE: {missing}");
    }
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let cases = [
        opening::CASES,
        living::CASES,
        closing::CASES,
        attacker::CASES,
        conformance::CASES,
    ];
    let trials = cases
        .concat()
        .into_iter()
        .map(|(name, test): Case| {
            let missing = missing.clone();
            let is_ignored = missing.is_some() && !must_run;
            Trial::test(name, move || match missing {
                Some(missing) => Err(Failed::from(missing)),
                None => {
                    test();
                    Ok(())
                }
            })
            .with_ignored_flag(is_ignored)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
