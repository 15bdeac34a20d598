//! One connection without I/O: facts go in, decisions come out.
//!
//! A driver reports what it observes to a [`Connection`] and performs the actions that it
//! returns. There are three kinds of methods, in the order in which a driver uses them:
//!
//! 1. `handle_*` process a call of the application, a fact or the passing of
//!    time. Those that can change the state return the [`Action`] to perform.
//! 2. `poll_*` return what is due next: a deadline, advice.
//! 3. Getters read the state, the ledger and the report.
//!
//! Nothing here blocks, or uses a socket or a clock: each fact comes with its
//! [`Instant`]. For one incoming segment the driver first reports what it acknowledges
//! ([`handle_pending`](Connection::handle_pending)), then that the peer was heard
//! ([`handle_heard`](Connection::handle_heard)), then what the segment carries (FIN,
//! RST...), so that the ledger is up to date before the end of the connection freezes it.

mod facts;
mod time;
mod view;

use crate::Instant;
use crate::core::error::WriteError;
use crate::core::facts::{Admission, Retry, Window};
use crate::core::fmt::log_event;
use crate::core::ledger::Ledger;
use crate::core::options::Options;
use crate::core::report::{Advice, Link, Note};
use crate::core::state::{Action, Event, Incoming, State};
use crate::core::timers::Timers;
use crate::core::transition::{Transition, transition};
use crate::sabotage::{Sabotage, is_on};
use crate::trace;
use core::num::NonZeroU16;

/// How long the handshake with a caller may take: others wait meanwhile.
const CALLER_TIMEOUT_MS: u32 = 5_000;

/// Retransmissions without progress after which advice is given (RFC 9293,
/// 3.8.3, R1; RFC 1122, 4.2.3.5).
const STALL_RETRANSMISSIONS: u8 = 3;

/// Whether a SYN of ours was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Handshake {
    Unsent,
    Sent,
    /// A SYN was sent, and a router has reported the peer as unreachable.
    Unreachable,
}

/// One connection: its state, its ledger and its timers.
///
/// ```
/// use lastbyte::core::{Admission, Connection, Window};
/// use lastbyte::{Instant, Options};
///
/// let t = Instant::from_millis;
/// let mut connection = Connection::new(1);
/// connection.handle_connect(Options::default(), t(0));
/// connection.handle_established(t(5));
///
/// assert!(matches!(connection.handle_write(), Ok(Admission::Accept(_))));
/// connection.handle_accepted(100, t(6))?;
/// connection.handle_pending(40, t(9)); // the peer acknowledged 60 bytes,
/// connection.handle_heard(Window::Open, t(9));
/// connection.handle_fin(t(9)); // and closed.
///
/// let error = connection.handle_write().unwrap_err();
/// assert_eq!(error.ledger().acknowledged(), 60);
/// assert_eq!(error.ledger().undelivered(), 40);
/// # Ok::<(), lastbyte::WriteError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Connection {
    /// Identifies the connection in the log. It has no other use.
    tag: u16,
    state: State,
    ledger: Ledger,
    options: Options,
    timers: Timers,
    window: Window,
    handshake: Handshake,
    incoming: Incoming,
    /// What the driver has to send again.
    retry: Retry,
    stall: Note,
    icmp: Note,
    link_down: Note,
    narrow_path: Note,
    /// The smallest MTU that a router reported.
    path_mtu: Option<NonZeroU16>,
    /// Retransmissions of the oldest segment since the last progress.
    retransmissions: u8,
    /// The retransmission timeout of the TCP stack before its backoff, while the backoff
    /// may last; otherwise zero.
    rto_ms: u16,
    /// How often a segment timed out since the backoff began, even if bytes were
    /// acknowledged in between. Zero again once nothing is pending.
    timeouts: u8,
    /// See [`time::first_look_ms`].
    first_look_ms: u16,
    /// The lowest 32 bits of the number of bytes that were accepted at the last retransmission.
    recover: u32,
    link: Link,
    opened_at: Instant,
    /// When the peer was last heard; after the end of the connection, the time of that end.
    heard_at: Instant,
    discarded: u64,
    writes_accepted: u64,
    writes_refused: u64,
}

