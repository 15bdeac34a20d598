//! The only place that decides a state.
//!
//! # Theory of operation
//!
//! A connection is a [`State`]. Everything that can happen to it is an [`Event`]: a call
//! of the application, a fact that the driver observed, or a timeout that was reached.
//! [`transition`] maps the two to the next state and the [`Action`] that the driver has
//! to perform. It uses no clock, no socket and no bytes:
//! [`Connection`](crate::core::Connection) first turns conditions on data into distinct
//! events (a FIN under either policy, a connect timeout with or without a SYN on the
//! wire).
//!
//! Three rules shape the table:
//!
//! - **The first end wins.** Once a cause is decided, no event changes it. A FIN under
//!   [`OnPeerFin::Refuse`] decides the cause before the connection is closed, so whatever
//!   ends that connection later, the cause is the FIN.
//! - **Late facts are ignored, and calls that are not allowed are misuse.** Neither
//!   changes anything.
//! - **Only `Release` leads out of `Closed`**, and only to `Idle`.
//!
//! Every cell is written out, with its id, in the order of the table below.
//!
#![doc = include_str!("transitions.md")]

use crate::core::state::{Action, Cause, Closer, Event, Incoming, OnPeerFin, State};
use core::fmt;

/// One cell of the table: the effect of an event in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transition {
    /// The number of the cell, as in `T007`. The cells of `Closed(_)` are the same for
    /// every cause.
    pub row: u8,
    /// The state after the event.
    pub next: State,
    /// What the driver has to do.
    pub action: Action,
}

const fn row(row: u8, next: State, action: Action) -> Transition {
    Transition { row, next, action }
}

/// The effect of `event` on a connection in `state`.
///
/// ```
/// use lastbyte::core::{transition::transition, Action, Event};
/// use lastbyte::{OnPeerFin, State};
///
/// let fin = transition(State::Open, Event::PeerFin(OnPeerFin::Refuse));
/// assert_eq!(fin.next, State::PeerFinished(OnPeerFin::Refuse));
///
/// let write = transition(fin.next, Event::Write);
/// assert_eq!(write.action, Action::Refuse);
/// ```
#[must_use]
#[inline]
pub fn transition(state: State, event: Event) -> Transition {
    let number = line(state)
        .wrapping_mul(COLUMNS)
        .wrapping_add(column(event));
    let outcome = CELLS
        .get(number)
        .and_then(|&outcome| OUTCOMES.get(usize::from(outcome)));
    let (next, action) = match outcome {
        Some(&(next, action)) => (next, action),
        // There is a cell for every state and every event.
        None => (None, Action::Ignore),
    };
    Transition {
        row: u8::try_from(number).unwrap_or(0).wrapping_add(1),
        next: next.unwrap_or(state),
        action,
    }
}

const COLUMNS: usize = Event::ALL.len();

/// The states, with one cause that stands for all.
const LINES: [State; 11] = [
    State::Idle,
    State::Connecting,
    State::Listening,
    State::Open,
    State::PeerFinished(OnPeerFin::Refuse),
    State::PeerFinished(OnPeerFin::HalfClose),
    State::WriteFinished(Incoming::Open),
    State::WriteFinished(Incoming::Ended),
    State::Finishing(Closer::Us),
    State::Finishing(Closer::Peer),
    State::Closed(Cause::PeerFinished),
];

/// The next state, `None` for the present one, and the action.
type Outcome = (Option<State>, Action);

/// How many different outcomes there are.
const DIFFERENT: usize = 31;

/// The result of [`decide`] for every state and event, computed at compile time: on a
/// small machine, a lookup takes less code and time than the decision. Most cells are
/// alike, so each holds the number of one of the [`OUTCOMES`].
static CELLS: [u8; COLUMNS * LINES.len()] = NUMBERED.0;

/// The different outcomes, in the order of their first cell.
static OUTCOMES: [Outcome; DIFFERENT] = NUMBERED.1;

