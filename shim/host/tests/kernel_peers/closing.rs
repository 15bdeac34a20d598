//! Every way in which a connection ends.

use crate::Case;
use crate::fixture::{accepted, assert_waited, content, lab, quick, server};
use crate::peer::Peer;
use embedded_io::{Error as _, ErrorKind, Write as _};
use lastbyte::{Cause, How, OnPeerFin, WriteError};
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub const CASES: &[Case] = &[
    (
        "the_first_write_after_a_fin_is_refused_1000_times",
        the_first_write_after_a_fin_is_refused,
    ),
    ("closes_with_unread_data", closes_with_unread_data),
    ("lingers_for_zero_seconds", lingers_for_zero_seconds),
    ("shuts_down_writing_default", shuts_down_writing_default),
    (
        "shuts_down_writing_half_close",
        shuts_down_writing_half_close,
    ),
    ("shuts_down_both", shuts_down_both),
    ("killed_in_mid_transfer", killed_in_mid_transfer),
    (
        "packets_dropped_in_mid_stream",
        packets_dropped_in_mid_stream,
    ),
    ("our_address_removed", our_address_removed),
    ("aborted_by_us", aborted_by_us),
];

/// Writes until the connection refuses a write, at most 64 MB.
#[track_caller]
fn write_until_refused(
    lab: &mut crate::fixture::Lab<'_, '_>,
    id: lastbyte::stack::ConnectionId,
) -> WriteError {
    let chunk = content(64 * 1024);
    let mut writer = lab.stack.writer(id).unwrap();
    for _ in 0..1_000 {
        if let Err(error) = writer.write_all(&chunk) {
            return error;
        }
    }
    panic!("64 MB were accepted without an end");
}

fn the_first_write_after_a_fin_is_refused() {
    lab(|lab| {
        let listener = TcpListener::bind(("0.0.0.0", server().port)).unwrap();
        let (closed, closes) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..1_000 {
                    let (mut connection, _) = listener.accept().unwrap();
                    let mut first = [0; 1];
                    connection.read_exact(&mut first).unwrap();
                    drop(connection);
                    closed.send(()).unwrap();
                }
            });
            for run in 0..1_000 {
                let id = lab
                    .stack
                    .connect(server(), quick().build().unwrap())
                    .unwrap();
                let mut writer = lab.stack.writer(id).unwrap();
                writer.write_all(b"1").unwrap();
                writer.flush().unwrap();
                closes.recv_timeout(Duration::from_secs(5)).unwrap();
                // The FIN has arrived at the TAP, and the stack was not polled since.
                let error = writer.write_all(b"lost!").unwrap_err();
                let is_refused = matches!(error, WriteError::PeerClosed { how: How::Fin, .. });
                assert!(is_refused, "run {run}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                assert_eq!(error.ledger().accepted(), 1, "run {run}");
                let report = writer.finish().unwrap();
                assert_eq!(report.cause, Some(Cause::PeerFinished), "run {run}");
            }
        });
    });
}

