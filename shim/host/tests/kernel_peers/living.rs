//! Connections that survive disturbances.

use crate::Case;
use crate::effort::Effort;
use crate::fixture::{Lab, PORT, content, lab, lab_over, quick, server, sha256};
use crate::peer::Peer;
use embedded_io::Write as _;
use lastbyte::{Cause, Timeout, WriteError};
use lastbyte_host::namespace::KERNEL_V6;
use lastbyte_host::tap::Offload;
use smoltcp::wire::IpEndpoint;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("reads_all_then_closes", reads_all_then_closes),
    ("reads_all_over_ipv6", reads_all_over_ipv6),
    (
        "a_hundred_mebibytes_arrive_as_sent",
        a_hundred_mebibytes_arrive_as_sent,
    ),
    (
        "everything_arrives_with_less_offload",
        everything_arrives_with_less_offload,
    ),
    (
        "stopped_for_seconds_and_continued",
        stopped_for_seconds_and_continued,
    ),
    (
        "a_write_waits_for_a_slow_reader",
        a_write_waits_for_a_slow_reader,
    ),
    (
        "blocked_on_a_slow_reader_burns_no_cpu",
        blocked_on_a_slow_reader_burns_no_cpu,
    ),
    (
        "idle_for_longer_than_the_user_timeout",
        idle_for_longer_than_the_user_timeout,
    ),
];

/// Sends `data` to a peer that reads it all, finishes, and compares the ledger with the
/// wire and with what the peer reports.
#[track_caller]
fn deliver(lab: &mut Lab<'_, '_>, mut peer: Peer, server: IpEndpoint, data: &[u8]) {
    let id = lab.connect_to(&mut peer, server, quick().build().unwrap());
    let mut writer = lab.stack.writer(id).unwrap();
    writer.write_all(data).unwrap();
    let report = writer.finish().unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    let received = peer.received();
    assert_eq!(received.bytes, data.len() as u64);
    assert_eq!(received.sha256, sha256(data));
    assert_eq!(lab.check(id).ledger.acknowledged(), received.bytes);
}

fn reads_all_then_closes() {
    lab(|lab| {
        let peer = Peer::serving("drain(); c.close(); report()");
        deliver(lab, peer, server(), &content(300_000));
    });
}

fn reads_all_over_ipv6() {
    lab(|lab| {
        let peer = Peer::serving_v6("drain(); c.close(); report()");
        deliver(lab, peer, (KERNEL_V6, PORT).into(), &content(300_000));
    });
}

fn a_hundred_mebibytes_arrive_as_sent() {
    lab(|lab| {
        let peer = Peer::serving("drain(); report()");
        deliver(lab, peer, server(), &content(100 << 20));
    });
}

fn everything_arrives_with_less_offload() {
    for offload in [Offload::None, Offload::Checksum] {
        lab_over(
            offload,
            |_| (),
            |lab| {
                let peer = Peer::serving("drain(); report()");
                deliver(lab, peer, server(), &content(10 << 20));
            },
        );
    }
}

fn a_write_waits_for_a_slow_reader() {
    lab(|lab| {
        // 2 MB at 64 KiB every 50 ms; its receive buffer is small.
        let script = "c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
while True:
    data = c.recv(65536)
    if not data: break
    note(data); time.sleep(0.02)
report()";
        deliver(lab, Peer::serving(script), server(), &content(2_000_000));
    });
}

fn stopped_for_seconds_and_continued() {
    lab(|lab| {
        let data = content(8_000_000);
        let mut peer = Peer::serving("drain(); report()");
        let options = quick().call_timeout(Duration::from_millis(1_500)).build();
        let id = lab.connect(&mut peer, options.unwrap());
        peer.signal("STOP");
        // The peer's TCP still answers; its window fills and closes.
        let error = lab.stack.writer(id).unwrap().write_all(&data).unwrap_err();
        let is_not_reading = matches!(
            error,
            WriteError::TimedOut {
                why: Timeout::NotReading,
                ..
            }
        );
        assert!(is_not_reading, "{error:?}");
        assert_eq!(error.cause(), None, "the connection lives");
        // Longer than the user timeout of 3 s: the probes are answered.
        lab.stack.run_for(Duration::from_secs(4));
        peer.signal("CONT");
        let accepted = usize::try_from(error.ledger().accepted()).unwrap();
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&data[accepted..]).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        let received = peer.received();
        assert_eq!(received.bytes, data.len() as u64);
        assert_eq!(received.sha256, sha256(&data));
        lab.check(id);
    });
}

fn blocked_on_a_slow_reader_burns_no_cpu() {
    lab(|lab| {
        let mut peer = Peer::serving("hang()");
        let options = quick().call_timeout(Duration::from_secs(4)).build();
        let id = lab.connect(&mut peer, options.unwrap());
        let data = content(8_000_000);
        // Fill every buffer first.
        lab.stack.writer(id).unwrap().write_all(&data).unwrap_err();
        let before = Effort::now();
        let error = lab.stack.writer(id).unwrap().write_all(&data).unwrap_err();
        let taken = before.assert_at_rest_since(Duration::from_secs(4));
        assert_eq!(error.cause(), None);
        println!("blocked for 4 s: {taken}");
        lab.check(id);
    });
}

fn idle_for_longer_than_the_user_timeout() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(b"before ").unwrap();
        writer.flush().unwrap();
        lab.stack.run_for(Duration::from_secs(5));
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(b"after").unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(peer.received().sha256, sha256(b"before after"));
        lab.check(id);
    });
}
