//! Rows of the conformance table about peers that stop reading, fall silent or lose their
//! state; `row_NN` is the number in the table.

use crate::Case;
use crate::fixture::{Lab, PATIENCE, Seen, content, lab, quick, sha256};
use crate::peer::Peer;
use embedded_io::Write as _;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, OnReceive, State};
use lastbyte_sim::loopback::{Flags, Segment};
use std::time::Duration;

pub const CASES: &[Case] = &[
    (
        "row_08_rst_at_zero_receive_window",
        row_08_rst_at_zero_receive_window,
    ),
    (
        "row_17_fin_after_full_receive_buffer",
        row_17_fin_after_full_receive_buffer,
    ),
    ("row_27_zero_window_probe", row_27_zero_window_probe),
    ("row_31_keep_alive", row_31_keep_alive),
    ("row_39_half_open_discovery", row_39_half_open_discovery),
];

/// Our segments from `cursor` on.
#[track_caller]
fn sent_since(lab: &mut Lab<'_, '_>, id: ConnectionId, cursor: &mut usize) -> Vec<Segment> {
    let port = lab.flow(id).remote.port;
    lab.seen_since(cursor)
        .into_iter()
        .map(|Seen { segment, .. }| segment)
        .filter(|segment| segment.src_port == port)
        .collect()
}

fn row_08_rst_at_zero_receive_window() {
    lab(|lab| {
        let script = "import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
c.setblocking(False)
try:
    while True: c.send(bytes(65536))
except BlockingIOError: pass
print('full', flush=True); signal.sigwait([signal.SIGUSR1])
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
c.close(); print('reset', flush=True); hang()";
        let mut peer = Peer::serving(script);
        let options = quick().on_receive(OnReceive::Keep).build();
        let id = lab.connect(&mut peer, options.unwrap());
        assert_eq!(peer.line(), "full");
        lab.stack.run_for(Duration::from_millis(300));
        let mut writer = lab.stack.writer(id).unwrap();
        assert!(writer.progress().unwrap().is_receive_full);
        peer.signal("USR1");
        assert_eq!(peer.line(), "reset");
        let error = lab.stack.writer(id).unwrap().write_all(b"x").unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerReset), "{error:?}");
        assert_eq!(error.ledger().accepted(), 0);
        lab.check(id);
        let sent = sent_since(lab, id, &mut 0);
        let last_ack = sent.iter().rfind(|segment| segment.is(Flags::ACK));
        assert_eq!(last_ack.map(|ack| ack.window), Some(0));
    });
}

fn row_17_fin_after_full_receive_buffer() {
    lab(|lab| {
        // Many times our receive buffer, and the FIN after it.
        let script = "c.sendall(bytes(500000)); c.shutdown(socket.SHUT_WR); drain(); report()";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let until = lab.now() + PATIENCE;
        while lab.stack.state(id) == Ok(State::Open) {
            assert!(lab.now() < until, "the FIN is detected");
            lab.stack.wait(until);
        }
        let error = lab.stack.writer(id).unwrap().write_all(b"x").unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerFinished), "{error:?}");
        assert_eq!(error.ledger().accepted(), 0);
        assert_eq!(lab.check(id).discarded, 500_000);
        lab.stack.writer(id).unwrap().finish().unwrap();
        assert_eq!(peer.received().bytes, 0);
    });
}

fn row_27_zero_window_probe() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let options = quick().call_timeout(Duration::from_millis(500)).build();
        let id = lab.connect(&mut peer, options.unwrap());
        peer.signal("STOP");
        let data = content(8_000_000);
        let mut cursor = 0;
        lab.seen_since(&mut cursor);
        let mut writer = lab.stack.writer(id).unwrap();
        let error = writer.write_all(&data).unwrap_err();
        let accepted = usize::try_from(error.ledger().accepted()).unwrap();
        // Longer than the user timeout of 3 s.
        lab.stack.run_for(Duration::from_millis(7_500));
        assert_eq!(lab.stack.state(id), Ok(State::Open));
        let sent = sent_since(lab, id, &mut cursor);
        // The first byte that did not fit, again and again.
        let first_unsent = sent.last().expect("much was sent").seq;
        let probes: Vec<_> = sent
            .iter()
            .filter(|probe| probe.seq == first_unsent && probe.seq_len() == 1)
            .collect();
        assert!(probes.len() >= 3, "{probes:?}");
        let gaps: Vec<_> = probes
            .windows(2)
            .map(|pair| pair[1].time.since(pair[0].time))
            .collect();
        assert!(
            gaps.is_sorted() && gaps[0] < gaps[gaps.len() - 1],
            "{gaps:?}"
        );
        lab.check(id);
        peer.signal("CONT");
        let report = lab.stack.writer(id).unwrap().finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(peer.received().sha256, sha256(&data[..accepted]));
        lab.check(id);
    });
}

fn row_31_keep_alive() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let options = quick()
            .keep_alive(Duration::from_millis(500))
            .user_timeout(Duration::from_millis(1_800))
            .build();
        let id = lab.connect(&mut peer, options.unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        writer.flush().unwrap();
        let mut cursor = 0;
        lab.seen_since(&mut cursor);
        // Idle for longer than the user timeout, and every probe is answered.
        lab.stack.run_for(Duration::from_secs(3));
        assert_eq!(lab.stack.state(id), Ok(State::Open));
        let probes = sent_since(lab, id, &mut cursor).len();
        assert!((3..=7).contains(&probes), "{probes} probes in 3 s");
        // A single lost probe does not end the connection.
        lab.stack.device_mut().get_mut().set_dropping(true);
        lab.stack.run_for(Duration::from_millis(700));
        lab.stack.device_mut().get_mut().set_dropping(false);
        lab.stack.run_for(Duration::from_secs(2));
        assert_eq!(lab.stack.state(id), Ok(State::Open));
        lab.stack.device_mut().get_mut().set_dropping(true);
        let report = lab.wait_end(id);
        assert_eq!(report.cause, Some(Cause::Vanished));
        assert_eq!(report.ledger.undelivered(), 0);
        lab.check(id);
    });
}

fn row_39_half_open_discovery() {
    lab(|lab| {
        // In repair mode the kernel closes without a segment (19: TCP_REPAIR).
        let script = "take(1000); report(); c.setsockopt(socket.IPPROTO_TCP, 19, 1)
c.close(); print('closed', flush=True); hang()";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        writer.flush().unwrap();
        assert_eq!(peer.received().bytes, 1_000);
        assert_eq!(peer.line(), "closed");
        // No segment reported it, so this write is the first to detect it.
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(500)).unwrap();
        let report = lab.wait_end(id);
        assert_eq!(report.cause, Some(Cause::PeerReset));
        assert_eq!(report.ledger.acknowledged(), 1_000);
        assert_eq!(report.ledger.undelivered(), 500);
        let error = lab.stack.writer(id).unwrap().write_all(b"x").unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerReset));
        lab.check(id);
    });
}
