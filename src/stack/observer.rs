//! Derives the events of a connection from what the guard let through in a step and what
//! the socket did with it.
//!
//! # The state machines, and how they are coupled
//!
//! Four state machines follow a connection. Each is advanced in one place:
//!
//! | state machine | holds | advanced by |
//! |---|---|---|
//! | [`State`] | the state as a writer sees it. It alone decides what a write returns, when the connection has ended, and why | `core/transition.rs`, by the events from here |
//! | the guard's [`Phase`](crate::guard::tcb::Phase) | which rules apply to the next segment | `guard/tcb.rs`, by the segments on the wire, and by the [`Receipt`] from here |
//! | [`tcp::State`] | what smoltcp does by itself: retransmit, answer, wait in TIME-WAIT | smoltcp, by the segments that the guard let through, and by the [`Action`](crate::core::Action)s of the connection |
//! | [`Tenure`](super::slot::Tenure) | whether the application still uses the slot | opening and releasing it (`opening.rs`, `calls.rs`) |
//!
//! The order is always the same. A segment passes the guard, which records what it does to
//! either direction ([`Seen`]). smoltcp accepts it or drops it. Then [`observe`] compares
//! the socket before and after the step, and checks the change against what was seen. The
//! FIN, the ACK of our FIN and the RST are events because the guard let them through; the
//! socket shows whether smoltcp accepted them. smoltcp may drop a segment for reasons of
//! its own, such as a damaged link header. A FIN counts even then, because the peer has
//! closed whether smoltcp has room for its data or not. The connection processes the
//! events, its actions are applied to the socket, and the guard gets the receipt, with
//! which its phase follows the socket.
//!
//! If a socket changes its state without a segment that the guard let through, a rule of the
//! guard is wrong. A debug build then panics. A release build follows the socket, because a
//! connection whose socket is closed must not go on waiting; the cause is then a RST.
//!
//! Three more things look like state machines but are not. Whether our SYN was sent (in
//! [`Connection`](crate::core::Connection)) and what the newest segment probed (in the guard) are
//! data of one state, and [`Sending`] is the socket's state in the guard's terms, stored nowhere.
//! [`Slot::tcp`] is not a state either: it is the socket's state at the last check, the "before"
//! of the next comparison.

use super::slot::{Slot, forget};
use crate::Instant;
use crate::core::facts::{Icmp, Sent};
use crate::core::state::{OnReceive, State};
use crate::guard::tcb::{Facts, Receipt, Seen, Sending};
use crate::sabotage::{Sabotage, is_on};
use smoltcp::socket::tcp;

/// Shorter than smoltcp's TIME-WAIT of 10 s, at whose end it clears the receive buffer.
const TIME_WAIT_MS: u32 = 9_000;

/// When smoltcp should have ended TIME-WAIT. While its last ACK cannot leave it does not, and
/// sends a request for the neighbour every second.
const TIME_WAIT_OVERDUE_MS: u32 = 12_000;

/// What happened to a connection in an ingress step, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Events(u8);

impl Events {
    const NONE: Self = Self(0);
    /// A peer has begun a handshake with a listener.
    const CALLED: Self = Self(1);
    /// The caller ended the connection before the handshake was complete.
    const CALLER_LEFT: Self = Self(2);
    /// The handshake is complete.
    const ESTABLISHED: Self = Self(4);
    /// The peer has sent its FIN.
    const FIN: Self = Self(8);
    /// The peer has acknowledged our FIN.
    const FIN_ACKNOWLEDGED: Self = Self(16);
    /// The peer has reset the connection.
    const RST: Self = Self(32);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The events of a segment that the guard let through.
    const fn of(seen: Seen) -> Self {
        match seen {
            Seen::Nothing | Seen::NewSyn => Self::NONE,
            Seen::Fin => Self::FIN,
            Seen::AckOfFin => Self::FIN_ACKNOWLEDGED,
            Seen::BothFins => Self::FIN.and(Self::FIN_ACKNOWLEDGED),
            Seen::Rst => Self::RST,
        }
    }

    /// Whether each of these events comes from a segment that the guard let through, in this
    /// step or, in FIN-WAIT-2, in an earlier one.
    fn are_seen(self, before: tcp::State, seen: Seen) -> bool {
        let earlier = match before == tcp::State::FinWait2 {
            true => Self::FIN_ACKNOWLEDGED,
            false => Self::NONE,
        };
        let by_segments = Self::FIN.and(Self::FIN_ACKNOWLEDGED).and(Self::RST);
        self.0 & by_segments.0 & !Self::of(seen).and(earlier).0 == 0
    }
}

