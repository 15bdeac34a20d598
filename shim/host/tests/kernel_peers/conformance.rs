//! Rows of the conformance table that are tested with a forged segment on a connection to
//! the kernel; `row_NN` is the number in the table.

use crate::Case;
use crate::fixture::{Lab, Seen, content, lab, lab_with, quick, sha256};
use crate::injector::Injector;
use crate::peer::Peer;
use embedded_io::Write as _;
use lastbyte::stack::ConnectionId;
use lastbyte::{Cause, OnPeerFin, State};
use lastbyte_sim::loopback::{Flags, Flow, Segment};
use lastbyte_sim::setup::Setup;
use std::time::Duration;

pub const CASES: &[Case] = &[
    ("row_05_rst_exact", row_05_rst_exact),
    (
        "row_06_rst_in_window_challenged",
        row_06_rst_in_window_challenged,
    ),
    (
        "row_07_rst_out_of_window_dropped",
        row_07_rst_out_of_window_dropped,
    ),
    ("row_09_rst_with_data", row_09_rst_with_data),
    (
        "row_12_syn_in_synchronized_challenged",
        row_12_syn_in_synchronized_challenged,
    ),
    ("row_13_ack_beyond_snd_nxt", row_13_ack_beyond_snd_nxt),
    ("row_14_ack_too_old", row_14_ack_too_old),
    ("row_15_fin_out_of_order", row_15_fin_out_of_order),
    (
        "row_16_fin_blind_out_of_window",
        row_16_fin_blind_out_of_window,
    ),
    (
        "row_16_fin_with_data_beyond_the_window",
        row_16_fin_with_data_beyond_the_window,
    ),
    ("row_19_data_after_fin", row_19_data_after_fin),
];

/// A connection that has carried 1,000 bytes, and its forger.
struct Target<'t, 'l, 'a> {
    lab: &'t mut Lab<'l, 'a>,
    peer: Peer,
    id: ConnectionId,
    injector: Injector,
    flow: Flow,
}

