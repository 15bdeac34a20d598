//! From whom to whom a segment goes: addresses and ports as they stand in its headers.

/// From whom to whom a segment goes, as its headers have it: that is compared for
/// every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) addresses: Addresses,
    /// The sender's first, in network order.
    pub(crate) ports: [[u8; 2]; 2],
}

/// The addresses of a packet, the sender's first.
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

    /// The port of the receiver: ours, if this is the way segments arrive.
    pub(crate) const fn local_port(&self) -> u16 {
        let [_, port] = self.ports;
        u16::from_be_bytes(port)
    }

    /// That of the segments in the other direction.
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
    /// Whether a segment may go from the first to the second: both are addresses of one
    /// host each, neither the same nor a host's address for itself (RFC 9293, 3.9.2.3;
    /// RFC 1122, 3.2.1.3; RFC 4291, 2.5). Directed broadcasts are not known here.
    pub(crate) fn are_hosts(&self) -> bool {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4([from, to]) => from != to && is_host_v4(from) && is_host_v4(to),
            #[cfg(feature = "proto-ipv6")]
            Self::V6([from, to]) => from != to && is_host_v6(from) && is_host_v6(to),
        }
    }

    /// Whether the second is an address of one host, and not one for itself.
    pub(crate) const fn is_to_host(&self) -> bool {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4([_, to]) => is_host_v4(to),
            #[cfg(feature = "proto-ipv6")]
            Self::V6([_, to]) => is_host_v6(to),
        }
    }
}

/// Not 0.0.0.0/8, 127.0.0.0/8, a group, or one of class E.
#[cfg(feature = "proto-ipv4")]
const fn is_host_v4([first, ..]: [u8; 4]) -> bool {
    first != 0 && first != 127 && first < 224
}

/// Not a group, and nothing that begins with 80 zeros: unspecified, loopback, mapped.
#[cfg(feature = "proto-ipv6")]
const fn is_host_v6(address: [u8; 16]) -> bool {
    let bits = u128::from_be_bytes(address);
    bits >> 120 != 0xff && bits >> 48 != 0
}