/// What smoltcp did with a segment: the events that explain a socket's change from one
/// state to another, after the guard let through what was seen.
const fn observe(before: tcp::State, after: tcp::State, seen: Seen) -> Events {
    use tcp::State::{
        CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived,
        SynSent, TimeWait,
    };
    match (before, after, seen) {
        // Only a timer ends TIME-WAIT, and only a call opens a socket.
        (TimeWait | Closed, _, _) => Events::NONE,

        (Listen, SynReceived, _) => Events::CALLED,
        (SynReceived, Listen, _) => Events::CALLER_LEFT,
        (_, Listen | SynSent | SynReceived, _) => Events::NONE,

        // Both the last ACK and a RST lead from LAST-ACK to CLOSED.
        (LastAck, Closed, Seen::AckOfFin | Seen::BothFins) => Events::FIN_ACKNOWLEDGED,
        (_, Closed, _) => Events::RST,

        (Listen | SynSent | SynReceived, Established | FinWait1, _) => Events::ESTABLISHED,
        (Listen | SynSent | SynReceived, FinWait2, _) => {
            Events::ESTABLISHED.and(Events::FIN_ACKNOWLEDGED)
        }
        (Listen | SynSent | SynReceived, CloseWait | Closing | LastAck, _) => {
            Events::ESTABLISHED.and(Events::FIN)
        }
        (Listen | SynSent | SynReceived, TimeWait, _) => Events::ESTABLISHED
            .and(Events::FIN)
            .and(Events::FIN_ACKNOWLEDGED),

        (FinWait2, FinWait2, _) => Events::NONE,
        (Established | FinWait1 | FinWait2, CloseWait | Closing | LastAck, _) => Events::FIN,
        // The acknowledgement of our FIN ends the connection here; in FIN-WAIT-2 it was already
        // acknowledged.
        (Established | FinWait1 | FinWait2, TimeWait, _) => {
            Events::FIN.and(Events::FIN_ACKNOWLEDGED)
        }
        (_, FinWait2, _) | (CloseWait | Closing | LastAck, TimeWait, _) => Events::FIN_ACKNOWLEDGED,
        (_, Established | FinWait1, _)
        | (CloseWait | Closing | LastAck, CloseWait | Closing | LastAck, _) => Events::NONE,
    }
}

/// Whether smoltcp has processed the peer's FIN, and so all that the peer sent before it.
const fn has_taken_fin(state: tcp::State) -> bool {
    matches!(
        state,
        tcp::State::CloseWait | tcp::State::LastAck | tcp::State::Closing | tcp::State::TimeWait
    )
}

impl Slot {
    /// Processes what an ingress step did to the socket and what was seen on the wire, with
    /// the ICMP error if the frame was one. Returns the receipt for the guard, if it has
    /// changed.
    #[inline]
    pub(super) fn sync_received(
        &mut self,
        facts: Facts,
        icmp: Icmp,
        socket: &mut tcp::Socket<'_>,
        now: Instant,
    ) -> Option<Receipt> {
        let (before, after) = (self.tcp, socket.state());
        // Most segments only acknowledge.
        let is_plain = before == after
            && self.connection.state() == State::Open
            && socket.recv_queue() == self.unread
            && facts.seen == Seen::Nothing
            && !facts.icmp;
        let (moved, in_order) = match is_plain {
            true => (Events::NONE, 0),
            false => self.note_coming(after, facts.seen, socket, now),
        };
        self.note_heard(facts, socket, now);
        // If the connection has ended and its address is removed, smoltcp closes the socket.
        debug_assert!(
            moved.are_seen(before, facts.seen) || self.connection.state().is_closed(),
            "{before} to {after}: {facts:?}"
        );
        if !is_plain {
            self.note_ending(moved, facts, socket, now);
            self.note_lingering(after, socket, now);
            self.note_unread(facts, socket, now);
            if facts.icmp {
                let action = self.connection.handle_icmp(icmp, now);
                self.perform(action, socket, now);
            }
        }
        self.note_sent(facts, now);
        (!is_plain).then(|| self.receipt(in_order, socket))
    }

