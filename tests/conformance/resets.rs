//! The numbers of RSTs, the peer's and ours.

use crate::common::*;
use crate::rows;
use crate::script::{Script, Setting};
use embedded_io::Write;
use lastbyte::core::{Closer, Nagle};
use lastbyte::{Cause, OnPeerFin, Options, State};
use lastbyte_sim::loopback::{Flags, Flow, Segment};

rows!(
    row_44_rst_acknowledges_nothing,
    row_44_rst_after_the_peers_fin,
    row_44_rst_while_finishing,
    row_48_rst_at_snd_nxt,
    row_48_rst_at_snd_nxt_at_a_limit,
    row_48_rst_at_snd_nxt_by_drop,
    row_48_rst_at_a_closed_window,
);

/// How far beyond what was sent a RST acknowledges: not at all, like lwIP, or one octet,
/// like uIP.
const BEYOND: [u32; 2] = [0, 1];

/// 100 octets were sent, and five of them acknowledged.
#[track_caller]
fn five_of_a_hundred(on: Setting, options: Options) -> Script {
    let mut script = Script::open(on, options);
    script.write(100);
    script.expect_data(100);
    script.acknowledge(5);
    script.take_all();
    script
}

/// The RST of a TCP that has lost the connection, in answer to a segment of which
/// `in_flight` octets follow the script's ACK number: it discards them and acknowledges
/// them (RFC 9293, 3.10.7.1).
fn forgotten(script: &Script, in_flight: u32) -> Segment {
    let rst = script.flow.segment(Flags::RST | Flags::ACK);
    rst.with_ack(script.flow.ack.wrapping_add(in_flight))
}

/// Asserts that a flush reports 95 octets as not known to be delivered.
#[track_caller]
fn assert_five_counted(script: &mut Script, cause: Cause) {
    assert_eq!(script.state(), State::Closed(cause));
    assert_ledger(script.us.ledger(script.id), 100, 5);
    let flushed = script.us.writer(script.id).flush();
    assert_error(flushed.expect_err("95 are lost"), cause, 100, 5);
    script.expect_silence(secs(1_000));
    assert_ledger(script.us.ledger(script.id), 100, 5);
}

/// RFC 9293, 3.10.7.1: the RST of a closed TCP acknowledges what that TCP has discarded.
/// No octet counts as acknowledged by it.
fn row_44_rst_acknowledges_nothing(on: Setting) {
    for beyond in BEYOND {
        let mut script = five_of_a_hundred(on, Options::default());
        let rst = forgotten(&script, 95 + beyond);
        script.raw.send(&rst);
        script.assert_refused(Cause::PeerReset, 100, 5);
        assert_five_counted(&mut script, Cause::PeerReset);

        // The peer restarted with nothing of ours in flight.
        let mut script = Script::open(on, Options::default());
        script.write(100);
        script.expect_data(100);
        let rst = forgotten(&script, 100 + beyond);
        script.send(&rst);
        script.assert_refused(Cause::PeerReset, 100, 0);
    }
}

/// The same if the peer's FIN was processed before.
fn row_44_rst_after_the_peers_fin(on: Setting) {
    for beyond in BEYOND {
        let half_close = options(|o| o.on_peer_fin(OnPeerFin::HalfClose));
        for (options, cause) in [
            (half_close, Cause::PeerReset),
            (Options::default(), Cause::PeerFinished),
        ] {
            let mut script = five_of_a_hundred(on, options);
            script.send_fin();
            script.expect_ack();
            let rst = forgotten(&script, 95 + beyond);
            script.send(&rst);
            assert_five_counted(&mut script, cause);
        }
    }
}

/// The same while our end finishes: FIN-WAIT-1, CLOSING and LAST-ACK.
fn row_44_rst_while_finishing(on: Setting) {
    for beyond in BEYOND {
        for (fin_first, fin_then, cause) in [
            (false, false, Cause::PeerReset),
            (false, true, Cause::PeerReset),
            (true, false, Cause::PeerFinished),
        ] {
            let mut script = five_of_a_hundred(on, Options::default());
            if fin_first {
                script.send_fin();
            }
            script.us.writer(script.id).begin_finish();
            if fin_then {
                script.send_fin();
            }
            script.run(ms(20));
            let fins = script.take_all();
            assert!(fins.iter().any(|s| s.is(Flags::FIN)), "{fins:?}");
            let closer = if fin_first { Closer::Peer } else { Closer::Us };
            assert_eq!(script.state(), State::Finishing(closer));
            let rst = forgotten(&script, 96 + beyond);
            script.send(&rst);
            let finished = script.us.writer(script.id).finished().expect("an end");
            let error = finished.expect_err("95 are lost");
            assert_ledger(error.ledger(), 100, 5);
            assert_five_counted(&mut script, cause);
        }
    }
}

/// What may be due when our end sends a RST.
#[derive(Debug, Clone, Copy)]
enum Due {
    Nothing,
    Retransmission,
    /// The peer has shrunk its window.
    Window,
    RetransmissionAndWindow,
}

impl Due {
    const ALL: [Self; 4] = [
        Self::Nothing,
        Self::Retransmission,
        Self::Window,
        Self::RetransmissionAndWindow,
    ];
}

