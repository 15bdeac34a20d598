//! What must be retransmitted, even if smoltcp has a reason not to.

use crate::common::*;
use embedded_io::Write;
use lastbyte::core::Nagle;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, Options, State};
use lastbyte_sim::loopback::{
    Flags, Flow, Handshake, OUR_V4, RawPeer, Segment, World, WorldConfig,
};

/// One octet fits into the window and is lost; the peer, which has not noticed, continues
/// to send.
#[test]
fn a_lone_octet_is_sent_again_whatever_its_value_while_the_peer_sends() {
    for octet in [0, 1, 0x55, 0xff] {
        for more in [0, 1, 100] {
            let narrow = Handshake {
                window: 1,
                ..Handshake::default()
            };
            let (mut us, id, raw, mut flow) =
                scripted_with(narrow, options(|o| o.nagle(Nagle::Off)));
            let mut bytes = vec![octet];
            bytes.extend(vec![7; more]);
            us.writer(id).write_all(&bytes).expect("room");
            let first = raw.recv();
            assert_eq!(first.payload, [octet]);
            let mut copies = 0;
            for _ in 0..60 {
                us.stack.run_for(ms(250));
                raw.send(&flow.data(*b"chatter"));
                us.stack.poll();
                let sent = core::iter::from_fn(|| raw.try_recv());
                let is_copy = |s: &Segment| s.seq == flow.ack && s.payload == [octet];
                copies += sent.filter(is_copy).count();
            }
            assert!(copies >= 2, "octet {octet}, {more} more: {copies}");
            flow.take(1);
            flow.window = 1_000;
            raw.send(&flow.ack());
            us.stack.run_for(secs(5));
            assert_eq!(us.ledger(id).acknowledged(), 1);
            assert_eq!(us.state(id), State::Open);
        }
    }
}

/// Only our FIN is in flight, and it is lost; late answers to duplicates of ours arrive.
#[test]
fn a_fin_is_sent_again_after_duplicate_acks() {
    for duplicates in [2, 3, 4, 10] {
        for in_closing in [false, true] {
            let (mut us, id, raw, mut flow) = scripted(Options::default());
            us.write(id, 10);
            flow.take(10);
            raw.send(&flow.ack());
            us.stack.poll();
            us.writer(id).begin_finish();
            us.stack.run_for(ms(20));
            if in_closing {
                raw.send(&flow.fin());
                us.stack.run_for(ms(20));
            }
            let sent: Vec<_> = core::iter::from_fn(|| raw.try_recv()).collect();
            assert!(sent.iter().any(|s| s.is(Flags::FIN)), "{sent:?}");
            for _ in 0..duplicates {
                raw.send(&flow.ack());
                us.stack.poll();
            }
            while raw.try_recv().is_some() {}
            us.stack.run_for(secs(10));
            let again: Vec<_> = core::iter::from_fn(|| raw.try_recv()).collect();
            let is_fin = |s: &&Segment| s.is(Flags::FIN) && s.seq == flow.ack;
            let fins = again.iter().filter(is_fin).count();
            assert!(
                fins >= 2,
                "{duplicates} duplicates, CLOSING {in_closing}: {again:?}"
            );
            flow.take(1);
            raw.send(&flow.ack());
            us.stack.poll();
            let report = us.writer(id).finish().expect("acknowledged");
            assert_eq!(report.cause, Some(Cause::Finished));
        }
    }
}

/// The same with data before the FIN, of which a part is acknowledged.
#[test]
fn data_and_fin_are_sent_again_after_duplicate_acks() {
    for acknowledged in [0, 4, 10] {
        let (mut us, id, raw, mut flow) = scripted(Options::default());
        us.write(id, 10);
        us.writer(id).begin_finish();
        us.stack.run_for(ms(20));
        while raw.try_recv().is_some() {}
        flow.take(acknowledged);
        for _ in 0..4 {
            raw.send(&flow.ack());
            us.stack.poll();
        }
        us.stack.run_for(secs(10));
        let again: Vec<_> = core::iter::from_fn(|| raw.try_recv()).collect();
        assert!(again.iter().any(|s| s.is(Flags::FIN)), "{again:?}");
        flow.take(11 - acknowledged);
        raw.send(&flow.ack());
        us.stack.poll();
        let report = us.writer(id).finish().expect("acknowledged");
        assert_ledger(report.ledger, 10, 10);
    }
}