    /// Processes received octets and the progress of the handshake. Returns what happened
    /// to the socket, and how many octets of sequence space arrived in order.
    fn note_coming(
        &mut self,
        after: tcp::State,
        seen: Seen,
        socket: &mut tcp::Socket<'_>,
        now: Instant,
    ) -> (Events, u32) {
        let moved = observe(self.tcp, after, seen);
        self.tcp = after;
        let mut in_order = self.take_receipt(socket);
        if moved.has(Events::FIN) {
            in_order = in_order.saturating_add(1);
        }
        self.drain(socket);
        if moved.has(Events::CALLED) {
            self.connection.handle_handshake_started(now);
        }
        if moved.has(Events::CALLER_LEFT) {
            self.connection.handle_handshake_dropped();
        }
        if moved.has(Events::ESTABLISHED) {
            let action = self.connection.handle_established(now);
            self.perform(action, socket, now);
        }
        (moved, in_order)
    }

    /// How many octets arrived in order since the socket was last checked.
    fn take_receipt(&mut self, socket: &tcp::Socket<'_>) -> u32 {
        let came = socket.recv_queue().saturating_sub(self.unread);
        if socket.recv_queue() < self.unread {
            self.connection.note_unread_lost();
        }
        self.unread = socket.recv_queue();
        // A window is at most 2^30 octets.
        u32::try_from(came).unwrap_or(u32::MAX)
    }

    /// The receipt for the guard, once everything that is to be read was read.
    pub(super) fn receipt(&mut self, in_order: u32, socket: &tcp::Socket<'_>) -> Receipt {
        self.unread = socket.recv_queue();
        Receipt {
            in_order,
            // At most 1 GiB.
            buffer: u32::try_from(socket.recv_capacity()).unwrap_or(u32::MAX),
            peer: match socket.state() {
                tcp::State::TimeWait => Sending::TimeWait,
                tcp::State::CloseWait | tcp::State::Closing | tcp::State::LastAck => {
                    Sending::Finished
                }
                tcp::State::FinWait2 => Sending::Alone,
                tcp::State::Established | tcp::State::FinWait1 => Sending::Open,
                tcp::State::Closed
                | tcp::State::Listen
                | tcp::State::SynSent
                | tcp::State::SynReceived => Sending::Unknown,
            },
        }
    }

    /// Drops received bytes, if they are to be discarded.
    fn drain(&mut self, socket: &mut tcp::Socket<'_>) {
        let is_wanted = self.connection.options().on_receive() != OnReceive::Discard;
        if self.unread == 0 || is_wanted || is_on(Sabotage::Drain) {
            return;
        }
        // The buffer is a ring: at most two pieces.
        for _ in 0..2 {
            let Ok(drained) = socket.recv(|bytes| (bytes.len(), bytes.len())) else {
                return;
            };
            if drained == 0 {
                return;
            }
            let drained = u64::try_from(drained).unwrap_or(u64::MAX);
            self.connection.handle_discarded(drained);
        }
    }

    /// Records that the peer was heard, and what it acknowledged. The ACK number of a RST
    /// does not count.
    fn note_heard(&mut self, facts: Facts, socket: &tcp::Socket<'_>, now: Instant) {
        let Some(window) = facts.heard else {
            return;
        };
        if facts.seen != Seen::Rst {
            self.connection.note_pending(socket.send_queue(), now);
        } else if is_on(Sabotage::CreditRst) {
            self.connection.note_pending(0, now);
        }
        self.connection.handle_heard(window, now);
    }

    /// Processes the end of either direction, and its consequences.
    fn note_ending(
        &mut self,
        moved: Events,
        facts: Facts,
        socket: &mut tcp::Socket<'_>,
        now: Instant,
    ) {
        // The guard saw the FIN arrive in order. If it came with too much data, smoltcp
        // gets it only when the peer retransmits it.
        if moved.and(Events::of(facts.seen)).has(Events::FIN) {
            let action = self.connection.handle_fin(now);
            if !has_taken_fin(socket.state()) {
                self.connection.note_unread_lost();
            }
            self.perform(action, socket, now);
        }
        if moved.has(Events::FIN_ACKNOWLEDGED) {
            let action = self.connection.handle_fin_acknowledged(now);
            self.perform(action, socket, now);
        }
        if moved.has(Events::RST) {
            let action = self.connection.handle_rst(now);
            self.perform(action, socket, now);
        }
        self.complete_finish(socket, now);
    }