/// Runs `test` on a connection to a peer that reads to the end and reports it.
#[track_caller]
fn target(test: impl FnOnce(&mut Target<'_, '_, '_>) + Send) {
    target_with(|_| (), test);
}

/// Like [`target`], with other buffers.
#[track_caller]
fn target_with(
    adapt: impl FnOnce(&mut Setup) + Send,
    test: impl FnOnce(&mut Target<'_, '_, '_>) + Send,
) {
    lab_with(adapt, |lab| {
        let mut peer = Peer::serving("drain(); report()");
        let id = lab.connect(&mut peer, quick().build().unwrap());
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        writer.flush().unwrap();
        let injector = Injector::new(lab);
        let flow = lab.flow(id);
        test(&mut Target {
            lab,
            peer,
            id,
            injector,
            flow,
        });
    });
}

impl Target<'_, '_, '_> {
    /// Forges a segment, and returns the pure ACKs that our end sent after it.
    #[track_caller]
    fn answers_to(&mut self, segment: &Segment) -> Vec<Segment> {
        let mut cursor = 0;
        self.lab.seen_since(&mut cursor);
        self.injector.send([segment]);
        self.lab.stack.poll();
        let seen = self.lab.seen_since(&mut cursor);
        assert!(seen.iter().any(|seen| seen.is_forged), "{segment} arrived");
        seen.into_iter()
            .map(|Seen { segment, .. }| segment)
            .filter(|answer| answer.src_port == self.flow.remote.port)
            .filter(|answer| answer.flags == Flags::ACK && answer.payload.is_empty())
            .collect()
    }

    /// Asserts that the segment is answered with an ACK at the present numbers, and
    /// changes nothing.
    #[track_caller]
    fn assert_challenged(&mut self, segment: &Segment) {
        // At most one challenge ACK a second (RFC 5961, 7).
        self.lab.stack.run_for(Duration::from_millis(1_100));
        let before = self.lab.stack.report(self.id).unwrap().ledger;
        let answers = self.answers_to(segment);
        assert_eq!(answers.len(), 1, "{segment}: {answers:?}");
        assert_eq!(answers[0].ack, self.flow.seq, "{segment}");
        assert_eq!(self.lab.stack.state(self.id), Ok(State::Open), "{segment}");
        assert_eq!(self.lab.stack.report(self.id).unwrap().ledger, before);
        self.lab.check(self.id);
    }

    /// Asserts that the segment is silently dropped.
    #[track_caller]
    fn assert_silent(&mut self, segment: &Segment) {
        let answers = self.answers_to(segment);
        assert!(answers.is_empty(), "{segment}: {answers:?}");
        assert_eq!(self.lab.stack.state(self.id), Ok(State::Open), "{segment}");
        self.lab.check(self.id);
    }

    /// Asserts that the connection still works, and that its bytes arrive as sent.
    #[track_caller]
    fn assert_delivers(&mut self) {
        let mut writer = self.lab.stack.writer(self.id).unwrap();
        writer.write_all(&content(100_000)).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        let all = [content(1_000), content(100_000)].concat();
        assert_eq!(self.peer.received().sha256, sha256(&all));
        let report = self.lab.check(self.id);
        assert_eq!(report.ledger.acknowledged(), all.len() as u64);
        assert_eq!(report.discarded, 0);
    }

    /// Asserts that the segment ends the connection as a reset.
    #[track_caller]
    fn assert_resets(&mut self, segment: &Segment) {
        self.injector.send([segment]);
        let error = self.lab.stack.writer(self.id).unwrap().write_all(b"lost!");
        let error = error.unwrap_err();
        assert_eq!(error.cause(), Some(Cause::PeerReset), "{error:?}");
        assert_eq!(error.ledger().accepted(), 1_000);
        assert_eq!(error.ledger().acknowledged(), 1_000);
        self.lab.check(self.id);
    }
}

/// The distance beyond RCV.NXT.
fn ahead(flow: &Flow, by: u32) -> u32 {
    flow.seq.wrapping_add(by)
}

fn row_05_rst_exact() {
    target(|target| target.assert_resets(&target.flow.rst()));
}

fn row_06_rst_in_window_challenged() {
    target(|target| {
        let flow = target.flow;
        for by in [1, 1_000, 16 * 1024 - 1] {
            target.assert_challenged(&flow.rst().with_seq(ahead(&flow, by)));
        }
        target.assert_delivers();
    });
}

fn row_07_rst_out_of_window_dropped() {
    target(|target| {
        let flow = target.flow;
        for by in [u32::MAX, 16 * 1024, 1 << 20, 1 << 31] {
            target.assert_silent(&flow.rst().with_seq(ahead(&flow, by)));
        }
        target.assert_delivers();
    });
}

fn row_09_rst_with_data() {
    target(|target| {
        let rst = target.flow.rst().with_payload(*b"go away");
        target.assert_resets(&rst);
    });
}

fn row_12_syn_in_synchronized_challenged() {
    target(|target| {
        let flow = target.flow;
        for by in [u32::MAX, 0, 1 << 31] {
            let syn = flow.segment(Flags::SYN).with_seq(ahead(&flow, by));
            target.assert_challenged(&syn);
        }
        target.assert_delivers();
    });
}

fn row_13_ack_beyond_snd_nxt() {
    lab(|lab| {
        let mut peer = Peer::serving("drain(); report()");
        let options = quick().call_timeout(Duration::from_millis(500)).build();
        let id = lab.connect(&mut peer, options.unwrap());
        peer.signal("STOP");
        // The peer's window closes, and more waits in our buffer than is in flight.
        let data = content(8_000_000);
        let mut writer = lab.stack.writer(id).unwrap();
        let error = writer.write_all(&data).unwrap_err();
        let accepted = usize::try_from(error.ledger().accepted()).unwrap();
        assert!(error.ledger().pending() > 10_000, "{error:?}");
        let mut injector = Injector::new(lab);
        let flow = lab.flow(id);
        // Beyond a window probe of one byte that may be sent meanwhile.
        for beyond in [2, 1_000, 10_000] {
            let before = lab.stack.report(id).unwrap().ledger;
            injector.send([&flow.ack().with_ack(flow.ack.wrapping_add(beyond))]);
            lab.stack.poll();
            assert_eq!(lab.stack.report(id).unwrap().ledger, before);
        }
        let mut cursor = 0;
        lab.seen_since(&mut cursor);
        lab.stack.run_for(Duration::from_millis(1_100));
        injector.send([&flow.ack().with_ack(flow.ack.wrapping_add(9_000))]);
        lab.stack.poll();
        let is_answer = |seen: &Seen| {
            let answer = &seen.segment;
            answer.src_port == flow.remote.port && answer.flags == Flags::ACK
        };
        assert!(lab.seen_since(&mut cursor).iter().any(is_answer));
        lab.check(id);
        peer.signal("CONT");
        let report = lab.stack.writer(id).unwrap().finish().unwrap();
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(peer.received().sha256, sha256(&data[..accepted]));
        lab.check(id);
    });
}

fn row_14_ack_too_old() {
    target(|target| {
        let flow = target.flow;
        for old in [1, 1_000, 1 << 20, 1 << 31] {
            target.answers_to(&flow.ack().with_ack(flow.ack.wrapping_sub(old)));
            assert_eq!(target.lab.stack.state(target.id), Ok(State::Open));
            target.lab.check(target.id);
        }
        target.assert_delivers();
    });
}

fn row_15_fin_out_of_order() {
    target(|target| {
        let mut flow = target.flow;
        flow.seq = ahead(&flow, 10);
        let answers = target.answers_to(&flow.fin());
        assert!(answers.iter().all(|ack| ack.ack == target.flow.seq));
        assert_eq!(target.lab.stack.state(target.id), Ok(State::Open));
        target.assert_delivers();
    });
}

fn row_16_fin_blind_out_of_window() {
    target(|target| {
        for by in [16 * 1024 + 1, 1 << 20, 1 << 31] {
            let mut flow = target.flow;
            flow.seq = ahead(&flow, by);
            target.answers_to(&flow.fin());
            assert_eq!(target.lab.stack.state(target.id), Ok(State::Open));
        }
        target.assert_delivers();
    });
}

fn row_16_fin_with_data_beyond_the_window() {
    // A window smaller than a segment: the FIN is beyond what fits.
    let adapt = |setup: &mut Setup| setup.rx_buffer = 1_000;
    target_with(adapt, |target| {
        let fin = target.flow.segment(Flags::FIN | Flags::ACK);
        target.assert_challenged(&fin.with_payload(content(1_400)));
        target.assert_delivers();
    });
}

fn row_19_data_after_fin() {
    lab(|lab| {
        let mut peer = Peer::serving("c.shutdown(socket.SHUT_WR); drain(); report()");
        let options = quick().on_peer_fin(OnPeerFin::HalfClose).build();
        let id = lab.connect(&mut peer, options.unwrap());
        lab.stack.run_for(Duration::from_millis(200));
        let state = lab.stack.state(id).unwrap();
        assert_eq!(state, State::PeerFinished(OnPeerFin::HalfClose));
        let mut flow = lab.flow(id);
        Injector::new(lab).send([&flow.data(*b"afterthought")]);
        lab.stack.poll();
        let mut writer = lab.stack.writer(id).unwrap();
        writer.write_all(&content(1_000)).unwrap();
        let report = writer.finish().unwrap();
        assert_eq!(report.discarded, 0);
        assert_eq!(report.cause, Some(Cause::Finished));
        assert_eq!(peer.received().sha256, sha256(&content(1_000)));
        lab.check(id);
    });
}
