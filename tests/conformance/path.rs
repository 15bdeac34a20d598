//! Paths that carry smaller packets than our device.

use crate::common::frames::too_big;
use crate::common::*;
use crate::rows;
use crate::script::{Family, Script, Setting};
use lastbyte::stack::smoltcp::phy::Medium;
use lastbyte::{Advice, Cause, Options};
use lastbyte_sim::loopback::{Direction, Drops, Flags, Flow, Segment};
use std::cell::Cell;
use std::rc::Rc;

rows!(
    row_63_path_mtu,
    row_63_path_mtu_with_max_segment,
    row_63_packet_too_big
);

/// The MTU of the path.
const MTU: u16 = 1_280;

/// Drops what a router drops before a path with a smaller MTU: packets that are too long
/// and must not be fragmented.
fn narrow(script: &Script) {
    let is_ethernet = script.us.world.config().medium == Medium::Ethernet;
    let link = if is_ethernet { 14 } else { 0 };
    let drops = Drops::matching(move |frame| {
        let packet = &frame[link..];
        let has_room = packet.len() <= usize::from(MTU);
        let may_be_fragmented = packet[0] >> 4 == 4 && packet[6] & 0x40 == 0;
        !has_room && !may_be_fragmented
    });
    script.us.world.set_drops(Direction::ToPeer, drops);
}

/// Acknowledges everything that arrives in order. Returns the numbers of the peer, and the
/// longest segment.
fn take(script: &Script) -> (Rc<Cell<Flow>>, Rc<Cell<usize>>) {
    let flow = Rc::new(Cell::new(script.flow));
    let longest = Rc::new(Cell::new(0));
    let (at, most) = (Rc::clone(&flow), Rc::clone(&longest));
    script.raw.respond(move |raw, segment: &Segment| {
        let mut flow = at.get();
        if segment.seq_len() > 0 && segment.seq == flow.ack {
            flow.take(segment.seq_len());
            most.set(most.get().max(segment.payload.len()));
        }
        if segment.is(Flags::FIN) {
            flow.seq = flow.seq.wrapping_add(1);
            raw.send(
                &flow
                    .segment(Flags::FIN | Flags::ACK)
                    .with_seq(flow.seq.wrapping_sub(1)),
            );
        } else if segment.seq_len() > 0 {
            raw.send(&flow.ack());
        }
        at.set(flow);
    });
    (flow, longest)
}

/// Asserts that everything is delivered, in segments of at most this many octets.
#[track_caller]
fn assert_delivers(mut script: Script, most: usize) {
    narrow(&script);
    let (_, longest) = take(&script);
    script.us.write(script.id, 20_000);
    let report = script.us.writer(script.id).finish();
    let report = report.expect("it is delivered");
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_ledger(report.ledger, 20_000, 20_000);
    assert_eq!(longest.get(), most);
}

/// RFC 9293, 3.7.2: without ICMP. Routers fragment IPv4 packets. To a host on our link,
/// only the option keeps IPv6 segments small.
fn row_63_path_mtu(on: Setting) {
    match on.family {
        Family::V4 => assert_delivers(Script::open(on, Options::default()), 1_460),
        Family::V6 => {
            let options = options(|o| o.max_segment(MTU - 60));
            assert_delivers(Script::open(on, options), 1_220);
        }
    }
}

/// The option applies to both ways to open.
fn row_63_path_mtu_with_max_segment(on: Setting) {
    for most in [536, 1_220] {
        let options = options(|o| o.max_segment(most));
        assert_delivers(Script::open(on, options), most.into());
        let mut called = Script::called(on, options);
        called.send_ack();
        assert_delivers(called, most.into());
    }
}

/// RFC 1191, 4 and RFC 8201, 4: a router's error ends nothing and is reported, and with
/// its MTU the next connection succeeds.
fn row_63_packet_too_big(on: Setting) {
    let mut script = Script::open(on, Options::default());
    let lost = match on.family {
        Family::V4 => 1_460,
        Family::V6 => 1_440,
    };
    script.write(lost);
    let segment = script.raw.recv();
    assert_eq!(segment.payload.len(), lost);
    let medium = script.us.world.config().medium;
    let frame = too_big(medium, (segment.dst, segment.src), MTU, &segment);
    script.raw.send_frame(frame);
    script.us.stack.poll();
    let report = script.assert_open(lost as u64, 0);
    assert_eq!(report.path_mtu, Some(MTU));
    let advice = script.us.stack.poll_advice(script.id);
    assert_eq!(advice, Ok(Some(Advice::NarrowPath)));
    // The error may have been forged: the segment counts if it arrives.
    script.acknowledge(lost as u32);
    script.assert_open(lost as u64, lost as u64);
    script.assert_alive();
}
