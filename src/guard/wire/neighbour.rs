//! Messages about who has which address, as frames of Ethernet: ARP (RFC 826) and Neighbor
//! Discovery (RFC 4861).

#[cfg(feature = "proto-ipv6")]
use super::checksum::{checksum, sum};
#[cfg(feature = "proto-ipv6")]
use super::layout::PROTOCOL_ICMPV6;

/// Of an Ethernet frame: to all hosts on the link.
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

/// To all hosts on the link, for IPv6.
#[cfg(all(feature = "address-conflicts", feature = "proto-ipv6"))]
pub(crate) const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// To all routers on the link.
#[cfg(feature = "slaac")]
pub(crate) const ALL_ROUTERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// Octets of the longest frame: with IPv6 a target and an option, else ARP.
const LONGEST: usize = if cfg!(feature = "proto-ipv6") {
    14 + 40 + 32
} else {
    14 + 28
};

// Types of ICMPv6 (RFC 4861, 4).
#[cfg(feature = "slaac")]
pub(crate) const ROUTER_SOLICITATION: u8 = 133;
#[cfg(feature = "proto-ipv6")]
pub(crate) const SOLICITATION: u8 = 135;
#[cfg(feature = "proto-ipv6")]
pub(crate) const ADVERTISEMENT: u8 = 136;

/// A frame that was made here.
#[derive(Debug)]
pub(crate) struct Frame {
    octets: [u8; LONGEST],
    len: usize,
}

impl Frame {
    const EMPTY: Self = Self {
        octets: [0; LONGEST],
        len: 0,
    };

    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&[])
    }

    /// Puts these parts one after the other.
    fn of(parts: &[&[u8]]) -> Self {
        let mut frame = Self::EMPTY;
        let octets = parts.iter().copied().flatten();
        for (place, octet) in frame.octets.iter_mut().zip(octets) {
            *place = *octet;
            frame.len = frame.len.wrapping_add(1);
        }
        frame
    }
}

/// Who is on one side of an ARP message.
#[cfg(feature = "proto-ipv4")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArpEnd {
    pub(crate) mac: [u8; 6],
    pub(crate) address: [u8; 4],
}

/// An ARP message for Ethernet and IPv4 (RFC 826): a request, or an answer. It goes to `to`.
#[cfg(feature = "proto-ipv4")]
pub(crate) fn arp(to: [u8; 6], is_answer: bool, sender: ArpEnd, target: ArpEnd) -> Frame {
    let operation = match is_answer {
        true => 2,
        false => 1,
    };
    Frame::of(&[
        &to,
        &sender.mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
        &sender.mac,
        &sender.address,
        &target.mac,
        &target.address,
    ])
}

/// What stands in a message of Neighbor Discovery.
#[cfg(feature = "proto-ipv6")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NdpMessage {
    /// The type of ICMPv6.
    pub(crate) kind: u8,
    /// The first octet after the checksum.
    pub(crate) flags: u8,
    /// Which address it is about; a Router Solicitation is about none.
    pub(crate) target: Option<[u8; 16]>,
    /// An option that names a hardware address: its type (RFC 4861, 4.6.1) and that.
    pub(crate) link: Option<(u8, [u8; 6])>,
}

/// The group at which the owner of an address is asked (RFC 4291, 2.7.1).
#[cfg(feature = "proto-ipv6")]
pub(crate) const fn solicited_node(address: [u8; 16]) -> [u8; 16] {
    let [.., x, y, z] = address;
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]
}

/// The hardware address of a group (RFC 2464, 7).
#[cfg(feature = "proto-ipv6")]
pub(crate) const fn link_group(group: [u8; 16]) -> [u8; 6] {
    let [.., w, x, y, z] = group;
    [0x33, 0x33, w, x, y, z]
}

/// A message of Neighbor Discovery in a frame from `mac` to the hardware address `to`.
#[cfg(feature = "proto-ipv6")]
pub(crate) fn ndp(
    to: [u8; 6],
    mac: [u8; 6],
    source: [u8; 16],
    destination: [u8; 16],
    message: NdpMessage,
) -> Frame {
    let target = message.target.as_ref().map_or(&[][..], |target| target);
    let option = message
        .link
        .map(|(kind, [a, b, c, d, e, f])| [kind, 1, a, b, c, d, e, f]);
    let option = option.as_ref().map_or(&[][..], |option| option);
    let len = match (target, option) {
        ([], []) => 8,
        ([], _) => 16,
        (_, []) => 24,
        _ => 32,
    };
    let head = [message.kind, 0, 0, 0, message.flags, 0, 0, 0];
    let pseudo = sum(
        sum(sum(0, &source), &destination),
        &[0, len, 0, PROTOCOL_ICMPV6],
    );
    let [high, low] = checksum(sum(sum(sum(pseudo, &head), target), option));
    Frame::of(&[
        &to,
        &mac,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, len, PROTOCOL_ICMPV6, 255],
        &source,
        &destination,
        &[message.kind, 0, high, low, message.flags, 0, 0, 0],
        target,
        option,
    ])
}
