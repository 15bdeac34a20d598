//! An attacker who knows both addresses and ports, but no sequence number.
//!
//! The attacker sends 25,000 segments of each of four kinds, so that each of the 2^32
//! sequence numbers is within our receive window of one that was tried:
//!
//! - RST and SYN, at blind sequence numbers.
//! - FIN with data, at blind sequence numbers, but with a known ACK number: otherwise any
//!   TCP would drop them.
//! - ACK, at a known sequence number and with a blind ACK number, which would make the
//!   ledger wrong.
//!
//! In every round one segment of each kind is also in the window, but not exact. Two
//! cases are excluded, because no TCP can distinguish them from the peer's segments (RFC
//! 5961 makes them improbable, not impossible): RCV.NXT itself, or data that overlaps it,
//! and the acknowledgement of an octet in flight.

use crate::Case;
use crate::fixture::{Lab, Seen, accepted, content, lab, lab_over, quick, sha256};
use crate::injector::Injector;
use crate::peer::Peer;
use embedded_io::Write as _;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, State};
use lastbyte_host::tap::Offload;
use lastbyte_sim::loopback::{Flags, Flow, Segment};
use lastbyte_sim::setup::Setup;
use std::thread;
use std::time::Duration;

pub const CASES: &[Case] = &[
    (
        "a_hundred_thousand_forged_segments_change_nothing",
        a_hundred_thousand_forged_segments_change_nothing,
    ),
    (
        "the_same_attacker_with_the_exact_number_resets",
        the_same_attacker_with_the_exact_number_resets,
    ),
    (
        "the_attack_on_a_tap_without_offload_changes_nothing",
        the_attack_on_a_tap_without_offload_changes_nothing,
    ),
    (
        "a_segment_damaged_on_the_way_changes_nothing",
        a_segment_damaged_on_the_way_changes_nothing,
    ),
];

/// The number of segments of each kind.
const EACH: u32 = 25_000;
/// The distance between the tried numbers: 2^32 / [`EACH`], rounded up.
const STEP: u32 = 171_799;
const RX_BUFFER: u32 = 172 * 1024;
const _: () = assert!(STEP <= RX_BUFFER && EACH as u64 * STEP as u64 >= 1 << 32);
/// Much more than the peer's window, so that most of it is queued and not sent: smoltcp
/// without the guard accepts an acknowledgement of that.
const TX_BUFFER: usize = 512 * 1024;
/// An acknowledgement this far beyond SND.NXT is of bytes queued, not sent.
const UNSENT: u32 = 300 * 1024;
/// More than is sent while one round of forged segments is processed.
const FLIGHT: u32 = 200 * 1024;
/// The forged segments of one round and the kernel's own fit into the queue of
/// the TAP, 1,000 frames.
const ROUNDS: u32 = 500;
/// The number of polls in which a round is processed.
const POLLS: u32 = 100;
/// How long a round without acknowledged bytes waits for the peer.
const TURN: Duration = Duration::from_millis(2);
/// The data of a forged FIN.
const FORGED_DATA: &[u8] = b"lies";

/// Counts of what crossed the wire.
#[derive(Debug, Default)]
struct Tally {
    cursor: usize,
    rst: u32,
    rst_in_window: u32,
    syn: u32,
    ack: u32,
    fin: u32,
    /// Pure ACKs of ours. The peer sends nothing to acknowledge, so except that of the
    /// handshake they all answer forged segments: the guard's challenge ACKs, and
    /// smoltcp's own answers to segments outside the window.
    pure_acks: u32,
    /// The highest acknowledgement of the peer, as a count of bytes.
    acknowledged: u64,
    /// The bytes that we sent at least once.
    sent: u32,
    /// Forged segments that acknowledged octets which were in flight when they
    /// arrived: no stack can distinguish those from the peer's.
    plausible: u32,
    /// The window that the peer announced last, before scaling.
    window: u16,
}

impl Tally {
    const fn forged(&self) -> u32 {
        self.rst + self.syn + self.ack + self.fin
    }

