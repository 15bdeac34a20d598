//! What the peer sends reaches the reader: in order, completely, and also after the end.

use crate::common::*;
use embedded_io::Read;
use lastbyte::core::Closer;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, OnPeerFin, OnReceive, Options, ReadError, State};
use lastbyte_sim::loopback::{Flags, Flow, Handshake, RawPeer};

fn keep() -> Options {
    options(|o| o.on_receive(OnReceive::Keep))
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is nothing more at present.
    Open,
    Finished,
    Cause(Option<Cause>),
}

/// Everything that can be read, and how reading ends.
#[track_caller]
fn read_all<const N: usize>(us: &mut Us<N>, id: ConnectionId) -> (Vec<u8>, End) {
    let mut read = Vec::new();
    let mut buffer = [0; 100];
    loop {
        let mut reader = us.stack.reader(id).expect("ours");
        match reader.try_read(&mut buffer) {
            Ok(None) => return (read, End::Open),
            Ok(Some(0)) => return (read, End::Finished),
            Ok(Some(len)) => read.extend(&buffer[..len]),
            Err(ReadError::Ended(error)) => return (read, End::Cause(error.cause())),
            Err(error) => panic!("{error:?}"),
        }
        assert!(read.len() <= 100_000, "without end");
    }
}

/// Ten octets of ours are acknowledged, ten more are in flight.
#[track_caller]
fn half_acknowledged(options: Options) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let (mut us, id, raw, mut flow) = scripted(options);
    us.write(id, 10);
    flow.take(10);
    raw.send(&flow.ack());
    us.stack.poll();
    us.write(id, 10);
    while raw.try_recv().is_some() {}
    (us, id, raw, flow)
}

/// RFC 9293, 3.10.7.4, step 5: an overtaken ACK number is ignored, but not the rest of
/// its segment.
#[test]
fn the_data_of_an_overtaken_segment_is_accepted() {
    for old in [1, 9, 10] {
        let (mut us, id, raw, mut flow) = half_acknowledged(keep());
        let ack = flow.ack.wrapping_sub(old);
        raw.send(&flow.data(*b"first, ").with_ack(ack));
        raw.send(&flow.data(*b"second").with_ack(ack));
        us.stack.poll();
        assert_eq!(
            read_all(&mut us, id),
            (b"first, second".to_vec(), End::Open)
        );
        raw.send(&flow.fin().with_ack(ack));
        us.assert_refused(id, Cause::PeerFinished, 20, 10);
        assert_eq!(read_all(&mut us, id), (Vec::new(), End::Finished));
    }
}

/// The same if data and FIN arrive in one segment, and in every state that accepts data.
#[test]
fn a_fin_with_an_overtaken_ack_number_counts_in_every_state() {
    for finishing in [false, true] {
        let half_close = options(|o| {
            o.on_receive(OnReceive::Keep)
                .on_peer_fin(OnPeerFin::HalfClose)
        });
        let (mut us, id, raw, mut flow) = half_acknowledged(half_close);
        if finishing {
            us.writer(id).begin_finish();
            us.stack.run_for(ms(20));
            assert_eq!(us.state(id), State::Finishing(Closer::Us));
        }
        let last = flow.segment(Flags::FIN | Flags::ACK).with_payload(*b"last");
        raw.send(&last.with_ack(flow.ack.wrapping_sub(10)));
        flow.seq = flow.seq.wrapping_add(5);
        us.stack.poll();
        assert_eq!(read_all(&mut us, id), (b"last".to_vec(), End::Finished));
        us.stack.run_for(ms(20));
        let acks = core::iter::from_fn(|| raw.try_recv());
        assert!(acks.into_iter().any(|ack| ack.ack == flow.seq), "not ACKed");
        if finishing {
            flow.take(11);
            raw.send(&flow.ack());
            us.stack.poll();
            assert_eq!(us.state(id), State::Closed(Cause::Finished));
        } else {
            us.write(id, 5);
            assert_eq!(us.ledger(id).accepted(), 25);
        }
    }
}