impl Connection {
    /// A connection that is not open. `tag` identifies it in the log.
    #[must_use]
    pub fn new(tag: u16) -> Self {
        Self::fresh(tag, Options::default(), Instant::ZERO)
    }

    fn fresh(tag: u16, options: Options, now: Instant) -> Self {
        Self {
            tag,
            state: State::Idle,
            ledger: Ledger::ZERO,
            options,
            timers: Timers::OFF,
            window: Window::Open,
            handshake: Handshake::Unsent,
            incoming: Incoming::Open,
            retry: Retry::None,
            stall: Note::None,
            icmp: Note::None,
            link_down: Note::None,
            narrow_path: Note::None,
            path_mtu: None,
            retransmissions: 0,
            rto_ms: 0,
            timeouts: 0,
            first_look_ms: time::first_look_ms(&options),
            recover: 0,
            link: Link::NeverDown,
            opened_at: now,
            heard_at: now,
            discarded: 0,
            writes_accepted: 0,
            writes_refused: 0,
        }
    }

    /// The cell of the table for an event in the present state. Inlined, because a write
    /// looks up a cell for an event that is known at compile time.
    // tuning: look-up-by-column
    #[inline(always)]
    fn look_up(&self, event: Event) -> Transition {
        let mut cell = transition(self.state, event);
        if is_on(Sabotage::Latch) && self.state.is_closed() {
            let unlatched = transition(State::Open, event);
            if unlatched.next.is_closed() {
                cell = unlatched;
            }
        }
        trace::report(self, trace::Note::Row(cell.row));
        cell
    }

    /// Processes an event with the table: the only place that changes the state.
    fn apply(&mut self, event: Event, now: Instant) -> Action {
        let cell = self.look_up(event);
        if cell.next != self.state {
            self.state = cell.next;
            if let State::Closed(cause) = cell.next {
                self.timers = Timers::OFF;
                self.heard_at = now;
                log_event!(
                    info,
                    "connection {}: closed, {}: accepted {}, acknowledged {}, undelivered {}",
                    self.tag,
                    cause.name(),
                    self.ledger.accepted(),
                    self.ledger.acknowledged(),
                    self.ledger.undelivered()
                );
            } else {
                log_event!(debug, "connection {}: T{}", self.tag, cell.row);
            }
        }
        trace::report(self, trace::Note::Event(event));
        cell.action
    }

    // ---- calls of the application ----

    /// Opens by connecting. Returns [`Action::StartConnect`] unless there is still a
    /// connection.
    pub fn handle_connect(&mut self, options: Options, now: Instant) -> Action {
        self.open(Event::Connect, Action::StartConnect, options, now)
    }

    /// Opens by listening. Returns [`Action::StartListen`] unless there is still a
    /// connection.
    pub fn handle_listen(&mut self, options: Options, now: Instant) -> Action {
        self.open(Event::Listen, Action::StartListen, options, now)
    }

    fn open(&mut self, event: Event, start: Action, options: Options, now: Instant) -> Action {
        let action = self.apply(event, now);
        if action == start {
            let state = self.state;
            *self = Self::fresh(self.tag, options, now);
            self.state = state;
            if action == Action::StartConnect {
                self.handle_handshake_started(now);
            }
        }
        action
    }

    /// Returns whether a write may accept bytes, and how many at most.
    ///
    /// # Errors
    ///
    /// The error of the present state, if it refuses writes. The report counts it as a
    /// refused write.
    pub fn handle_write(&mut self) -> Result<Admission, WriteError> {
        let cell = self.look_up(Event::Write);
        debug_assert!(cell.next == self.state, "a write changes no state");
        let (ledger, room) = (self.ledger, self.ledger.room());
        if cell.action == Action::Accept && room > 0 {
            Ok(Admission::Accept(room))
        } else if cell.action == Action::Accept {
            Err(WriteError::LedgerFull { ledger })
        } else if cell.action == Action::Refuse {
            Err(self.refuse())
        } else {
            // The table has no other action for a write than to wait.
            Ok(Admission::Wait)
        }
    }

    /// The error of a state that refuses a write, which is counted.
    fn refuse(&mut self) -> WriteError {
        self.writes_refused = self.writes_refused.saturating_add(1);
        let ledger = self.ledger;
        let error = self.error().unwrap_or(WriteError::NotOpen { ledger });
        trace::report(self, trace::Note::Failed(error));
        error
    }

