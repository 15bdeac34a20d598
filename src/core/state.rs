//! The states of a connection as a writer sees it, what can happen to one,
//! and what its driver has to do about it.

use core::fmt;

/// What a FIN from the peer means for our writes.
///
/// Exhaustive: a program that shows the policy learns of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum OnPeerFin {
    /// The peer has closed the connection: writes are refused from then on, bytes
    /// accepted earlier keep draining.
    #[default]
    Refuse,
    /// The peer has only closed its own direction: writes go on until a RST
    /// or our finish (RFC 9293, 3.10.2: sending in CLOSE-WAIT is legal).
    HalfClose,
}

/// What becomes of bytes the peer sends to us.
///
/// Exhaustive: a program that shows the policy learns of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum OnReceive {
    /// Discarded and counted, so that a full receive buffer never hides a FIN
    /// after them. For pure writers.
    #[default]
    Discard,
    /// Kept for the application, which must read them: while the receive
    /// buffer is full, a FIN after the unread bytes cannot be seen.
    Keep,
}

/// Who closed first, in a connection that is being finished.
///
/// Exhaustive: it is one of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Closer {
    /// We finished while the peer's direction was open, or on a half-closed
    /// connection by choice: the end is reported as our own.
    Us,
    /// The peer's FIN came first and refused our writes: whatever happens
    /// during the drain, the cause stays [`Cause::PeerFinished`].
    Peer,
}

/// The direction from the peer to us, in a connection whose other direction we have finished.
///
/// Exhaustive: a direction is open or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Incoming {
    /// The peer may send more.
    Open,
    /// The peer's FIN was processed.
    Ended,
}

/// Why a connection ended: the first thing that ended it, latched.
///
/// Exhaustive: a program that maps each to its own report learns of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// The peer sent a FIN.
    PeerFinished,
    /// The peer sent a RST on a live connection.
    PeerReset,
    /// The peer answered our SYN with a RST.
    Refused,
    /// No way to the peer while connecting: no route, no neighbour, or a hard
    /// ICMP error.
    Unreachable,
    /// The peer's host is there, but nothing answered our SYN in time.
    ConnectTimeout,
    /// An answer was due and nothing was heard for the user timeout.
    Vanished,
    /// The peer was heard and its window was open, but for the user timeout it acknowledged
    /// nothing of what is pending: a path that loses long frames, a filter.
    Unacknowledged,
    /// The drain and our FIN were not acknowledged within the finish timeout.
    FinishTimeout,
    /// Our own IP address was removed.
    AddressLost,
    /// We finished, and the peer's TCP acknowledged everything.
    Finished,
    /// We aborted.
    Aborted,
}

impl Cause {
    /// Every cause, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::PeerFinished,
        Self::PeerReset,
        Self::Refused,
        Self::Unreachable,
        Self::ConnectTimeout,
        Self::Vanished,
        Self::Unacknowledged,
        Self::FinishTimeout,
        Self::AddressLost,
        Self::Finished,
        Self::Aborted,
    ];

    /// The name used in logs and machine-readable reports.
    ///
    /// ```
    /// assert_eq!(lastbyte::Cause::PeerFinished.name(), "peer_finished");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeerFinished => "peer_finished",
            Self::PeerReset => "peer_reset",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::Vanished => "vanished",
            Self::Unacknowledged => "unacknowledged",
            Self::FinishTimeout => "finish_timeout",
            Self::AddressLost => "address_lost",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a connection stands.
///
/// Exhaustive: a program that acts on each learns of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// No connection. Nothing is accepted, nothing is pending.
    Idle,
    /// Our SYN is on its way. Nothing has been accepted yet.
    Connecting,
    /// Waiting for a peer to connect to us. Nothing has been accepted yet.
    Listening,
    /// Both directions are open: writes are accepted.
    Open,
    /// The peer's FIN was processed and we have not finished. Whether writes
    /// are still accepted is the policy's choice.
    PeerFinished(OnPeerFin),
    /// Accepted bytes drain, our FIN follows them, and reading goes on. No write is accepted.
    WriteFinished(Incoming),
    /// Accepted bytes drain, our FIN follows them. No write is accepted, and nothing is read.
    Finishing(Closer),
    /// The connection has ended; the cause and the ledger stand still.
    Closed(Cause),
}

impl State {
    /// Every state, in the order of the printed table.
    pub const ALL: [Self; 21] = [
        Self::Idle,
        Self::Connecting,
        Self::Listening,
        Self::Open,
        Self::PeerFinished(OnPeerFin::Refuse),
        Self::PeerFinished(OnPeerFin::HalfClose),
        Self::WriteFinished(Incoming::Open),
        Self::WriteFinished(Incoming::Ended),
        Self::Finishing(Closer::Us),
        Self::Finishing(Closer::Peer),
        Self::Closed(Cause::PeerFinished),
        Self::Closed(Cause::PeerReset),
        Self::Closed(Cause::Refused),
        Self::Closed(Cause::Unreachable),
        Self::Closed(Cause::ConnectTimeout),
        Self::Closed(Cause::Vanished),
        Self::Closed(Cause::Unacknowledged),
        Self::Closed(Cause::FinishTimeout),
        Self::Closed(Cause::AddressLost),
        Self::Closed(Cause::Finished),
        Self::Closed(Cause::Aborted),
    ];

