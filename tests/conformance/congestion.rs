//! How much is in flight (RFC 9293, MUST-19; RFC 5681).

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use lastbyte::core::Nagle;
use lastbyte_sim::loopback::{Handshake, Segment};
use std::time::Duration;

rows!(
    row_43_initial_window,
    row_43_slow_start,
    row_43_one_segment_after_a_timeout,
    row_43_each_connection_starts_with_a_new_window,
);

/// The segment size that smoltcp counts with: the one that the peer announces, although a
/// segment over IPv6 has 20 octets less.
const MSS: u32 = 1_460;

/// How many octets of new data are sent within 10 ms.
fn leaving(script: &mut Script) -> u32 {
    script.run(ms(10));
    script.take_all().iter().map(Segment::seq_len).sum()
}

fn open(on: Setting) -> Script {
    Script::open(on, options(|o| o.nagle(Nagle::Off)))
}

/// RFC 5681, 3.1: at most three segments of this size before anything is acknowledged.
/// smoltcp's window is 2,048 octets.
fn row_43_initial_window(on: Setting) {
    let mut script = open(on);
    script.write(TX);
    assert_eq!(leaving(&mut script), 2_048);
}

/// RFC 5681, 3.1: each ACK adds at most one segment.
fn row_43_slow_start(on: Setting) {
    let mut script = open(on);
    script.write(TX);
    let sent = leaving(&mut script);
    script.acknowledge(sent);
    let more = leaving(&mut script);
    let room = TX - script.us.ledger(script.id).pending() as usize;
    script.write(room);
    assert_eq!(more + leaving(&mut script), sent + MSS);
}

/// RFC 5681, 3.1: the loss window is one segment, whatever was in flight.
fn row_43_one_segment_after_a_timeout(on: Setting) {
    let mut script = open(on);
    script.write(TX);
    let sent = leaving(&mut script);
    script.acknowledge(sent);
    script.take_all();
    // All of it is lost.
    script.run(Duration::from_millis(999));
    script.take_all();
    script.run(ms(500));
    assert_eq!(leaving(&mut script), MSS);
}

/// A connection does not inherit the congestion window of the previous one.
fn row_43_each_connection_starts_with_a_new_window(on: Setting) {
    let mut script = open(on);
    for _ in 0..10 {
        script.write(1_000);
        script.expect_data(1_000);
        script.acknowledge(1_000);
    }
    script.us.writer(script.id).abort().expect("ours");
    let peer = (on.family.peer(), PORT);
    script.take_all();
    let (us, raw) = (&mut script.us, &script.raw);
    let id = us.stack.connect(peer, options(|o| o.nagle(Nagle::Off)));
    script.id = id.expect("the slot");
    script.flow = raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    script.write(TX);
    assert_eq!(leaving(&mut script), 2_048);
}