/// 1,000 octets are in flight, and this is due.
#[track_caller]
fn in_flight(on: Setting, due: Due, options: Options) -> Script {
    let mut script = Script::open_at(on, 1_000, options);
    script.write(1_500);
    script.expect_data(1_000);
    if matches!(due, Due::Window | Due::RetransmissionAndWindow) {
        script.flow.window = 0;
        script.send_ack();
    }
    if matches!(due, Due::Retransmission | Due::RetransmissionAndWindow) {
        // No poll meanwhile.
        script.us.world.run_for(ms(1_100));
    }
    script.raw.recv_nothing();
    script
}

/// RFC 9293, 3.10.5: the RST of an abort is at SND.NXT, whatever else is due: a peer
/// accepts no other (RFC 5961, 3.2).
fn row_48_rst_at_snd_nxt(on: Setting) {
    for due in Due::ALL {
        let mut script = in_flight(on, due, options(|o| o.nagle(Nagle::Off)));
        script.us.writer(script.id).abort().expect("ours");
        assert_rst_at(&script, 1_000, due);

        let mut script = in_flight(on, due, options(|o| o.nagle(Nagle::Off)));
        script.us.stack.release(script.id).expect("ours");
        assert_rst_at(&script, 1_000, due);
    }
    // In CLOSE-WAIT.
    let mut script = in_flight(on, Due::Nothing, options(|o| o.nagle(Nagle::Off)));
    script.send_fin();
    script.expect_ack();
    script.us.world.run_for(ms(1_100));
    script.us.writer(script.id).abort().expect("ours");
    assert_rst_at(&script, 1_000, Due::Retransmission);
}

/// The same if a timeout ends the connection: the user timeout at the time of a
/// retransmission, and the finish timeout with our FIN in flight.
fn row_48_rst_at_snd_nxt_at_a_limit(on: Setting) {
    // Timeouts are due after 1, 3 and 7 s.
    for limit in [3, 7, 50] {
        let short = options(|o| o.user_timeout(secs(limit)));
        let mut script = in_flight(on, Due::Nothing, short);
        script.run(secs(limit));
        let sent = script.take_all();
        let last = sent.last().expect("a RST");
        assert_eq!(script.state(), State::Closed(Cause::Vanished));
        assert!(last.is(Flags::RST), "{limit} s: {sent:?}");
        assert_eq!(last.seq, script.flow.ack.wrapping_add(1_000), "{limit} s");
    }

    let short = options(|o| o.finish_timeout(secs(1)));
    let mut script = Script::open(on, short);
    script.write(10);
    script.us.writer(script.id).begin_finish();
    script.run(ms(500));
    assert!(script.take_all().iter().any(|s| s.is(Flags::FIN)));
    script.run(ms(500));
    let sent = script.take_all();
    assert_eq!(script.state(), State::Closed(Cause::FinishTimeout));
    let last = sent.last().expect("a RST");
    assert!(last.is(Flags::RST), "{sent:?}");
    assert_eq!(last.seq, script.flow.ack.wrapping_add(11), "after our FIN");
}

/// The same if the stack is dropped.
fn row_48_rst_at_snd_nxt_by_drop(on: Setting) {
    for due in Due::ALL {
        let script = in_flight(on, due, options(|o| o.nagle(Nagle::Off)));
        let Script { us, raw, flow, .. } = script;
        drop(us);
        let rst = raw.recv();
        assert!(rst.is(Flags::RST), "{due:?}: {rst}");
        assert_eq!(rst.seq, flow.ack.wrapping_add(1_000), "{due:?}: {rst}");
        raw.recv_nothing();
    }
}

/// Asserts that our end has sent a RST that follows this many octets, and nothing else.
#[track_caller]
fn assert_rst_at(script: &Script, sent: u32, due: Due) {
    let rst = script.raw.recv();
    assert!(rst.is(Flags::RST), "{due:?}: {rst}");
    assert_eq!(
        rst.seq,
        script.flow.ack.wrapping_add(sent),
        "{due:?}: {rst}"
    );
    script.raw.recv_nothing();
}

/// A closed window accepts a RST only at its edge (RFC 9293, 3.10.7.4, step 1; RFC 5961,
/// 3.2): an octet that probed it and was refused does not count as sent.
fn row_48_rst_at_a_closed_window(on: Setting) {
    for pause in [ms(0), secs(1), secs(20)] {
        let mut script = Script::open_at(on, 10, Options::default());
        script.write(100);
        script.expect_data(10);
        script.flow.window = 0;
        let flow = Flow {
            ack: script.flow.ack.wrapping_add(10),
            ..script.flow
        };
        // The peer answers each probe, and accepts none.
        script.raw.respond(move |raw, segment| {
            if !segment.is(Flags::RST) {
                raw.send(&flow.ack());
            }
        });
        script.acknowledge(10);
        script.run(pause);
        script.take_all();
        script.us.writer(script.id).abort().expect("ours");
        script.expect_rst(0);
        script.assert_refused(Cause::Aborted, 100, 10);
    }
}
