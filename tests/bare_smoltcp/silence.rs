//! The peer is silent: retransmission, timeouts, keep-alive.

use crate::common::*;
use crate::script::{ENDED, PEERS, Script};
use lastbyte_sim::loopback::{Flags, Segment};
use smoltcp::iface::PollResult;
use smoltcp::socket::tcp;
use smoltcp::time::Duration;

/// `set_timeout` ends a connection with pending octets on time, but shows the same as
/// after a RST. RFC 9293, MUST-20 and MUST-21, require a timeout that the user sets and
/// is informed of. Worked around in `src/core/options.rs` and `src/core/timers.rs`;
/// smoltcp's own timeout stays off (`src/stack/opening.rs`).
#[test]
fn row_20_timeout_ends_without_a_cause() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let timeout = Duration::from_secs(20);
        script.bare.socket().set_timeout(Some(timeout));
        script.write(10);
        script.run(secs(20) - ms(1));
        assert_eq!(script.state(), tcp::State::Established);
        script.run(ms(1));
        assert_eq!((script.shown(), script.unsent()), (ENDED, 10));
        let last = script.sent().pop().expect("a segment");
        assert!(last.is(Flags::RST | Flags::ACK), "{last}");
        script.expect_silence(secs(1_000));
    }
}

/// Three retransmissions are not reported. RFC 9293, SHLD-9 and SHLD-10, require that the
/// user is advised. Worked around in `src/stack/device.rs`, which counts retransmissions,
/// and `src/core/timers.rs`.
#[test]
fn row_21_retransmissions_are_not_reported() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.write(10);
        let seen = |script: &mut Script| {
            let socket = script.bare.socket();
            let may = (socket.may_send(), socket.can_send(), socket.may_recv());
            (socket.state(), socket.send_queue(), may)
        };
        let before = seen(&mut script);
        script.run(secs(100));
        let sent = script.sent();
        let again = |s: &&Segment| s.seq == script.flow.ack && s.payload.len() == 10;
        assert!(sent.iter().filter(again).count() > 3, "{sent:?}");
        assert_eq!(seen(&mut script), before);
    }
}

/// Without `set_timeout` octets are retransmitted without bound. RFC 9293, SHLD-11,
/// requires a timeout of at least 100 seconds. Worked around in `src/core/options.rs`.
#[test]
fn row_22_no_timeout_unless_set() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        assert_eq!(script.bare.socket().timeout(), None);
        script.write(10);
        script.run(secs(100_000));
        assert_eq!(script.state(), tcp::State::Established);
        let sent = script.sent().len();
        assert!(sent > 1_000, "{sent}");
    }
}

/// `set_timeout` ends a connection on which nothing is pending, after that much silence.
/// RFC 5482 and RFC 9293, 3.8.3, are about unacknowledged data. Worked around in
/// `src/core/timers.rs`; smoltcp's stays off.
#[test]
fn row_25_timeout_ends_an_idle_connection() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let timeout = Duration::from_secs(30);
        script.bare.socket().set_timeout(Some(timeout));
        script.expect_silence(secs(30) - ms(1));
        assert_eq!(script.state(), tcp::State::Established);
        script.run(ms(1));
        assert_eq!(script.shown(), ENDED);
        assert!(script.raw.recv().is(Flags::RST));
        script.expect_silence(secs(1_000));
    }
}

/// A timeout below the retransmission timeout is accepted, and ends a connection before
/// anything was retransmitted. RFC 5482, 3.1, requires that it is refused or raised.
/// Worked around in `src/core/options.rs`.
#[test]
fn row_26_timeout_below_rto_is_accepted() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let timeout = Duration::from_millis(1);
        script.bare.socket().set_timeout(Some(timeout));
        script.write(10);
        script.expect_data(10);
        script.run(ms(1));
        assert_eq!(script.shown(), ENDED);
        assert!(script.raw.recv().is(Flags::RST));
        script.raw.recv_nothing();
    }
}

