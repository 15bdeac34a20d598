//! One connection without its I/O: facts in, decisions out.
//!
//! A driver feeds a [`Connection`] what it sees and asks it what to do. The
//! methods come in three kinds, in the order in which a driver uses them:
//!
//! 1. `handle_*` take in a call of the application, a fact or the passing of
//!    time. Those that can change the state return the [`Action`] owed.
//! 2. `poll_*` say what is next: a deadline, advice.
//! 3. Getters read the state, the ledger and the report.
//!
//! Nothing here blocks, and nothing knows a socket or a clock: each fact comes
//! with its [`Instant`]. Of one incoming segment the driver tells first what it
//! acknowledges ([`handle_pending`](Connection::handle_pending)), then that it
//! was heard ([`handle_heard`](Connection::handle_heard)), then what it carries
//! (FIN, RST...), so that the ledger is settled before an end freezes it.

mod view;

use crate::Instant;
use crate::error::WriteError;
use crate::facts::{Admission, Icmp, Sent, Window};
use crate::fmt::tell;
use crate::ledger::Ledger;
use crate::limits::Options;
use crate::report::{Advice, Link, Note};
use crate::sabotage::{Sabotage, is_on};
use crate::state::{Action, Event, State};
use crate::timers::{Timer, Timers};
use crate::transition::{Transition, transition};
use core::num::NonZeroU16;

/// With bytes pending and nothing crossing the wire for this long, the stack
/// below may have no timer armed at all; it is nudged with a keep-alive.
const PROBE_AFTER_MS: u32 = 2_000;

/// The longest pause a stack makes between two probes or retransmissions (60 s,
/// RFC 6298, 2.5), with a margin. A nudge unseen for that long did not leave.
const PROBE_OVERDUE_MS: u32 = 75_000;

/// How long the handshake with one who calls may take: others wait meanwhile.
const CALLER_LIMIT_MS: u32 = 5_000;

/// Retransmissions without progress after which advice is given (RFC 9293,
/// 3.8.3, R1; RFC 1122, 4.2.3.5).
const STALL_RETRANSMISSIONS: u8 = 3;

/// What became of the nudge to the stack below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Probe {
    /// None was needed since the peer was last heard.
    Quiet,
    /// Asked for; the stack below sends keep-alives until the peer is heard.
    Asked,
}

/// Whether a SYN of ours has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Handshake {
    Unsent,
    Sent,
    /// One has left, and a router has said that there is no way.
    Unreachable,
}

/// One connection: its state, its ledger and its timers.
///
/// ```
/// use lastbyte::{Admission, Connection, Instant, Options, Window};
///
/// let t = Instant::from_millis;
/// let mut connection = Connection::new(1);
/// connection.handle_connect(Options::default(), t(0));
/// connection.handle_established(t(5));
///
/// assert!(matches!(connection.handle_write(), Ok(Admission::Accept(_))));
/// connection.handle_accepted(100, t(6))?;
/// connection.handle_pending(40, t(9)); // the peer acknowledged 60 of them,
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
    /// Tells connections apart in the log, nothing else.
    tag: u16,
    state: State,
    ledger: Ledger,
    options: Options,
    timers: Timers,
    window: Window,
    handshake: Handshake,
    probe: Probe,
    stall: Note,
    icmp: Note,
    link_down: Note,
    narrow_path: Note,
    /// The smallest that a router reported.
    path_mtu: Option<NonZeroU16>,
    /// Since the last progress.
    retransmissions: u8,
    link: Link,
    opened_at: Instant,
    /// When the peer was last heard; once the connection has ended, when it did.
    heard_at: Instant,
    discarded: u64,
    writes_accepted: u64,
    writes_refused: u64,
}

impl Connection {
    /// A connection that is not open; `tag` names it in the log.
    #[must_use]
    pub fn new(tag: u16) -> Self {
        Self::fresh(tag, Options::default(), Instant::ZERO)
    }

    const fn fresh(tag: u16, options: Options, now: Instant) -> Self {
        Self {
            tag,
            state: State::Idle,
            ledger: Ledger::ZERO,
            options,
            timers: Timers::OFF,
            window: Window::Open,
            handshake: Handshake::Unsent,
            probe: Probe::Quiet,
            stall: Note::None,
            icmp: Note::None,
            link_down: Note::None,
            narrow_path: Note::None,
            path_mtu: None,
            retransmissions: 0,
            link: Link::NeverDown,
            opened_at: now,
            heard_at: now,
            discarded: 0,
            writes_accepted: 0,
            writes_refused: 0,
        }
    }

