//! Reads what a frame contains of TCP, without changing it.

#[cfg(feature = "proto-ipv4")]
use super::checksum::{is_complete, sum, sum_header};
use super::icmp::{self, IcmpError};
#[cfg(feature = "medium-ethernet")]
use super::layout::ETHERNET_HEADER_LEN;
#[cfg(not(feature = "proto-ipv6"))]
use super::layout::PROTOCOL_HOP_BY_HOP;
use super::layout::{Checksums, Medium, PROTOCOL_TCP};
#[cfg(feature = "proto-ipv4")]
use super::layout::{IPV4_HEADER_LEN, PROTOCOL_ICMP};
#[cfg(feature = "proto-ipv6")]
use super::layout::{IPV6_HEADER_LEN, PROTOCOL_HOP_BY_HOP, PROTOCOL_ICMPV6};
use super::segment::{IpHeader, Segment};
use crate::sabotage::{Sabotage, is_on};

/// The content of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed<'f> {
    /// A TCP segment.
    Tcp(Segment<'f>),
    /// An ICMP error about a TCP segment.
    Icmp(IcmpError),
    /// A frame that must not go on: it is damaged, or may hide a TCP segment (a fragment,
    /// an IP version that the crate was built without).
    Withheld,
    /// A frame that concerns no TCP connection.
    Other,
}

/// Reads a frame that arrives at a device of this medium. Anything truncated or malformed
/// is [`Parsed::Other`]: the TCP stack drops it as well.
///
/// This function and those that it calls are inlined: only a few fields of a segment are
/// used, so this is smaller and faster than storing all of them.
pub(crate) fn parse(medium: Medium, frame: &[u8], checks: Checksums) -> Parsed<'_> {
    match medium {
        #[cfg(feature = "medium-ethernet")]
        Medium::Ethernet => match frame.split_first_chunk::<ETHERNET_HEADER_LEN>() {
            Some(([.., 0x08, 0x00], packet)) => parse_ipv4(packet, checks),
            Some(([.., 0x86, 0xdd], packet)) => parse_ipv6(packet, checks),
            _ => Parsed::Other,
        },
        #[cfg(feature = "medium-ip")]
        Medium::Ip => match frame.first().map(|first| first >> 4) {
            Some(4) => parse_ipv4(frame, checks),
            Some(6) => parse_ipv6(frame, checks),
            _ => Parsed::Other,
        },
    }
}

/// Reads a segment that is sent, like [`parse`]. smoltcp made it: no IP options precede
/// it, and nothing follows it.
pub(crate) fn parse_sent(medium: Medium, frame: &[u8]) -> Parsed<'_> {
    let Some(packet) = frame.get(medium.header_len()..) else {
        return Parsed::Other;
    };
    #[cfg(feature = "proto-ipv4")]
    if let Some((fixed, segment)) = packet.split_first_chunk::<IPV4_HEADER_LEN>() {
        let [version, _, _, _, _, _, fragment, offset, _, protocol, ..] = *fixed;
        if [version, fragment & 0x3f, offset, protocol] == [0x45, 0, 0, PROTOCOL_TCP] {
            return parse_tcp(IpHeader::V4(fixed), segment, Checksums::NONE);
        }
    }
    #[cfg(feature = "proto-ipv6")]
    if packet.first().map(|first| first >> 4) == Some(6) {
        return parse_ipv6(packet, Checksums::NONE);
    }
    Parsed::Other
}

