//! The addresses and ports of a segment, as in its headers.

/// The addresses and ports of a segment, in the form of its headers, because they are
/// compared for every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) addresses: Addresses,
    /// The sender's port first, in network order.
    pub(crate) ports: [[u8; 2]; 2],
}

/// The addresses of a packet, the sender's address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    #[cfg(feature = "proto-ipv4")]
    V4([[u8; 4]; 2]),
    #[cfg(feature = "proto-ipv6")]
    V6([[u8; 16]; 2]),
}

impl Flow {
    /// The flow of no connection.
    pub(crate) const NONE: Self = Self {
        #[cfg(feature = "proto-ipv4")]
        addresses: Addresses::V4([[0; 4]; 2]),
        #[cfg(not(feature = "proto-ipv4"))]
        addresses: Addresses::V6([[0; 16]; 2]),
        ports: [[0; 2]; 2],
    };

    /// The port of the receiver: ours, if this is the flow of arriving segments.
    pub(crate) const fn local_port(&self) -> u16 {
        let [_, port] = self.ports;
        u16::from_be_bytes(port)
    }

    /// The flow of the segments in the other direction.
    pub(crate) const fn reversed(self) -> Self {
        let [from, to] = self.ports;
        Self {
            addresses: match self.addresses {
                #[cfg(feature = "proto-ipv4")]
                Addresses::V4([from, to]) => Addresses::V4([to, from]),
                #[cfg(feature = "proto-ipv6")]
                Addresses::V6([from, to]) => Addresses::V6([to, from]),
            },
            ports: [to, from],
        }
    }
}

impl Addresses {
    /// Whether a segment may go from the first address to the second: each is the address
    /// of a single host, they differ, and neither is a loopback or unspecified address
    /// (RFC 9293, 3.9.2.3; RFC 1122, 3.2.1.3; RFC 4291, 2.5). Directed broadcast
    /// addresses are not known here.
    pub(crate) fn are_hosts(&self) -> bool {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4([from, to]) => from != to && is_host_v4(from) && is_host_v4(to),
            #[cfg(feature = "proto-ipv6")]
            Self::V6([from, to]) => from != to && is_host_v6(from) && is_host_v6(to),
        }
    }

    /// Whether the second is the address of a single host, and not a loopback or unspecified
    /// address.
    pub(crate) const fn is_to_host(&self) -> bool {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4([_, to]) => is_host_v4(to),
            #[cfg(feature = "proto-ipv6")]
            Self::V6([_, to]) => is_host_v6(to),
        }
    }
}

/// Not in 0.0.0.0/8 or 127.0.0.0/8, not a group, and not in class E.
#[cfg(feature = "proto-ipv4")]
const fn is_host_v4([first, ..]: [u8; 4]) -> bool {
    first != 0 && first != 127 && first < 224
}

/// Not a group, and not an address that begins with 80 zero bits: unspecified, loopback,
/// mapped.
#[cfg(feature = "proto-ipv6")]
const fn is_host_v6(address: [u8; 16]) -> bool {
    let bits = u128::from_be_bytes(address);
    bits >> 120 != 0xff && bits >> 48 != 0
}