    /// Whether the connection has ended.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Whether the handshake is done and the connection has not ended.
    #[must_use]
    pub const fn is_established(self) -> bool {
        matches!(
            self,
            Self::Open | Self::PeerFinished(_) | Self::WriteFinished(_) | Self::Finishing(_)
        )
    }

    /// The cause that is already decided, if any: a refused half of a
    /// connection has one before it is closed.
    #[must_use]
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Idle
            | Self::Connecting
            | Self::Listening
            | Self::Open
            | Self::PeerFinished(OnPeerFin::HalfClose)
            | Self::WriteFinished(_)
            | Self::Finishing(Closer::Us) => None,
            Self::PeerFinished(OnPeerFin::Refuse) | Self::Finishing(Closer::Peer) => {
                Some(Cause::PeerFinished)
            }
            Self::Closed(cause) => Some(cause),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("Idle"),
            Self::Connecting => f.write_str("Connecting"),
            Self::Listening => f.write_str("Listening"),
            Self::Open => f.write_str("Open"),
            Self::PeerFinished(policy) => write!(f, "PeerFinished({policy:?})"),
            Self::WriteFinished(incoming) => write!(f, "WriteFinished({incoming:?})"),
            Self::Finishing(closer) => write!(f, "Finishing({closer:?})"),
            Self::Closed(cause) => write!(f, "Closed({cause:?})"),
        }
    }
}

/// Something that happened to a connection: a call of the application, a fact
/// about the network, or a limit that was reached.
///
/// Exhaustive: the table has a column for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// Call: open by connecting to a peer.
    Connect,
    /// Call: open by waiting for a peer.
    Listen,
    /// Call: take bytes from the application.
    Write,
    /// Call: drain, then send a FIN, and go on reading.
    FinishWriting,
    /// Call: drain, then send a FIN, and end.
    Finish,
    /// Call: end at once with a RST.
    Abort,
    /// Call: forget an ended connection, so that it can be opened again.
    Release,
    /// Fact: the handshake is complete.
    Established,
    /// Fact: the peer's FIN was processed, under this policy.
    PeerFin(OnPeerFin),
    /// Fact: an acceptable RST arrived.
    PeerRst,
    /// Fact: the peer acknowledged our FIN, and with it every byte.
    FinAcknowledged,
    /// Fact: while finishing, every byte was acknowledged, and bytes the peer
    /// sent were left unread: it is to learn that they are lost.
    DrainedUnread,
    /// Fact: there is no way to the peer.
    Unreachable,
    /// Fact: our own IP address was removed.
    AddressLost,
    /// Limit: the handshake did not complete in time.
    ConnectTimeout,
    /// Limit: an answer is due and nothing was heard for too long.
    UserTimeout,
    /// Limit: the peer was heard, and acknowledged nothing of what is pending for too long.
    ProgressTimeout,
    /// Limit: the drain and our FIN were not acknowledged in time.
    FinishTimeout,
}

impl Event {
    /// Every event, in the order of the printed table.
    pub const ALL: [Self; 19] = [
        Self::Connect,
        Self::Listen,
        Self::Write,
        Self::FinishWriting,
        Self::Finish,
        Self::Abort,
        Self::Release,
        Self::Established,
        Self::PeerFin(OnPeerFin::Refuse),
        Self::PeerFin(OnPeerFin::HalfClose),
        Self::PeerRst,
        Self::FinAcknowledged,
        Self::DrainedUnread,
        Self::Unreachable,
        Self::AddressLost,
        Self::ConnectTimeout,
        Self::UserTimeout,
        Self::ProgressTimeout,
        Self::FinishTimeout,
    ];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the driver has to do after an event.
#[must_use = "the socket has to follow the state machine"]
///
/// Exhaustive: a driver must carry out each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Action {
    /// Nothing: the event was taken in.
    None,
    /// Nothing: the event means nothing in this state and changed nothing.
    Ignore,
    /// The call makes no sense in this state and changed nothing.
    Misuse,
    /// Start the handshake with the peer.
    StartConnect,
    /// Start waiting for a peer.
    StartListen,
    /// Drop the half-done handshake and wait for a peer again.
    Relisten,
    /// Take bytes from the application.
    Accept,
    /// Take no bytes yet; the call may be repeated once the state changes.
    Wait,
    /// Take no bytes, ever: fail the call with the error of this state.
    Refuse,
    /// Send a FIN after the accepted bytes.
    SendFin,
    /// End the connection below at once, with a RST where one can be sent.
    Reset,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
