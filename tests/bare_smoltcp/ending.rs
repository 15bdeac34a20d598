//! The peer, or the loss of our address, ends the connection.

use crate::common::*;
use crate::script::{ENDED, PEERS, Script, numbers};
use lastbyte_sim::loopback::Flags;
use smoltcp::iface::PollResult;
use smoltcp::socket::tcp;
use smoltcp::time::Duration;

/// The first write after the peer's FIN is accepted, and sent. RFC 9293, 3.10.7.4, step
/// 8, requires that the user is informed of the FIN. Worked around in
/// `src/stack/slot.rs`, which checks the state after each step, and decided in
/// `src/core/transition.rs`.
#[test]
fn row_01_fin_does_not_stop_the_next_write() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.send_fin();
        script.expect_ack();
        assert_eq!(script.state(), tcp::State::CloseWait);
        assert!(script.bare.socket().can_send());
        script.write(4);
        script.expect_data(4);
    }
}

/// A FIN and a RST in one poll look like a RST alone, and like a timeout: `Closed`, no
/// endpoint, `InvalidState`. RFC 9293, MUST-12, requires that a normal close is
/// distinguished from an error. Worked around in `src/stack/tracker.rs` (one frame in
/// each step) and `src/stack/slot.rs`.
#[test]
fn row_02_fin_and_rst_look_alike_after_one_poll() {
    for peer in PEERS {
        let mut finished = Script::open(peer);
        let fin = finished.flow.fin();
        finished.raw.send(&fin);
        let rst = finished.flow.rst();
        finished.send(&rst);
        assert_eq!(finished.shown(), ENDED);

        let mut reset = Script::open(peer);
        let rst = reset.flow.rst();
        reset.send(&rst);
        assert_eq!(reset.shown(), ENDED);

        let mut silent = Script::open(peer);
        silent
            .bare
            .socket()
            .set_timeout(Some(Duration::from_secs(3)));
        silent.run(secs(100));
        assert_eq!(silent.shown(), ENDED);
    }
}

/// A FIN with data at a closed receive window is acknowledged only up to the window,
/// again and again, and meanwhile writes are accepted. RFC 9293, 3.10.7.4, step 8,
/// requires that the user is informed; here nothing reports that the window is the
/// reason. Worked around in `src/stack/slot.rs`, which discards received bytes, or
/// reports that the buffer is full.
#[test]
fn row_17_fin_after_a_full_receive_buffer_is_not_detected() {
    for peer in PEERS {
        let mut script = Script::open_with_buffers(peer, 10);
        let full = script.flow.data(*b"ten octets");
        script.send(&full);
        script.sent();
        let fin = script.flow.segment(Flags::FIN | Flags::ACK);
        let fin = fin.with_payload(*b"later!");
        for _ in 0..100 {
            script.send(&fin);
            let sent = script.sent();
            let ack = (Flags::ACK, script.flow.ack, script.flow.seq);
            assert_eq!(numbers(&sent), [ack]);
            assert_eq!(sent[0].window, 0);
            assert_eq!(script.state(), tcp::State::Established);
            script.run(secs(10));
        }
        script.write(10);
        script.expect_data(10);
    }
}

/// If its address is removed, a connection silently ends with an empty queue, as if
/// everything had been delivered; the poll that does it returns `None`. RFC 9293, 3.10.8,
/// requires that the user is informed, and what is queued is lost. Worked around in
/// `src/stack/tracker.rs`, which checks the address before each step.
#[test]
fn lost_source_address_empties_the_queue() {
    for peer in PEERS {
        let mut script = Script::open(peer);
        script.write(10);
        script.expect_data(10);
        let arrived = script.flow.data(*b"unread");
        script.send(&arrived);
        script.sent();
        script.bare.iface.update_ip_addrs(|list| list.truncate(0));
        assert_eq!(script.bare.poll(), PollResult::None);
        let socket = script.bare.socket();
        assert_eq!((socket.send_queue(), socket.recv_queue()), (0, 0));
        assert_eq!(script.shown(), ENDED);
        script.expect_silence(secs(1_000));
    }
}
