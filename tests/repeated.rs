//! What must be sent again, though something makes it look otherwise.

mod common;

use common::*;
use embedded_io::Write;
use lastbyte::{Cause, Nagle, Options, State};
use lastbyte_shim::loopback::{Flags, Handshake, Segment};

/// One octet fits into the window and is lost; the peer, which knows of nothing,
/// goes on sending.
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
                let said = core::iter::from_fn(|| raw.try_recv());
                let is_copy = |s: &Segment| s.seq == flow.ack && s.payload == [octet];
                copies += said.filter(is_copy).count();
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

/// Only our FIN is in flight, and lost; late answers to duplicates of ours arrive.
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
