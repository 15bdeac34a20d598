//! The truth with single segments: what it considers certain, and what not.

use super::*;
use crate::loopback::{Flags, OUR_V4, PEER_V4, Segment};
use crate::peers::PEER_PORT;
use smoltcp::phy::Medium;

const OURS: u16 = 50_000;
/// Our initial sequence number, and the peer's.
const ISS: u32 = 1_000;
const IRS: u32 = 9_000;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn from_us(flags: Flags, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    Segment {
        src: OUR_V4.into(),
        dst: PEER_V4.into(),
        ..Segment::new(OURS, PEER_PORT, flags, seq, ack)
            .with_window(1_000)
            .with_payload(vec![1; len])
    }
    .to_frame(Medium::Ip)
}

fn from_peer(flags: Flags, seq: u32, ack: u32, len: usize) -> Vec<u8> {
    Segment::new(PEER_PORT, OURS, flags, seq, ack)
        .with_window(500)
        .with_payload(vec![2; len])
        .to_frame(Medium::Ip)
}

/// Connected, with 100 octets in flight.
fn open() -> Wire {
    let mut wire = Wire::new(Medium::Ip, true, [Duration::from_secs(30)].into_iter());
    wire.lane_mut(0).begin(at(0), None);
    wire.note_sent(at(0), &from_us(Flags::SYN, ISS, 0, 0));
    let answer = Flags::SYN | Flags::ACK;
    wire.note_arrival(at(1), &from_peer(answer, IRS, ISS + 1, 0));
    wire.note_sent(at(1), &from_us(Flags::ACK, ISS + 1, IRS + 1, 0));
    wire.note_sent(at(1), &from_us(Flags::ACK, ISS + 1, IRS + 1, 100));
    wire
}

#[test]
fn a_rst_acknowledges_nothing() {
    let mut wire = open();
    let flags = Flags::RST | Flags::ACK;
    wire.note_arrival(at(2), &from_peer(flags, IRS + 1, ISS + 101, 0));
    assert_eq!(wire.lane(0).acknowledged(), 0);
    assert_eq!(wire.lane(0).peer_end, PeerEnd::Rst);
}

#[test]
fn a_rst_with_data_counts_at_a_closed_window_and_one_not_at_rcv_nxt_does_not() {
    for (seq, end) in [
        (IRS + 1, PeerEnd::Rst),
        (IRS + 2, PeerEnd::Open),
        (IRS, PeerEnd::Open),
    ] {
        let mut wire = open();
        wire.note_arrival(at(2), &from_peer(Flags::RST, seq, 0, 10));
        assert_eq!(wire.lane(0).peer_end, end);
    }
}

#[test]
fn a_fin_with_an_old_ack_number_counts() {
    let mut wire = open();
    wire.note_arrival(at(2), &from_peer(Flags::ACK, IRS + 1, ISS + 101, 0));
    assert_eq!(wire.lane(0).acknowledged(), 100);
    let fin = Flags::FIN | Flags::ACK;
    wire.note_arrival(at(3), &from_peer(fin, IRS + 1, ISS + 51, 10));
    assert_eq!(wire.lane(0).peer_end, PeerEnd::Fin);
    assert_eq!(wire.lane(0).sent_before_fin(), Some(10));
}

/// Our end may keep a part of such data: its own ACK shows how much.
#[test]
fn a_rst_after_data_with_an_old_ack_number_counts_if_our_end_acknowledged_the_data() {
    let mut wire = open();
    wire.note_arrival(at(2), &from_peer(Flags::ACK, IRS + 1, ISS + 101, 0));
    wire.note_arrival(at(3), &from_peer(Flags::ACK, IRS + 1, ISS + 51, 300));
    wire.note_sent(at(3), &from_us(Flags::ACK, ISS + 101, IRS + 1 + 128, 0));
    wire.note_arrival(at(4), &from_peer(Flags::RST, IRS + 1 + 128, 0, 0));
    assert!(wire.lane(0).saw_rst.is_some());
    assert_eq!(wire.lane(0).peer_end, PeerEnd::Open);
}

/// A listener that has served a caller, and then receives the segment `last`.
fn called(last: &[u8]) -> Wire {
    let mut wire = Wire::new(Medium::Ip, true, [Duration::from_secs(30)].into_iter());
    wire.lane_mut(0).begin(at(0), Some(OURS));
    wire.note_arrival(at(1), &from_peer(Flags::SYN, IRS, 0, 0));
    wire.note_sent(at(1), &from_us(Flags::SYN | Flags::ACK, ISS, IRS + 1, 0));
    wire.note_arrival(at(2), &from_peer(Flags::ACK, IRS + 1, ISS + 1, 0));
    assert_eq!(wire.lane(0).opening, Opening::Synchronised);
    wire.note_arrival(at(3), last);
    wire
}

#[test]
fn a_caller_is_not_reset_while_another_is_served() {
    let lively = from_peer(Flags::ACK, IRS + 1, ISS + 1, 0);
    let reset = from_peer(Flags::RST, IRS + 1, 0, 0);
    for (last, fault) in [(lively, Some(Fault::CallerReset)), (reset, None)] {
        let mut wire = called(&last);
        wire.note_arrival(at(4), &from_peer(Flags::SYN, IRS + 5000, 0, 0));
        let answer = Flags::RST | Flags::ACK;
        wire.note_sent(at(4), &from_us(answer, 0, IRS + 5001, 0));
        assert_eq!(wire.lane(0).fault, fault);
    }
}

