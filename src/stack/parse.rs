//! What a frame says about TCP, read without changing it.

use super::ends::{Addresses, Flow};
use super::icmp::{self, IcmpError};
use crate::facts::Window;
use smoltcp::phy::Medium;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::IPV4_HEADER_LEN;
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::IpProtocol;
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::Ipv6Packet;
use smoltcp::wire::TCP_HEADER_LEN;
#[cfg(feature = "medium-ethernet")]
use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetProtocol};

const PROTOCOL_TCP: u8 = 6;
#[cfg(feature = "proto-ipv4")]
const PROTOCOL_ICMP: u8 = 1;

/// Of the IP header in front of a segment, what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IpHeader<'f> {
    /// The fixed part, and options.
    #[cfg(feature = "proto-ipv4")]
    V4(&'f [u8; IPV4_HEADER_LEN], &'f [u8]),
    /// The addresses, that of the sender first.
    #[cfg(feature = "proto-ipv6")]
    V6(&'f [[u8; 16]; 2]),
}

/// A TCP segment as it stands in a frame, read where it is asked for: most
/// frames are asked for little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'f> {
    ip: IpHeader<'f>,
    /// The fixed part of the header (RFC 9293, 3.1).
    header: &'f [u8; TCP_HEADER_LEN],
    /// What follows it: options and payload.
    rest: &'f [u8],
    payload_len: u32,
}

impl IpHeader<'_> {
    fn addresses(&self) -> Addresses {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4(&[.., a, b, c, d, e, f, g, h], _) => {
                Addresses::V4([[a, b, c, d], [e, f, g, h]])
            }
            #[cfg(feature = "proto-ipv6")]
            Self::V6(addresses) => Addresses::V6(*addresses),
        }
    }

    /// The sum of the addresses.
    #[inline(always)]
    fn sum(&self) -> usize {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4(&[.., a, b, c, d, e, f, g, h], _) => add(add(0, [a, b, c, d]), [e, f, g, h]),
            #[cfg(feature = "proto-ipv6")]
            Self::V6(addresses) => sum(0, addresses.as_flattened()),
        }
    }

    /// Whether its checksum is right, if there is one.
    #[inline(always)]
    fn is_intact(&self) -> bool {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4(fixed, options) => is_complete(sum(sum_header(0, fixed), options)),
            #[cfg(feature = "proto-ipv6")]
            Self::V6(_) => true,
        }
    }
}