    /// Sets how long a socket may stay after it has done everything for its connection.
    fn note_lingering(&mut self, after: tcp::State, socket: &tcp::Socket<'_>, now: Instant) {
        if after == tcp::State::FinWait2 {
            // Our FIN is acknowledged. The peer's FIN may never come.
            let patience_ms = self.connection.options().finish_ms();
            self.connection.linger(now, patience_ms);
        } else if after == tcp::State::TimeWait {
            let timeout_ms = match self.has_unread(socket) {
                true => TIME_WAIT_MS,
                false => TIME_WAIT_OVERDUE_MS,
            };
            self.connection.linger(now, timeout_ms);
        }
    }

    /// Drops received bytes that the application cannot read any more, and a socket if the
    /// peer opens a new connection in its place.
    fn note_unread(&mut self, facts: Facts, socket: &mut tcp::Socket<'_>, now: Instant) {
        self.drop_unread(socket, now);
        let has_ended = self.connection.state().is_closed() && socket.recv_queue() == 0;
        if facts.seen == Seen::NewSyn && has_ended {
            forget(socket);
            self.tcp = socket.state();
        }
    }

    /// Records what was sent.
    // tuning: sent-in-place
    #[inline(always)]
    pub(super) fn note_sent(&mut self, facts: Facts, now: Instant) {
        if let Some(sent) = facts.sent {
            for _ in 0..facts.resent {
                self.connection.handle_sent(Sent::Retransmission, now);
            }
            self.connection.handle_sent(sent, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcp::State::{
        CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived,
        SynSent, TimeWait,
    };

    const STATES: [tcp::State; 11] = [
        Closed,
        Listen,
        SynSent,
        SynReceived,
        Established,
        FinWait1,
        FinWait2,
        CloseWait,
        Closing,
        LastAck,
        TimeWait,
    ];

    const SEEN: [Seen; 6] = [
        Seen::Nothing,
        Seen::Fin,
        Seen::AckOfFin,
        Seen::BothFins,
        Seen::Rst,
        Seen::NewSyn,
    ];

    #[test]
    fn a_socket_that_stays_where_it_is_makes_no_event() {
        for state in STATES {
            for seen in SEEN {
                assert_eq!(
                    observe(state, state, seen),
                    Events::NONE,
                    "{state}, {seen:?}"
                );
            }
        }
    }

    /// Otherwise a connection would wait without bound for a closed socket.
    #[test]
    fn a_socket_that_closes_ends_its_connection_whatever_was_seen() {
        let ends = Events::RST.and(Events::FIN_ACKNOWLEDGED);
        for before in STATES {
            for seen in SEEN {
                let has_ended = observe(before, Closed, seen).has(ends);
                let is_over_already = matches!(before, Closed | TimeWait);
                assert_eq!(has_ended, !is_over_already, "{before}, {seen:?}");
            }
        }
    }

    #[test]
    fn the_last_ack_ends_a_connection_without_a_reset() {
        for seen in SEEN {
            let is_ack = matches!(seen, Seen::AckOfFin | Seen::BothFins);
            let events = observe(LastAck, Closed, seen);
            assert_eq!(events.has(Events::FIN_ACKNOWLEDGED), is_ack, "{seen:?}");
            assert_eq!(events.has(Events::RST), !is_ack, "{seen:?}");
        }
    }

    #[test]
    fn what_the_guard_did_not_let_through_is_noticed() {
        let is_backed = |before, after, seen| observe(before, after, seen).are_seen(before, seen);
        for (before, after, seen) in [
            (Established, Closed, Seen::Rst),
            (Established, CloseWait, Seen::Fin),
            (SynReceived, CloseWait, Seen::Fin),
            (FinWait1, FinWait2, Seen::AckOfFin),
            (FinWait1, Closing, Seen::Fin),
            (FinWait1, TimeWait, Seen::BothFins),
            (FinWait2, TimeWait, Seen::Fin),
            (Closing, TimeWait, Seen::AckOfFin),
            (LastAck, Closed, Seen::AckOfFin),
        ] {
            assert!(
                is_backed(before, after, seen),
                "{before} to {after}, {seen:?}"
            );
            assert!(
                !is_backed(before, after, Seen::Nothing),
                "{before} to {after}"
            );
        }
    }
}
