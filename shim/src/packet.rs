//! What is in a frame, as far as checksums and segmentation are concerned.
//!
//! A device that leaves both to others must still know where they begin, and a
//! capture of it has to show the frames as they are on a wire in the end.

use std::num::NonZeroU16;
use std::ops::Range;

use smoltcp::phy::Medium;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TCP_HEADER_LEN, TcpPacket, TcpSeqNumber,
    UDP_HEADER_LEN, UdpPacket, checksum,
};

use crate::loopback::ip_in_frame;

/// A TCP segment or a UDP datagram in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transport {
    /// Where the IP packet begins.
    pub(crate) ip_at: usize,
    /// Where the segment is, without what follows the IP packet.
    pub(crate) octets: Range<usize>,
    pub(crate) protocol: IpProtocol,
    from: IpAddress,
    to: IpAddress,
}

/// What a frame turned out to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// TCP or UDP in one piece.
    Transport(Transport),
    /// A piece of an IP packet: its checksum cannot be looked at.
    Fragment,
    /// An IPv4 packet whose header is damaged.
    Damaged,
    /// Neither TCP nor UDP, or too damaged to tell.
    Other,
}

/// Looks at a frame as it crosses a device of this medium.
pub(crate) fn look(medium: Medium, frame: &[u8]) -> Content {
    let Some(packet) = ip_in_frame(frame, medium) else {
        return Content::Other;
    };
    let ip_at = frame.len() - packet.len();
    match packet.first().map(|version| version >> 4) {
        Some(4) => look_at_v4(ip_at, packet),
        Some(6) => look_at_v6(ip_at, packet),
        _ => Content::Other,
    }
}

fn look_at_v4(ip_at: usize, packet: &[u8]) -> Content {
    let Ok(ip) = Ipv4Packet::new_checked(packet) else {
        return Content::Other;
    };
    if !ip.verify_checksum() {
        return Content::Damaged;
    }
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Content::Fragment;
    }
    transport(Transport {
        ip_at,
        octets: ip_at + usize::from(ip.header_len())..ip_at + usize::from(ip.total_len()),
        protocol: ip.next_header(),
        from: ip.src_addr().into(),
        to: ip.dst_addr().into(),
    })
}

fn look_at_v6(ip_at: usize, packet: &[u8]) -> Content {
    let Ok(ip) = Ipv6Packet::new_checked(packet) else {
        return Content::Other;
    };
    let mut octets = ip_at + ip.header_len()..ip_at + ip.total_len();
    let mut protocol = ip.next_header();
    // The one header that smoltcp looks behind, and only where it comes first.
    if protocol == IpProtocol::HopByHop {
        let Some([next, len, ..]) = ip.payload().first_chunk::<2>() else {
            return Content::Other;
        };
        // In units of 8 octets, not counting the first (RFC 8200, 4.3).
        octets.start += 8 + 8 * usize::from(*len);
        protocol = (*next).into();
    }
    if protocol == IpProtocol::Ipv6Frag {
        return Content::Fragment;
    }
    transport(Transport {
        ip_at,
        octets,
        protocol,
        from: ip.src_addr().into(),
        to: ip.dst_addr().into(),
    })
}

fn transport(found: Transport) -> Content {
    let len = found.octets.len();
    let is_whole = match found.protocol {
        IpProtocol::Tcp => len >= TCP_HEADER_LEN,
        IpProtocol::Udp => len >= UDP_HEADER_LEN,
        _ => false,
    };
    if is_whole {
        Content::Transport(found)
    } else {
        Content::Other
    }
}

impl Transport {
    pub(crate) fn is_ipv4(&self) -> bool {
        matches!(self.from, IpAddress::Ipv4(_))
    }

    /// The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1): what a
    /// device that completes checksums expects in their place.
    pub(crate) fn pseudo_sum(&self) -> u16 {
        // An IP packet is shorter than 2^16 octets.
        let len = u32::try_from(self.octets.len()).unwrap_or(u32::MAX);
        checksum::pseudo_header(&self.from, &self.to, self.protocol, len)
    }

    /// Whether the checksum of the segment in `frame` is right.
    pub(crate) fn is_intact(&self, frame: &[u8]) -> bool {
        let Some(octets) = frame.get(self.octets.clone()) else {
            return false;
        };
        match self.protocol {
            IpProtocol::Tcp => {
                TcpPacket::new_unchecked(octets).verify_checksum(&self.from, &self.to)
            }
            _ => UdpPacket::new_checked(octets)
                .is_ok_and(|udp| udp.verify_checksum(&self.from, &self.to)),
        }
    }