impl Segment<'_> {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// From whom to whom it goes.
    #[inline(always)]
    pub(super) fn flow(&self) -> Flow {
        let [a, b, c, d, ..] = *self.header;
        Flow {
            addresses: self.ip.addresses(),
            ports: [[a, b], [c, d]],
        }
    }

    /// The sequence number of the first octet.
    pub(super) const fn seq(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The acknowledgement number, if the segment carries one.
    pub(super) const fn ack(&self) -> Option<u32> {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *self.header;
        match self.has(Self::ACK) {
            true => Some(u32::from_be_bytes([a, b, c, d])),
            false => None,
        }
    }

    /// The acknowledgement number of a segment that has nothing but that and data.
    pub(super) const fn plain_ack(&self) -> Option<u32> {
        let [_, _, _, _, _, _, _, _, a, b, c, d, _, flags, ..] = *self.header;
        match flags & (Self::FIN | Self::SYN | Self::RST | Self::ACK) {
            Self::ACK => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }

    const fn has(&self, flag: u8) -> bool {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = *self.header;
        flags & flag != 0
    }

    pub(super) const fn is_fin(&self) -> bool {
        self.has(Self::FIN)
    }

    pub(super) const fn is_syn(&self) -> bool {
        self.has(Self::SYN)
    }

    pub(super) const fn is_rst(&self) -> bool {
        self.has(Self::RST)
    }

    /// Whether it looks like smoltcp's keep-alive probe: one octet, zero, and
    /// no other flag. A segment of ours that repeats a last octet of zero, with
    /// more queued behind it, looks the same; not to send that is harmless,
    /// because what is sent instead is answered, and three answers make smoltcp
    /// repeat everything.
    pub(super) fn is_keep_alive(&self) -> bool {
        let [.., flags, _, _, _, _, _, _] = *self.header;
        flags == Self::ACK && self.payload_len == 1 && self.rest.last() == Some(&0)
    }

    /// The window field, not scaled.
    pub(super) const fn window_len(&self) -> u16 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] = *self.header;
        u16::from_be_bytes([high, low])
    }

    /// What its sender would take in.
    pub(super) const fn window(&self) -> Window {
        match self.window_len() {
            0 => Window::Zero,
            _ => Window::Open,
        }
    }

    /// Octets of sequence space: payload, SYN and FIN.
    pub(super) const fn len(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = *self.header;
        let controls = (flags >> 1 & 1).wrapping_add(flags & 1);
        self.payload_len
            .wrapping_add(u32::from_be_bytes([0, 0, 0, controls]))
    }

    /// The header of a bare ACK with the ports of this segment, at these numbers,
    /// without a checksum.
    pub(super) const fn bare_ack(&self, seq: u32, ack: u32, window: u16) -> [u8; TCP_HEADER_LEN] {
        let [a, b, c, d, ..] = *self.header;
        let [e, f, g, h] = seq.to_be_bytes();
        let [i, j, k, l] = ack.to_be_bytes();
        let [m, n] = window.to_be_bytes();
        let offset = 0x50;
        [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            i,
            j,
            k,
            l,
            offset,
            Self::ACK,
            m,
            n,
            0,
            0,
            0,
            0,
        ]
    }

    /// The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1) of a segment of
    /// this length.
    #[inline(always)]
    pub(super) fn pseudo_sum(&self, len: usize) -> usize {
        let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        add(self.ip.sum(), [0, PROTOCOL_TCP, high, low])
    }

    /// The number behind its last octet of sequence space.
    pub(super) const fn end(&self) -> u32 {
        self.seq().wrapping_add(self.len())
    }
}

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed<'f> {
    /// A TCP segment.
    Tcp(Segment<'f>),
    /// An ICMP error about a TCP segment.
    Icmp(IcmpError),
    /// Something that may hide a TCP segment: an IP fragment, or IPv6
    /// extension headers.
    Opaque,
    /// Nothing that concerns a TCP connection.
    Other,
}

/// Reads a frame as it crosses a device of this medium. Anything truncated or
/// malformed is [`Parsed::Other`]: the stack drops it as well.
///
/// With what it calls it is inlined in both directions, for each asks for another part
/// of the segment: smaller and faster than to write all of it down.
#[inline(always)]
pub(super) fn parse(medium: Medium, frame: &[u8]) -> Parsed<'_> {
    match medium {
        #[cfg(feature = "medium-ethernet")]
        Medium::Ethernet => {
            let Some((header, packet)) = frame.split_first_chunk::<ETHERNET_HEADER_LEN>() else {
                return Parsed::Other;
            };
            let [.., high, low] = *header;
            match EthernetProtocol::from(u16::from_be_bytes([high, low])) {
                #[cfg(feature = "proto-ipv4")]
                EthernetProtocol::Ipv4 => parse_ipv4(packet),
                #[cfg(feature = "proto-ipv6")]
                EthernetProtocol::Ipv6 => parse_ipv6(packet),
                _ => Parsed::Other,
            }
        }
        #[cfg(feature = "medium-ip")]
        Medium::Ip => match frame.first().map(|first| first >> 4) {
            #[cfg(feature = "proto-ipv4")]
            Some(4) => parse_ipv4(frame),
            #[cfg(feature = "proto-ipv6")]
            Some(6) => parse_ipv6(frame),
            _ => Parsed::Other,
        },
        #[allow(unreachable_patterns, reason = "other crates may turn more media on")]
        _ => Parsed::Opaque,
    }
}

/// Reads a segment that leaves, as [`parse`] does. smoltcp made it: there are no options
/// in front of it, and nothing behind it.
#[inline(always)]
pub(super) fn parse_sent(medium: Medium, frame: &[u8]) -> Parsed<'_> {
    let Some(packet) = frame.get(link_header_len(medium)..) else {
        return Parsed::Other;
    };
    #[cfg(feature = "proto-ipv4")]
    if let Some((fixed, segment)) = packet.split_first_chunk::<IPV4_HEADER_LEN>() {
        let [version, _, _, _, _, _, fragment, offset, _, protocol, ..] = *fixed;
        if [version, fragment & 0x3f, offset, protocol] == [0x45, 0, 0, PROTOCOL_TCP] {
            return parse_tcp(IpHeader::V4(fixed, &[]), segment);
        }
    }
    #[cfg(feature = "proto-ipv6")]
    if packet.first().map(|first| first >> 4) == Some(6) {
        return parse_ipv6(packet);
    }
    Parsed::Other
}

