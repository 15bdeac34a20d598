//! Rows of the conformance table that are tested with a packet filter: the effects of the
//! kernel's own ICMP errors, and of segments lost on purpose. `row_NN` is the number in
//! the table.
//!
//! It needs `nft`.

use crate::Case;
use crate::fixture::{
    Lab, PATIENCE, PORT, Seen, assert_waited, content, lab, quick, server, sha256,
};
use crate::peer::Peer;
use embedded_io::{Error as _, ErrorKind, Write as _};
use lastbyte::stack::ConnectionId;
use lastbyte::{Advice, Cause, State};
use lastbyte_host::namespace::KERNEL_V6;
use lastbyte_sim::loopback::Flags;
use smoltcp::wire::IpEndpoint;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("row_23_connect_timeout", row_23_connect_timeout),
    (
        "row_32_icmp_soft_while_connecting",
        row_32_icmp_soft_while_connecting,
    ),
    (
        "row_33_icmp_hard_while_connecting",
        row_33_icmp_hard_while_connecting,
    ),
    (
        "row_33_icmp_hard_on_an_open_connection",
        row_33_icmp_hard_on_an_open_connection,
    ),
    ("row_37_simultaneous_close", row_37_simultaneous_close),
    ("row_38_last_ack_lost", row_38_last_ack_lost),
];

pub const DROP_OURS: &str = "tcp dport 5000 drop";
pub const DROP_ITS: &str = "tcp sport 5000 drop";

/// What is missing on this machine for these tests; `None` if they can run.
pub fn missing() -> Option<String> {
    let version = Command::new("nft").arg("--version").output();
    version.err().map(|error| format!("nft: {error}"))
}

/// Filters what reaches the kernel by the rule `input`, and what it sends by `output`, in
/// place of the previous rules.
#[track_caller]
fn filter(input: &str, output: &str) {
    load_rules(input, output);
}

/// Sets the rules for what reaches the kernel and for what it sends, in place of the previous
/// ones.
#[track_caller]
pub fn load_rules(input: &str, output: &str) {
    let rules = format!(
        "flush ruleset
table inet lab {{
    chain in {{ type filter hook input priority 0; {input}; }}
    chain out {{ type filter hook output priority 0; {output}; }}
}}"
    );
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft starts");
    let mut orders = nft.stdin.take().expect("stdin is piped");
    orders.write_all(rules.as_bytes()).expect("nft reads");
    drop(orders);
    assert!(nft.wait().expect("nft ends").success(), "{rules}");
}

/// An open connection that has carried 1,000 bytes.
#[track_caller]
fn open(lab: &mut Lab<'_, '_>, peer: &mut Peer, options: lastbyte::Options) -> ConnectionId {
    let id = lab.connect(peer, options);
    let mut writer = lab.stack.writer(id).unwrap();
    writer.write_all(&content(1_000)).unwrap();
    writer.flush().unwrap();
    id
}

fn row_23_connect_timeout() {
    lab(|lab| {
        filter(DROP_OURS, "");
        let options = quick().connect_timeout(Duration::from_millis(1_500));
        let options = options.build().unwrap();
        let id = lab.stack.connect(server(), options).unwrap();
        let error = lab.stack.wait_open(id).unwrap_err();
        assert_eq!(error.cause(), Some(Cause::ConnectTimeout), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let report = lab.check(id);
        assert_eq!(report.ledger.accepted(), 0);
        assert_waited(report.elapsed, Duration::from_millis(1_500));
    });
}

fn row_32_icmp_soft_while_connecting() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        lab.wait_listening(&mut peer, server());
        filter("tcp dport 5000 reject with icmp type host-unreachable", "");
        let options = quick().build().unwrap();
        let id = lab.stack.connect(server(), options).unwrap();
        lab.stack.run_for(Duration::from_millis(300));
        assert_eq!(lab.stack.state(id), Ok(State::Connecting));
        assert_eq!(lab.stack.poll_advice(id), Ok(Some(Advice::Icmp)));
        // The next SYN reaches the host.
        filter("", "");
        lab.stack.wait_open(id).unwrap();
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(peer.received().sha256, sha256(&content(1_000)));
        lab.check(id);
    });
}