/// The end that opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Began {
    Us,
    Peer,
}

/// Connected to a script with this handshake, by either end's SYN.
fn connected(began: Began, handshake: Handshake) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let without_nagle = options(|o| o.nagle(Nagle::Off));
    if began == Began::Us {
        return scripted_with(handshake, without_nagle);
    }
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::new(&world);
    let id = us.stack.listen(PORT, without_nagle).expect("a free slot");
    let flow = raw.call(100, (OUR_V4, PORT), handshake, || {
        us.stack.poll();
    });
    (us, id, raw, flow)
}

/// The first of 100 octets in flight are lost, and the peer sends four ACKs for them. It
/// must get no more than its window of `window` octets. Returns whether it gets them at
/// once.
fn hears_four_duplicates(began: Began, window: u16, window_scale: Option<u8>) -> bool {
    let [complete, incomplete] =
        [0, 50].map(|lost| hears_duplicates_after(lost, began, window, window_scale));
    assert_eq!(complete, incomplete, "{began:?}, {window}");
    complete
}

/// The same, and the last `lost` octets that the peer sent have not arrived: its ACKs are
/// above RCV.NXT.
fn hears_duplicates_after(lost: u32, began: Began, window: u16, window_scale: Option<u8>) -> bool {
    let narrow = Handshake {
        window,
        window_scale,
        ..Handshake::default()
    };
    let (mut us, id, raw, mut flow) = connected(began, narrow);
    // The window of a SYN is not scaled (RFC 7323, 2.2).
    let shift = window_scale.unwrap_or(0);
    flow.window = window >> shift;
    raw.send(&flow.ack());
    for _ in 0..10 {
        us.write(id, 10);
    }
    us.write(id, 900);
    while raw.try_recv().is_some() {}
    flow.seq = flow.seq.wrapping_add(lost);
    for _ in 0..4 {
        raw.send(&flow.ack());
        us.stack.poll();
    }
    us.stack.run_for(ms(20));
    let edge = flow.ack + (u32::from(flow.window) << shift);
    let again: Vec<_> = core::iter::from_fn(|| raw.try_recv()).collect();
    for segment in &again {
        let end = segment.seq + segment.seq_len();
        assert!(end <= edge, "{began:?}, window {window}: {segment:?}");
    }
    // In any case everything is retransmitted and received.
    us.stack.run_for(secs(5));
    while let Some(segment) = raw.try_recv() {
        if segment.seq == flow.ack {
            flow.take(segment.seq_len().min(edge - flow.ack));
        }
    }
    assert!(flow.ack > again.first().map_or(0, |first| first.seq));
    again.iter().any(|segment| !segment.payload.is_empty())
}

/// RFC 9293, 3.10.2 and 3.8.6: nothing is sent beyond the peer's window. After three
/// duplicate ACKs smoltcp retransmits a full segment, filled up with new data.
#[test]
fn duplicate_acks_send_nothing_beyond_a_narrow_window() {
    for began in [Began::Us, Began::Peer] {
        for window in [100, 300, 999] {
            assert!(!hears_four_duplicates(began, window, None), "{window}");
            assert!(!hears_four_duplicates(began, window, Some(0)), "{window}");
        }
        assert!(!hears_four_duplicates(began, 768, Some(7)));
    }
}

/// RFC 5681, 3.2: if a full segment fits into the window, three duplicate ACKs cause a
/// fast retransmission, also with scaled windows.
#[test]
fn duplicate_acks_repeat_at_once_what_fits_into_the_window() {
    for began in [Began::Us, Began::Peer] {
        assert!(hears_four_duplicates(began, 1_460, None), "{began:?}");
        assert!(hears_four_duplicates(began, 64_000, Some(7)), "{began:?}");
    }
}