/// Keep-alive alone never ends a connection; with a timeout a single lost probe
/// does. By RFC 9293, MUST-26, one lost probe proves nothing. Worked around in
/// `src/core/timers.rs`.
#[test]
fn row_31_either_one_lost_probe_ends_it_or_none_does() {
    for peer in PEERS {
        let mut alone = Script::open(peer);
        let interval = Duration::from_secs(20);
        alone.bare.socket().set_keep_alive(Some(interval));
        alone.run(secs(20_000));
        assert_eq!(alone.state(), tcp::State::Established);
        assert_eq!(alone.sent().len(), 1_001);

        let mut both = Script::open(peer);
        let socket = both.bare.socket();
        socket.set_keep_alive(Some(interval));
        socket.set_timeout(Some(Duration::from_secs(25)));
        both.bare.poll();
        assert_probes(&mut both, 1);
        let ack = both.flow.ack();
        both.send(&ack);
        both.run(secs(25) - ms(1));
        assert_probes(&mut both, 1);
        assert_eq!(both.state(), tcp::State::Established);
        both.run(ms(1));
        assert_eq!(both.shown(), ENDED);
    }
}

/// Asserts that this many keep-alive probes were sent, and nothing else.
#[track_caller]
fn assert_probes(script: &mut Script, count: usize) {
    let sent = script.sent_so_far();
    assert_eq!(sent.len(), count, "{sent:?}");
    for probe in sent {
        let before = script.flow.ack.wrapping_sub(1);
        assert_eq!((probe.seq, probe.payload.as_slice()), (before, &[0][..]));
    }
}

/// When keep-alive is switched on, a probe is sent at once, not after the interval of
/// silence of RFC 9293, 3.8.4. Worked around in `src/core/connection/view.rs`, which
/// decides when it is on.
#[test]
fn keep_alive_probes_at_once() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.expect_silence(secs(10));
        let interval = Duration::from_secs(20);
        script.bare.socket().set_keep_alive(Some(interval));
        script.bare.poll();
        assert_probes(&mut script, 1);
        script.run(secs(20) - ms(1));
        assert_probes(&mut script, 0);
        script.run(ms(1));
        assert_probes(&mut script, 1);
    }
}

/// When keep-alive is switched off, one more probe stays scheduled. By RFC 9293, MUST-25,
/// probes are only sent if it is on. Tolerated in `src/stack/slot.rs`.
#[test]
fn keep_alive_switched_off_probes_once_more() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let interval = Duration::from_secs(20);
        script.bare.socket().set_keep_alive(Some(interval));
        script.bare.poll();
        assert_probes(&mut script, 1);
        script.run(secs(5));
        script.bare.socket().set_keep_alive(None);
        script.run(secs(15) - ms(1));
        assert_probes(&mut script, 0);
        script.run(ms(1));
        assert_probes(&mut script, 1);
        script.expect_silence(secs(1_000));
    }
}

/// A poll in which a timeout ends the connection returns `None` if the RST
/// cannot leave, although smoltcp promises to report when a socket changed.
/// Worked around in `src/stack/tracker.rs`, which checks the sockets after a step,
/// whatever it returned.
#[test]
fn timeout_with_a_lost_neighbour_is_not_reported_by_the_poll() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        // The neighbour is forgotten after a minute.
        script.expect_silence(secs(100));
        script.raw.answer_neighbours(false);
        script.write(10);
        let timeout = Duration::from_secs(1);
        script.bare.socket().set_timeout(Some(timeout));
        script.raw.world().run_for(secs(1));
        assert_eq!(script.state(), tcp::State::Established);
        assert_eq!(script.bare.poll(), PollResult::None);
        assert_eq!(script.state(), tcp::State::Closed);
        script.raw.recv_nothing();
    }
}

/// The backed-off timeout stays until smoltcp has measured a round trip, which a
/// retransmission does not give. Row 66 requires tries within seconds. Worked around in
/// `src/core/connection/time.rs` and `src/stack/retry.rs`.
#[test]
fn row_66_back_off_outlives_progress() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.write(10);
        script.run(secs(35));
        script.sent();
        script.acknowledge(10);
        script.run(secs(30));
        script.write(10);
        script.sent();
        script.run(secs(30));
        let again = script.sent();
        assert!(again.iter().all(|s| s.payload.is_empty()), "{again:?}");
    }
}

/// A keep-alive interval is added to the time as a signed number, so that a probe can be
/// due before the time of the step that sets it. `src/stack/retry.rs` relies on that.
#[test]
fn a_keep_alive_interval_may_be_negative() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        let minute = 60_000_000_u64;
        let back = Duration::from_micros(minute.wrapping_neg());
        script.bare.socket().set_keep_alive(Some(back));
        script.bare.socket().set_keep_alive(None);
        script.run(ms(20));
        let sent = script.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let later = smoltcp::time::Instant::from_millis(60_000) + back;
        assert_eq!(later, smoltcp::time::Instant::ZERO);
    }
}