fn row_33_icmp_hard_while_connecting() {
    let v6: IpEndpoint = (KERNEL_V6, PORT).into();
    let rejections = [
        (server(), "icmp type prot-unreachable"),
        (server(), "icmp type port-unreachable"),
        (v6, "icmpv6 type admin-prohibited"),
        (v6, "icmpv6 type port-unreachable"),
    ];
    for (server, how) in rejections {
        lab(|lab| {
            filter(&format!("tcp dport 5000 reject with {how}"), "");
            let options = quick().connect_timeout(PATIENCE).build().unwrap();
            let id = lab.stack.connect(server, options).unwrap();
            let error = lab.stack.wait_open(id).unwrap_err();
            assert_eq!(error.cause(), Some(Cause::Unreachable), "{how}: {error:?}");
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            let report = lab.check(id);
            assert_eq!(report.ledger.accepted(), 0);
            // Ended by the ICMP error, not by the connect timeout.
            assert!(report.elapsed < PATIENCE, "{report:?}");
        });
    }
}

fn row_33_icmp_hard_on_an_open_connection() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let id = open(lab, &mut peer, quick().build().unwrap());
        filter("tcp dport 5000 reject with icmp type port-unreachable", "");
        let data = content(50_000);
        lab.stack.writer(id).unwrap().write_all(&data).unwrap();
        lab.stack.run_for(Duration::from_millis(300));
        assert_eq!(lab.stack.state(id), Ok(State::Open));
        assert_eq!(lab.stack.poll_advice(id), Ok(Some(Advice::Icmp)));
        assert_eq!(lab.check(id).ledger.acknowledged(), 1_000);
        filter("", "");
        let report = lab.stack.writer(id).unwrap().finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        let all = [content(1_000), data].concat();
        assert_eq!(peer.received().sha256, sha256(&all));
        lab.check(id);
    });
}

fn row_37_simultaneous_close() {
    lab(|lab| {
        let script = "import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
take(1000); report(); signal.sigwait([signal.SIGUSR1])
c.close(); print('closed', flush=True); hang()";
        let mut peer = Peer::serving(script);
        let id = open(lab, &mut peer, quick().build().unwrap());
        assert_eq!(peer.received().bytes, 1_000);
        // Neither FIN arrives at first.
        filter(DROP_OURS, DROP_ITS);
        peer.signal("USR1");
        assert_eq!(peer.line(), "closed");
        lab.stack.writer(id).unwrap().begin_finish();
        lab.stack.poll();
        // The peer's FIN is retransmitted, and the peer has not received ours.
        filter(DROP_OURS, "");
        let fin_seq = lab.flow(id).ack.wrapping_sub(1);
        let until = lab.now() + PATIENCE;
        let mut cursor = 0;
        let is_its_fin = |seen: &Seen| {
            let fin = &seen.segment;
            fin.src_port == PORT && fin.is(Flags::FIN) && fin.ack == fin_seq
        };
        while !lab.seen_since(&mut cursor).iter().any(is_its_fin) {
            assert!(lab.now() < until, "the FIN is retransmitted");
            lab.stack.wait(until);
        }
        assert!(!lab.stack.state(id).unwrap().is_closed(), "not before ours");
        filter("", "");
        let report = lab.wait_end(id);
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(report.ledger.acknowledged(), 1_000);
        lab.check(id);
    });
}

fn row_38_last_ack_lost() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report(); hang()");
        let options = quick().finish_timeout(Duration::from_millis(1_500)).build();
        let id = open(lab, &mut peer, options.unwrap());
        filter("", DROP_ITS);
        let begun = lab.now();
        let error = lab.stack.writer(id).unwrap().finish().unwrap_err();
        assert_eq!(error.cause(), Some(Cause::FinishTimeout), "{error:?}");
        let took = lab.now().since(begun);
        let bounds = Duration::from_millis(1_500)..Duration::from_millis(2_500);
        assert!(bounds.contains(&took), "{took:?}");
        // Only the FIN is in doubt, and the peer has it.
        assert_eq!(error.ledger().undelivered(), 0);
        assert_eq!(peer.received().bytes, 1_000);
        lab.check(id);
    });
}
