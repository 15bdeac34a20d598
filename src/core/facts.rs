//! What a driver reports to a connection, and what a connection returns to a write.

/// The window that the peer last announced.
///
/// Exhaustive: a window is either open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Window {
    /// The peer can receive bytes.
    Open,
    /// The peer cannot receive bytes at present: its application does not read.
    Zero,
}

/// The kind of segment that was sent.
///
/// Exhaustive: a driver has to assign every segment to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Sent {
    /// Our SYN: the neighbour through which the peer is reached is resolved.
    Syn,
    /// New data, a FIN, or a probe: an answer is due.
    Demanding,
    /// Data that had been sent before: an answer is due again.
    Retransmission,
}

/// Whether a write may accept bytes.
///
/// Exhaustive: a driver must act on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Admission {
    /// It may accept up to this many bytes.
    Accept(u64),
    /// Not yet: the connection is still being opened.
    Wait,
}

/// The meaning of an ICMP error about one of our segments (RFC 9293, 3.9.2.2).
///
/// Exhaustive: a driver has to assign every message to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Icmp {
    /// A problem that may be temporary, and may not concern the path to the peer.
    Soft,
    /// A router reports that the network or the host is unreachable at present, or that
    /// access is prohibited (codes 0, 1, 9, 10 and 13; of ICMPv6 0 and 3). This may be
    /// temporary, but if nothing else is heard, it is the reason.
    Unreachable,
    /// The host has no such protocol or port, or it is prohibited; this is permanent.
    Hard,
    /// The segment was too large for the path: "fragmentation needed" of IPv4 (RFC 1191, 4)
    /// or Packet Too Big of IPv6 (RFC 4443, 3.2).
    PacketTooBig {
        /// The MTU there in octets, but at least what every path carries or every host
        /// accepts: 1,280 (RFC 8200, 5) or 576 (RFC 1122, 3.3.3).
        mtu: u16,
    },
}

/// What the TCP stack has to send although no timer of its own is due: see
/// [`Connection::poll_retry`](crate::core::Connection::poll_retry).
///
/// Exhaustive: a driver must act on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Retry {
    /// Nothing.
    None,
    /// A probe (RFC 9293, 3.8.4), if the TCP stack has no timer running. Otherwise what that
    /// timer sends is enough.
    Probe,
    /// The oldest segment that is not acknowledged, or a probe if there is none.
    Resend,
}
