//! Listeners with callers that are slow, many, forged, or connect again.

use crate::common::*;
use lastbyte::stack::ConnectionId;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte::{Cause, Options, State};
use lastbyte_sim::loopback::{
    Behaviour, Flags, Flow, Handshake, OUR_V4, OUR_V6, RawPeer, Segment, World, WorldConfig,
};

const OURS: u16 = 7_000;

#[track_caller]
fn listening<const N: usize>() -> (Us<N>, [ConnectionId; N], RawPeer) {
    let world = World::new(WorldConfig::instant());
    let raw = world.raw();
    let mut us = Us::<N>::new(&world);
    let ids = [(); N].map(|()| us.stack.listen(OURS, Options::default()).expect("a slot"));
    (us, ids, raw)
}

/// A SYN from this port, as any host could send it.
fn syn(port: u16, isn: u32) -> Segment {
    Segment::new(port, OURS, Flags::SYN, isn, 0)
}

/// What our end sent to this port.
fn sent_to(raw: &RawPeer, port: u16) -> Vec<Segment> {
    let sent = core::iter::from_fn(|| raw.try_recv());
    sent.filter(|segment| segment.dst_port == port).collect()
}

/// A caller that retransmits its SYN like every TCP. Returns the time until our end
/// answers, within a minute.
#[track_caller]
fn answered_after<const N: usize>(us: &mut Us<N>, raw: &RawPeer, port: u16) -> Segment {
    // RFC 6298: after one second, then with doubled pauses.
    for pause in [1, 2, 4, 8, 16, 32] {
        raw.send(&syn(port, 5_000));
        us.stack.run_for(ms(20));
        let answers = sent_to(raw, port);
        assert!(
            !answers.iter().any(|segment| segment.is(Flags::RST)),
            "it was reset: {answers:?}"
        );
        if let Some(answer) = answers.into_iter().next() {
            assert_eq!(answer.flags, Flags::SYN | Flags::ACK, "{answer}");
            return answer;
        }
        us.stack.run_for(secs(pause));
    }
    panic!("no answer for a minute");
}

/// If a spoofed SYN arrives each time a listener is free, a true caller is still served,
/// and is not reset.
#[test]
fn a_caller_is_served_after_one_that_never_completes() {
    fn check<const N: usize>() {
        let (mut us, ids, raw) = listening::<N>();
        for spoofed in 0..N {
            raw.send(&syn(100 + spoofed as u16, 77));
            us.stack.run_for(ms(20));
        }
        let called_at = us.now();
        let answer = answered_after(&mut us, &raw, 900);
        assert!(us.now() <= called_at + secs(9), "{:?}", us.now());
        let ack = Segment::new(900, OURS, Flags::ACK, 5_001, answer.seq.wrapping_add(1));
        raw.send(&ack);
        us.stack.poll();
        let open = ids.iter().filter(|&&id| us.state(id) == State::Open);
        assert_eq!(open.count(), 1);
    }
    check::<1>();
    check::<2>();
    check::<4>();
}

/// The same with a connect timeout that is set to more or less than that.
#[test]
fn a_handshake_takes_five_seconds_at_most_whatever_the_connect_timeout() {
    for (limit, longest) in [(2, 2), (5, 5), (30, 5), (300, 5)] {
        let world = World::new(WorldConfig::instant());
        let raw = world.raw();
        let mut us = Us::<1>::new(&world);
        let limits = options(|o| o.connect_timeout(secs(limit)));
        let id = us.stack.listen(OURS, limits).expect("a slot");
        raw.call(100, (OUR_V4, OURS), Handshake::default(), || {
            us.stack.poll();
        });
        us.stack.run_for(secs(longest) - ms(20));
        assert!(us.stack.endpoints(id).expect("ours").is_some(), "{limit} s");
        us.stack.run_for(ms(40));
        assert_eq!(us.stack.endpoints(id), Ok(None), "{limit} s");
        assert_eq!(us.state(id), State::Listening);
        // Nothing of the handshake is left.
        us.stack.run_for(secs(10));
        while raw.try_recv().is_some() {}
        us.stack.run_for(secs(1_000));
        raw.recv_nothing();
    }
}