/// The header is read in one piece (RFC 791, 3.1), because this runs for every frame:
/// each accessor of a checked packet would check the length again.
#[cfg(feature = "proto-ipv4")]
fn parse_ipv4(packet: &[u8], checks: Checksums) -> Parsed<'_> {
    let Some((fixed, rest)) = packet.split_first_chunk::<IPV4_HEADER_LEN>() else {
        return Parsed::Other;
    };
    let [
        version,
        _,
        len_high,
        len_low,
        _,
        _,
        fragment,
        offset,
        _,
        protocol,
        ..,
    ] = *fixed;
    // Version 4 and a header of at least five words.
    if !matches!(version, 0x45..=0x4f) {
        return Parsed::Other;
    }
    let options_len = usize::from(version.wrapping_sub(0x45)) << 2;
    let total_len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let Some((options, payload)) = total_len
        .checked_sub(IPV4_HEADER_LEN)
        .and_then(|len| rest.get(..len))
        .and_then(|rest| rest.split_at_checked(options_len))
    else {
        return Parsed::Other;
    };
    if checks.ipv4 && !is_complete(sum(sum_header(0, fixed), options)) {
        return Parsed::Withheld;
    }
    // The two highest bits do not mark a fragment.
    let is_fragment = [fragment & 0x3f, offset] != [0, 0];
    match protocol {
        PROTOCOL_TCP if is_fragment && !is_on(Sabotage::Fragments) => Parsed::Withheld,
        _ if is_fragment => Parsed::Other,
        PROTOCOL_TCP => parse_tcp(IpHeader::V4(fixed), payload, checks),
        PROTOCOL_ICMP => {
            let [.., a, b, c, d] = *fixed;
            icmp::parse_v4([a, b, c, d], payload).map_or(Parsed::Other, Parsed::Icmp)
        }
        _ => Parsed::Other,
    }
}

/// Packets of a version that the crate was built without do not go on if they hold TCP.
#[cfg(not(feature = "proto-ipv4"))]
fn parse_ipv4(packet: &[u8], _: Checksums) -> Parsed<'_> {
    match packet.get(9) {
        Some(&PROTOCOL_TCP) => Parsed::Withheld,
        _ => Parsed::Other,
    }
}

/// Packets of a version that the crate was built without do not go on if they hold TCP,
/// or other headers in front that may hide it.
#[cfg(not(feature = "proto-ipv6"))]
fn parse_ipv6(packet: &[u8], _: Checksums) -> Parsed<'_> {
    match packet.get(6) {
        Some(&(PROTOCOL_TCP | PROTOCOL_HOP_BY_HOP)) => Parsed::Withheld,
        _ => Parsed::Other,
    }
}

#[cfg(feature = "proto-ipv6")]
fn parse_ipv6(packet: &[u8], checks: Checksums) -> Parsed<'_> {
    let Some((fixed, after)) = packet.split_first_chunk::<IPV6_HEADER_LEN>() else {
        return Parsed::Other;
    };
    let [version, _, _, _, len_high, len_low, next, _, addresses @ ..] = fixed;
    let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
    let (6, Some(payload), Some(addresses)) = (
        version >> 4,
        after.get(..len),
        addresses.as_chunks::<16>().0.first_chunk::<2>(),
    ) else {
        return Parsed::Other;
    };
    // smoltcp reads on after this header, if it comes first, and after no other.
    let (next, payload) = match *next {
        PROTOCOL_HOP_BY_HOP => match after_hop_by_hop(payload) {
            Some(after) => after,
            None => return Parsed::Other,
        },
        next => (next, payload),
    };
    match next {
        PROTOCOL_TCP => parse_tcp(IpHeader::V6(addresses), payload, checks),
        PROTOCOL_ICMPV6 => icmp::parse_v6(addresses, payload).map_or(Parsed::Other, Parsed::Icmp),
        _ => Parsed::Other,
    }
}

/// What follows a hop-by-hop options header (RFC 8200, 4.3), and its protocol.
#[cfg(feature = "proto-ipv6")]
fn after_hop_by_hop(header: &[u8]) -> Option<(u8, &[u8])> {
    let [next, more, ..] = *header.first_chunk::<2>()?;
    let len = usize::from(more).checked_add(1)?.checked_mul(8)?;
    Some((next, header.get(len..)?))
}

/// The segment in the payload of an IP packet, unless it is damaged.
fn parse_tcp<'f>(ip: IpHeader<'f>, payload: &'f [u8], checks: Checksums) -> Parsed<'f> {
    match Segment::read(ip, payload) {
        Some(segment) if checks.tcp && !segment.is_intact() && !is_on(Sabotage::Damaged) => {
            Parsed::Withheld
        }
        Some(segment) => Parsed::Tcp(segment),
        None => Parsed::Other,
    }
}