    /// What the table says of an event now. Inlined, for a write asks it, and then
    /// the column is known.
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
        #[cfg(feature = "coverage")]
        crate::coverage::mark(cell.row);
        cell
    }

    /// Takes an event through the table: the only place that moves the state.
    fn apply(&mut self, event: Event, now: Instant) -> Action {
        let cell = self.look_up(event);
        if cell.next != self.state {
            self.state = cell.next;
            if let State::Closed(cause) = cell.next {
                self.timers = Timers::OFF;
                self.heard_at = now;
                tell!(
                    info,
                    "connection {}: closed, {}: accepted {}, acknowledged {}, undelivered {}",
                    self.tag,
                    cause.name(),
                    self.ledger.accepted(),
                    self.ledger.acknowledged(),
                    self.ledger.undelivered()
                );
            } else {
                tell!(debug, "connection {}: T{}", self.tag, cell.row);
            }
        }
        cell.action
    }

    // ---- calls of the application ----

    /// Opens by connecting. [`Action::StartConnect`] unless a connection is
    /// still here.
    pub fn handle_connect(&mut self, options: Options, now: Instant) -> Action {
        self.open(Event::Connect, Action::StartConnect, options, now)
    }

    /// Opens by listening. [`Action::StartListen`] unless a connection is
    /// still here.
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

    /// Asks whether a write may take bytes, and how many at most.
    ///
    /// # Errors
    ///
    /// The error of the present state, if it refuses writes. It counts as a
    /// refused write.
    pub fn handle_write(&mut self) -> Result<Admission, WriteError> {
        let cell = self.look_up(Event::Write);
        debug_assert!(cell.next == self.state, "a write moves no state");
        let (ledger, room) = (self.ledger, self.ledger.room());
        if cell.action == Action::Accept && room > 0 {
            Ok(Admission::Accept(room))
        } else if cell.action == Action::Accept {
            Err(WriteError::LedgerFull { ledger })
        } else if cell.action == Action::Refuse {
            Err(self.refuse())
        } else {
            // The table has no other answer to a write than to wait.
            Ok(Admission::Wait)
        }
    }

    /// The error of a state that refuses a write, which counts.
    fn refuse(&mut self) -> WriteError {
        self.writes_refused = self.writes_refused.saturating_add(1);
        let ledger = self.ledger;
        self.error().unwrap_or(WriteError::NotOpen { ledger })
    }

    /// Counts bytes that a write has put into the transmit buffer.
    ///
    /// # Errors
    ///
    /// [`WriteError::LedgerFull`] if they exceed what
    /// [`handle_write`](Self::handle_write) admitted, or the error of a state
    /// that takes no bytes; they are not counted.
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
        // No machine lives to see 2^64 writes.
        self.writes_accepted = self.writes_accepted.wrapping_add(1);
        // Behind bytes that are pending, whatever timers there are run.
        if is_first {
            self.start_waiting(now);
        }
        is_first
    }

    /// Starts the timers of the first byte that is pending.
    fn start_waiting(&mut self, now: Instant) {
        if self.window == Window::Open {
            // They leave at once, or as soon as what is in flight is answered;
            // and if the neighbour is gone they never do, which is silence too.
            self.timers
                .start(Timer::Silence, now, self.options.silence_ms());
        }
        self.timers
            .start(Timer::Stall, now, self.options.stall_advice_ms());
        self.timers.start(Timer::Probe, now, PROBE_AFTER_MS);
    }

    /// Starts finishing: [`Action::SendFin`] where there is something to
    /// finish.
    pub fn handle_finish(&mut self, now: Instant) -> Action {
        let action = self.apply(Event::Finish, now);
        if action == Action::SendFin {
            self.timers.set(Timer::Phase, now, self.options.finish_ms());
        }
        action
    }

    /// Ends the connection at once: [`Action::Reset`] where there is one.
    pub fn handle_abort(&mut self, now: Instant) -> Action {
        self.apply(Event::Abort, now)
    }

    /// Forgets an ended connection, so that it can be opened again.
    pub fn handle_release(&mut self, now: Instant) -> Action {
        self.apply(Event::Release, now)
    }

    // ---- facts ----

    /// A handshake has begun (our SYN is due, or a peer's SYN came in while
    /// listening): it must be complete within the connect limit.
    pub fn handle_handshake_started(&mut self, now: Instant) {
        if !matches!(self.state, State::Connecting | State::Listening) {
            return;
        }
        let limit_ms = match self.state == State::Listening && !is_on(Sabotage::HalfOpen) {
            true => self.options.connect_ms().min(CALLER_LIMIT_MS),
            false => self.options.connect_ms(),
        };
        self.timers.start(Timer::Phase, now, limit_ms);
    }

    /// The peer gave up a half-done handshake while we listen.
    pub fn handle_handshake_dropped(&mut self) {
        if self.state == State::Listening {
            self.timers.stop(Timer::Phase);
        }
    }

    /// The handshake is complete.
    pub fn handle_established(&mut self, now: Instant) -> Action {
        let action = self.apply(Event::Established, now);
        if action == Action::None {
            self.timers.stop(Timer::Phase);
            self.heard_at = now;
        }
        action
    }

    /// Of the accepted bytes, `pending` are still in the transmit buffer. To
    /// be told whenever acknowledgements may have shortened it, and never when
    /// something else did.
    pub fn handle_pending(&mut self, pending: u64, now: Instant) {
        self.note_pending(usize::try_from(pending).unwrap_or(usize::MAX), now);
    }

    pub(crate) fn note_pending(&mut self, pending: usize, now: Instant) {
        if self.state.is_established() && self.ledger.settle(pending) > 0 {
            self.retransmissions = 0;
            self.stall = Note::None;
            self.icmp = Note::None;
            if self.ledger.pending() > 0 {
                self.timers
                    .set(Timer::Stall, now, self.options.stall_advice_ms());
            } else {
                self.timers.stop(Timer::Stall);
            }
        }
    }

    /// A segment of the peer arrived, with this window.
    pub fn handle_heard(&mut self, window: Window, now: Instant) {
        if !self.state.is_established() {
            return;
        }
        self.heard_at = now;
        self.window = window;
        self.probe = Probe::Quiet;
        // What was due is answered. With bytes pending and room for them, the
        // next answer is due already: something is in flight or leaves now.
        // At a zero window it is due only when a probe has left.
        if self.ledger.pending() == 0 {
            self.timers.stop(Timer::Silence);
            self.timers.stop(Timer::Probe);
            return;
        }
        match window {
            Window::Open => {
                self.timers
                    .set(Timer::Silence, now, self.options.silence_ms());
            }
            Window::Zero => self.timers.stop(Timer::Silence),
        }
        self.timers.set(Timer::Probe, now, PROBE_AFTER_MS);
    }

    /// A segment of ours left.
    pub fn handle_sent(&mut self, sent: Sent, now: Instant) {
        if sent == Sent::Syn && self.handshake == Handshake::Unsent {
            self.handshake = Handshake::Sent;
        }
        let is_established = self.state.is_established();
        if sent == Sent::Syn || !is_established || !self.depends_on_an_answer() {
            return;
        }
        if sent == Sent::Retransmission {
            self.retransmissions = self.retransmissions.saturating_add(1);
            if self.retransmissions == STALL_RETRANSMISSIONS {
                self.note_stall();
            }
        }
        self.timers
            .start(Timer::Silence, now, self.options.silence_ms());
        if self.ledger.pending() > 0 {
            self.timers.set(Timer::Probe, now, PROBE_AFTER_MS);
        }
    }

    /// Whether it matters that the peer answers. A probe may leave although it
    /// does not: the stack below may have one more in store when a nudge is
    /// taken back. An idle connection must not end because of it.
    const fn depends_on_an_answer(&self) -> bool {
        self.ledger.pending() > 0
            || matches!(self.state, State::Finishing(_))
            || self.options.keep_alive().is_some()
    }

    /// The peer's FIN was processed.
    pub fn handle_fin(&mut self, now: Instant) -> Action {
        self.apply(Event::PeerFin(self.options.on_peer_fin()), now)
    }

    /// An acceptable RST of the peer was processed.
    pub fn handle_rst(&mut self, now: Instant) -> Action {
        self.apply(Event::PeerRst, now)
    }

    /// The peer acknowledged our FIN.
    pub fn handle_fin_acknowledged(&mut self, now: Instant) -> Action {
        if matches!(self.state, State::Finishing(_)) {
            self.note_pending(0, now);
        }
        self.apply(Event::FinAcknowledged, now)
    }

    /// While finishing, every byte is acknowledged, and bytes of the peer were
    /// left unread: [`Action::Reset`] tells it so (RFC 2525, 2.17).
    pub fn handle_drained_unread(&mut self, now: Instant) -> Action {
        self.apply(Event::DrainedUnread, now)
    }

    /// There is no way to the peer.
    pub fn handle_unreachable(&mut self, now: Instant) -> Action {
        self.apply(Event::Unreachable, now)
    }

    /// An ICMP error about one of our segments arrived. A hard one ends a
    /// connection that is still being opened (RFC 9293, SHLD-26); else it is
    /// advice.
    pub fn handle_icmp(&mut self, icmp: Icmp, now: Instant) -> Action {
        if self.state.is_closed() {
            return Action::Ignore;
        }
        if let Icmp::PacketTooBig { mtu } = icmp {
            self.note_path_mtu(mtu);
            return Action::None;
        }
        self.icmp.raise();
        match icmp {
            Icmp::Hard => self.handle_unreachable(now),
            Icmp::Unreachable => {
                self.handshake = Handshake::Unreachable;
                Action::None
            }
            Icmp::Soft | Icmp::PacketTooBig { .. } => Action::None,
        }
    }

    fn note_path_mtu(&mut self, mtu: u16) {
        let known = self.path_mtu.map_or(u16::MAX, NonZeroU16::get);
        if mtu < known {
            self.path_mtu = NonZeroU16::new(mtu);
            self.narrow_path = Note::Untold;
            tell!(warn, "connection {}: the path's MTU is {}", self.tag, mtu);
        }
    }

    /// Our own address is gone.
    pub fn handle_address_lost(&mut self, now: Instant) -> Action {
        let action = self.apply(Event::AddressLost, now);
        if action == Action::Relisten {
            self.handle_handshake_dropped();
        }
        action
    }

    /// The link went up or down. Recorded, never an end: a cable comes back.
    pub const fn handle_link(&mut self, up: bool) {
        if self.state.is_closed() {
            return;
        }
        self.link = self.link.changed(up);
        if up {
            self.link_down = Note::None;
        } else {
            self.link_down.raise();
        }
    }

    /// Received bytes were drained and dropped.
    pub const fn handle_discarded(&mut self, bytes: u64) {
        if !self.state.is_closed() {
            self.discarded = self.discarded.saturating_add(bytes);
        }
    }

    // ---- time ----

    /// Takes in that it is `now`: fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Action {
        let mut owed = Action::None;
        // Each turn stops one timer and starts at most the probe again, in the
        // future, so this ends after as many turns as there are timers.
        while let Some(timer) = self.timers.take_due(now) {
            let action = self.fire(timer, now);
            if matches!(action, Action::Reset | Action::Relisten) {
                owed = action;
            }
        }
        owed
    }

    fn fire(&mut self, timer: Timer, now: Instant) -> Action {
        match timer {
            Timer::Phase => match (self.state, self.handshake) {
                (State::Finishing(_), _) => self.apply(Event::FinishLimit, now),
                // What lingers is the driver's business.
                (State::Closed(_), _) => Action::None,
                (State::Connecting, Handshake::Unsent) => self.handle_unreachable(now),
                (State::Connecting, Handshake::Unreachable) if !is_on(Sabotage::Complaints) => {
                    self.handle_unreachable(now)
                }
                _ => self.apply(Event::ConnectLimit, now),
            },
            Timer::Silence => self.apply(Event::SilenceLimit, now),
            Timer::Stall => {
                self.note_stall();
                Action::None
            }
            Timer::Probe if is_on(Sabotage::KeepAliveCure) => Action::None,
            Timer::Probe => {
                if self.probe == Probe::Asked {
                    // Asked long ago, and nothing left since: there is no way
                    // out to the peer, so its silence counts from here.
                    self.timers
                        .start(Timer::Silence, now, self.options.silence_ms());
                }
                self.probe = Probe::Asked;
                self.timers.set(Timer::Probe, now, PROBE_OVERDUE_MS);
                Action::None
            }
        }
    }

    fn note_stall(&mut self) {
        if !self.stall.is_raised() {
            self.stall.raise();
            tell!(
                warn,
                "connection {}: stalled, {} bytes pending, {} retransmissions",
                self.tag,
                self.ledger.pending(),
                self.retransmissions
            );
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next;
    /// [`Instant::NEVER`] if no timer runs.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.timers.next()
    }

    /// Not later than [`poll_timeout`](Self::poll_timeout), for less: a timer
    /// that was put off may be behind it.
    #[cfg(feature = "smoltcp")]
    pub(crate) const fn timeout_bound(&self) -> Instant {
        self.timers.bound()
    }

    /// Lets the driver be called once more, so long after the end: what is left of
    /// the connection below is not to linger for ever.
    #[cfg(feature = "smoltcp")]
    pub(crate) fn linger(&mut self, now: Instant, limit_ms: u32) {
        if self.state.is_closed() {
            self.timers.set(Timer::Phase, now, limit_ms);
        }
    }

    /// Whether it is that time. To be asked before
    /// [`handle_timeout`](Self::handle_timeout).
    #[cfg(feature = "smoltcp")]
    pub(crate) fn has_lingered(&self, now: Instant) -> bool {
        self.state.is_closed() && self.timers.bound() <= now
    }

    /// Advice that has not been told yet.
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
