//! Properties of a [`Connection`] after every step.
//!
//! [`Checked`] keeps an independent account of the connection and compares the two after
//! each step: in all short sequences of steps, and in long random ones.

use lastbyte::core::{Action, Admission, Connection, Sent, Window};
use lastbyte::{Cause, Instant, Ledger, OnPeerFin, Options, Report, State, WriteError};
use proptest::prelude::*;
use std::time::Duration;

/// A call or a fact, from a driver to a connection.
#[derive(Debug, Clone, Copy)]
enum Step {
    Connect(OnPeerFin),
    Listen(OnPeerFin),
    Established,
    /// Write this many bytes; what is admitted is accepted.
    Write(u64),
    /// A segment of the peer that leaves this many bytes pending.
    Heard(u64, Window),
    Sent(Sent),
    Fin,
    Rst,
    /// Only if a FIN of ours is in flight.
    FinAcknowledged,
    Finish,
    Abort,
    Release,
    Unreachable,
    AddressLost,
    HandshakeDropped,
    Link(bool),
    Discarded(u64),
    /// This many milliseconds pass.
    Pass(u32),
    /// Time passes until the next timer is due.
    PassToTimeout,
}

/// A connection and its independent account.
#[derive(Debug, Clone, Copy)]
struct Checked {
    connection: Connection,
    now: Instant,
    /// The sum of what the writes returned, and the lowest number of pending bytes.
    accepted: u64,
    acknowledged: u64,
    writes: (u64, u64),
    discarded: u64,
    link_was_down: bool,
    link_is_up: bool,
    opened_at: Instant,
    /// Does not change when the connection is released.
    ended_at: Instant,
    /// From the end on: the report, and the error of every write.
    end: Option<(Report, WriteError)>,
}

impl Checked {
    fn new() -> Self {
        Self {
            connection: Connection::new(7),
            now: Instant::from_millis(50),
            accepted: 0,
            acknowledged: 0,
            writes: (0, 0),
            discarded: 0,
            link_was_down: false,
            link_is_up: true,
            opened_at: Instant::ZERO,
            ended_at: Instant::ZERO,
            end: None,
        }
    }

    #[track_caller]
    fn after(mut self, steps: &[Step]) -> Self {
        for step in steps {
            self.step(*step);
        }
        self
    }

    #[track_caller]
    fn step(&mut self, step: Step) {
        let before = self.connection.state();
        self.now = self.now + Duration::from_micros(10);
        self.apply(step);
        self.check(before);
    }

    fn apply(&mut self, step: Step) {
        let now = self.now;
        let before = self.connection.state();
        let connection = &mut self.connection;
        match step {
            Step::Connect(policy) => {
                let action = connection.handle_connect(options(policy), now);
                self.opened(action == Action::StartConnect);
            }
            Step::Listen(policy) => {
                let action = connection.handle_listen(options(policy), now);
                self.opened(action == Action::StartListen);
            }
            Step::Established => drop_action(connection.handle_established(now)),
            Step::Write(bytes) => self.write(bytes),
            Step::Heard(pending, window) => {
                connection.handle_pending(pending, now);
                connection.handle_heard(window, now);
                if before.is_established() {
                    self.settle(pending);
                }
            }
            Step::Sent(sent) => connection.handle_sent(sent, now),
            Step::Fin => drop_action(connection.handle_fin(now)),
            Step::Rst => drop_action(connection.handle_rst(now)),
            Step::FinAcknowledged => {
                let _ = connection.handle_fin_acknowledged(now);
                if matches!(before, State::Finishing(_)) {
                    self.settle(0);
                }
            }
            Step::Finish => drop_action(connection.handle_finish(now)),
            Step::Abort => drop_action(connection.handle_abort(now)),
            Step::Release => {
                let _ = connection.handle_release(now);
                if before.is_closed() {
                    self.end = None;
                }
            }
            Step::Unreachable => drop_action(connection.handle_unreachable(now)),
            Step::AddressLost => drop_action(connection.handle_address_lost(now)),
            Step::HandshakeDropped => {
                if before == State::Listening {
                    connection.handle_handshake_dropped();
                }
            }
            Step::Link(up) => {
                connection.handle_link(up);
                self.link_is_up = up;
                self.link_was_down |= !up && !before.is_closed();
            }
            Step::Discarded(bytes) => {
                connection.handle_discarded(bytes);
                if !before.is_closed() {
                    self.discarded = self.discarded.saturating_add(bytes);
                }
            }
            Step::Pass(millis) => self.pass_to(now + Duration::from_millis(millis.into())),
            Step::PassToTimeout => {
                let due = connection.poll_timeout();
                if due != Instant::NEVER {
                    self.pass_to(due.max(now));
                }
            }
        }
    }