/// The receive buffer has more room than was announced. A peer sends into it, followed by
/// its FIN. No octet before the end is missing.
#[test]
fn no_octet_is_missing_in_front_of_a_fin_beyond_the_window() {
    for (free, read, beyond) in [
        (48, 40, 1),
        (48, 40, 30),
        (100, 90, 50),
        (100, 0, 50),
        (1, 0, 1),
    ] {
        let (mut us, id, raw, mut flow) = scripted(keep());
        let sent = pattern(0, RX + beyond);
        let mut came = Vec::new();
        // All except `free` octets of the buffer are filled.
        for piece in sent[..RX - free].chunks(1_000) {
            raw.send(&flow.data(piece));
            us.stack.poll();
        }
        us.stack.run_for(ms(20));
        let mut buffer = vec![0; read];
        if read > 0 {
            let mut reader = us.stack.reader(id).expect("ours");
            reader.read_exact(&mut buffer).expect("it is there");
            came.extend(buffer);
        }
        let (mut end, mut acked) = (End::Open, flow.seq);
        let first = flow.seq.wrapping_sub((RX - free) as u32);
        for _ in 0..20 {
            let rest = sent
                .get(acked.wrapping_sub(first) as usize..)
                .unwrap_or(&[]);
            let fin = flow.segment(Flags::PSH | Flags::FIN | Flags::ACK);
            raw.send(&fin.with_seq(acked).with_payload(rest));
            us.stack.run_for(ms(20));
            let answers = core::iter::from_fn(|| raw.try_recv());
            acked = answers.last().map_or(acked, |answer| answer.ack);
            let (more, then) = read_all(&mut us, id);
            came.extend(more);
            end = then;
            if end != End::Open {
                break;
            }
        }
        assert_eq!(end, End::Finished, "free {free}, read {read}");
        assert!(came == sent, "{} of {}", came.len(), sent.len());
    }
}

/// A FIN is exactly at the edge of the window, and an ACK follows it before ours was sent:
/// smoltcp accepts neither. So what was in flight still is, and the next try retransmits it,
/// however far smoltcp has backed off.
#[test]
fn an_ack_after_a_fin_at_the_edge_of_the_window_delays_no_try() {
    for finishing in [false, true] {
        let (mut us, id, raw, mut flow) = scripted(options(|o| {
            o.on_peer_fin(OnPeerFin::HalfClose)
                .user_timeout(secs(40))
                .finish_timeout(secs(40))
        }));
        us.write(id, 10);
        if finishing {
            us.writer(id).begin_finish();
        }
        us.stack.run_for(secs(26));
        while raw.try_recv().is_some() {}
        for piece in pattern(0, RX).chunks(1_000) {
            raw.send(&flow.data(piece));
        }
        raw.send(&flow.fin());
        flow.take(10 + u32::from(finishing));
        raw.send(&flow.ack());
        us.stack.poll();
        let due = us.now() + secs(11);
        while us.ledger(id).acknowledged() < 10 && us.now() < due {
            us.stack.run_for(ms(100));
            while let Some(segment) = raw.try_recv() {
                if segment.seq_len() > 0 {
                    raw.send(&flow.ack());
                }
            }
        }
        assert_ledger(us.ledger(id), 10, 10);
        us.stack.run_for(ms(100));
        let state = match finishing {
            true => State::Closed(Cause::Finished),
            false => State::PeerFinished(OnPeerFin::HalfClose),
        };
        assert_eq!(us.state(id), state, "finishing: {finishing}");
    }
}

/// The connection has received these bytes, and the application has not read them.
const UNREAD: &[u8] = b"precious";

#[track_caller]
fn unread(options: Options) -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let (mut us, id, raw, mut flow) = scripted(options);
    raw.send(&flow.data(UNREAD));
    us.stack.run_for(ms(20));
    while raw.try_recv().is_some() {}
    (us, id, raw, flow)
}