/// The header is read in one piece (RFC 791, 3.1), for this runs for every
/// frame: each accessor of a checked packet would look at the length again.
#[cfg(feature = "proto-ipv4")]
#[inline(always)]
fn parse_ipv4(packet: &[u8]) -> Parsed<'_> {
    let Some((fixed, behind)) = packet.split_first_chunk::<IPV4_HEADER_LEN>() else {
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
        .and_then(|len| behind.get(..len))
        .and_then(|behind| behind.split_at_checked(options_len))
    else {
        return Parsed::Other;
    };
    // The first two bits are no part of the fragment's place.
    if [fragment & 0x3f, offset] != [0, 0] {
        return Parsed::Opaque;
    }
    match protocol {
        PROTOCOL_TCP => parse_tcp(IpHeader::V4(fixed, options), payload),
        PROTOCOL_ICMP => icmp::parse_v4(payload).map_or(Parsed::Other, Parsed::Icmp),
        _ => Parsed::Other,
    }
}

#[cfg(feature = "proto-ipv6")]
fn parse_ipv6(packet: &[u8]) -> Parsed<'_> {
    let Some(ip) = Ipv6Packet::new_checked(packet)
        .ok()
        .filter(|ip| ip.version() == 6)
    else {
        return Parsed::Other;
    };
    let (mut header, mut payload) = (ip.next_header(), ip.payload());
    // The stack below looks behind this header, if it comes first, and behind no
    // other.
    if header == IpProtocol::HopByHop {
        let Some(behind) = behind_hop_by_hop(payload) else {
            return Parsed::Other;
        };
        (header, payload) = behind;
    }
    if header == IpProtocol::Tcp {
        let addresses = packet.get(8..).unwrap_or(&[]).as_chunks::<16>().0;
        let Some(addresses) = addresses.first_chunk::<2>() else {
            return Parsed::Other;
        };
        parse_tcp(IpHeader::V6(addresses), payload)
    } else if matches!(
        header,
        IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts | IpProtocol::Ipv6Frag
    ) {
        Parsed::Opaque
    } else if header == IpProtocol::Icmpv6 {
        icmp::parse_v6(ip.src_addr(), ip.dst_addr(), payload).map_or(Parsed::Other, Parsed::Icmp)
    } else {
        Parsed::Other
    }
}

/// What follows a hop-by-hop options header (RFC 8200, 4.3), and of which kind.
#[cfg(feature = "proto-ipv6")]
fn behind_hop_by_hop(header: &[u8]) -> Option<(IpProtocol, &[u8])> {
    let [next, more, ..] = *header.first_chunk::<2>()?;
    let len = usize::from(more).checked_add(1)?.checked_mul(8)?;
    Some((next.into(), header.get(len..)?))
}

#[inline(always)]
fn parse_tcp<'f>(ip: IpHeader<'f>, octets: &'f [u8]) -> Parsed<'f> {
    let Some((header, rest)) = octets.split_first_chunk::<TCP_HEADER_LEN>() else {
        return Parsed::Other;
    };
    let [_, _, _, _, _, _, _, _, _, _, _, _, offset, ..] = *header;
    // At least five words, and no more than there is.
    let options_len = usize::from(offset >> 4).checked_sub(TCP_HEADER_LEN >> 2);
    let Some(payload_len) = options_len.and_then(|words| rest.len().checked_sub(words << 2)) else {
        return Parsed::Other;
    };
    Parsed::Tcp(Segment {
        ip,
        header,
        rest,
        // An IP packet holds fewer than 2^16 octets.
        payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
    })
}

/// Whether the checksums of a segment and of the packet it came in are right.
/// The stack below checks them as well; a segment that it drops must not have
/// been taken for a sign of the peer.
#[inline(always)]
pub(super) fn is_intact(segment: &Segment<'_>) -> bool {
    if !segment.ip.is_intact() {
        return false;
    }
    let len = TCP_HEADER_LEN.wrapping_add(segment.rest.len());
    let header = sum_header(segment.pseudo_sum(len), segment.header);
    is_complete(sum(header, segment.rest))
}