    /// Computes the checksum of the segment in `frame`, and writes it there.
    fn fill_checksum(&self, frame: &mut [u8]) {
        let Some(octets) = frame.get_mut(self.octets.clone()) else {
            return;
        };
        match self.protocol {
            IpProtocol::Tcp => {
                TcpPacket::new_unchecked(octets).fill_checksum(&self.from, &self.to);
            }
            _ => {
                if let Ok(mut udp) = UdpPacket::new_checked(octets)
                    && udp.checksum() != 0
                {
                    udp.fill_checksum(&self.from, &self.to);
                }
            }
        }
    }
}

/// Shows a frame whose checksums are somebody else's business as it is on a
/// wire in the end: with them, and cut into segments of `segment_len` octets
/// if that was asked for. `scratch` is where it is put together.
pub(crate) fn as_on_wire(
    medium: Medium,
    frame: &[u8],
    segment_len: Option<NonZeroU16>,
    scratch: &mut Vec<u8>,
    mut show: impl FnMut(&[u8]),
) {
    let Content::Transport(transport) = look(medium, frame) else {
        show(frame);
        return;
    };
    let header_len = match frame.get(transport.octets.clone()) {
        Some(octets) if transport.protocol == IpProtocol::Tcp => {
            usize::from(TcpPacket::new_unchecked(octets).header_len())
        }
        _ => UDP_HEADER_LEN,
    };
    let payload_at = transport.octets.start + header_len;
    let payload = frame.get(payload_at..transport.octets.end);
    match (segment_len, frame.get(..payload_at), payload) {
        (Some(len), Some(headers), Some(payload))
            if transport.protocol == IpProtocol::Tcp && payload.len() > usize::from(len.get()) =>
        {
            let pieces = payload.chunks(len.get().into());
            let last = pieces.len() - 1;
            for (index, piece) in pieces.enumerate() {
                scratch.clear();
                scratch.extend_from_slice(headers);
                scratch.extend_from_slice(piece);
                let place = Place {
                    index,
                    offset: index * usize::from(len.get()),
                    is_last: index == last,
                };
                finish_segment(&transport, scratch, place);
                show(scratch);
            }
        }
        _ => {
            scratch.clear();
            scratch.extend_from_slice(frame);
            transport.fill_checksum(scratch);
            show(scratch);
        }
    }
}

/// Where a segment stands among those that it was cut from.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    offset: usize,
    is_last: bool,
}

/// Makes a copied header fit its own segment: length and number of the IP
/// packet, sequence number, and the flags that only the last one carries.
fn finish_segment(whole: &Transport, frame: &mut [u8], place: Place) {
    let own = Transport {
        octets: whole.octets.start..frame.len(),
        ..whole.clone()
    };
    // Both fit: the whole packet was shorter than 2^16 octets.
    let ip_len = u16::try_from(frame.len() - whole.ip_at).unwrap_or(u16::MAX);
    let number = u16::try_from(place.index).unwrap_or(u16::MAX);
    let Some(packet) = frame.get_mut(whole.ip_at..) else {
        return;
    };
    match whole.from {
        IpAddress::Ipv4(_) => {
            let mut ip = Ipv4Packet::new_unchecked(packet);
            ip.set_total_len(ip_len);
            ip.set_ident(ip.ident().wrapping_add(number));
            ip.fill_checksum();
        }
        IpAddress::Ipv6(_) => {
            let mut ip = Ipv6Packet::new_unchecked(packet);
            let header_len = u16::try_from(ip.header_len()).unwrap_or(u16::MAX);
            ip.set_payload_len(ip_len.saturating_sub(header_len));
        }
    }
    if let Some(octets) = frame.get_mut(own.octets.clone()) {
        let mut tcp = TcpPacket::new_unchecked(octets);
        let TcpSeqNumber(first) = tcp.seq_number();
        let offset = i32::try_from(place.offset).unwrap_or(i32::MAX);
        tcp.set_seq_number(TcpSeqNumber(first.wrapping_add(offset)));
        if !place.is_last {
            tcp.set_fin(false);
            tcp.set_psh(false);
        }
    }
    own.fill_checksum(frame);
}
