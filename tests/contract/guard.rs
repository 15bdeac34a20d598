//! How the guard handles ICMP errors and segments that an off-path attacker could send.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::*;
use embedded_io::Read;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::phy::Medium;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Advice, Cause, OnReceive, Options, State};
use lastbyte_sim::loopback::{
    Direction, Drops, Flags, Flow, Handshake, PEER_V4, PEER_V6, RawPeer, Segment, World,
    WorldConfig,
};

/// Asserts that the segment changes nothing, and is answered with an ACK at the present
/// numbers.
#[track_caller]
fn assert_challenged(
    us: &mut Us<1>,
    id: ConnectionId,
    raw: &RawPeer,
    flow: &Flow,
    segment: &Segment,
) {
    let ledger = us.ledger(id);
    raw.send(segment);
    us.stack.poll();
    assert_eq!(us.state(id), State::Open, "{segment}");
    assert_eq!(us.ledger(id), ledger, "{segment}");
    let challenge = raw.recv();
    assert_eq!(challenge.flags, Flags::ACK, "{segment}: {challenge}");
    assert_eq!(challenge.ack, flow.seq, "{segment}: {challenge}");
    assert!(challenge.payload.is_empty());
    us.check(id);
    // Challenge ACKs are limited to one a second (RFC 5961, 7).
    us.stack.run_for(secs(2));
}

#[test]
fn a_rst_in_the_window_but_not_exact_is_challenged() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    for ahead in [1, 2, 100, 255] {
        let rst = flow.rst().with_seq(flow.seq.wrapping_add(ahead));
        assert_challenged(&mut us, id, &raw, &flow, &rst);
    }
}

#[test]
fn a_rst_out_of_the_window_is_silently_dropped() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    for off in [u32::MAX, 1 << 20, 1 << 31] {
        raw.send(&flow.rst().with_seq(flow.seq.wrapping_add(off)));
        us.stack.poll();
        assert_eq!(us.state(id), State::Open);
        raw.recv_nothing();
    }
}

#[test]
fn a_rst_whose_data_reaches_into_the_window_is_silently_dropped() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    for below in [1, 100, 1_000] {
        let rst = flow.rst().with_seq(flow.seq.wrapping_sub(below));
        raw.send(&rst.with_payload([0; 1_100]));
        us.stack.poll();
        assert_eq!(us.state(id), State::Open);
        raw.recv_nothing();
    }
}

/// IPv6 with a hop-by-hop options header of padding before the segment.
fn with_hop_by_hop(segment: &Segment, medium: Medium) -> Vec<u8> {
    let mut frame = segment.to_frame(medium);
    let ip = frame.len() - 40 - 20;
    let len = u16::from_be_bytes([frame[ip + 4], frame[ip + 5]]) + 8;
    frame[ip + 4..ip + 6].copy_from_slice(&len.to_be_bytes());
    let tcp = core::mem::replace(&mut frame[ip + 6], 0);
    frame.splice(ip + 40..ip + 40, [tcp, 0, 1, 4, 0, 0, 0, 0]);
    frame
}

#[test]
fn the_rules_hold_after_a_hop_by_hop_header() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = us.stack.connect((PEER_V6, PORT), Options::default());
    let id = id.expect("a slot, a port and a route");
    let flow = raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    assert_eq!(us.state(id), State::Open);
    let medium = world.config().medium;
    let rst = flow.rst().with_seq(flow.seq.wrapping_add(1));
    raw.send_frame(with_hop_by_hop(&rst, medium));
    us.stack.poll();
    assert_eq!(us.state(id), State::Open);
    assert_eq!(raw.recv().flags, Flags::ACK);
    raw.send_frame(with_hop_by_hop(&flow.rst(), medium));
    us.assert_refused(id, Cause::PeerReset, 0, 0);
}

#[test]
fn an_exact_rst_counts_even_after_data_in_the_same_poll() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    raw.send(&flow.data(b"last words"));
    raw.send(&flow.rst());
    us.assert_refused(id, Cause::PeerReset, 0, 0);
    assert_eq!(us.report(id).discarded, 10);
}