/// Twice as many callers at once as listeners: the others wait.
#[test]
fn more_callers_than_listeners_are_all_served() {
    const CALLERS: u16 = 20;
    for ours in [OUR_V4.into(), IpAddress::from(OUR_V6)] {
        let world = World::new(WorldConfig::default());
        let mut us = Us::<8>::new(&world);
        let listen = |us: &mut Us<8>| us.stack.listen(OURS, Options::default()).expect("a slot");
        let mut ids = [(); 8].map(|()| listen(&mut us));
        for port in 1_000..1_000 + CALLERS {
            let sink = Behaviour::sink();
            world.peer().connect(port, (ours, OURS), sink);
        }
        let mut served = 0;
        let deadline = us.now() + secs(120);
        while served < usize::from(CALLERS) {
            assert!(us.now() < deadline, "only {served} of {CALLERS}");
            us.stack.run_for(ms(10));
            for id in &mut ids {
                match us.state(*id) {
                    State::Open => {
                        us.write(*id, 100);
                        us.writer(*id).begin_finish();
                    }
                    State::Closed(cause) => {
                        assert_eq!(cause, Cause::Finished);
                        assert_ledger(us.ledger(*id), 100, 100);
                        us.stack.release(*id).expect("ours");
                        *id = listen(&mut us);
                        served += 1;
                    }
                    _ => {}
                }
            }
        }
        us.stack.run_for(secs(20));
        for port in 1_000..1_000 + CALLERS {
            assert_eq!(world.peer().saw_rst(port), None, "{port} was reset");
            assert_eq!(world.peer().received(port), pattern(0, 100), "{port}");
        }
    }
}

/// What happens to the slot whose connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Held,
    Released,
    Listening,
}

/// A caller at port 100 whose connection we have finished: our end is in TIME-WAIT.
#[track_caller]
fn served<const N: usize>(slot: Slot) -> (Us<N>, RawPeer, Flow) {
    let (mut us, ids, raw) = listening::<N>();
    let mut flow = raw.open(100, (OUR_V4, OURS), Handshake::default(), || {
        us.stack.poll();
    });
    let id = ids.into_iter().find(|&id| us.state(id) == State::Open);
    let id = id.expect("one is open");
    us.writer(id).begin_finish();
    us.stack.run_for(ms(20));
    assert!(raw.recv().is(Flags::FIN));
    flow.take(1);
    raw.send(&flow.fin());
    us.stack.run_for(ms(20));
    assert_eq!(us.state(id), State::Closed(Cause::Finished));
    if slot != Slot::Held {
        us.stack.release(id).expect("ours");
    }
    if slot == Slot::Listening {
        let again = us.stack.listen(OURS, Options::default());
        again.expect("a slot");
    }
    while raw.try_recv().is_some() {}
    (us, raw, flow)
}

/// RFC 9293, 3.6.1; RFC 1122, 4.2.2.13: a caller that connects again from the same port,
/// with higher sequence numbers, is accepted out of TIME-WAIT.
#[test]
fn a_client_with_a_fixed_port_can_reconnect_at_once() {
    fn check<const N: usize>(slot: Slot) {
        for pause in [ms(0), secs(1), secs(9), secs(11), secs(29), secs(70)] {
            let (mut us, raw, flow) = served::<N>(slot);
            us.stack.run_for(pause);
            // A SYN that is retransmitted, like every TCP does.
            let isn = flow.seq.wrapping_add(100_000);
            let mut answer = None;
            for _ in 0..3 {
                raw.send(&syn(100, isn));
                us.stack.run_for(ms(20));
                let sent = sent_to(&raw, 100);
                let is_rst = |segment: &Segment| segment.is(Flags::RST);
                assert!(!sent.iter().any(is_rst), "{slot:?}, {pause:?}: {sent:?}");
                let is_answer = |s: &Segment| s.is(Flags::SYN) && s.ack == isn.wrapping_add(1);
                answer = sent.into_iter().find(is_answer);
                if answer.is_some() {
                    break;
                }
                us.stack.run_for(secs(1));
            }
            assert!(answer.is_some(), "{N} slots, {slot:?}, after {pause:?}");
        }
    }
    check::<1>(Slot::Listening);
    for slot in [Slot::Held, Slot::Released, Slot::Listening] {
        check::<2>(slot);
    }
}

/// An old duplicate of the previous connection changes nothing in the new one.
#[test]
fn old_duplicates_do_not_harm_a_client_that_reconnected() {
    let (mut us, raw, old) = served::<1>(Slot::Released);
    let id = us.stack.listen(OURS, Options::default()).expect("a slot");
    let again = Handshake {
        isn: old.seq.wrapping_add(100_000),
        ..Handshake::default()
    };
    us.stack.run_for(secs(70));
    raw.open(100, (OUR_V4, OURS), again, || {
        us.stack.run_for(ms(1));
    });
    for segment in [old.rst(), old.ack(), old.segment(Flags::FIN | Flags::ACK)] {
        raw.send(&segment);
        us.stack.run_for(ms(20));
        assert_eq!(us.state(id), State::Open, "{segment}");
    }
}