/// Adds a word to a sum of the Internet checksum (RFC 1071), in the order of this
/// machine. Nothing is carried around yet: the word is added whole where two of them
/// fit into a register, else its halves. A packet has fewer than 2^16 of either.
fn add(sum: usize, word: [u8; 4]) -> usize {
    // There is no machine with smaller registers.
    let word = usize::try_from(u32::from_ne_bytes(word)).unwrap_or(0);
    match usize::BITS {
        64 => sum.wrapping_add(word),
        _ => sum.wrapping_add(word & 0xffff).wrapping_add(word >> 16),
    }
}

/// The fixed part of a header, of IPv4 or of TCP, added to a sum: most of what is
/// summed up, so it is spared the loop.
fn sum_header(seed: usize, header: &[u8; 20]) -> usize {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *header;
    let sum = add(add(seed, [a, b, c, d]), [e, f, g, h]);
    add(add(add(sum, [i, j, k, l]), [m, n, o, p]), [q, r, s, t])
}

/// Any octets added to a sum.
#[inline(always)]
pub(super) fn sum(seed: usize, octets: &[u8]) -> usize {
    match octets {
        [] => seed,
        _ => sum_some(seed, octets),
    }
}

#[inline(never)]
fn sum_some(seed: usize, octets: &[u8]) -> usize {
    let (words, rest) = octets.as_chunks::<4>();
    let sum = words.iter().fold(seed, |sum, word| add(sum, *word));
    match *rest {
        [a, b, c] => add(sum, [a, b, c, 0]),
        [a, b] => add(sum, [a, b, 0, 0]),
        [a] => add(sum, [a, 0, 0, 0]),
        _ => sum,
    }
}

/// A sum with its carries added: 16 bits.
#[inline(never)]
const fn folded(mut sum: usize) -> usize {
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    sum
}

/// Whether a sum with the checksum in it is all ones.
const fn is_complete(sum: usize) -> bool {
    folded(sum) == 0xffff
}

/// The checksum of what was summed up, as it stands in a header.
pub(super) fn checksum(sum: usize) -> [u8; 2] {
    let sum = u16::try_from(folded(sum)).unwrap_or(u16::MAX);
    (!sum).to_ne_bytes()
}

/// How many octets stand before the IP packet in a frame.
pub(super) fn link_header_len(medium: Medium) -> usize {
    #[cfg(feature = "medium-ethernet")]
    if medium == Medium::Ethernet {
        return ETHERNET_HEADER_LEN;
    }
    let _ = medium;
    0
}

#[cfg(test)]
#[cfg(all(feature = "medium-ip", feature = "proto-ipv4"))]
mod tests {
    use super::*;
    use crate::stack::ends::Ends;
    use heapless::Vec;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        IpAddress, IpEndpoint, IpRepr, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
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

    /// What smoltcp makes of a packet of IPv4.
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

    fn is_taken(packet: &[u8]) -> bool {
        matches!(parse(Medium::Ip, packet), Parsed::Tcp(segment) if is_intact(&segment))
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let (from, to) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        let packet = packet(from, to, b"four");
        let Parsed::Tcp(segment) = parse(Medium::Ip, &packet) else {
            panic!("no segment: {packet:?}");
        };
        let ends = Ends {
            local: IpEndpoint::new(to, 50_000),
            remote: IpEndpoint::new(from, 5000),
        };
        assert_eq!(Some(segment.flow()), Flow::arriving(&ends));
        assert_eq!((segment.seq(), segment.ack()), (u32::MAX - 1, Some(7)));
        assert_eq!((segment.len(), segment.window()), (5, Window::Zero));
        assert!(segment.is_fin() && !segment.is_syn() && !segment.is_rst());
    }

    /// Also with every bit turned, one at a time, and at every length.
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

    /// RFC 791, 3.1: up to ten words of them stand in front of the segment.
    #[test]
    fn options_of_the_packet_are_passed_over_and_summed_up() {
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
            // The addresses and everything of the segment.
            for bit in 8 * 8..packet.len() * 8 {
                packet[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_taken(&packet), "{payload:?}, bit {bit}");
                packet[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
