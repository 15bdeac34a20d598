//! An application's own logic on many bad networks, from plain `#[test]`s.
//!
//! `cargo test --example simulate_my_firmware` runs the tests;
//! `cargo run --example simulate_my_firmware` looks at one seed.

use embedded_io::Write;
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::stack::{Stack, StackError};
use lastbyte::{Clock, Ledger, Options};
use lastbyte_shim::sim::{self, Profile, Scenario};
use std::time::Duration;

const RECORD: u64 = 8;
const RECORDS: u64 = 50;

/// The firmware: a numbered record every ten seconds. Whenever the peer is gone
/// it goes on with the first record that is not acknowledged, after a pause.
/// Returns how many records are safe.
fn log_readings<D: Device, C: Clock>(stack: &mut Stack<'_, D, C, 1>, server: IpEndpoint) -> u64 {
    let mut safe = 0;
    for _attempt in 0..10 {
        safe += send_from(safe, stack, server).map_or(0, |ledger| ledger.acknowledged() / RECORD);
        if safe == RECORDS {
            break;
        }
        stack.run_for(Duration::from_secs(30));
    }
    safe
}

fn send_from<D: Device, C: Clock>(
    first: u64,
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
) -> Result<Ledger, StackError> {
    let id = stack.connect(server, Options::default())?;
    for number in first..RECORDS {
        if let Err(gone) = stack.writer(id)?.write_all(&number.to_be_bytes()) {
            println!("record {number}: {gone}");
            break;
        }
        stack.run_for(Duration::from_secs(10));
    }
    let finished = stack.writer(id)?.finish();
    Ok(finished.map_or_else(|gone| gone.ledger(), |report| report.ledger))
}

fn main() {
    let scenario = Scenario::new(Profile::Wifi, 8);
    let (visit, recording) = sim::record_app(&scenario, log_readings);
    println!(
        "{scenario}\n\n{} of {RECORDS} records are safe",
        visit.result
    );
    println!(
        "{} frames, {:?} of virtual time",
        visit.frames, visit.elapsed
    );
    println!("{} octets of diagram", recording.ladder().len());
}

/// Whatever happens, nothing hangs, and what counts as safe is at the server.
#[test]
fn no_record_is_lost() {
    let profiles = [Profile::Lan, Profile::Wifi, Profile::Lte, Profile::Rotten];
    for seed in 0..400 {
        let scenario = Scenario::new(profiles[seed as usize % 4], seed);
        let visit = sim::run_app(&scenario, log_readings);
        let (mut next, records) = (0, visit.received.iter().flat_map(|all| all.chunks_exact(8)));
        for record in records.map(|record| u64::from_be_bytes(record.try_into().unwrap())) {
            assert!(record <= next, "record {next} is missing: {scenario}");
            next = next.max(record + 1);
        }
        assert!(
            next >= visit.result,
            "{} are safe? {scenario}",
            visit.result
        );
    }
}
