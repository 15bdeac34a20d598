//! Protocol crates, unchanged, over `lastbyte::asynch`, against real servers and clients.
//!
//! Goal: what `lastbyte` promises arrives at the callers of crates of other projects. A
//! server is killed, resets, stops, or vanishes in mid-stream; the error that the caller of the
//! crate gets is of our kind, and what is sent after the end is an error and not `Ok`. Method: a
//! network on a TAP in a private namespace, an executor on a thread (`network.rs`), the programs
//! of Debian's packages as peers (`servers.rs`). `docs/CLIENTS.md` lists the crates and versions.
//!
//! They need what the tests with the kernel as the peer need (/dev/net/tun and a network
//! namespace, but not root), and mosquitto, nginx, openssl and curl. If one of these is missing,
//! the tests count as ignored and report it; with `CI=true` they fail.

mod browsers;
mod deaths;
mod examples;
mod network;
mod servers;
mod with_edge_http;
mod with_embedded_tls;
mod with_minimq;
mod with_picoserve;
mod with_reqwless;
mod with_rust_mqtt;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// A test: its name and what it does.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = network::missing().or_else(servers::missing);
    if let Some(missing) = &missing {
        eprintln!("clients: CANNOT RUN HERE: {missing}");
    }
    let cases = [
        with_rust_mqtt::CASES,
        with_minimq::CASES,
        with_reqwless::CASES,
        with_embedded_tls::CASES,
        with_picoserve::CASES,
        with_edge_http::CASES,
        examples::CASES,
    ]
    .concat();
    libtest_mimic::run(&arguments, trials(&cases, missing.as_ref())).exit_code()
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