    fn update(&mut self, lab: &mut Lab<'_, '_>, flow: &Flow) {
        let first = flow.remote_isn.wrapping_add(1);
        for Seen { segment, is_forged } in lab.seen_since(&mut self.cursor) {
            if segment.is(Flags::SYN) && !is_forged {
                continue;
            }
            let acknowledged = segment.ack.wrapping_sub(first);
            let is_credible =
                u64::from(acknowledged) > self.acknowledged && acknowledged <= self.sent;
            self.plausible += u32::from(is_forged && segment.is(Flags::ACK) && is_credible);
            if segment.src_port == flow.remote.port {
                let end = segment.seq.wrapping_add(segment.seq_len());
                self.sent = self.sent.max(end.wrapping_sub(first));
                let is_bare = segment.flags == Flags::ACK && segment.payload.is_empty();
                self.pure_acks += u32::from(is_bare);
            } else if !is_forged {
                self.acknowledged = self.acknowledged.max(acknowledged.into());
                self.window = segment.window;
            } else if segment.is(Flags::RST) {
                let ahead = segment.seq.wrapping_sub(flow.seq);
                self.rst += 1;
                self.rst_in_window += u32::from((1..RX_BUFFER).contains(&ahead));
            } else if segment.is(Flags::SYN) {
                self.syn += 1;
            } else if segment.is(Flags::FIN) {
                self.fin += 1;
            } else {
                self.ack += 1;
            }
        }
    }
}

/// Where the sweep begins: at 0, or a little later if a segment would be at RCV.NXT or
/// its data would reach it.
fn start_of_sweep(rcv_nxt: u32) -> u32 {
    let reach = 16;
    let meets = (0..EACH).any(|step| rcv_nxt.wrapping_sub(step * STEP) < reach);
    if meets { reach } else { 0 }
}

/// One segment of each kind at each of the numbers of this round, and one of
/// each in the window. `flow` holds RCV.NXT, and SND.NXT as its `ack`; `una` is
/// SND.UNA.
fn round_of_segments(flow: &Flow, una: u32, round: u32, start: u32) -> Vec<Segment> {
    let rst = |seq| flow.rst().with_seq(seq);
    let syn = |seq| flow.segment(Flags::SYN).with_seq(seq);
    let fin = |seq| {
        let fin = flow.segment(Flags::FIN | Flags::ACK).with_ack(una);
        fin.with_seq(seq).with_payload(FORGED_DATA)
    };
    let unsent = flow.ack.wrapping_add(UNSENT);
    let ack = |number: u32| {
        let is_in_flight = number.wrapping_sub(una) <= flow.ack.wrapping_sub(una) + FLIGHT;
        flow.ack()
            .with_ack(if is_in_flight { unsent } else { number })
    };
    let per_round = EACH / ROUNDS;
    let numbers =
        (round * per_round..(round + 1) * per_round).map(|step| start.wrapping_add(step * STEP));
    let near = flow.seq.wrapping_add(1 + round);
    numbers
        .flat_map(|number| [rst(number), syn(number), ack(number), fin(number)])
        .chain([rst(near), syn(near.wrapping_sub(1)), ack(unsent), fin(near)])
        .collect()
}

/// Sends during the attack. Returns what was sent.
fn send_under_attack(
    lab: &mut Lab<'_, '_>,
    id: ConnectionId,
    flow: &Flow,
    tally: &mut Tally,
) -> Vec<u8> {
    let mut injector = Injector::new(lab);
    let data = content(1 << 20);
    let start = start_of_sweep(flow.seq);
    let mut sent = Vec::new();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let rest = &data[sent.len() % data.len()..];
        let taken = accepted(lab.stack.writer(id).unwrap().try_write(rest));
        sent.extend_from_slice(&rest[..taken]);
        let ledger = lab.stack.report(id).unwrap().ledger;
        tally.update(lab, flow);
        assert!(ledger.acknowledged() <= tally.acknowledged, "round {round}");
        if ledger.acknowledged() == acknowledged {
            // The peer's process has not run.
            thread::sleep(TURN);
        }
        acknowledged = ledger.acknowledged();
        let first = flow.remote_isn.wrapping_add(1);
        let una = first.wrapping_add(u32::try_from(ledger.acknowledged()).unwrap());
        // A forger who knows both numbers can overstate the window and so make us send
        // what the peer must drop: that costs time but no byte, and would only slow this
        // transfer down.
        let mut now = Flow {
            window: (tally.window / 2).max(1),
            ..*flow
        };
        now.ack = first.wrapping_add(tally.sent);
        let segments = round_of_segments(&now, una, round, start);
        let expected = tally.forged() + u32::try_from(segments.len()).unwrap();
        injector.send(&segments);
        for _ in 0..POLLS {
            lab.stack.poll();
            tally.update(lab, flow);
            if tally.forged() == expected {
                break;
            }
        }
        assert_eq!(lab.stack.state(id), Ok(State::Open), "round {round}");
        assert_eq!(tally.forged(), expected, "round {round}: all arrived");
        assert_eq!(tally.plausible, 0, "round {round}: the forger was too good");
    }
    sent
}

