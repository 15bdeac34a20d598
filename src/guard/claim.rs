//! Who else has one of our addresses: duplicate address detection (RFC 5227 for IPv4, RFC 4862
//! for IPv6), as far as it is in the frames.

#[cfg(feature = "proto-ipv6")]
use super::wire::ndp::{NdpPacket, options, read_ndp};
use super::wire::neighbour::Frame;
#[cfg(feature = "proto-ipv6")]
use super::wire::neighbour::{
    ADVERTISEMENT, ALL_NODES, NdpMessage, SOLICITATION, link_group, ndp, solicited_node,
};
#[cfg(feature = "proto-ipv4")]
use super::wire::neighbour::{ArpEnd, BROADCAST, arp};

/// An address of either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    #[cfg(feature = "proto-ipv4")]
    V4([u8; 4]),
    #[cfg(feature = "proto-ipv6")]
    V6([u8; 16]),
}

/// What a host says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) address: Address,
    /// The hardware address of the host.
    pub(crate) mac: [u8; 6],
    pub(crate) kind: ClaimKind,
}

impl Claim {
    pub(crate) const fn is_probe(&self) -> bool {
        matches!(self.kind, ClaimKind::Probes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimKind {
    /// It has the address.
    Holds,
    /// It is about to use the address, and queries whether another host has it.
    Probes,
    /// It requests the hardware address, from this link-local address.
    #[cfg(feature = "proto-ipv6")]
    Queries([u8; 16]),
}

/// Reads what an Ethernet frame says about who has an address.
pub(crate) fn read(frame: &[u8]) -> Option<Claim> {
    match frame.get(12..14)? {
        #[cfg(feature = "proto-ipv4")]
        [0x08, 0x06] => read_arp(frame),
        #[cfg(feature = "proto-ipv6")]
        [0x86, 0xdd] => read_neighbour(frame),
        _ => None,
    }
}

/// RFC 5227, 1.1: a request from no address is a probe; any other message says that its
/// sender has the address it is sent from.
#[cfg(feature = "proto-ipv4")]
fn read_arp(frame: &[u8]) -> Option<Claim> {
    let (kind, rest) = frame.get(14..)?.split_first_chunk::<8>()?;
    let [0, 1, 8, 0, 6, 4, 0, operation @ (1 | 2)] = *kind else {
        return None;
    };
    let [a, b, c, d, e, f, sender @ .., _, _, _, _, _, _, w, x, y, z] =
        *rest.first_chunk::<20>()?;
    let (kind, address) = match (sender, operation) {
        ([0, 0, 0, 0], 1) => (ClaimKind::Probes, [w, x, y, z]),
        ([0, 0, 0, 0], _) => return None,
        (sender, _) => (ClaimKind::Holds, sender),
    };
    Some(Claim {
        address: Address::V4(address),
        mac: [a, b, c, d, e, f],
        kind,
    })
}

#[cfg(feature = "proto-ipv6")]
fn read_neighbour(frame: &[u8]) -> Option<Claim> {
    let [_, _, _, _, _, _, mac @ ..] = *frame.first_chunk::<12>()?;
    let packet = read_ndp(frame)?;
    let [_, _, _, _, body @ ..] = packet.body else {
        return None;
    };
    let (target, rest) = body.split_first_chunk::<16>()?;
    let named = named(options(rest)?, packet.kind);
    let kind = match packet.kind {
        SOLICITATION => of_solicitation(&packet, *target, rest)?,
        // RFC 4861, 7.1.2: a group's is no answer to a request.
        ADVERTISEMENT if is_solicited(&packet) && packet.destination[0] == 0xff => return None,
        ADVERTISEMENT => ClaimKind::Holds,
        _ => return None,
    };
    Some(Claim {
        address: Address::V6(*target),
        mac: named.unwrap_or(mac),
        kind,
    })
}

/// RFC 4861, 7.1.1: one from no address is sent to the group of its target, and names no
/// hardware address.
#[cfg(feature = "proto-ipv6")]
fn of_solicitation(packet: &NdpPacket<'_>, target: [u8; 16], rest: &[u8]) -> Option<ClaimKind> {
    let mut names_host = options(rest)?.filter(|(kind, _)| *kind == 1);
    match packet.source {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => {
            let is_probe =
                packet.destination == solicited_node(target) && names_host.next().is_none();
            is_probe.then_some(ClaimKind::Probes)
        }
        source @ [0xfe, 0x80..=0xbf, ..] => Some(ClaimKind::Queries(source)),
        _ => None,
    }
}

#[cfg(feature = "proto-ipv6")]
fn is_solicited(packet: &NdpPacket<'_>) -> bool {
    packet.body.first().is_some_and(|flags| flags & 0x40 != 0)
}

/// The hardware address that the options of a message name for its sender (RFC 4861, 4.6.1).
#[cfg(feature = "proto-ipv6")]
fn named<'f>(mut options: impl Iterator<Item = (u8, &'f [u8])>, kind: u8) -> Option<[u8; 6]> {
    let wanted = match kind {
        SOLICITATION => 1,
        _ => 2,
    };
    let option = options.find(|(kind, _)| *kind == wanted)?.1;
    let [_, _, mac @ ..] = *option.first_chunk::<8>()?;
    Some(mac)
}

/// Queries whether another host has an address that `mac` is about to use (RFC 5227, 2.1.1; RFC 4862,
/// 5.4.2).
pub(crate) fn probe(mac: [u8; 6], address: Address) -> Frame {
    match address {
        #[cfg(feature = "proto-ipv4")]
        Address::V4(address) => {
            let [sender, target] =
                [(mac, [0; 4]), ([0; 6], address)].map(|(mac, address)| ArpEnd { mac, address });
            arp(BROADCAST, false, sender, target)
        }
        #[cfg(feature = "proto-ipv6")]
        Address::V6(address) => {
            let group = solicited_node(address);
            let message = NdpMessage {
                kind: SOLICITATION,
                flags: 0,
                target: Some(address),
                link: None,
            };
            ndp(link_group(group), mac, [0; 16], group, message)
        }
    }
}

/// Says to all on the link that `mac` has the address (RFC 5227, 2.3; RFC 4861, 7.2.6).
pub(crate) fn announcement(mac: [u8; 6], address: Address) -> Frame {
    match address {
        #[cfg(feature = "proto-ipv4")]
        Address::V4(address) => {
            let [sender, target] = [mac, [0; 6]].map(|mac| ArpEnd { mac, address });
            arp(BROADCAST, false, sender, target)
        }
        #[cfg(feature = "proto-ipv6")]
        Address::V6(address) => advertisement(mac, address, link_group(ALL_NODES), ALL_NODES, 0),
    }
}

/// Answers a host that probes an address of ours (RFC 5227, 2.1.1; RFC 4861, 7.2.4), or requests
/// our hardware address from where the stack could not answer.
pub(crate) fn answer(mac: [u8; 6], claim: &Claim) -> Option<Frame> {
    match (claim.address, claim.kind) {
        (_, ClaimKind::Holds) => None,
        #[cfg(feature = "proto-ipv6")]
        (Address::V6(address), ClaimKind::Queries(from)) => {
            Some(advertisement(mac, address, claim.mac, from, SOLICITED))
        }
        #[cfg(all(feature = "proto-ipv4", feature = "proto-ipv6"))]
        (Address::V4(_), ClaimKind::Queries(_)) => None,
        #[cfg(feature = "proto-ipv4")]
        (Address::V4(address), ClaimKind::Probes) => {
            let [sender, target] =
                [(mac, address), (claim.mac, [0; 4])].map(|(mac, address)| ArpEnd { mac, address });
            Some(arp(claim.mac, true, sender, target))
        }
        #[cfg(feature = "proto-ipv6")]
        (Address::V6(_), ClaimKind::Probes) => Some(announcement(mac, claim.address)),
    }
}

#[cfg(feature = "proto-ipv6")]
const SOLICITED: u8 = 0x40;
#[cfg(feature = "proto-ipv6")]
const OVERRIDE: u8 = 0x20;

#[cfg(feature = "proto-ipv6")]
fn advertisement(
    mac: [u8; 6],
    address: [u8; 16],
    to: [u8; 6],
    destination: [u8; 16],
    flags: u8,
) -> Frame {
    let message = NdpMessage {
        kind: ADVERTISEMENT,
        flags: flags | OVERRIDE,
        target: Some(address),
        link: Some((2, mac)),
    };
    ndp(to, mac, address, destination, message)
}