/// smoltcp panics at a SYN for a socket that has announced no window yet.
#[test]
fn a_syn_before_ours_was_sent_is_dropped() {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    world.set_drops(Direction::ToPeer, Drops::All);
    let mut us = Us::<1>::new(&world);
    let id = us.connect(Options::default());
    let local = us.stack.endpoints(id).expect("ours").expect("connecting").0;
    raw.send(&Segment::new(PORT, local.port, Flags::SYN, 5_000, 0));
    us.stack.run_for(secs(1));
    assert_eq!(us.state(id), State::Connecting);
}

#[test]
fn a_syn_on_an_open_connection_is_challenged() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    for ahead in [0, 1, 1 << 20, 1 << 31] {
        let syn = flow.segment(Flags::SYN);
        let seq = flow.seq.wrapping_add(ahead);
        assert_challenged(&mut us, id, &raw, &flow, &syn.with_seq(seq));
    }
}

#[test]
fn an_ack_of_what_was_never_sent_is_challenged_and_credits_nothing() {
    let (mut us, id, raw, flow) = scripted_with(
        Handshake {
            window: 10,
            ..Default::default()
        },
        Options::default(),
    );
    // 100 bytes are queued, 10 of them sent.
    us.write(id, 100);
    assert_eq!(raw.recv().payload.len(), 10);
    for beyond in [11, 50, 100] {
        let ack = flow.ack().with_ack(flow.ack.wrapping_add(beyond));
        raw.send(&ack);
        us.stack.poll();
        assert_ledger(us.ledger(id), 100, 0);
    }
    raw.send(&flow.ack().with_ack(flow.ack.wrapping_add(10)));
    us.stack.poll();
    assert_ledger(us.ledger(id), 100, 10);
}

#[test]
fn a_fin_beyond_the_window_is_challenged_and_its_data_not_accepted() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    // It begins at RCV.NXT and ends beyond any buffer of the fixture's.
    let fin = flow.segment(Flags::FIN | Flags::ACK);
    let fin = fin.with_payload(vec![0; RX + 1]);
    assert_challenged(&mut us, id, &raw, &flow, &fin);
    assert_eq!(us.report(id).discarded, 0);
}

#[test]
fn only_intact_and_acceptable_segments_count_as_hearing_the_peer() {
    let (mut us, id, raw, flow) = scripted(Options::default());
    us.write(id, 10);
    us.stack.run_for(secs(60));
    raw.send(&flow.ack().with_seq(flow.seq.wrapping_add(1_000_000)));
    let mut broken = flow.ack().to_frame(us.world.config().medium);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    raw.send_frame(broken);
    us.stack.run_for(secs(41));
    us.assert_refused(id, Cause::Vanished, 10, 0);
}

#[test]
fn a_hard_icmp_error_while_connecting_is_unreachable_at_once() {
    for code in 2..=4 {
        let (mut us, id, raw, syn) = connecting();
        raw.send_unreachable(&syn, code);
        us.stack.poll();
        us.assert_refused(id, Cause::Unreachable, 0, 0);
    }
}

#[test]
fn a_soft_icmp_error_is_advice() {
    for code in [0, 1, 5] {
        let (mut us, id, raw, syn) = connecting();
        raw.send_unreachable(&syn, code);
        us.stack.poll();
        assert_eq!(us.state(id), State::Connecting);
        assert_eq!(us.stack.poll_advice(id), Ok(Some(Advice::Icmp)));
        assert_eq!(us.stack.poll_advice(id), Ok(None), "reported once");
    }
}

#[test]
fn a_hard_icmp_error_on_an_open_connection_is_advice() {
    let (mut us, id, raw, _) = scripted(Options::default());
    us.write(id, 10);
    let data = raw.recv();
    raw.send_unreachable(&data, 3);
    us.stack.poll();
    assert_eq!(us.state(id), State::Open);
    assert_eq!(us.stack.poll_advice(id), Ok(Some(Advice::Icmp)));
    us.check(id);
}

#[test]
fn an_icmp_error_about_a_segment_not_in_flight_is_ignored() {
    let (mut us, id, raw, syn) = connecting();
    let forged = syn.clone().with_seq(syn.seq.wrapping_add(1));
    raw.send_unreachable(&forged, 3);
    us.stack.poll();
    assert_eq!(us.state(id), State::Connecting);
    assert_eq!(us.stack.poll_advice(id), Ok(None));
}