    /// Opening starts a new account: nothing of the previous one is left.
    fn opened(&mut self, opened: bool) {
        if opened {
            *self = Self {
                connection: self.connection,
                now: self.now,
                opened_at: self.now,
                ended_at: Instant::NEVER,
                link_is_up: self.link_is_up,
                ..Self::new()
            };
        }
    }

    fn settle(&mut self, pending: u64) {
        let acknowledged = self.accepted.saturating_sub(pending);
        self.acknowledged = self.acknowledged.max(acknowledged);
    }

    fn write(&mut self, bytes: u64) {
        let state = self.connection.state();
        match self.connection.handle_write() {
            Ok(Admission::Accept(room)) => {
                let half_closed = State::PeerFinished(OnPeerFin::HalfClose);
                assert!(state == State::Open || state == half_closed, "{state}");
                assert_eq!(room, u64::MAX - self.accepted);
                let accepted = bytes.min(room);
                self.connection.handle_accepted(accepted, self.now).unwrap();
                self.accepted += accepted;
                self.writes.0 += u64::from(accepted > 0);
            }
            Ok(Admission::Wait) => {
                assert!(matches!(state, State::Connecting | State::Listening));
            }
            Err(error @ WriteError::LedgerFull { .. }) => {
                assert_eq!(error.ledger().accepted(), u64::MAX);
            }
            Err(error) => {
                self.writes.1 += 1;
                assert_eq!(error.ledger(), self.connection.ledger());
                assert_eq!(self.connection.error(), Some(error));
                if let Some((_, latched)) = self.end {
                    assert_eq!(error, latched, "the error of the end changed");
                }
            }
        }
    }

    fn pass_to(&mut self, now: Instant) {
        self.now = now;
        let before = self.connection.state();
        let action = self.connection.handle_timeout(now);
        assert!(
            self.connection.poll_timeout() > now,
            "a timer that is due was left, or set in the past at {now:?}, next {:?}: {:#?}",
            self.connection.poll_timeout(),
            self.connection
        );
        let after = self.connection.state();
        assert_eq!(
            action == Action::Reset,
            after.is_closed() && !before.is_closed(),
            "{before} to {after}: {action}"
        );
    }

    #[track_caller]
    fn check(&mut self, before: State) {
        let connection = self.connection;
        let (state, ledger) = (connection.state(), connection.ledger());
        // The ledger and its identity; acknowledged bytes never decrease.
        assert_eq!(
            (ledger.accepted(), ledger.acknowledged()),
            (self.accepted, self.acknowledged)
        );
        assert_eq!(ledger.accepted(), ledger.acknowledged() + ledger.pending());
        assert_eq!(ledger.undelivered(), ledger.pending());
        // The report agrees with the getters.
        let report = connection.report(self.now);
        assert_eq!(report.cause, state.cause());
        assert_eq!(report.ledger, ledger);
        assert_eq!((report.writes_accepted, report.writes_refused), self.writes);
        assert_eq!(report.discarded, self.discarded);
        assert_eq!(report.link_was_down, self.link_was_down);
        let progress = connection.progress(true);
        assert_eq!((progress.state, progress.ledger), (state, ledger));
        // There is an outcome exactly from the end on, and it agrees with the end.
        assert_eq!(connection.outcome().is_some(), state.is_closed());
        if let State::Closed(cause) = state {
            self.check_end(before, cause, report);
        } else {
            let until = self.ended_at.min(self.now);
            assert_eq!(report.elapsed, until.since(self.opened_at));
            let flushed = match ledger.pending() {
                0 => Ok(true),
                _ if state == State::Idle => Err(WriteError::NotOpen { ledger }),
                _ => Ok(false),
            };
            assert_eq!(connection.is_flushed(), flushed);
        }
        if state == State::Idle {
            assert_eq!(connection.poll_timeout(), Instant::NEVER);
        }
    }

