//! Reads a frame, as far as needed for checksums and segmentation.
//!
//! A device that offloads both must still know where they begin, and a capture of it has
//! to show the frames as they would be on a wire.

use std::num::NonZeroU16;
use std::ops::Range;

use smoltcp::phy::Medium;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TCP_HEADER_LEN,
    TcpPacket, TcpSeqNumber, UDP_HEADER_LEN, UdpPacket, checksum,
};

/// A TCP segment or a UDP datagram in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transport {
    /// The offset of the IP packet.
    pub(crate) ip_at: usize,
    /// The range of the segment, without what follows the IP packet.
    pub(crate) octets: Range<usize>,
    pub(crate) protocol: IpProtocol,
    from: IpAddress,
    to: IpAddress,
}

/// The content of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// TCP or UDP in one piece.
    Transport(Transport),
    /// A fragment of an IP packet: its checksum cannot be verified.
    Fragment,
    /// An IPv4 packet whose header is damaged.
    Damaged,
    /// Neither TCP nor UDP, or too damaged to recognise.
    Other,
}

/// Reads a frame of a device of this medium.
pub(crate) fn look(medium: Medium, frame: &[u8]) -> Content {
    let Some(packet) = ip_in_frame(medium, frame) else {
        return Content::Other;
    };
    let ip_at = frame.len() - packet.len();
    match packet.first().map(|version| version >> 4) {
        Some(4) => look_at_v4(ip_at, packet),
        Some(6) => look_at_v6(ip_at, packet),
        _ => Content::Other,
    }
}

/// The IP packet in a frame, if there is one.
fn ip_in_frame(medium: Medium, frame: &[u8]) -> Option<&[u8]> {
    if medium == Medium::Ip {
        return Some(frame);
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let is_ip = matches!(
        ethernet.ethertype(),
        EthernetProtocol::Ipv4 | EthernetProtocol::Ipv6
    );
    is_ip.then(|| ethernet.payload())
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
    // The only extension header that smoltcp skips, and only as the first one.
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

    /// The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1), which a device that
    /// completes checksums expects in place of them.
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

/// Shows a frame whose checksums are offloaded as a wire would carry it: with
/// checksums, and in segments of `segment_len` octets if segmentation is
/// offloaded too. `scratch` is the buffer for the result.
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

/// The place of a segment among the segments of one frame.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    offset: usize,
    is_last: bool,
}

/// Adapts a copied header to its segment: length and identification of the IP packet,
/// sequence number, and the flags that only the last one carries.
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

#[cfg(test)]
mod tests {
    use super::*;
    use lastbyte_sim::loopback::{Flags, OUR_V6, PEER_V6, Segment, is_intact, tcp_in_frame};
    use smoltcp::wire::{IPV6_HEADER_LEN, IpRepr};

    fn segment(len: usize) -> Segment {
        let payload: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        Segment::new(5000, 50_000, Flags::ACK | Flags::FIN, u32::MAX - 10, 2).with_payload(payload)
    }

    fn over_ipv6(len: usize) -> Segment {
        Segment {
            src: PEER_V6.into(),
            dst: OUR_V6.into(),
            timestamp: Some((1, 2)),
            ..segment(len)
        }
    }

    fn shown(medium: Medium, frame: &[u8], segment_len: u16) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let segment_len = NonZeroU16::new(segment_len);
        as_on_wire(medium, frame, segment_len, &mut Vec::new(), |frame| {
            frames.push(frame.to_vec());
        });
        frames
    }

    /// A frame as sent by a stack that offloads all checksums.
    fn without_checksum(segment: &Segment, medium: Medium) -> Vec<u8> {
        let mut frame = segment.to_frame(medium);
        let Content::Transport(transport) = look(medium, &frame) else {
            panic!("no segment: {frame:02x?}");
        };
        TcpPacket::new_unchecked(&mut frame[transport.octets]).set_checksum(0);
        frame
    }

    #[test]
    fn segments_follow_each_other_and_only_the_last_ends_the_stream() {
        for (whole, medium) in [
            (segment(3_000), Medium::Ethernet),
            (over_ipv6(3_000), Medium::Ethernet),
            (over_ipv6(3_000), Medium::Ip),
        ] {
            let frames = shown(medium, &without_checksum(&whole, medium), 1_400);
            assert_eq!(frames.len(), 3);
            let mut seq = whole.seq;
            let mut payload = Vec::new();
            for (index, frame) in frames.iter().enumerate() {
                assert!(is_intact(frame, medium), "{frame:02x?}");
                let part = Segment::parse(frame, medium, whole.time).expect("a segment");
                assert_eq!(part.seq, seq);
                assert_eq!(part.is(Flags::FIN), index == 2);
                assert_eq!((part.ack, part.timestamp), (whole.ack, whole.timestamp));
                seq = seq.wrapping_add(part.seq_len());
                payload.extend_from_slice(&part.payload);
            }
            assert!(payload == whole.payload);
        }
    }

    #[test]
    fn a_frame_that_is_one_segment_gets_its_checksum_and_keeps_its_tail() {
        let mut frame = without_checksum(&segment(100), Medium::Ethernet);
        assert!(!is_intact(&frame, Medium::Ethernet));
        frame.extend_from_slice(b"after the packet");
        for segment_len in [0, 100, 1_460] {
            let frames = shown(Medium::Ethernet, &frame, segment_len);
            assert_eq!(frames.len(), 1);
            assert!(is_intact(&frames[0], Medium::Ethernet));
            assert!(frames[0].ends_with(b"after the packet"));
        }
    }

    #[test]
    fn other_frames_are_shown_unchanged() {
        let whole = segment(100).to_frame(Medium::Ethernet);
        let mut arp = whole.clone();
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        for frame in [&arp[..], &whole[..30], &[]] {
            assert_eq!(shown(Medium::Ethernet, frame, 10), [frame]);
        }
    }

    /// The segment is found after a hop-by-hop header, and not after what only looks like one.
    #[test]
    fn a_segment_is_found_after_a_hop_by_hop_header() {
        let plain = over_ipv6(10).to_frame(Medium::Ip);
        let (_, _, octets) = tcp_in_frame(&plain, Medium::Ip).expect("a segment");
        for (words, is_found) in [(0, true), (1, false), (255, false)] {
            let mut payload = vec![u8::from(IpProtocol::Tcp), words, 1, 4, 0, 0, 0, 0];
            payload.extend_from_slice(octets);
            let protocol = IpProtocol::HopByHop;
            let (from, to) = (PEER_V6.into(), OUR_V6.into());
            let ip = IpRepr::new(from, to, protocol, payload.len(), 64);
            let mut packet = vec![0; IPV6_HEADER_LEN];
            ip.emit(
                &mut packet[..],
                &smoltcp::phy::ChecksumCapabilities::default(),
            );
            packet.extend_from_slice(&payload);
            let is_sound = match look(Medium::Ip, &packet) {
                Content::Transport(transport) => transport.is_intact(&packet),
                _ => false,
            };
            assert_eq!(is_sound, is_found, "{words} words more");
        }
    }
}
