//! Tests with real connections: lastbyte over a TAP device in a private network
//! namespace, with the host kernel's TCP and Python as the peer.
//!
//! Each test compares the ledger with the wire (the highest acknowledgement
//! the peer ever sent, read from a capture) and with what the peer received.
//!
//! They need /dev/net/tun and a network namespace, and `nft` for those with a packet
//! filter, but not root: another user gets a user namespace. If one of these is missing,
//! the tests that need it count as ignored and report it; with `CI=true` they fail.

mod attacker;
mod closing;
mod conformance;
mod effort;
mod embassy;
mod firewall;
mod fixture;
mod injector;
mod living;
mod narrow;
mod opening;
mod outages;
mod peer;
mod probing;

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
    let no_filter = firewall::missing();
    if let Some(missing) = &no_filter {
        eprintln!("kernel_peers: THE FIREWALL'S CANNOT RUN HERE: {missing}");
    }
    let no_filter = missing.clone().or(no_filter);
    let no_router = no_filter.clone().or_else(narrow::missing);
    let cases = [
        opening::CASES,
        living::CASES,
        closing::CASES,
        attacker::CASES,
        conformance::CASES,
        probing::CASES,
        embassy::CASES,
    ];
    let mut all = trials(&cases.concat(), missing.as_ref());
    all.extend(trials(firewall::CASES, no_filter.as_ref()));
    all.extend(trials(outages::CASES, no_filter.as_ref()));
    all.extend(trials(narrow::CASES, no_router.as_ref()));
    libtest_mimic::run(&arguments, all).exit_code()
}

/// Tests that need what is `missing` are ignored, but fail with `CI=true`.
fn trials(cases: &[Case], missing: Option<&String>) -> Vec<Trial> {
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    cases
        .iter()
        .map(|&(name, test)| {
            let missing = missing.cloned();
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
        .collect()
}