/// The only end that loses received bytes: smoltcp clears the buffers of a socket whose
/// address was removed.
#[test]
fn received_bytes_are_lost_with_the_address_and_the_reader_gets_the_error() {
    for pause in [ms(0), secs(1), secs(200)] {
        let (mut us, id, ..) = unread(keep());
        us.lose_addresses();
        us.stack.run_for(pause);
        let (read, end) = read_all(&mut us, id);
        assert_eq!(read, b"", "after {pause:?}");
        assert_eq!(end, End::Cause(Some(Cause::AddressLost)));
        us.assert_refused(id, Cause::AddressLost, 0, 0);
    }
}

/// Our FIN is acknowledged, and then this arrives.
#[track_caller]
fn after_our_finish() -> (Us<1>, ConnectionId, RawPeer, Flow) {
    let (mut us, id, raw, mut flow) = scripted(keep());
    us.writer(id).begin_finish();
    flow.take(1);
    raw.send(&flow.ack());
    us.stack.poll();
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    raw.send(&flow.data(UNREAD));
    us.stack.run_for(ms(20));
    while raw.try_recv().is_some() {}
    (us, id, raw, flow)
}

#[test]
fn received_bytes_stay_readable_after_a_peer_that_never_closes_was_given_up() {
    for pause in [secs(1), secs(29), secs(31), secs(1_000)] {
        let (mut us, id, ..) = after_our_finish();
        us.stack.run_for(pause);
        let (read, end) = read_all(&mut us, id);
        assert_eq!(read, UNREAD, "after {pause:?}");
        // The peer has not finished: an end of the stream would be wrong.
        assert_ne!(end, End::Finished, "after {pause:?}");
    }
}

#[test]
fn received_bytes_stay_readable_after_time_wait() {
    for pause in [secs(1), secs(9), secs(11), secs(61), secs(1_000)] {
        let (mut us, id, raw, mut flow) = after_our_finish();
        raw.send(&flow.fin());
        us.stack.run_for(pause);
        let (read, end) = read_all(&mut us, id);
        assert_eq!(read, UNREAD, "after {pause:?}");
        assert_eq!(end, End::Finished, "after {pause:?}");
    }
}

#[test]
fn received_bytes_stay_readable_after_a_rst_that_could_not_be_sent() {
    for pause in [ms(0), secs(1), secs(10), secs(1_000)] {
        let (mut us, id, raw, _) = unread(keep());
        raw.answer_neighbours(false);
        us.stack.run_for(secs(100));
        us.write(id, 10);
        us.stack.run_for(secs(100) + ms(1));
        assert_eq!(us.state(id), State::Closed(Cause::Vanished));
        us.stack.run_for(pause);
        let (read, end) = read_all(&mut us, id);
        assert_eq!(read, UNREAD, "after {pause:?}");
        assert_eq!(end, End::Cause(Some(Cause::Vanished)));
    }
}

#[test]
fn received_bytes_stay_readable_after_the_peer_vanished_or_reset() {
    let (mut us, id, raw, flow) = unread(keep());
    raw.send(&flow.rst());
    us.stack.run_for(secs(1_000));
    let expected = (UNREAD.to_vec(), End::Cause(Some(Cause::PeerReset)));
    assert_eq!(read_all(&mut us, id), expected);

    let (mut us, id, raw, mut flow) = unread(keep());
    raw.send(&flow.fin());
    us.stack.run_for(secs(1_000));
    assert_eq!(read_all(&mut us, id), (UNREAD.to_vec(), End::Finished));
}

/// The window that the peer announces at the start does not matter.
#[test]
fn reading_continues_while_the_window_of_the_peer_is_closed() {
    let closed = Handshake {
        window: 0,
        ..Handshake::default()
    };
    let (mut us, id, raw, mut flow) = scripted_with(closed, keep());
    us.write(id, 10);
    raw.send(&flow.data(UNREAD));
    us.stack.run_for(secs(20));
    assert_eq!(read_all(&mut us, id), (UNREAD.to_vec(), End::Open));
}