#[test]
fn finishing_with_unread_data_drains_and_then_resets() {
    let options = Options::builder().on_receive(OnReceive::Keep);
    let (mut us, id, raw, mut flow) = scripted(options.build().expect("sound"));
    us.write(id, 10);
    assert_eq!(raw.recv().payload.len(), 10);
    raw.send(&flow.data(b"never read"));
    us.stack.poll();
    us.writer(id).begin_finish();
    us.stack.run_for(ms(100));
    while let Some(segment) = raw.try_recv() {
        assert!(!segment.is(Flags::FIN), "{segment}");
        assert!(!segment.is(Flags::RST), "it drains first: {segment}");
    }
    flow.take(10);
    raw.send(&flow.ack());
    us.stack.poll();
    let rst = raw.recv();
    assert!(rst.is(Flags::RST), "{rst}");
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    assert_ledger(us.ledger(id), 10, 10);
}

#[test]
fn finishing_sends_a_fin_once_the_unread_data_is_read() {
    let options = Options::builder().on_receive(OnReceive::Keep);
    let (mut us, id, raw, mut flow) = scripted(options.build().expect("sound"));
    us.write(id, 10);
    assert_eq!(raw.recv().payload.len(), 10);
    raw.send(&flow.data(b"read late"));
    us.stack.poll();
    us.writer(id).begin_finish();
    let mut read = [0; 64];
    let len = us.stack.reader(id).expect("ours").read(&mut read);
    assert_eq!(len, Ok(9));
    flow.take(10);
    raw.send(&flow.ack());
    us.stack.poll();
    let last = core::iter::from_fn(|| raw.try_recv()).last().expect("sent");
    assert!(last.is(Flags::FIN), "{last}");
}

#[test]
fn fin_wait_2_is_left_after_the_finish_timeout() {
    let (mut us, id, raw, mut flow) = scripted(Options::default());
    us.writer(id).begin_finish();
    assert!(raw.recv().is(Flags::FIN));
    flow.take(1);
    raw.send(&flow.ack());
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    // The peer never closes. Until the timeout its data is still acknowledged.
    us.stack.run_for(secs(29));
    raw.send(&flow.data(b"more"));
    us.stack.run_for(ms(100));
    assert_eq!(raw.recv().flags, Flags::ACK);
    us.stack.run_for(secs(2));
    raw.send(&flow.data(b"too late"));
    us.stack.run_for(ms(100));
    assert!(raw.recv().is(Flags::RST), "forgotten by then");
}

#[test]
fn a_segment_that_overtook_another_waits_for_it() {
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let (mut us, id, raw, mut flow) = scripted(keep);
    let (first, second) = (flow.data(b"first, "), flow.data(b"second"));
    for segment in [second, first] {
        raw.send(&segment);
        us.stack.poll();
    }
    let mut read = [0; 64];
    let len = us.stack.reader(id).expect("ours").read(&mut read);
    assert_eq!(&read[..len.expect("open")], b"first, second");
}

#[test]
fn data_beyond_the_window_is_accepted_up_to_its_edge() {
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let (mut us, id, raw, flow) = scripted(keep);
    let data = pattern(0, RX + 10);
    raw.send(&flow.ack().with_payload(data.clone()));
    us.stack.poll();
    let mut read = vec![0; RX + 10];
    let len = us.stack.reader(id).expect("ours").read(&mut read);
    assert_eq!(len, Ok(RX));
    assert_eq!(read[..RX], data[..RX]);
}

/// Whether a segment counts as hearing the peer.
fn is_heard(make: impl Fn(&Flow) -> Segment) -> bool {
    let (mut us, id, raw, flow) = scripted(Options::default());
    us.write(id, 10);
    us.stack.run_for(secs(60));
    raw.send(&make(&flow));
    us.stack.run_for(secs(41));
    us.check(id);
    match us.state(id) {
        State::Closed(Cause::Unacknowledged) => true,
        State::Closed(Cause::Vanished) => false,
        other => panic!("{other}"),
    }
}

