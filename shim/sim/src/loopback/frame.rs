//! The layers below TCP: makes and reads frames.

use smoltcp::phy::{ChecksumCapabilities, Medium};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    Ipv4Packet, Ipv6Packet, TcpPacket,
};

use super::{OUR_ADDRESSES, OUR_MAC, PEER_MAC};

/// Wraps an IP payload in an IP header and, on Ethernet, a frame.
pub(super) fn ip_frame(
    medium: Medium,
    src: IpAddress,
    dst: IpAddress,
    protocol: IpProtocol,
    payload: &[u8],
) -> Vec<u8> {
    // Neighbour discovery requires a hop limit of 255, and nothing else forbids it.
    let ip = IpRepr::new(src, dst, protocol, payload.len(), 255);
    let mut packet = vec![0; ip.header_len()];
    ip.emit(&mut packet[..], &ChecksumCapabilities::default());
    packet.extend_from_slice(payload);
    let ethertype = match src {
        IpAddress::Ipv4(_) => EthernetProtocol::Ipv4,
        IpAddress::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    let ours = OUR_ADDRESSES.iter().any(|own| own.address() == src);
    let (from, to) = if ours {
        (OUR_MAC, PEER_MAC)
    } else {
        (PEER_MAC, OUR_MAC)
    };
    match medium {
        Medium::Ethernet => ethernet_frame(from, to, ethertype, &packet),
        Medium::Ip => packet,
    }
}

/// Wraps a packet in an Ethernet frame.
pub(super) fn ethernet_frame(
    src_addr: EthernetAddress,
    dst_addr: EthernetAddress,
    ethertype: EthernetProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let repr = EthernetRepr {
        src_addr,
        dst_addr,
        ethertype,
    };
    let mut frame = vec![0; repr.buffer_len()];
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    frame.extend_from_slice(payload);
    frame
}

/// The IP packet in a frame, if there is one.
pub(crate) fn ip_in_frame(frame: &[u8], medium: Medium) -> Option<&[u8]> {
    match medium {
        Medium::Ip => Some(frame),
        Medium::Ethernet => match frame.get(12..14)? {
            [0x08, 0x00] | [0x86, 0xdd] => frame.get(14..),
            _ => None,
        },
    }
}

/// The addresses and the TCP bytes in a frame, if it holds a segment.
#[must_use]
pub fn tcp_in_frame(frame: &[u8], medium: Medium) -> Option<(IpAddress, IpAddress, &[u8])> {
    let packet = ip_in_frame(frame, medium)?;
    match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            (ip.next_header() == IpProtocol::Tcp).then_some(())?;
            Some((ip.src_addr().into(), ip.dst_addr().into(), ip.payload()))
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            (ip.next_header() == IpProtocol::Tcp).then_some(())?;
            Some((ip.src_addr().into(), ip.dst_addr().into(), ip.payload()))
        }
        _ => None,
    }
}

/// Whether the checksum of the IP header in a frame is right. An IPv6 header has none.
pub(super) fn has_sound_header(frame: &[u8], medium: Medium) -> bool {
    ip_in_frame(frame, medium).is_some_and(|packet| {
        packet.first().is_some_and(|first| first >> 4 == 6)
            || Ipv4Packet::new_checked(packet).is_ok_and(|ip| ip.verify_checksum())
    })
}

/// Whether the TCP checksum of a frame with a segment is right.
pub(super) fn has_sound_segment(frame: &[u8], medium: Medium) -> bool {
    tcp_in_frame(frame, medium).is_some_and(|(src, dst, bytes)| {
        TcpPacket::new_checked(bytes).is_ok_and(|tcp| tcp.verify_checksum(&src, &dst))
    })
}

/// Whether the checksums of a frame with a segment are right.
#[must_use]
pub fn is_intact(frame: &[u8], medium: Medium) -> bool {
    has_sound_header(frame, medium) && has_sound_segment(frame, medium)
}

/// The fields of a segment that the peer's bookkeeping needs for each frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct TcpPeek {
    pub(super) src: IpAddress,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) seq: u32,
    pub(super) syn: bool,
    pub(super) rst: bool,
    pub(super) fin: bool,
    /// Octets of data.
    pub(super) text: usize,
}

pub(super) fn peek_tcp(frame: &[u8], medium: Medium) -> Option<TcpPeek> {
    let (src, _, bytes) = tcp_in_frame(frame, medium)?;
    let tcp = TcpPacket::new_checked(bytes).ok()?;
    Some(TcpPeek {
        src,
        seq: tcp.seq_number().0 as u32,
        syn: tcp.syn(),
        src_port: tcp.src_port(),
        dst_port: tcp.dst_port(),
        rst: tcp.rst(),
        fin: tcp.fin(),
        text: tcp.payload().len(),
    })
}

/// Changes the segment in a frame, if there is one, and fills in its checksum.
pub(super) fn change_segment(
    frame: &mut [u8],
    medium: Medium,
    change: impl FnOnce(&mut TcpPacket<&mut [u8]>),
) {
    let Some((src, dst, bytes)) = tcp_in_frame(frame, medium) else {
        return;
    };
    // A segment ends where its packet ends, which may be before the frame does.
    let (at, len) = (bytes.as_ptr().addr() - frame.as_ptr().addr(), bytes.len());
    let mut tcp = TcpPacket::new_unchecked(&mut frame[at..at + len]);
    change(&mut tcp);
    tcp.fill_checksum(&src, &dst);
}

/// The two segments into which a segment is split: the first `at` octets of its data, and
/// the rest with its FIN. Their checksums are right.
pub(super) fn split_segment(frame: &[u8], medium: Medium, at: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, _, bytes) = tcp_in_frame(frame, medium)?;
    let tcp = TcpPacket::new_checked(bytes).ok()?;
    let text = tcp.payload();
    if at > text.len() {
        return None;
    }
    let header = bytes.len() - text.len();
    let text_at = bytes.as_ptr().addr() - frame.as_ptr().addr() + header;
    let part = |text: &[u8]| {
        let mut part = frame[..text_at].to_vec();
        part.extend_from_slice(text);
        set_ip_length(&mut part, medium, header + text.len());
        part
    };
    let mut first = part(&text[..at]);
    change_segment(&mut first, medium, |tcp| {
        tcp.set_fin(false);
        tcp.set_psh(false);
    });
    let mut rest = part(&text[at..]);
    let seq = tcp.seq_number() + at;
    change_segment(&mut rest, medium, |tcp| tcp.set_seq_number(seq));
    Some((first, rest))
}

/// Sets the length in the IP header of a frame.
fn set_ip_length(frame: &mut [u8], medium: Medium, payload: usize) {
    let at = match medium {
        Medium::Ip => 0,
        Medium::Ethernet => 14,
    };
    let packet = &mut frame[at..];
    if packet.first().is_some_and(|first| first >> 4 == 4) {
        let mut ip = Ipv4Packet::new_unchecked(packet);
        let header = usize::from(ip.header_len());
        ip.set_total_len((header + payload) as u16);
        ip.fill_checksum();
    } else {
        // No packet of ours has extension headers.
        Ipv6Packet::new_unchecked(packet).set_payload_len(payload as u16);
    }
}