fn closes_with_unread_data() {
    lab(|lab| {
        let script = "take(1000); report(); time.sleep(0.3); c.close(); hang()";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let error = write_until_refused(lab, id);
        assert_eq!(error.cause(), Some(Cause::PeerReset), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(error.ledger().undelivered() > 0);
        assert!(error.ledger().acknowledged() >= peer.received().bytes);
        lab.check(id);
    });
}

fn lingers_for_zero_seconds() {
    lab(|lab| {
        let script = "take(100000); report()
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close(); hang()";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let error = write_until_refused(lab, id);
        assert_eq!(error.cause(), Some(Cause::PeerReset), "{error:?}");
        assert!(peer.received().bytes >= 100_000);
        // Latched: the same error every time, whatever arrives.
        let mut writer = lab.stack.writer(id).unwrap();
        assert_eq!(writer.write_all(b"x").unwrap_err(), error);
        assert_eq!(writer.flush().is_ok(), error.ledger().undelivered() == 0);
        lab.check(id);
    });
}

fn shuts_down_writing_default() {
    lab(|lab| {
        let script = "c.shutdown(socket.SHUT_WR); drain(); report()";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let error = write_until_refused(lab, id);
        assert_eq!(error.cause(), Some(Cause::PeerFinished), "{error:?}");
        // What was accepted before the FIN still drains.
        let report = lab.stack.writer(id).unwrap().finish().unwrap();
        assert_eq!(report.cause, Some(Cause::PeerFinished));
        assert_eq!(report.ledger.undelivered(), 0);
        assert_eq!(report.ledger.acknowledged(), peer.received().bytes);
        lab.check(id);
    });
}

fn shuts_down_writing_half_close() {
    lab(|lab| {
        let script = "c.shutdown(socket.SHUT_WR); drain(); report()";
        let mut peer = Peer::serving(script);
        let options = quick().on_peer_fin(OnPeerFin::HalfClose).build();
        let id = lab.connect(&mut peer, options.unwrap());
        lab.stack.run_for(Duration::from_millis(200));
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(500_000)).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(report.ledger.acknowledged(), 500_000);
        assert_eq!(peer.received().bytes, 500_000);
        lab.check(id);
    });
}

fn shuts_down_both() {
    lab(|lab| {
        let script = "take(1000); c.shutdown(socket.SHUT_RDWR); report(); hang()";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        writer.flush().unwrap();
        assert_eq!(peer.received().bytes, 1_000);
        let mut writer = lab.stack.writer(id).unwrap();
        let error = writer.write_all(b"lost!").unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerFinished), "{error:?}");
        assert_eq!(error.ledger().accepted(), 1_000);
        lab.check(id);
    });
}

fn killed_in_mid_transfer() {
    lab(|lab| {
        let mut peer = Peer::serving("take(200000); print('killme', flush=True); hang()");
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let data = content(4 << 20);
        let mut sent = 0;
        // Until its buffers are full: unread data makes the kernel send a RST.
        let mut writer = lab.stack.writer(id).unwrap();
        for _ in 0..10_000 {
            sent += accepted(writer.try_write(&data[sent..]));
        }
        assert_eq!(peer.line(), "killme");
        peer.signal("KILL");
        let report = lab.wait_end(id);
        assert_eq!(report.cause, Some(Cause::PeerReset), "{report:?}");
        assert!(report.ledger.acknowledged() >= 200_000);
        lab.check(id);
    });
}

fn packets_dropped_in_mid_stream() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(200_000)).unwrap();
        writer.flush().unwrap();
        lab.stack.device_mut().get_mut().set_dropping(true);
        let dropped_at = lab.now();
        let data = content(50_000);
        lab.stack.writer(id).unwrap().write_all(&data).unwrap();
        let report = lab.wait_end(id);
        let took = lab.now().since(dropped_at);
        assert_eq!(report.cause, Some(Cause::Vanished), "{report:?}");
        // The user timeout.
        assert_waited(took, Duration::from_secs(3));
        assert_eq!(report.ledger.acknowledged(), 200_000);
        assert_eq!(report.ledger.undelivered(), 50_000);
        lab.check(id);
    });
}

fn our_address_removed() {
    lab(|lab| {
        let mut peer = Peer::serving("take(1000); hang()");
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        while accepted(writer.try_write(&content(4_096))) > 0 {}
        let interface = lab.stack.interface_mut();
        interface.update_ip_addrs(|own| own.retain(|cidr| cidr.prefix_len() == 64));
        let error = lab.stack.writer(id).unwrap().write_all(b"x").unwrap_err();
        assert_eq!(error.cause(), Some(Cause::AddressLost), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.ledger().undelivered() > 0, "the queue is reported");
        lab.check(id);
    });
}

fn aborted_by_us() {
    lab(|lab| {
        let script = "take(1000)
try: drain()
except ConnectionResetError: print('reset', flush=True)";
        let mut peer = Peer::serving(script);
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        writer.flush().unwrap();
        let report = writer.abort().unwrap();
        assert_eq!(report.cause, Some(Cause::Aborted));
        assert_eq!(peer.line(), "reset");
        lab.check(id);
    });
}