    /// From the end on, only refused writes are counted, no timer runs, and every call
    /// reports the same.
    #[track_caller]
    fn check_end(&mut self, before: State, cause: Cause, report: Report) {
        let connection = &self.connection;
        let error = WriteError::of_cause(cause, report.ledger);
        if !before.is_closed() {
            self.ended_at = self.now;
            self.end = Some((report, error));
        }
        let (at_end, latched) = self.end.unwrap();
        let writes_refused = report.writes_refused;
        assert_eq!(
            report,
            Report {
                writes_refused,
                ..at_end
            }
        );
        assert_eq!((connection.error(), error), (Some(latched), latched));
        assert_eq!(connection.poll_timeout(), Instant::NEVER);
        let is_drained = report.ledger.pending() == 0;
        let flushed = if is_drained { Ok(true) } else { Err(latched) };
        assert_eq!(connection.is_flushed(), flushed);
        let is_ordered = matches!(cause, Cause::Finished | Cause::PeerFinished);
        if is_ordered && is_drained {
            assert_eq!(connection.outcome(), Some(Ok(())));
        } else {
            assert_eq!(connection.outcome(), Some(Err(latched)));
        }
        if cause == Cause::Finished {
            assert!(is_drained, "finished with bytes pending");
        }
    }
}

fn drop_action(_: Action) {}

fn options(policy: OnPeerFin) -> Options {
    Options::builder().on_peer_fin(policy).build().unwrap()
}

/// One step of each kind that matters.
const ALPHABET: [Step; 21] = [
    Step::Connect(OnPeerFin::Refuse),
    Step::Listen(OnPeerFin::HalfClose),
    Step::Established,
    Step::Write(100),
    Step::Heard(0, Window::Open),
    Step::Heard(30, Window::Zero),
    Step::Sent(Sent::Syn),
    Step::Sent(Sent::Demanding),
    Step::Sent(Sent::Retransmission),
    Step::Fin,
    Step::Rst,
    Step::FinAcknowledged,
    Step::Finish,
    Step::Abort,
    Step::Release,
    Step::Unreachable,
    Step::AddressLost,
    Step::Link(false),
    Step::Discarded(5),
    Step::Pass(1_500),
    Step::PassToTimeout,
];

/// Runs every sequence of `depth` steps from here.
fn follow(from: &Checked, depth: u32) -> u64 {
    if depth == 0 {
        return 1;
    }
    ALPHABET
        .iter()
        .map(|step| follow(&from.after(&[*step]), depth - 1))
        .sum()
}

#[test]
fn every_short_sequence_of_steps_keeps_the_account() {
    let open = [Step::Connect(OnPeerFin::Refuse), Step::Established];
    let half_closing = [Step::Connect(OnPeerFin::HalfClose), Step::Established];
    let starts: [&[Step]; 6] = [
        &[],
        &[Step::Connect(OnPeerFin::HalfClose), Step::Sent(Sent::Syn)],
        &[Step::Listen(OnPeerFin::Refuse)],
        &[
            open.as_slice(),
            &[Step::Write(100), Step::Heard(60, Window::Open)],
        ]
        .concat(),
        &[open.as_slice(), &[Step::Write(100), Step::Fin]].concat(),
        &[
            half_closing.as_slice(),
            &[Step::Write(100), Step::Fin, Step::Finish],
        ]
        .concat(),
    ];
    for start in starts {
        let sequences = follow(&Checked::new().after(start), 3);
        assert_eq!(sequences, 21_u64.pow(3));
    }
    let open = Checked::new().after(&open);
    assert_eq!(follow(&open, 4), 21_u64.pow(4));
}