#[test]
fn an_ack_number_older_than_anything_in_flight_is_not_certain() {
    let mut wire = open();
    wire.note_arrival(at(2), &from_peer(Flags::ACK, IRS + 1, ISS + 101, 0));
    let fin = Flags::FIN | Flags::ACK;
    let old = ISS.wrapping_sub(100);
    wire.note_arrival(at(3), &from_peer(fin, IRS + 1, old, 0));
    assert_eq!(wire.lane(0).peer_end, PeerEnd::Open);
}

#[test]
fn a_syn_without_ack_opens_nothing() {
    let mut wire = Wire::new(Medium::Ip, true, [Duration::from_secs(30)].into_iter());
    wire.lane_mut(0).begin(at(0), None);
    wire.note_sent(at(0), &from_us(Flags::SYN, ISS, 0, 0));
    wire.note_arrival(at(1), &from_peer(Flags::SYN, IRS, 0, 0));
    assert_eq!(wire.lane(0).opening, Opening::SynSent);
    let answer = Flags::SYN | Flags::ACK;
    wire.note_sent(at(2), &from_us(answer, ISS, IRS + 1, 0));
    assert_eq!(wire.lane(0).fault, Some(Fault::SimultaneousOpen));
}

/// The peer should not shrink a window that it has announced (RFC 9293, 3.8.6).
#[test]
fn data_stays_within_the_furthest_window() {
    let mut wire = open();
    let window = |window, seq, len| {
        Segment::new(PEER_PORT, OURS, Flags::ACK, seq, ISS + 101)
            .with_window(window)
            .with_payload(vec![2; len])
            .to_frame(Medium::Ip)
    };
    wire.note_arrival(at(2), &window(500, IRS + 1, 1));
    wire.note_arrival(at(3), &window(10, IRS + 2, 1));
    let furthest = ISS + 101 + 500;
    wire.note_sent(at(5), &from_us(Flags::ACK, furthest - 10, IRS + 3, 10));
    assert_eq!(wire.lane(0).fault, None);
    wire.note_sent(at(5), &from_us(Flags::ACK, furthest, IRS + 3, 2));
    assert_eq!(wire.lane(0).fault, Some(Fault::BeyondWindow));
}

#[test]
fn a_late_answer_to_a_probe_of_the_peer_is_found() {
    for (answered_at, is_late) in [(100, false), (400, true)] {
        let mut wire = open();
        wire.note_arrival(at(50), &from_peer(Flags::ACK, IRS, ISS + 101, 0));
        assert_eq!(wire.lane(0).owed.late(at(60)), None);
        wire.note_sent(at(answered_at), &from_us(Flags::ACK, ISS + 101, IRS + 1, 0));
        assert_eq!(wire.lane(0).owed.late(at(5_000)).is_some(), is_late);
    }
}

#[test]
fn the_rst_of_an_abort_is_at_snd_nxt() {
    for (seq, fault) in [(ISS + 101, None), (ISS + 1, Some(Fault::RstElsewhere))] {
        let mut wire = open();
        let flags = Flags::RST | Flags::ACK;
        wire.note_sent(at(2), &from_us(flags, seq, IRS + 1, 0));
        assert_eq!(wire.lane(0).fault, fault);
    }
}

/// Of two ACKs of our FIN at the same instant, the one that repeats what was received is not
/// acceptable (RFC 9293, 3.10.7.4, step 1), and acknowledges nothing for certain.
#[test]
fn what_repeats_received_data_does_not_acknowledge_our_fin_for_certain() {
    let fin = ISS + 101;
    for (seq, is_certain) in [(IRS + 1, false), (IRS + 4, true)] {
        let mut wire = open();
        wire.note_sent(at(1), &from_us(Flags::FIN | Flags::ACK, fin, IRS + 1, 0));
        wire.note_arrival(at(2), &from_peer(Flags::ACK, IRS + 1, fin, 3));
        wire.note_arrival(at(2), &from_peer(Flags::ACK, seq, fin + 1, 2));
        assert_eq!(wire.lane(0).acknowledged(), 101);
        assert_eq!(wire.lane(0).is_surely_finished(), is_certain, "{seq}");
    }
}

/// A peer that repeats what it sent first, before anything of ours arrived, is heard.
#[test]
fn a_repetition_of_the_whole_first_window_is_heard() {
    let mut wire = Wire::new(Medium::Ip, true, [Duration::from_secs(30)].into_iter());
    wire.lane_mut(0).begin(at(0), Some(OURS));
    wire.note_arrival(at(0), &from_peer(Flags::SYN, IRS, 0, 0));
    let answer = Flags::SYN | Flags::ACK;
    wire.note_sent(at(0), &from_us(answer, ISS, IRS + 1, 0));
    wire.note_arrival(at(1), &from_peer(Flags::ACK, IRS + 1, ISS + 1, 1_000));
    let full = Segment::parse(
        &from_us(Flags::ACK, ISS + 1, IRS + 1_001, 0),
        Medium::Ip,
        at(1),
    );
    let full = full.expect("ours").with_window(0).to_frame(Medium::Ip);
    wire.note_sent(at(1), &full);
    wire.note_arrival(at(9), &from_peer(Flags::ACK, IRS + 1, ISS + 1, 1_000));
    assert_eq!(wire.lane(0).heard_at, at(9));
}
