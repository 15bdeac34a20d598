//! What a frame says about TCP, read without changing it.

use super::icmp::{self, IcmpError};
use crate::facts::Window;
use smoltcp::phy::Medium;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::Ipv4Packet;
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::Ipv6Packet;
#[cfg(feature = "medium-ethernet")]
use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol};
use smoltcp::wire::{IpAddress, IpEndpoint, IpProtocol, TcpPacket};

/// The parts of a TCP segment that facts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: IpEndpoint,
    pub(super) to: IpEndpoint,
    /// The sequence number of the first octet.
    pub(super) seq: u32,
    /// The acknowledgement number, if the segment carries one.
    pub(super) ack: Option<u32>,
    /// Octets of sequence space: payload, SYN and FIN.
    pub(super) len: u32,
    /// The window field, not scaled.
    pub(super) window_len: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

impl Segment {
    /// The number behind its last octet of sequence space.
    pub(super) const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

    /// What its sender would take in.
    pub(super) const fn window(&self) -> Window {
        match self.window_len {
            0 => Window::Zero,
            _ => Window::Open,
        }
    }
}

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A TCP segment.
    Tcp(Segment),
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
pub(super) fn parse(medium: Medium, frame: &[u8]) -> Parsed {
    match medium {
        #[cfg(feature = "medium-ethernet")]
        Medium::Ethernet => {
            let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
                return Parsed::Other;
            };
            match ethernet.ethertype() {
                #[cfg(feature = "proto-ipv4")]
                EthernetProtocol::Ipv4 => parse_ipv4(ethernet.payload()),
                #[cfg(feature = "proto-ipv6")]
                EthernetProtocol::Ipv6 => parse_ipv6(ethernet.payload()),
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

#[cfg(feature = "proto-ipv4")]
fn parse_ipv4(packet: &[u8]) -> Parsed {
    let Ok(ip) = Ipv4Packet::new_checked(packet) else {
        return Parsed::Other;
    };
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Parsed::Opaque;
    }
    let header = ip.next_header();
    if header == IpProtocol::Tcp {
        parse_tcp(ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
    } else if header == IpProtocol::Icmp {
        icmp::parse_v4(ip.payload()).map_or(Parsed::Other, Parsed::Icmp)
    } else {
        Parsed::Other
    }
}

#[cfg(feature = "proto-ipv6")]
fn parse_ipv6(packet: &[u8]) -> Parsed {
    let Ok(ip) = Ipv6Packet::new_checked(packet) else {
        return Parsed::Other;
    };
    let header = ip.next_header();
    if header == IpProtocol::Tcp {
        parse_tcp(ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
    } else if matches!(
        header,
        IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts | IpProtocol::Ipv6Frag
    ) {
        Parsed::Opaque
    } else if header == IpProtocol::Icmpv6 {
        icmp::parse_v6(ip.src_addr(), ip.dst_addr(), ip.payload())
            .map_or(Parsed::Other, Parsed::Icmp)
    } else {
        Parsed::Other
    }
}

fn parse_tcp(from: IpAddress, to: IpAddress, segment: &[u8]) -> Parsed {
    let Ok(tcp) = TcpPacket::new_checked(segment) else {
        return Parsed::Other;
    };
    let len = tcp.segment_len();
    Parsed::Tcp(Segment {
        from: IpEndpoint::new(from, tcp.src_port()),
        to: IpEndpoint::new(to, tcp.dst_port()),
        seq: tcp.seq_number().0.cast_unsigned(),
        ack: tcp.ack().then(|| tcp.ack_number().0.cast_unsigned()),
        // An IP packet holds fewer than 2^16 octets.
        len: u32::try_from(len).unwrap_or(u32::MAX),
        window_len: tcp.window_len(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
    })
}

/// Whether the checksums of a frame that holds a TCP segment are right. The
/// stack below checks them as well; a segment that it drops must not have been
/// taken for a sign of the peer.
pub(super) fn is_intact(medium: Medium, frame: &[u8], segment: &Segment) -> bool {
    let Some(packet) = frame.get(link_header_len(medium)..) else {
        return false;
    };
    let (from, to) = (segment.from.addr, segment.to.addr);
    let is_tcp_intact =
        |payload| TcpPacket::new_checked(payload).is_ok_and(|tcp| tcp.verify_checksum(&from, &to));
    match from {
        #[cfg(feature = "proto-ipv4")]
        IpAddress::Ipv4(_) => Ipv4Packet::new_checked(packet)
            .is_ok_and(|ip| ip.verify_checksum() && is_tcp_intact(ip.payload())),
        #[cfg(feature = "proto-ipv6")]
        IpAddress::Ipv6(_) => {
            Ipv6Packet::new_checked(packet).is_ok_and(|ip| is_tcp_intact(ip.payload()))
        }
    }
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