    /// Counts bytes that a write has put into the transmit buffer.
    ///
    /// # Errors
    ///
    /// [`WriteError::LedgerFull`] if the bytes exceed what
    /// [`handle_write`](Self::handle_write) admitted, or the error of a state that
    /// accepts no bytes. They are not counted.
    pub fn handle_accepted(&mut self, bytes: u64, now: Instant) -> Result<(), WriteError> {
        if bytes == 0 {
            return Ok(());
        }
        let ledger = self.ledger;
        if transition(self.state, Event::Write).action != Action::Accept {
            return Err(self.error().unwrap_or(WriteError::NotOpen { ledger }));
        }
        let Some(bytes) = usize::try_from(bytes)
            .ok()
            .filter(|_| bytes <= ledger.room())
        else {
            return Err(WriteError::LedgerFull { ledger });
        };
        self.note_accepted(bytes, now);
        Ok(())
    }

    /// Counts bytes that were admitted and put into the transmit buffer.
    /// Returns whether timers were started.
    pub(crate) fn note_accepted(&mut self, bytes: usize, now: Instant) -> bool {
        let is_first = self.ledger.pending() == 0;
        self.ledger.accept(bytes);
        // No machine runs long enough for 2^64 writes.
        self.writes_accepted = self.writes_accepted.wrapping_add(1);
        // While earlier bytes are pending, the timers already run.
        if is_first {
            self.start_waiting(now);
        }
        trace::report(self, trace::Note::Accepted);
        is_first
    }

    /// Makes the timers run soon, because something that can become due has begun.
    fn look_soon(&mut self, now: Instant) {
        let soon = now.plus_millis(self.first_look_ms.into());
        self.timers.look_by(soon);
    }

    /// Starts the timeout of the handshake or of finishing: tries may be due earlier than
    /// before.
    fn set_phase(&mut self, now: Instant, timeout_ms: u32) {
        self.timers.set_phase(now, timeout_ms);
        self.timers.look_by(self.poll_timeout());
    }

    /// Starts the timers, because the first byte is pending.
    fn start_waiting(&mut self, now: Instant) {
        self.timers.progressed_at = now;
        self.look_soon(now);
        if self.window == Window::Open && !self.timers.is_answer_due() {
            // The byte is sent at once, or as soon as what is in flight is answered. If
            // the neighbour is unreachable it is never sent, which also counts as
            // silence.
            self.timers.demand_answer(now);
        }
    }

    /// Starts finishing our direction, while the peer's stays in use. Returns
    /// [`Action::SendFin`] if there is something to finish, and [`Action::Wait`] while
    /// the connection is being opened.
    ///
    /// # Errors
    ///
    /// The error of the present state, if it refuses writes.
    pub fn handle_finish_writing(&mut self, now: Instant) -> Result<Action, WriteError> {
        let action = self.apply(Event::FinishWriting, now);
        if action == Action::SendFin {
            self.set_phase(now, self.options.finish_ms());
        }
        match self.error() {
            Some(error) if action == Action::Refuse => Err(error),
            _ => Ok(action),
        }
    }

    /// Starts finishing. Returns [`Action::SendFin`] if there is something to finish.
    pub fn handle_finish(&mut self, now: Instant) -> Action {
        let action = self.apply(Event::Finish, now);
        if action == Action::SendFin {
            self.set_phase(now, self.options.finish_ms());
        }
        action
    }

    /// Ends the connection at once. Returns [`Action::Reset`] if there is one.
    pub fn handle_abort(&mut self, now: Instant) -> Action {
        self.apply(Event::Abort, now)
    }

    /// Forgets an ended connection, so that it can be opened again.
    pub fn handle_release(&mut self, now: Instant) -> Action {
        self.apply(Event::Release, now)
    }

    /// Returns advice that was not returned before.
    pub const fn poll_advice(&mut self) -> Option<Advice> {
        if self.stall.take() {
            Some(Advice::Stalled)
        } else if self.icmp.take() {
            Some(Advice::Icmp)
        } else if self.link_down.take() {
            Some(Advice::LinkDown)
        } else if self.narrow_path.take() {
            Some(Advice::NarrowPath)
        } else {
            None
        }
    }
}