fn a_hundred_thousand_forged_segments_change_nothing() {
    withstand(Offload::Segmentation);
}

/// Without offload the guard verifies the checksum of every segment itself.
fn the_attack_on_a_tap_without_offload_changes_nothing() {
    withstand(Offload::None);
}

/// A RST at the right number, with one damaged bit. The device or the guard verifies the
/// checksum; the kernel does not verify frames that it gets complete.
fn a_segment_damaged_on_the_way_changes_nothing() {
    for offload in Offload::ALL {
        lab_over(
            offload,
            |_| (),
            |lab| {
                let mut peer = Peer::serving("drain()");
                let id = lab.connect(&mut peer, quick().build().unwrap());
                let flow = lab.flow(id);
                let mut injector = Injector::new(lab);
                injector.send_damaged(&flow.rst());
                for _ in 0..POLLS {
                    lab.stack.poll();
                }
                assert_eq!(lab.stack.state(id), Ok(State::Open), "{offload}");
                injector.send([&flow.rst()]);
                let report = lab.wait_end(id);
                assert_eq!(report.cause, Some(Cause::PeerReset), "{offload}");
            },
        );
    }
}

fn withstand(offload: Offload) {
    let adapt = |setup: &mut Setup| {
        setup.rx_buffer = RX_BUFFER as usize;
        setup.tx_buffer = TX_BUFFER;
    };
    lab_over(offload, adapt, |lab| {
        // A small window, so that many of our bytes have to wait.
        let script = "c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768); drain(); report()";
        let mut peer = Peer::serving(script);
        // If a peer closes its window, drops what is in flight, and opens the window
        // again, smoltcp loses its timer; and a forger in the window resets its count of
        // duplicate ACKs. The three that are needed arrive with our probes, one every two
        // seconds.
        let patient = quick().finish_timeout(Duration::from_secs(30));
        let id = lab.connect(&mut peer, patient.build().unwrap());
        let flow = lab.flow(id);
        let mut tally = Tally::default();
        let sent = send_under_attack(lab, id, &flow, &mut tally);
        let with_luck = EACH + ROUNDS;
        let counted = [tally.rst, tally.syn, tally.ack, tally.fin];
        assert_eq!(counted, [with_luck; 4], "every forged segment arrived");
        // One in the window in each round, and those of the blind sweep.
        assert!(tally.rst_in_window > ROUNDS, "{tally:?}");
        let answers = tally.pure_acks - 1;
        assert!(answers > 0, "{tally:?}");

        let report = lab.stack.writer(id).unwrap().finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        let received = peer.received();
        assert_eq!(received.bytes, sent.len() as u64);
        assert_eq!(received.sha256, sha256(&sent));
        assert_eq!(lab.check(id).ledger.acknowledged(), received.bytes);
        assert!(sent.len() > 2 * TX_BUFFER, "only {} bytes", sent.len());
        println!(
            "{} bytes under {} forged segments; {} RSTs in the window, {answers} pure ACKs in answer",
            sent.len(),
            4 * with_luck,
            tally.rst_in_window
        );
    });
}

fn the_same_attacker_with_the_exact_number_resets() {
    lab(|lab| {
        let mut peer = Peer::serving("drain()");
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        writer.flush().unwrap();
        let flow = lab.flow(id);
        Injector::new(lab).send([&flow.rst()]);
        let report = lab.wait_end(id);
        assert_eq!(report.cause, Some(Cause::PeerReset));
        assert_eq!(report.ledger.acknowledged(), 1_000);
        lab.check(id);
    });
}
