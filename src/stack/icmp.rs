//! ICMP errors about our own segments.

use crate::facts::Icmp;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet};
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::{Icmpv6Message, Icmpv6Packet, Ipv6Address};
use smoltcp::wire::{IpAddress, IpEndpoint};

/// An ICMP error that quotes a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IcmpError {
    pub(super) severity: Icmp,
    /// Who had sent the quoted segment.
    pub(super) from: IpEndpoint,
    /// Whom it was for.
    pub(super) to: IpEndpoint,
    /// Its sequence number, to be checked against what is in flight
    /// (RFC 5927, 4.1).
    pub(super) seq: u32,
}

const PROTOCOL_TCP: u8 = 6;

/// Where the quoted packet begins in an ICMP error of either version.
const QUOTE: usize = 8;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let (number, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u16::from_be_bytes(*number))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let (number, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_be_bytes(*number))
}

/// The ports and the sequence number are the eight octets that every ICMP
/// error quotes (RFC 792), so nothing behind them is looked at.
fn quoted(severity: Icmp, from: IpAddress, to: IpAddress, segment: &[u8]) -> Option<IcmpError> {
    Some(IcmpError {
        severity,
        from: IpEndpoint::new(from, u16_at(segment, 0)?),
        to: IpEndpoint::new(to, u16_at(segment, 2)?),
        seq: u32_at(segment, 4)?,
    })
}

/// Reads an ICMP message of IPv4: Destination Unreachable (RFC 792; the codes
/// as RFC 1122, 4.2.3.9 and RFC 9293, 3.9.2.2 weigh them).
#[cfg(feature = "proto-ipv4")]
pub(super) fn parse_v4(message: &[u8]) -> Option<IcmpError> {
    let packet = Icmpv4Packet::new_checked(message).ok()?;
    if packet.msg_type() != Icmpv4Message::DstUnreachable || !packet.verify_checksum() {
        return None;
    }
    let severity = match packet.msg_code() {
        2..=4 => Icmp::Hard,
        _ => Icmp::Soft,
    };
    let quote = message.get(QUOTE..)?;
    let header_len = usize::from(quote.first()? & 0x0f).checked_mul(4)?;
    if quote.get(9) != Some(&PROTOCOL_TCP) {
        return None;
    }
    let (from, rest) = quote.get(12..)?.split_first_chunk::<4>()?;
    let (to, _) = rest.split_first_chunk::<4>()?;
    let (from, to) = (
        IpAddress::Ipv4((*from).into()),
        IpAddress::Ipv4((*to).into()),
    );
    quoted(severity, from, to, quote.get(header_len..)?)
}

/// Reads an ICMPv6 message: Destination Unreachable (RFC 4443, 3.1). Forbidden
/// (code 1) and no such port (code 4) will not pass.
#[cfg(feature = "proto-ipv6")]
pub(super) fn parse_v6(
    sender: Ipv6Address,
    receiver: Ipv6Address,
    message: &[u8],
) -> Option<IcmpError> {
    let packet = Icmpv6Packet::new_checked(message).ok()?;
    if packet.msg_type() != Icmpv6Message::DstUnreachable
        || !packet.verify_checksum(&sender, &receiver)
    {
        return None;
    }
    let severity = match packet.msg_code() {
        1 | 4 => Icmp::Hard,
        _ => Icmp::Soft,
    };
    let quote = message.get(QUOTE..)?;
    if quote.get(6) != Some(&PROTOCOL_TCP) {
        return None;
    }
    let (from, rest) = quote.get(8..)?.split_first_chunk::<16>()?;
    let (to, segment) = rest.split_first_chunk::<16>()?;
    let (from, to) = (
        IpAddress::Ipv6((*from).into()),
        IpAddress::Ipv6((*to).into()),
    );
    quoted(severity, from, to, segment)
}
