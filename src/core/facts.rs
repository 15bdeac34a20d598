//! What a driver reports to a connection, and what a connection returns to a write.

/// The room the peer last announced.
///
/// Exhaustive: a window is open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Window {
    /// The peer takes bytes.
    Open,
    /// The peer takes none at present: its application does not read.
    Zero,
}

/// What kind of segment left.
///
/// Exhaustive: a driver sorts every segment into one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Sent {
    /// Our SYN: so the way to the peer's host (its neighbour entry) is known.
    Syn,
    /// New data, a FIN, or a probe: an answer is due.
    Demanding,
    /// Data that had been sent before: an answer is due, again.
    Retransmission,
}

/// Whether a write may take bytes now.
///
/// Exhaustive: a driver must act on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Admission {
    /// It may take up to this many bytes.
    Accept(u64),
    /// Not yet: the connection is still being opened.
    Wait,
}

/// What an ICMP error about one of our segments says (RFC 9293, 3.9.2.2).
///
/// Exhaustive: a driver sorts every message into one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Icmp {
    /// Something hinders; it may pass, and it may have nothing to do with the way to the
    /// peer.
    Soft,
    /// A router says that the network or the host cannot be reached at present, or that
    /// it is not allowed (codes 0, 1, 9, 10 and 13; of ICMPv6 0 and 3). It may pass, but
    /// if nothing else is heard, this is why.
    Unreachable,
    /// No such protocol or port there, or it is forbidden; it will not pass.
    Hard,
    /// The segment was too large for the path: "fragmentation needed" of IPv4 (RFC 1191, 4)
    /// or Packet Too Big of IPv6 (RFC 4443, 3.2).
    PacketTooBig {
        /// The most octets that an IP packet may have there, at least what every path
        /// carries or every host takes: 1,280 (RFC 8200, 5) or 576 (RFC 1122, 3.3.3).
        mtu: u16,
    },
}

/// What the stack below is to send, although no timer of its own is due: see
/// [`Connection::poll_retry`](crate::core::Connection::poll_retry).
///
/// Exhaustive: a driver must act on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Retry {
    /// Nothing.
    None,
    /// A probe (RFC 9293, 3.8.4), if it has no timer armed: else that will do.
    Probe,
    /// The oldest segment that is not acknowledged, or a probe if there is none.
    Resend,
}