#[cfg(test)]
#[cfg(all(feature = "smoltcp", feature = "medium-ip", feature = "proto-ipv4"))]
mod tests {
    use super::*;
    use crate::core::facts::Window;
    use crate::guard::flow::{Addresses, Flow};
    use heapless::Vec;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        IpAddress, IpProtocol, IpRepr, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    };

    fn packet(from: IpAddress, to: IpAddress, payload: &[u8]) -> Vec<u8, 160> {
        let tcp = TcpRepr {
            src_port: 5000,
            dst_port: 50_000,
            control: TcpControl::Fin,
            seq_number: TcpSeqNumber(-2),
            ack_number: Some(TcpSeqNumber(7)),
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), 64);
        let mut packet = Vec::new();
        assert!(packet.resize_default(ip.buffer_len()).is_ok());
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut packet[..], &checksums);
        let mut segment = TcpPacket::new_unchecked(&mut packet[ip.header_len()..]);
        tcp.emit(&mut segment, &from, &to, &checksums);
        packet
    }

    /// Whether smoltcp would accept a packet of IPv4.
    fn is_taken_v4(packet: &[u8]) -> bool {
        Ipv4Packet::new_checked(packet).is_ok_and(|ip| {
            ip.version() == 4
                && ip.verify_checksum()
                && !ip.more_frags()
                && ip.frag_offset() == 0
                && ip.next_header() == IpProtocol::Tcp
                && TcpPacket::new_checked(ip.payload()).is_ok_and(|tcp| {
                    tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into())
                })
        })
    }

    const ALL: Checksums = Checksums {
        ipv4: true,
        tcp: true,
    };

    fn is_taken(packet: &[u8]) -> bool {
        matches!(parse(Medium::Ip, packet, ALL), Parsed::Tcp(_))
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let (from, to) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        let packet = packet(from, to, b"four");
        let Parsed::Tcp(segment) = parse(Medium::Ip, &packet, ALL) else {
            panic!("no segment: {packet:?}");
        };
        let flow = Flow {
            addresses: Addresses::V4([[10, 0, 0, 1], [10, 0, 0, 2]]),
            ports: [5000_u16, 50_000].map(u16::to_be_bytes),
        };
        assert_eq!(segment.flow(), flow);
        assert_eq!((segment.seq(), segment.ack()), (u32::MAX - 1, Some(7)));
        assert_eq!((segment.len(), segment.window()), (5, Window::Zero));
        assert!(segment.is_fin() && !segment.is_syn() && !segment.is_rst());
    }

    /// Also with every bit flipped, one at a time, and at every length.
    #[test]
    fn what_smoltcp_would_drop_is_not_intact() {
        let (from, to) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        let bytes: Vec<u8, 70> = (0..70_u8).map(|byte| byte.wrapping_mul(151)).collect();
        for len in 0..bytes.len() {
            let mut packet = packet(from, to, &bytes[..len]);
            assert!(is_taken(&packet), "{len} octets of payload");
            for bit in 0..packet.len() * 8 {
                packet[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(is_taken(&packet), is_taken_v4(&packet), "{len}, bit {bit}");
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            for end in 0..packet.len() {
                assert!(!is_taken(&packet[..end]), "{len}, cut to {end}");
            }
        }
    }

    /// RFC 791, 3.1: up to ten words of options precede the segment.
    #[test]
    fn options_of_the_packet_are_skipped_and_checksummed() {
        let (from, to) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        let plain = packet(from, to, b"four");
        for words in 1..=10_u8 {
            let options = usize::from(words) * 4;
            let (header, segment) = plain.split_at(IPV4_HEADER_LEN);
            let mut packet: Vec<u8, 160> = Vec::from_slice(header).expect("room");
            assert!(packet.resize(IPV4_HEADER_LEN + options, words).is_ok());
            assert!(packet.extend_from_slice(segment).is_ok());
            packet[0] += words;
            packet[3] += words * 4;
            Ipv4Packet::new_unchecked(&mut packet[..]).fill_checksum();
            assert!(is_taken(&packet), "{words} words of options");
            packet[IPV4_HEADER_LEN + options - 1] ^= 1;
            assert!(
                !is_taken(&packet),
                "{words} words of options, one bit turned"
            );
        }
    }

    #[cfg(feature = "proto-ipv6")]
    #[test]
    fn a_changed_segment_of_ipv6_is_not_intact() {
        let from = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let to = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 2);
        for payload in [&b""[..], b"odd", b"even"] {
            let mut packet = packet(from, to, payload);
            assert!(is_taken(&packet), "{payload:?}");
            // The addresses and the whole segment.
            for bit in 8 * 8..packet.len() * 8 {
                packet[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_taken(&packet), "{payload:?}, bit {bit}");
                packet[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