#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "an index out of range does not compile"
)]
const NUMBERED: ([u8; COLUMNS * LINES.len()], [Outcome; DIFFERENT]) = {
    let mut cells = [0; COLUMNS * LINES.len()];
    let mut outcomes = [(None, Action::None); DIFFERENT];
    let (mut number, mut known) = (0, 0);
    while number < cells.len() {
        let state = LINES[number / COLUMNS];
        let cell = decide(state, Event::ALL[number % COLUMNS]);
        let outcome = match is_same_state(cell.next, state) {
            true => (None, cell.action),
            false => (Some(cell.next), cell.action),
        };
        let mut at = 0;
        while at < known && !is_same(outcomes[at], outcome) {
            at += 1;
        }
        if at == known {
            outcomes[known] = outcome;
            known += 1;
        }
        cells[number] = at as u8;
        number += 1;
    }
    assert!(known == DIFFERENT, "one cell of each kind");
    (cells, outcomes)
};

/// Whether two cells have the same outcome. `==` is no `const fn`.
const fn is_same(a: Outcome, b: Outcome) -> bool {
    let are_states_same = match (a.0, b.0) {
        (Some(a), Some(b)) => is_same_state(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    are_states_same && is_same_action(a.1, b.1)
}

#[expect(clippy::as_conversions, reason = "const fn; the number of a variant")]
const fn is_same_state(a: State, b: State) -> bool {
    match (a, b) {
        (State::Closed(a), State::Closed(b)) => a as u8 == b as u8,
        _ => line(a) == line(b),
    }
}

#[expect(clippy::as_conversions, reason = "const fn; the number of a variant")]
const fn is_same_action(a: Action, b: Action) -> bool {
    a as u8 == b as u8
}

/// The line of a state in [`CELLS`].
const fn line(state: State) -> usize {
    match state {
        State::Idle => 0,
        State::Connecting => 1,
        State::Listening => 2,
        State::Open => 3,
        State::PeerFinished(OnPeerFin::Refuse) => 4,
        State::PeerFinished(OnPeerFin::HalfClose) => 5,
        State::WriteFinished(Incoming::Open) => 6,
        State::WriteFinished(Incoming::Ended) => 7,
        State::Finishing(Closer::Us) => 8,
        State::Finishing(Closer::Peer) => 9,
        State::Closed(_) => 10,
    }
}

/// The column of an event in [`CELLS`].
const fn column(event: Event) -> usize {
    match event {
        Event::Connect => 0,
        Event::Listen => 1,
        Event::Write => 2,
        Event::FinishWriting => 3,
        Event::Finish => 4,
        Event::Abort => 5,
        Event::Release => 6,
        Event::Established => 7,
        Event::PeerFin(OnPeerFin::Refuse) => 8,
        Event::PeerFin(OnPeerFin::HalfClose) => 9,
        Event::PeerRst => 10,
        Event::FinAcknowledged => 11,
        Event::DrainedUnread => 12,
        Event::Unreachable => 13,
        Event::AddressLost => 14,
        Event::ConnectTimeout => 15,
        Event::UserTimeout => 16,
        Event::ProgressTimeout => 17,
        Event::FinishTimeout => 18,
    }
}

/// Decides what `event` does to a connection in `state`.
const fn decide(state: State, event: Event) -> Transition {
    match state {
        State::Idle => from_idle(event),
        State::Connecting => from_connecting(event),
        State::Listening => from_listening(event),
        State::Open => from_open(event),
        State::PeerFinished(OnPeerFin::Refuse) => from_peer_finished_refuse(event),
        State::PeerFinished(OnPeerFin::HalfClose) => from_peer_finished_half_close(event),
        State::WriteFinished(Incoming::Open) => from_write_finished(event),
        State::WriteFinished(Incoming::Ended) => from_both_finished(event),
        State::Finishing(Closer::Us) => from_finishing_us(event),
        State::Finishing(Closer::Peer) => from_finishing_peer(event),
        State::Closed(cause) => from_closed(cause, event),
    }
}

/// No connection: only opening leaves this state, and nothing from the network can affect it.
const fn from_idle(event: Event) -> Transition {
    let here = State::Idle;
    match event {
        Event::Connect => row(1, State::Connecting, Action::StartConnect),
        Event::Listen => row(2, State::Listening, Action::StartListen),
        Event::Write => row(3, here, Action::Refuse),
        Event::FinishWriting => row(4, here, Action::Refuse),
        Event::Finish => row(5, here, Action::Refuse),
        Event::Abort => row(6, here, Action::Ignore),
        Event::Release => row(7, here, Action::Ignore),
        Event::Established => row(8, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(9, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(10, here, Action::Ignore),
        Event::PeerRst => row(11, here, Action::Ignore),
        Event::FinAcknowledged => row(12, here, Action::Ignore),
        Event::DrainedUnread => row(13, here, Action::Ignore),
        Event::Unreachable => row(14, here, Action::Ignore),
        Event::AddressLost => row(15, here, Action::Ignore),
        Event::ConnectTimeout => row(16, here, Action::Ignore),
        Event::UserTimeout => row(17, here, Action::Ignore),
        Event::ProgressTimeout => row(18, here, Action::Ignore),
        Event::FinishTimeout => row(19, here, Action::Ignore),
    }
}

/// RFC 9293, 3.10.7.3 (SYN-SENT). Nothing was accepted, so nothing is lost if we end the
/// connection.
const fn from_connecting(event: Event) -> Transition {
    let here = State::Connecting;
    match event {
        Event::Connect => row(20, here, Action::Misuse),
        Event::Listen => row(21, here, Action::Misuse),
        Event::Write => row(22, here, Action::Wait),
        Event::FinishWriting => row(23, here, Action::Wait),
        Event::Finish => row(24, State::Closed(Cause::Finished), Action::Reset),
        Event::Abort => row(25, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(26, here, Action::Misuse),
        Event::Established => row(27, State::Open, Action::None),
        Event::PeerFin(OnPeerFin::Refuse) => row(28, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(29, here, Action::Ignore),
        Event::PeerRst => row(30, State::Closed(Cause::Refused), Action::None),
        Event::FinAcknowledged => row(31, here, Action::Ignore),
        Event::DrainedUnread => row(32, here, Action::Ignore),
        Event::Unreachable => row(33, State::Closed(Cause::Unreachable), Action::Reset),
        Event::AddressLost => row(34, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(35, State::Closed(Cause::ConnectTimeout), Action::Reset),
        Event::UserTimeout => row(36, here, Action::Ignore),
        Event::ProgressTimeout => row(37, here, Action::Ignore),
        Event::FinishTimeout => row(38, here, Action::Ignore),
    }
}

/// RFC 9293, 3.10.7.2 (LISTEN) and the handshake that follows: an event that breaks the
/// handshake only returns the connection to LISTEN.
const fn from_listening(event: Event) -> Transition {
    let here = State::Listening;
    match event {
        Event::Connect => row(39, here, Action::Misuse),
        Event::Listen => row(40, here, Action::Misuse),
        Event::Write => row(41, here, Action::Wait),
        Event::FinishWriting => row(42, here, Action::Wait),
        Event::Finish => row(43, State::Closed(Cause::Finished), Action::Reset),
        Event::Abort => row(44, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(45, here, Action::Misuse),
        Event::Established => row(46, State::Open, Action::None),
        Event::PeerFin(OnPeerFin::Refuse) => row(47, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(48, here, Action::Ignore),
        Event::PeerRst => row(49, here, Action::Ignore),
        Event::FinAcknowledged => row(50, here, Action::Ignore),
        Event::DrainedUnread => row(51, here, Action::Ignore),
        Event::Unreachable => row(52, here, Action::Ignore),
        Event::AddressLost => row(53, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(54, here, Action::Relisten),
        Event::UserTimeout => row(55, here, Action::Ignore),
        Event::ProgressTimeout => row(56, here, Action::Ignore),
        Event::FinishTimeout => row(57, here, Action::Ignore),
    }
}

/// RFC 9293, 3.10.7.4 (ESTABLISHED).
const fn from_open(event: Event) -> Transition {
    let here = State::Open;
    match event {
        Event::Connect => row(58, here, Action::Misuse),
        Event::Listen => row(59, here, Action::Misuse),
        Event::Write => row(60, here, Action::Accept),
        Event::FinishWriting => row(61, State::WriteFinished(Incoming::Open), Action::SendFin),
        Event::Finish => row(62, State::Finishing(Closer::Us), Action::SendFin),
        Event::Abort => row(63, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(64, here, Action::Misuse),
        Event::Established => row(65, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => {
            row(66, State::PeerFinished(OnPeerFin::Refuse), Action::None)
        }
        Event::PeerFin(OnPeerFin::HalfClose) => {
            row(67, State::PeerFinished(OnPeerFin::HalfClose), Action::None)
        }
        Event::PeerRst => row(68, State::Closed(Cause::PeerReset), Action::None),
        Event::FinAcknowledged => row(69, here, Action::Ignore),
        Event::DrainedUnread => row(70, here, Action::Ignore),
        Event::Unreachable => row(71, here, Action::Ignore),
        Event::AddressLost => row(72, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(73, here, Action::Ignore),
        Event::UserTimeout => row(74, State::Closed(Cause::Vanished), Action::Reset),
        Event::ProgressTimeout => row(75, State::Closed(Cause::Unacknowledged), Action::Reset),
        Event::FinishTimeout => row(76, here, Action::Ignore),
    }
}

/// RFC 9293 (CLOSE-WAIT), under the policy that a FIN refuses writes: the cause is decided,
/// and pending bytes drain. However the connection ends, the cause is the FIN, which came
/// first.
const fn from_peer_finished_refuse(event: Event) -> Transition {
    let here = State::PeerFinished(OnPeerFin::Refuse);
    match event {
        Event::Connect => row(77, here, Action::Misuse),
        Event::Listen => row(78, here, Action::Misuse),
        Event::Write => row(79, here, Action::Refuse),
        Event::FinishWriting => row(80, here, Action::Refuse),
        Event::Finish => row(81, State::Finishing(Closer::Peer), Action::SendFin),
        Event::Abort => row(82, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::Release => row(83, here, Action::Misuse),
        Event::Established => row(84, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(85, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(86, here, Action::Ignore),
        Event::PeerRst => row(87, State::Closed(Cause::PeerFinished), Action::None),
        Event::FinAcknowledged => row(88, here, Action::Ignore),
        Event::DrainedUnread => row(89, here, Action::Ignore),
        Event::Unreachable => row(90, here, Action::Ignore),
        Event::AddressLost => row(91, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::ConnectTimeout => row(92, here, Action::Ignore),
        Event::UserTimeout => row(93, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::ProgressTimeout => row(94, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::FinishTimeout => row(95, here, Action::Ignore),
    }
}

/// RFC 9293 (CLOSE-WAIT), with our direction still in use.
const fn from_peer_finished_half_close(event: Event) -> Transition {
    let here = State::PeerFinished(OnPeerFin::HalfClose);
    match event {
        Event::Connect => row(96, here, Action::Misuse),
        Event::Listen => row(97, here, Action::Misuse),
        Event::Write => row(98, here, Action::Accept),
        Event::FinishWriting => row(99, State::WriteFinished(Incoming::Ended), Action::SendFin),
        Event::Finish => row(100, State::Finishing(Closer::Us), Action::SendFin),
        Event::Abort => row(101, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(102, here, Action::Misuse),
        Event::Established => row(103, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(104, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(105, here, Action::Ignore),
        Event::PeerRst => row(106, State::Closed(Cause::PeerReset), Action::None),
        Event::FinAcknowledged => row(107, here, Action::Ignore),
        Event::DrainedUnread => row(108, here, Action::Ignore),
        Event::Unreachable => row(109, here, Action::Ignore),
        Event::AddressLost => row(110, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(111, here, Action::Ignore),
        Event::UserTimeout => row(112, State::Closed(Cause::Vanished), Action::Reset),
        Event::ProgressTimeout => row(113, State::Closed(Cause::Unacknowledged), Action::Reset),
        Event::FinishTimeout => row(114, here, Action::Ignore),
    }
}

/// RFC 9293 (FIN-WAIT-1, FIN-WAIT-2), while reading goes on. The acknowledgement of our FIN
/// does not end the connection.
const fn from_write_finished(event: Event) -> Transition {
    let here = State::WriteFinished(Incoming::Open);
    match event {
        Event::Connect => row(115, here, Action::Misuse),
        Event::Listen => row(116, here, Action::Misuse),
        Event::Write => row(117, here, Action::Refuse),
        Event::FinishWriting => row(118, here, Action::Ignore),
        Event::Finish => row(119, State::Finishing(Closer::Us), Action::SendFin),
        Event::Abort => row(120, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(121, here, Action::Misuse),
        Event::Established => row(122, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => {
            row(123, State::WriteFinished(Incoming::Ended), Action::None)
        }
        Event::PeerFin(OnPeerFin::HalfClose) => {
            row(124, State::WriteFinished(Incoming::Ended), Action::None)
        }
        Event::PeerRst => row(125, State::Closed(Cause::PeerReset), Action::None),
        Event::FinAcknowledged => row(126, here, Action::None),
        Event::DrainedUnread => row(127, here, Action::Ignore),
        Event::Unreachable => row(128, here, Action::Ignore),
        Event::AddressLost => row(129, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(130, here, Action::Ignore),
        Event::UserTimeout => row(131, State::Closed(Cause::Vanished), Action::Reset),
        Event::ProgressTimeout => row(132, State::Closed(Cause::Unacknowledged), Action::Reset),
        Event::FinishTimeout => row(133, State::Closed(Cause::FinishTimeout), Action::Reset),
    }
}

/// RFC 9293 (CLOSING, LAST-ACK after a half-close): both sides have finished, and the
/// acknowledgement of our FIN ends the connection. Received bytes stay readable.
const fn from_both_finished(event: Event) -> Transition {
    let here = State::WriteFinished(Incoming::Ended);
    match event {
        Event::Connect => row(134, here, Action::Misuse),
        Event::Listen => row(135, here, Action::Misuse),
        Event::Write => row(136, here, Action::Refuse),
        Event::FinishWriting => row(137, here, Action::Ignore),
        Event::Finish => row(138, State::Finishing(Closer::Us), Action::SendFin),
        Event::Abort => row(139, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(140, here, Action::Misuse),
        Event::Established => row(141, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(142, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(143, here, Action::Ignore),
        Event::PeerRst => row(144, State::Closed(Cause::PeerReset), Action::None),
        Event::FinAcknowledged => row(145, State::Closed(Cause::Finished), Action::None),
        Event::DrainedUnread => row(146, here, Action::Ignore),
        Event::Unreachable => row(147, here, Action::Ignore),
        Event::AddressLost => row(148, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(149, here, Action::Ignore),
        Event::UserTimeout => row(150, State::Closed(Cause::Vanished), Action::Reset),
        Event::ProgressTimeout => row(151, State::Closed(Cause::Unacknowledged), Action::Reset),
        Event::FinishTimeout => row(152, State::Closed(Cause::FinishTimeout), Action::Reset),
    }
}

/// RFC 9293 (FIN-WAIT-1, CLOSING, LAST-ACK after a half-close). A FIN of the peer changes
/// nothing: we finished first.
const fn from_finishing_us(event: Event) -> Transition {
    let here = State::Finishing(Closer::Us);
    match event {
        Event::Connect => row(153, here, Action::Misuse),
        Event::Listen => row(154, here, Action::Misuse),
        Event::Write => row(155, here, Action::Refuse),
        Event::FinishWriting => row(156, here, Action::Ignore),
        Event::Finish => row(157, here, Action::Ignore),
        Event::Abort => row(158, State::Closed(Cause::Aborted), Action::Reset),
        Event::Release => row(159, here, Action::Misuse),
        Event::Established => row(160, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(161, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(162, here, Action::Ignore),
        Event::PeerRst => row(163, State::Closed(Cause::PeerReset), Action::None),
        Event::FinAcknowledged => row(164, State::Closed(Cause::Finished), Action::None),
        Event::DrainedUnread => row(165, State::Closed(Cause::Finished), Action::Reset),
        Event::Unreachable => row(166, here, Action::Ignore),
        Event::AddressLost => row(167, State::Closed(Cause::AddressLost), Action::Reset),
        Event::ConnectTimeout => row(168, here, Action::Ignore),
        Event::UserTimeout => row(169, State::Closed(Cause::Vanished), Action::Reset),
        Event::ProgressTimeout => row(170, State::Closed(Cause::Unacknowledged), Action::Reset),
        Event::FinishTimeout => row(171, State::Closed(Cause::FinishTimeout), Action::Reset),
    }
}

/// RFC 9293 (LAST-ACK), with the cause decided by the peer's FIN.
const fn from_finishing_peer(event: Event) -> Transition {
    let here = State::Finishing(Closer::Peer);
    match event {
        Event::Connect => row(172, here, Action::Misuse),
        Event::Listen => row(173, here, Action::Misuse),
        Event::Write => row(174, here, Action::Refuse),
        Event::FinishWriting => row(175, here, Action::Refuse),
        Event::Finish => row(176, here, Action::Ignore),
        Event::Abort => row(177, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::Release => row(178, here, Action::Misuse),
        Event::Established => row(179, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(180, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(181, here, Action::Ignore),
        Event::PeerRst => row(182, State::Closed(Cause::PeerFinished), Action::None),
        Event::FinAcknowledged => row(183, State::Closed(Cause::PeerFinished), Action::None),
        Event::DrainedUnread => row(184, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::Unreachable => row(185, here, Action::Ignore),
        Event::AddressLost => row(186, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::ConnectTimeout => row(187, here, Action::Ignore),
        Event::UserTimeout => row(188, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::ProgressTimeout => row(189, State::Closed(Cause::PeerFinished), Action::Reset),
        Event::FinishTimeout => row(190, State::Closed(Cause::PeerFinished), Action::Reset),
    }
}

/// Latched: only a release leaves this state, and what arrives late changes nothing.
const fn from_closed(cause: Cause, event: Event) -> Transition {
    let here = State::Closed(cause);
    match event {
        Event::Connect => row(191, here, Action::Misuse),
        Event::Listen => row(192, here, Action::Misuse),
        Event::Write => row(193, here, Action::Refuse),
        Event::FinishWriting => row(194, here, Action::Refuse),
        Event::Finish => row(195, here, Action::Refuse),
        Event::Abort => row(196, here, Action::Ignore),
        Event::Release => row(197, State::Idle, Action::None),
        Event::Established => row(198, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::Refuse) => row(199, here, Action::Ignore),
        Event::PeerFin(OnPeerFin::HalfClose) => row(200, here, Action::Ignore),
        Event::PeerRst => row(201, here, Action::Ignore),
        Event::FinAcknowledged => row(202, here, Action::Ignore),
        Event::DrainedUnread => row(203, here, Action::Ignore),
        Event::Unreachable => row(204, here, Action::Ignore),
        Event::AddressLost => row(205, here, Action::Ignore),
        Event::ConnectTimeout => row(206, here, Action::Ignore),
        Event::UserTimeout => row(207, here, Action::Ignore),
        Event::ProgressTimeout => row(208, here, Action::Ignore),
        Event::FinishTimeout => row(209, here, Action::Ignore),
    }
}
/// The printed form of the table, as Markdown, generated from [`transition`].
///
/// ```
/// let table = lastbyte::core::transition::Table.to_string();
/// assert!(table.contains("| T058 | Open |"));
/// ```
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Table;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| row | state | event | next state | action |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for state in State::ALL {
            if state.is_closed() && state != State::Closed(Cause::PeerFinished) {
                // The cells are the same for every cause; one cause stands for all.
                continue;
            }
            for event in Event::ALL {
                let cell = transition(state, event);
                write!(f, "| T{:03} | {} | {event} | ", cell.row, Name(state))?;
                if cell.next == state {
                    write!(f, "-")?;
                } else {
                    write!(f, "{}", cell.next)?;
                }
                writeln!(f, " | {} |", cell.action)?;
            }
        }
        Ok(())
    }
}

/// The name of a state in the state column of the table, where `Closed` stands for every
/// cause.
struct Name(State);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_closed() {
            f.write_str("Closed(any)")
        } else {
            self.0.fmt(f)
        }
    }
}
