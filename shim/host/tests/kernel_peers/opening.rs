//! Connections that never open.

use crate::Case;
use crate::fixture::{PATIENCE, assert_waited, lab, quick, server};
use crate::peer::Peer;
use embedded_io::{Error as _, ErrorKind};
use lastbyte::{Cause, WriteError};
use std::net::Ipv4Addr;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("a_closed_port_refuses", a_closed_port_refuses),
    (
        "a_full_backlog_is_a_connect_timeout",
        a_full_backlog_is_a_connect_timeout,
    ),
    (
        "an_address_without_a_host_is_unreachable",
        an_address_without_a_host_is_unreachable,
    ),
    (
        "a_missing_route_is_reported_at_once",
        a_missing_route_is_reported_at_once,
    ),
];

fn a_closed_port_refuses() {
    lab(|lab| {
        let options = quick().connect_timeout(PATIENCE).build().unwrap();
        let id = lab.stack.connect(server(), options).unwrap();
        let error = lab.stack.wait_open(id).unwrap_err();
        assert!(matches!(error, WriteError::Refused { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let report = lab.stack.report(id).unwrap();
        assert_eq!(report.cause, Some(Cause::Refused));
        assert_eq!(report.ledger.accepted(), 0);
        assert!(report.elapsed < PATIENCE, "{report:?}");
    });
}

fn a_full_backlog_is_a_connect_timeout() {
    lab(|lab| {
        // A backlog of 0 holds one connection. The kernel drops further SYNs.
        let fill = "fill = [socket.socket() for _ in range(4)]
for f in fill:
    f.setblocking(False)
    try: f.connect(('10.77.0.1', PORT))
    except BlockingIOError: pass
time.sleep(0.5); print('full', flush=True); hang()";
        let mut peer = Peer::python("V6 = False; BACKLOG = 0", fill);
        assert_eq!(peer.line(), "full");
        let id = lab
            .stack
            .connect(server(), quick().build().unwrap())
            .unwrap();
        let error = lab.stack.wait_open(id).unwrap_err();
        assert_eq!(error.cause(), Some(Cause::ConnectTimeout), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let report = lab.stack.report(id).unwrap();
        assert_waited(report.elapsed, Duration::from_secs(3));
    });
}

fn an_address_without_a_host_is_unreachable() {
    lab(|lab| {
        let no_host = (Ipv4Addr::new(10, 77, 0, 9), 5000);
        let id = lab
            .stack
            .connect(no_host, quick().build().unwrap())
            .unwrap();
        let error = lab.stack.wait_open(id).unwrap_err();
        assert_eq!(error.cause(), Some(Cause::Unreachable), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        let report = lab.stack.report(id).unwrap();
        assert_waited(report.elapsed, Duration::from_secs(3));
    });
}

fn a_missing_route_is_reported_at_once() {
    lab(|lab| {
        let elsewhere = (Ipv4Addr::new(192, 0, 2, 1), 5000);
        let error = lab
            .stack
            .connect(elsewhere, quick().build().unwrap())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    });
}