#[test]
fn a_reopened_connection_starts_from_zero_whatever_came_before() {
    let used = [
        Step::Connect(OnPeerFin::Refuse),
        Step::Link(false),
        Step::Established,
        Step::Write(100),
        Step::Sent(Sent::Retransmission),
        Step::Sent(Sent::Retransmission),
        Step::Sent(Sent::Retransmission),
        Step::Heard(40, Window::Zero),
        Step::Discarded(9),
        Step::Pass(30_000),
        Step::Rst,
        Step::Write(1),
        Step::Release,
        Step::Connect(OnPeerFin::HalfClose),
    ];
    let mut again = Checked::new().after(&used).connection;
    let mut first = Connection::new(7);
    let now = Checked::new().after(&used).now;
    let _ = first.handle_connect(options(OnPeerFin::HalfClose), now);
    // Every field is printed, so nothing can be left over unnoticed.
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert_eq!(again.poll_advice(), None);
}

#[test]
fn a_write_that_accepts_nothing_is_not_counted() {
    let open = [Step::Connect(OnPeerFin::Refuse), Step::Established];
    let mut open = Checked::new().after(&open);
    open.step(Step::Write(0));
    assert_eq!(open.connection.report(open.now).writes_accepted, 0);
    assert_eq!(open.connection.poll_timeout(), Instant::NEVER);
}

#[test]
fn the_ledger_fills_up_without_losing_a_byte() {
    let steps = [
        Step::Connect(OnPeerFin::Refuse),
        Step::Established,
        Step::Write(u64::MAX - 1),
        Step::Heard(5, Window::Open),
        Step::Write(3),
    ];
    let mut full = Checked::new().after(&steps);
    let ledger = full.connection.ledger();
    assert_eq!((ledger.accepted(), ledger.pending()), (u64::MAX, 6));
    let error = WriteError::LedgerFull { ledger };
    assert_eq!(full.connection.handle_write(), Err(error));
    assert_eq!(full.connection.handle_accepted(1, full.now), Err(error));
    assert_eq!(full.connection.ledger(), ledger);
    // It lives on: pending bytes drain, and it finishes.
    full.step(Step::Finish);
    full.step(Step::FinAcknowledged);
    assert_eq!(full.connection.outcome(), Some(Ok(())));
}

#[test]
fn it_stays_small_and_can_be_moved_between_threads() {
    const fn is_plain<T: Send + Sync + Copy + Unpin + std::fmt::Debug + 'static>() {}
    const { is_plain::<Connection>() };
    const { is_plain::<Options>() };
    const { is_plain::<Ledger>() };
    const { is_plain::<Report>() };
    const { is_plain::<WriteError>() };
    // The static memory of every connection in every firmware.
    assert!(
        size_of::<Connection>() <= 168,
        "{}",
        size_of::<Connection>()
    );
    assert!(size_of::<WriteError>() <= 24, "{}", size_of::<WriteError>());
}

fn policy() -> impl Strategy<Value = OnPeerFin> {
    prop_oneof![Just(OnPeerFin::Refuse), Just(OnPeerFin::HalfClose)]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![3 => Just(Window::Open), 1 => Just(Window::Zero)]
}

/// Steps of a long life: more traffic than ends.
fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![9 => 0..5_000_u64, 1 => any::<u64>()];
    let sent = prop_oneof![
        Just(Sent::Syn),
        Just(Sent::Demanding),
        Just(Sent::Retransmission)
    ];
    prop_oneof![
        4 => policy().prop_map(Step::Connect),
        2 => policy().prop_map(Step::Listen),
        6 => Just(Step::Established),
        20 => bytes.clone().prop_map(Step::Write),
        20 => (bytes.clone(), window()).prop_map(|(pending, window)| Step::Heard(pending, window)),
        10 => sent.prop_map(Step::Sent),
        3 => Just(Step::Fin),
        1 => Just(Step::Rst),
        3 => Just(Step::FinAcknowledged),
        3 => Just(Step::Finish),
        1 => Just(Step::Abort),
        4 => Just(Step::Release),
        1 => Just(Step::Unreachable),
        1 => Just(Step::AddressLost),
        1 => Just(Step::HandshakeDropped),
        2 => any::<bool>().prop_map(Step::Link),
        3 => bytes.prop_map(Step::Discarded),
        10 => (0..20_000_u32).prop_map(Step::Pass),
        4 => Just(Step::PassToTimeout),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(
        proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions")
    ))]

    #[test]
    fn every_long_random_life_keeps_the_account(
        steps in proptest::collection::vec(step(), 0..300)
    ) {
        Checked::new().after(&steps);
    }
}
