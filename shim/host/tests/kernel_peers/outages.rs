//! Outages over a TAP: a packet filter drops everything for a time that is shorter than the
//! running timeout. Everything arrives, and what was in flight is retransmitted soon after.
//!
//! It needs `nft`.

use crate::Case;
use crate::firewall::{DROP_ITS, DROP_OURS, load_rules};
use crate::fixture::{Lab, PATIENCE, content, lab, quick, server, sha256};
use crate::peer::Peer;
use embedded_io::Write as _;
use lastbyte::Cause;
use lastbyte::stack::ConnectionId;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("an_outage_while_connecting", an_outage_while_connecting),
    (
        "an_outage_of_an_open_connection",
        an_outage_of_an_open_connection,
    ),
    ("an_outage_while_finishing", an_outage_while_finishing),
    ("a_link_that_comes_back", a_link_that_comes_back),
];

const LIMIT: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_millis(7_400);

/// A quarter of the timeout, and a margin for a busy machine. Without the early
/// retransmission, the next one would be eight seconds away.
const SOON: Duration = Duration::from_millis(2_500 + 2_000);

/// Drops everything for a while.
#[track_caller]
fn outage(lab: &mut Lab<'_, '_>) {
    load_rules(DROP_OURS, DROP_ITS);
    lab.stack.run_for(OUTAGE);
    load_rules("", "");
}

/// Checks that everything written has arrived, and finishes the connection.
#[track_caller]
fn assert_delivered(lab: &mut Lab<'_, '_>, id: ConnectionId, peer: &mut Peer, bytes: usize) {
    let report = lab.stack.writer(id).unwrap().finish().unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_eq!(report.ledger.undelivered(), 0);
    assert_eq!(peer.received().sha256, sha256(&content(bytes)));
    lab.check(id);
}

fn an_outage_while_connecting() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        lab.wait_listening(&mut peer, server());
        let options = quick().connect_timeout(LIMIT).build().unwrap();
        load_rules(DROP_OURS, DROP_ITS);
        let id = lab.stack.connect(server(), options).unwrap();
        outage(lab);
        let whole = lab.now();
        lab.stack.wait_open(id).unwrap();
        assert!(lab.now().since(whole) < SOON);
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        assert_delivered(lab, id, &mut peer, 1_000);
    });
}

fn an_outage_of_an_open_connection() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let options = quick().user_timeout(LIMIT).call_timeout(PATIENCE);
        let id = lab.connect(&mut peer, options.build().unwrap());
        load_rules(DROP_OURS, DROP_ITS);
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(3_000)).unwrap();
        outage(lab);
        let whole = lab.now();
        lab.stack.writer(id).unwrap().flush().unwrap();
        assert!(lab.now().since(whole) < SOON);
        assert_delivered(lab, id, &mut peer, 3_000);
    });
}

fn an_outage_while_finishing() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let options = quick().finish_timeout(LIMIT).user_timeout(6 * LIMIT);
        let id = lab.connect(&mut peer, options.build().unwrap());
        load_rules(DROP_OURS, DROP_ITS);
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(3_000)).unwrap();
        writer.begin_finish();
        outage(lab);
        let whole = lab.now();
        let report = lab.wait_end(id);
        assert!(lab.now().since(whole) < SOON);
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(peer.received().sha256, sha256(&content(3_000)));
        lab.check(id);
    });
}

fn a_link_that_comes_back() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let options = quick().user_timeout(6 * LIMIT).call_timeout(PATIENCE);
        let id = lab.connect(&mut peer, options.build().unwrap());
        lab.stack.set_link(false);
        load_rules(DROP_OURS, DROP_ITS);
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(3_000)).unwrap();
        outage(lab);
        lab.stack.set_link(true);
        let whole = lab.now();
        lab.stack.writer(id).unwrap().flush().unwrap();
        // At once: the next retransmission would be eight seconds away, a quarter of the
        // timeout fifteen.
        assert!(lab.now().since(whole) < Duration::from_secs(4));
        assert_delivered(lab, id, &mut peer, 3_000);
    });
}
