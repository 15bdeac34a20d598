//! A request/reply protocol on 10,000 bad networks.
//!
//! `cargo run --release --example simulate_my_firmware` runs them, and draws the ladder of one
//! that reveals a bug; `cargo test --example simulate_my_firmware` is the same as a test.

use embedded_io::{Read, Write};
use lastbyte::stack::Stack;
use lastbyte::stack::smoltcp::{phy::Device, wire::IpEndpoint};
use lastbyte::{Clock, OnReceive, Options};
use lastbyte_sim::{self as sim, Harness, Profile, Scenario};
use std::time::{Duration, Instant};
use std::{cell::Cell, rc::Rc};

const READINGS: u8 = 20;

/// The firmware: a numbered reading every ten seconds, which the server confirms with its number.
/// After any failure it connects again and continues. Returns how many readings are safe. The
/// optional bug: it does not check whether a reading was confirmed.
fn report<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, 1>,
    server: IpEndpoint,
    has_bug: bool,
) -> u8 {
    let keep = Options::builder().on_receive(OnReceive::Keep).build();
    let mut safe = 0;
    for _attempt in 0..10 {
        let id = stack.connect(server, keep.unwrap()).unwrap();
        while safe < READINGS && stack.writer(id).unwrap().write_all(&[safe, 21]).is_ok() {
            let mut reply = [0];
            let answered = stack.reader(id).unwrap().read_exact(&mut reply);
            if !has_bug && (answered.is_err() || reply != [safe]) {
                break;
            }
            safe += 1;
            stack.run_for(Duration::from_secs(10));
        }
        stack.release(id).unwrap();
        stack.run_for(Duration::from_secs(30));
    }
    safe
}

/// One network, by its seed. The server accepts readings in order, some of them twice.
fn trial(seed: u64, has_bug: bool) {
    let profiles = [Profile::Lan, Profile::Wifi, Profile::Lte, Profile::Rotten];
    let scenario = Scenario::new(profiles[seed as usize % 4], seed);
    let stored = Rc::new(Cell::new(0));
    let server = Rc::clone(&stored);
    let harness = Harness::new(&scenario).serve(7, move |received, reply| {
        while received.len() >= 2 {
            let number = received.drain(..2).next().unwrap();
            assert!(number <= server.get(), "reading {} is lost", server.get());
            server.set(server.get().max(number + 1));
            reply.send(&[number]);
        }
    });
    let visit = harness.run(|stack, server| report(stack, server, has_bug));
    assert!(visit.result <= stored.get(), "safe, and never stored");
    assert_eq!(visit.findings, []);
}

fn main() {
    let started = Instant::now();
    sim::explore(0..10_000, |seed| trial(seed, false)).unwrap();
    let took = started.elapsed();
    println!("10,000 networks in {took:?}: no reading is lost.\n\nWith the bug:");
    let failure = sim::explore(0..10_000, |seed| trial(seed, true)).unwrap_err();
    let ladder = std::env::temp_dir().join("simulate_my_firmware.svg");
    std::fs::write(&ladder, failure.ladder()).unwrap();
    println!("{failure}\n\nIts ladder: {}", ladder.display());
}

#[test]
fn no_reading_is_lost_without_the_bug() {
    sim::explore(0..200, |seed| trial(seed, false)).unwrap();
    assert!(sim::explore(0..1_000, |seed| trial(seed, true)).is_err());
}
