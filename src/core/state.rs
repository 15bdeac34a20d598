//! The states of a connection as a writer sees it, the events that can happen to it, and
//! the actions that its driver has to perform.

use core::fmt;

/// What a FIN from the peer means for our writes.
///
/// Exhaustive: a program that shows the policy must fail to compile when one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum OnPeerFin {
    /// The peer has closed the connection: writes are refused from then on, and bytes
    /// accepted earlier still drain.
    #[default]
    Refuse,
    /// The peer has only closed its own direction: writes are accepted until a RST or
    /// until we finish (RFC 9293, 3.10.2: sending in CLOSE-WAIT is legal).
    HalfClose,
}

/// What happens to bytes that the peer sends to us.
///
/// Exhaustive: a program that shows the policy must fail to compile when one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum OnReceive {
    /// They are discarded and counted, so that a full receive buffer never hides a FIN
    /// after them. For pure writers.
    #[default]
    Discard,
    /// They are kept for the application, which must read them: while the receive buffer
    /// is full, a FIN after the unread bytes cannot be detected.
    Keep,
}

/// The side that closed first, of a connection that is being finished.
///
/// Exhaustive: there are only two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Closer {
    /// We finished while the peer's direction was open, or finished a half-closed
    /// connection: the cause is ours.
    Us,
    /// The peer's FIN came first and ended our writes: whatever happens during the drain,
    /// the cause stays [`Cause::PeerFinished`].
    Peer,
}

/// The direction from the peer to us, in a connection whose other direction we have finished.
///
/// Exhaustive: a direction is either open or has ended.
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
/// Exhaustive: a program that maps each variant to its own report must fail to compile
/// when one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// The peer sent a FIN.
    PeerFinished,
    /// The peer sent a RST on an open connection.
    PeerReset,
    /// The peer answered our SYN with a RST.
    Refused,
    /// The peer was unreachable while connecting: no route, no neighbour, or a hard ICMP
    /// error.
    Unreachable,
    /// The neighbour was resolved, but nothing answered our SYN in time.
    ConnectTimeout,
    /// An answer was due, and the peer was not heard for the user timeout.
    Vanished,
    /// The peer was heard and its window was open, but for the user timeout it acknowledged
    /// none of the pending bytes. Possible reasons are a path that drops long frames, or a
    /// filter.
    Unacknowledged,
    /// The drain and our FIN were not acknowledged within the finish timeout.
    FinishTimeout,
    /// Our own IP address was removed.
    AddressLost,
    /// We finished, and the peer's TCP acknowledged every byte.
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

/// The state of a connection.
///
/// Exhaustive: a program that acts on each variant must fail to compile when one is
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// No connection. Nothing is accepted, nothing is pending.
    Idle,
    /// Our SYN is due or sent. Nothing has been accepted yet.
    Connecting,
    /// Waiting for a peer to connect to us. Nothing has been accepted yet.
    Listening,
    /// Both directions are open: writes are accepted.
    Open,
    /// The peer's FIN was processed and we have not finished. The policy decides whether
    /// writes are still accepted.
    PeerFinished(OnPeerFin),
    /// Accepted bytes drain, our FIN follows them, and reading goes on. Writes are refused.
    WriteFinished(Incoming),
    /// Accepted bytes drain, our FIN follows them. Writes are refused, and nothing is read.
    Finishing(Closer),
    /// The connection has ended. The cause and the ledger do not change any more.
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

    /// The cause that is already decided, if any: if the peer's FIN refuses writes, the
    /// cause is decided before the connection is closed.
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

/// Something that happened to a connection: a call of the application, a fact about the
/// network, or a timeout that was reached.
///
/// Exhaustive: the table has a column for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// Call: open by connecting to a peer.
    Connect,
    /// Call: open by waiting for a peer.
    Listen,
    /// Call: accept bytes from the application.
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
    /// Fact: while finishing, every byte was acknowledged, and bytes of the peer were
    /// left unread. A RST has to inform the peer that they are lost.
    DrainedUnread,
    /// Fact: the peer is unreachable.
    Unreachable,
    /// Fact: our own IP address was removed.
    AddressLost,
    /// Timeout: the handshake was not complete in time.
    ConnectTimeout,
    /// Timeout: an answer is due, and the peer was not heard for too long.
    UserTimeout,
    /// Timeout: the peer was heard, but acknowledged none of the pending bytes for too long.
    ProgressTimeout,
    /// Timeout: the drain and our FIN were not acknowledged in time.
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
/// Exhaustive: a driver must perform each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Action {
    /// Nothing: the event was processed.
    None,
    /// Nothing: the event has no meaning in this state and changed nothing.
    Ignore,
    /// The call is not allowed in this state and changed nothing.
    Misuse,
    /// Start the handshake with the peer.
    StartConnect,
    /// Start waiting for a peer.
    StartListen,
    /// Drop the incomplete handshake and wait for a peer again.
    Relisten,
    /// Accept bytes from the application.
    Accept,
    /// Accept no bytes yet; the call may be repeated once the state changes.
    Wait,
    /// Accept no more bytes: fail the call with the error of this state.
    Refuse,
    /// Send a FIN after the accepted bytes.
    SendFin,
    /// End the connection in the TCP stack at once, with a RST if one can be sent.
    Reset,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
