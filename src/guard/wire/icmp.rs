//! ICMP errors about our own segments.

use super::checksum::{is_complete, sum};
#[cfg(feature = "proto-ipv6")]
use super::layout::PROTOCOL_ICMPV6;
use super::layout::PROTOCOL_TCP;
use crate::core::facts::Icmp;
use crate::guard::flow::{Addresses, Flow};
use crate::sabotage::{Sabotage, is_on};

/// An ICMP error that quotes a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IcmpError {
    pub(crate) icmp: Icmp,
    /// The flow of the quoted segment, which was ours.
    pub(crate) quoted: Flow,
    /// Its sequence number, to be checked against what is in flight
    /// (RFC 5927, 4.1).
    pub(crate) seq: u32,
}

// The types of messages that are read.
#[cfg(feature = "proto-ipv4")]
const V4_UNREACHABLE: u8 = 3;
#[cfg(feature = "proto-ipv6")]
const V6_UNREACHABLE: u8 = 1;
#[cfg(feature = "proto-ipv6")]
const V6_TOO_BIG: u8 = 2;
#[cfg(feature = "proto-ipv6")]
const V6_PARAMETER_PROBLEM: u8 = 4;

/// Where the quoted packet begins in an ICMP error of either version.
const QUOTE: usize = 8;

/// The eight octets that every ICMP error quotes are the ports and the sequence number
/// (RFC 792), so nothing after them is read.
fn quoted(icmp: Icmp, addresses: Addresses, segment: &[u8]) -> Option<IcmpError> {
    let [a, b, c, d, seq @ ..] = *segment.first_chunk::<8>()?;
    Some(IcmpError {
        icmp,
        quoted: Flow {
            addresses,
            ports: [[a, b], [c, d]],
        },
        seq: u32::from_be_bytes(seq),
    })
}

/// Reads an ICMP message of IPv4: Destination Unreachable (RFC 792; the codes are
/// classified as in RFC 1122, 4.2.3.9 and RFC 9293, 3.9.2.2). Its destination must be the
/// source of the quoted packet.
#[cfg(feature = "proto-ipv4")]
pub(crate) fn parse_v4(receiver: [u8; 4], message: &[u8]) -> Option<IcmpError> {
    let (head, quote) = message.split_first_chunk::<QUOTE>()?;
    let [kind, code, _, _, _, _, mtu @ ..] = *head;
    if kind != V4_UNREACHABLE || !is_complete(sum(0, message)) {
        return None;
    }
    let [_, _, len @ ..] = *quote.first_chunk::<4>()?;
    let icmp = match code {
        4 => too_big(u16::from_be_bytes(mtu), u16::from_be_bytes(len)),
        2 | 3 => Icmp::Hard,
        0 | 1 | 9 | 10 | 13 => Icmp::Unreachable,
        _ => Icmp::Soft,
    };
    let header_len = usize::from(quote.first()? & 0x0f).checked_mul(4)?;
    if quote.get(9) != Some(&PROTOCOL_TCP) {
        return None;
    }
    let (from, rest) = quote.get(12..)?.split_first_chunk::<4>()?;
    let (to, _) = rest.split_first_chunk::<4>()?;
    if *from != receiver && !is_on(Sabotage::Complaints) {
        return None;
    }
    let addresses = Addresses::V4([*from, *to]);
    quoted(icmp, addresses, quote.get(header_len..)?)
}

/// The meaning of "fragmentation needed" for a packet of this length (RFC 1191, 4). Every
/// host accepts 576 octets (RFC 1122, 3.3.3), so a smaller MTU, or none, counts as 576. If
/// the packet is not larger, the error counts like any other.
#[cfg(feature = "proto-ipv4")]
fn too_big(mtu: u16, len: u16) -> Icmp {
    let mtu = mtu.max(576);
    match mtu < len {
        true => Icmp::PacketTooBig { mtu },
        false => Icmp::Hard,
    }
}

/// Reads an ICMPv6 message: Destination Unreachable (RFC 4443, 3.1), which is permanent if
/// prohibited (codes 1, 5 and 6) or if there is no such port (code 4); Parameter Problem
/// (3.4) of a host without TCP (code 1); or Packet Too Big (3.2). Its destination must be
/// the source of the quoted packet.
#[cfg(feature = "proto-ipv6")]
pub(crate) fn parse_v6(addresses: &[[u8; 16]; 2], message: &[u8]) -> Option<IcmpError> {
    let (head, quote) = message.split_first_chunk::<QUOTE>()?;
    let [kind, code, ..] = *head;
    // An IP packet holds fewer than 2^16 octets.
    let [high, low] = u16::try_from(message.len()).ok()?.to_be_bytes();
    let pseudo = sum(
        sum(0, addresses.as_flattened()),
        &[high, low, 0, PROTOCOL_ICMPV6],
    );
    if !is_complete(sum(pseudo, message)) {
        return None;
    }
    let icmp = match (kind, code) {
        (V6_UNREACHABLE, 1 | 4..=6) | (V6_PARAMETER_PROBLEM, 1) => Icmp::Hard,
        (V6_UNREACHABLE, 0 | 3) => Icmp::Unreachable,
        (V6_UNREACHABLE, _) => Icmp::Soft,
        (V6_TOO_BIG, _) => {
            let [_, _, _, _, mtu @ ..] = *head;
            let [_, _, _, _, len @ ..] = *quote.first_chunk::<6>()?;
            let mtu = u16::try_from(u32::from_be_bytes(mtu)).ok()?;
            // Every path carries 1,280 octets (RFC 8201, 4), and the packet was longer.
            if mtu < 1_280 || mtu.saturating_sub(40) >= u16::from_be_bytes(len) {
                return None;
            }
            Icmp::PacketTooBig { mtu }
        }
        _ => return None,
    };
    if quote.get(6) != Some(&PROTOCOL_TCP) {
        return None;
    }
    let (from, rest) = quote.get(8..)?.split_first_chunk::<16>()?;
    let (to, segment) = rest.split_first_chunk::<16>()?;
    let [_, receiver] = *addresses;
    if *from != receiver && !is_on(Sabotage::Complaints) {
        return None;
    }
    quoted(icmp, Addresses::V6([*from, *to]), segment)
}
