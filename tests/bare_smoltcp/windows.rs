//! The peer's receive window.

use crate::common::*;
use crate::script::{ENDED, PEERS, Script};
use lastbyte_sim::loopback::Flags;
use smoltcp::socket::tcp;
use smoltcp::time::Duration;
use smoltcp::wire::IpAddress;

/// `set_timeout` ends a connection whose peer answers every probe of its closed
/// window, once the pauses between probes exceed it. RFC 9293, MUST-37, and RFC 1122,
/// 4.2.2.17, require that it stays open. Worked around in `src/core/timers.rs`; smoltcp's
/// own timeout stays off.
#[test]
fn row_28_timeout_ends_a_peer_that_answers_probes() {
    for peer in PEERS {
        let mut script = Script::open_at(peer, 0);
        let timeout = Duration::from_secs(3);
        script.bare.socket().set_timeout(Some(timeout));
        let flow = script.flow;
        script.raw.respond(move |raw, _| raw.send(&flow.ack()));
        script.write(100);
        let from = script.bare.world.now();
        script.bare.run_until_state(tcp::State::Closed);
        // The first probe is sent at once: its timer starts at the clock's zero.
        assert_eq!(script.bare.world.now().since(from), secs(5));
        assert_eq!((script.shown(), script.unsent()), (ENDED, 100));
    }
}

/// A window that shrinks below what is in flight loses nothing, as RFC 9293, MUST-34,
/// requires; what is beyond the new edge waits. Nothing to work around.
#[test]
fn row_29_window_shrink_loses_nothing() {
    for peer in PEERS {
        let mut script = Script::open_at(peer, 1_000);
        script.write(2_000);
        script.expect_data(1_000);
        script.flow.window = 300;
        script.acknowledge(200);
        script.raw.recv_nothing();
        assert_eq!(
            (script.state(), script.unsent()),
            (tcp::State::Established, 1_800)
        );
        // What is in flight arrives after all.
        script.acknowledge(800);
        script.expect_data(300);
        assert_eq!(
            (script.state(), script.unsent()),
            (tcp::State::Established, 1_000)
        );
    }
}

/// This many octets are lost in flight, and then the window closes at the same ACK
/// number: the connection stalls.
#[track_caller]
fn assert_stalls(peer: IpAddress, len: usize) {
    let mut script = Script::open(peer);
    script.write(len);
    script.expect_data(len);
    script.flow.window = 0;
    script.acknowledge(0);
    // The retransmission timer expires, and no timer replaces it.
    script.expect_silence(secs(10));
    assert_eq!(script.bare.poll_at(), None);
    script.expect_silence(secs(500_000));
    assert_eq!(
        (script.state(), script.unsent()),
        (tcp::State::Established, len)
    );
    assert_eq!(script.bare.poll_at(), None);
}

/// Data in flight is lost and then the window closes: no probe is ever sent.
/// RFC 9293, MUST-36, requires one. Worked around with keep-alive while
/// anything is pending, in `src/core/connection/view.rs`.
#[test]
fn row_30_lost_data_then_zero_window_stalls_without_bound() {
    for peer in PEERS {
        assert_stalls(peer, 1_000);
    }
}

/// The last octet, lost in this way, stays in the queue without bound. RFC 9293, MUST-60
/// and MUST-61, require that nothing is buffered indefinitely. Worked around like row 30.
#[test]
fn row_42_last_octet_is_buffered_without_bound() {
    for peer in PEERS {
        assert_stalls(peer, 1);
    }
}

/// A keep-alive probe retransmits the last octet as a zero, although that octet may be in
/// flight and lost: the peer accepts the zero. By RFC 9293, 3.8.4, a probe contains an
/// octet that was acknowledged. Worked around in `src/stack/device.rs`.
#[test]
fn keep_alive_overwrites_an_octet_in_flight() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.write(2);
        let data = script.raw.recv();
        assert_eq!(data.payload, pattern(0, 2));
        // The second octet is not accepted, and the window closes and opens.
        script.flow.window = 0;
        script.acknowledge(1);
        script.flow.window = 1_000;
        script.acknowledge(0);
        script
            .bare
            .socket()
            .set_keep_alive(Some(Duration::from_secs(2)));
        script.run(secs(1));
        let probe = script.raw.recv();
        let last = data.seq.wrapping_add(1);
        assert_eq!((probe.seq, probe.payload), (last, vec![0]));
        assert_ne!(data.payload[1], 0);
    }
}

/// After three ACKs of the same number smoltcp retransmits a full segment, even beyond
/// the peer's window, and a FIN after it. RFC 9293, 3.8.6, and RFC 5681, 3.2, keep to the
/// window. Not worked around: the peer drops what is beyond it.
#[test]
fn fast_retransmission_goes_beyond_the_window() {
    for peer in PEERS {
        let mut script = Script::open_at(peer, 500);
        script.write(1_000);
        script.bare.socket().close();
        script.expect_data(500);
        for _ in 0..4 {
            script.acknowledge(0);
        }
        let again = script.raw.recv();
        assert_eq!((again.seq, again.payload.len()), (script.flow.ack, 1_000));
        assert!(again.is(Flags::FIN), "{again}");
    }
}

/// A pure ACK exactly at the edge of the window, from a peer whose last window of data
/// was lost, is dropped as RFC 9293, 3.10.7.4, requires, and with it what it
/// acknowledges. Worked around in `src/guard/rules.rs`.
#[test]
fn row_14_ack_at_the_edge_of_the_window_is_dropped() {
    for peer in PEERS {
        let mut script = Script::open_with_buffers(peer, 1_000);
        script.write(10);
        script.expect_data(10);
        script.flow.seq = script.flow.seq.wrapping_add(1_000);
        script.acknowledge(10);
        assert_eq!(script.unsent(), 10);
    }
}
