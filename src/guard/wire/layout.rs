//! The lengths of headers, the protocols that are read, and the medium of a device.

/// Octets of the header of an Ethernet frame.
#[cfg(feature = "medium-ethernet")]
pub(crate) const ETHERNET_HEADER_LEN: usize = 14;

/// Octets of a header of IPv4 without options (RFC 791, 3.1).
pub(crate) const IPV4_HEADER_LEN: usize = 20;

/// Octets of a header of IPv6 without extension headers (RFC 8200, 3).
pub(crate) const IPV6_HEADER_LEN: usize = 40;

/// Octets of a header of TCP without options (RFC 9293, 3.1).
pub(crate) const TCP_HEADER_LEN: usize = 20;

// Values of the protocol field of an IP header.
pub(crate) const PROTOCOL_HOP_BY_HOP: u8 = 0;
#[cfg(feature = "proto-ipv4")]
pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_TCP: u8 = 6;
#[cfg(feature = "proto-ipv6")]
pub(crate) const PROTOCOL_ICMPV6: u8 = 58;

/// The first header of a device's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    /// An Ethernet header.
    #[cfg(feature = "medium-ethernet")]
    Ethernet,
    /// An IP header.
    #[cfg(feature = "medium-ip")]
    Ip,
}

impl Medium {
    /// How many octets precede the IP packet in a frame.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            #[cfg(feature = "medium-ethernet")]
            Self::Ethernet => ETHERNET_HEADER_LEN,
            #[cfg(feature = "medium-ip")]
            Self::Ip => 0,
        }
    }
}

/// Which checksums the device leaves to software, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checksums {
    /// The checksum of the IPv4 header.
    pub(crate) ipv4: bool,
    pub(crate) tcp: bool,
}

impl Checksums {
    pub(crate) const NONE: Self = Self {
        ipv4: false,
        tcp: false,
    };
}