#[test]
fn only_segments_that_the_peer_can_have_sent_count_as_hearing_it() {
    let at = |ahead: u32| move |flow: &Flow| flow.ack().with_seq(flow.seq.wrapping_add(ahead));
    let edge = RX as u32;
    assert!(is_heard(at(0)));
    // A keep-alive probe, and data that is older by one receive buffer.
    assert!(is_heard(at(u32::MAX)));
    assert!(is_heard(at(0_u32.wrapping_sub(edge))));
    assert!(
        !is_heard(at(0_u32.wrapping_sub(1 << 20))),
        "older than that"
    );
    assert!(!is_heard(at(1 << 31)), "older than any window");
    assert!(is_heard(at(edge)), "a pure ACK at a closed window");
    assert!(is_heard(at(edge + 1)), "a FIN at the edge was lost");
    assert!(!is_heard(at(edge + 2)));
    let data_at = |ahead| move |flow: &Flow| at(ahead)(flow).with_payload(b"x");
    assert!(is_heard(data_at(1)), "it overtook another");
    assert!(is_heard(data_at(edge - 1)));
    assert!(is_heard(data_at(edge)), "it probes a closed window");
    assert!(is_heard(data_at(edge + 1)));
    assert!(!is_heard(data_at(edge + 2)));
    let fin_at = |ahead, len| {
        move |flow: &Flow| {
            let fin = flow.segment(Flags::FIN | Flags::ACK);
            fin.with_seq(flow.seq.wrapping_add(ahead))
                .with_payload(vec![0; len])
        }
    };
    assert!(is_heard(fin_at(edge, 0)), "a FIN at the edge");
    assert!(is_heard(fin_at(0, RX + 1)), "a FIN beyond the window");
    assert!(!is_heard(fin_at(edge + 2, 0)));
}

/// A segment in flight to one of the peer's addresses.
fn in_flight(to: IpAddress) -> (Us<1>, ConnectionId, RawPeer, Segment) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<1>::new(&world);
    let id = us.stack.connect((to, PORT), Options::default());
    let id = id.expect("a slot, a port and a route");
    raw.handshake(Handshake::default(), || {
        us.stack.poll();
    });
    us.write(id, 10);
    let data = raw.recv();
    (us, id, raw, data)
}

/// The soft ICMP error about that segment, as it arrives.
fn icmp_frame(to: IpAddress) -> Vec<u8> {
    let (mut us, id, raw, data) = in_flight(to);
    let frames = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&frames);
    us.world.witness(move |_, direction, frame| {
        if direction == Direction::ToUs {
            sink.borrow_mut().push(frame.to_vec());
        }
    });
    raw.send_unreachable(&data, 0);
    us.stack.poll();
    assert_eq!(us.stack.poll_advice(id), Ok(Some(Advice::Icmp)));
    frames.take().pop().expect("it arrived")
}

/// The message with another type and an adapted checksum (RFC 1624).
fn retyped(mut frame: Vec<u8>, at: usize, kind: u8) -> Vec<u8> {
    let word = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let (old, checksum) = (word(&frame[at..]), word(&frame[at + 2..]));
    frame[at] = kind;
    let sum = (checksum ^ 0xffff) + (old ^ 0xffff) + word(&frame[at..]);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[at + 2..at + 4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame
}

#[test]
fn only_an_intact_icmp_message_of_the_right_type_counts() {
    const ETHERNET: usize = 14;
    let families = [
        (IpAddress::from(PEER_V4), ETHERNET + 20, 3, 11),
        (IpAddress::from(PEER_V6), ETHERNET + 40, 1, 3),
    ];
    for (to, at, unreachable, time_exceeded) in families {
        let frame = icmp_frame(to);
        assert_eq!(frame[at], unreachable);
        let mut damaged = frame.clone();
        damaged[at + 2] ^= 1;
        let advice = |frame| {
            let (mut us, id, raw, _) = in_flight(to);
            raw.send_frame(frame);
            us.stack.poll();
            us.stack.poll_advice(id).expect("ours")
        };
        assert_eq!(advice(damaged), None, "{to}");
        assert_eq!(advice(retyped(frame.clone(), at, time_exceeded)), None);
        assert_eq!(
            advice(retyped(frame, at, unreachable)),
            Some(Advice::Icmp),
            "{to}: otherwise the altered one was refused for its checksum"
        );
    }
}
