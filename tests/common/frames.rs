//! Frames that no correct peer would send like this.

use lastbyte::stack::smoltcp::phy::Medium;
use lastbyte::stack::smoltcp::wire::IpAddress;
use lastbyte_sim::loopback::{OUR_MAC, Segment};

/// The offset of the packet in a frame.
fn link_len(medium: Medium) -> usize {
    match medium {
        Medium::Ethernet => 14,
        Medium::Ip => 0,
    }
}

/// The frame of `segment` as fragments (RFC 791, 3.2; RFC 8200, 4.5), cut at these
/// places of its payload, which are multiples of eight. IPv6 without a cut is an
/// atomic fragment (RFC 6946).
pub fn fragments(segment: &Segment, medium: Medium, cuts: &[usize]) -> Vec<Vec<u8>> {
    let frame = segment.to_frame(medium);
    let (link, packet) = frame.split_at(link_len(medium));
    let is_v6 = packet[0] >> 4 == 6;
    let (header, payload) = packet.split_at(if is_v6 { 40 } else { 20 });
    assert!(cuts.iter().all(|cut| cut % 8 == 0 && *cut < payload.len()));
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([payload.len()]);
    let pieces = starts.zip(ends).map(|(start, end)| {
        let has_more = end < payload.len();
        let header = match is_v6 {
            true => v6_header(header, start, end - start, has_more),
            false => v4_header(header, start, end - start, has_more),
        };
        [link, &header, &payload[start..end]].concat()
    });
    pieces.collect()
}

fn v4_header(header: &[u8], start: usize, len: usize, has_more: bool) -> Vec<u8> {
    let mut header = header.to_vec();
    let total = u16::try_from(header.len() + len).expect("a short packet");
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&[0x77, 0x01]);
    let offset = u16::try_from(start / 8).expect("a short packet");
    let flags = u16::from(has_more) << 13;
    header[6..8].copy_from_slice(&(flags | offset).to_be_bytes());
    set_v4_checksum(&mut header);
    header
}

/// Sets the right checksum of an IPv4 header.
fn set_v4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum);
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |two: &[u8]| u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)]);
    let sum: u32 = bytes.chunks(2).map(|two| u32::from(word(two))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!(folded as u16)).to_be_bytes()
}

/// The frame of `segment`, always to our hardware address.
pub fn to_our_hardware(segment: &Segment, medium: Medium) -> Vec<u8> {
    let mut frame = segment.to_frame(medium);
    if medium == Medium::Ethernet {
        frame[..6].copy_from_slice(&OUR_MAC.0);
    }
    frame
}

/// An ICMP message between these two, of the family of the segment that it quotes,
/// with this type and code (RFC 792; RFC 4443).
pub fn icmp(
    medium: Medium,
    (from, to): (IpAddress, IpAddress),
    message: (u8, u8),
    quoted: &Segment,
) -> Vec<u8> {
    icmp_with(medium, (from, to), message, [0; 4], quoted)
}

/// "Fragmentation needed" (RFC 1191, 4) or Packet Too Big (RFC 4443, 3.2) of a router with
/// this MTU.
pub fn too_big(
    medium: Medium,
    (from, to): (IpAddress, IpAddress),
    mtu: u16,
    quoted: &Segment,
) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    let message = match from {
        IpAddress::Ipv4(_) => (3, 4),
        IpAddress::Ipv6(_) => (2, 0),
    };
    icmp_with(medium, (from, to), message, [0, 0, high, low], quoted)
}

/// Like [`icmp`], with these octets in front of the quoted packet.
fn icmp_with(
    medium: Medium,
    (from, to): (IpAddress, IpAddress),
    (kind, code): (u8, u8),
    rest: [u8; 4],
    quoted: &Segment,
) -> Vec<u8> {
    let quote = quoted.to_frame(medium);
    let quote = &quote[link_len(medium)..];
    let mut message = [&[kind, code, 0, 0], &rest[..], quote].concat();
    let carrier = Segment {
        src: from,
        dst: to,
        ..quoted.clone()
    };
    let mut frame = to_our_hardware(&carrier, medium);
    frame.truncate(link_len(medium) + if quote[0] >> 4 == 6 { 40 } else { 20 });
    let header = &mut frame[link_len(medium)..];
    let len = u16::try_from(message.len()).expect("a short packet");
    if quote[0] >> 4 == 6 {
        header[4..6].copy_from_slice(&len.to_be_bytes());
        header[6] = 58;
        let pseudo = [&header[8..40], &[0, 0], &header[4..6], &[0, 0, 0, 58]].concat();
        let sum = checksum(&[&pseudo[..], &message].concat());
        message[2..4].copy_from_slice(&sum);
    } else {
        header[2..4].copy_from_slice(&(len + 20).to_be_bytes());
        header[9] = 1;
        set_v4_checksum(header);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum);
    }
    [frame, message].concat()
}

/// The frame of `segment`, which has no options, with these after its header: whole words.
pub fn with_options(segment: &Segment, medium: Medium, options: &[u8]) -> Vec<u8> {
    let mut frame = segment.to_frame(medium);
    let added = u8::try_from(options.len()).expect("at most 40 octets");
    assert_eq!(added % 4, 0);
    let ip = link_len(medium);
    let is_v6 = frame[ip] >> 4 == 6;
    let tcp = ip + if is_v6 { 40 } else { 20 };
    frame.splice(tcp + 20..tcp + 20, options.iter().copied());
    frame[tcp + 12] += added << 2;
    let at = ip + if is_v6 { 4 } else { 2 };
    let len = u16::from_be_bytes([frame[at], frame[at + 1]]) + u16::from(added);
    frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
    let addresses = if is_v6 {
        frame[ip + 8..tcp].to_vec()
    } else {
        set_v4_checksum(&mut frame[ip..tcp]);
        frame[ip + 12..tcp].to_vec()
    };
    frame[tcp + 16..tcp + 18].fill(0);
    let segment_len = u16::try_from(frame.len() - tcp).expect("a short segment");
    let pseudo = [&addresses[..], &[0, 6], &segment_len.to_be_bytes()].concat();
    let sum = checksum(&[&pseudo[..], &frame[tcp..]].concat());
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum);
    frame
}

fn v6_header(header: &[u8], start: usize, len: usize, has_more: bool) -> Vec<u8> {
    let mut header = header.to_vec();
    let next = header[6];
    header[6] = 44;
    let total = u16::try_from(8 + len).expect("a short packet");
    header[4..6].copy_from_slice(&total.to_be_bytes());
    let place = u16::try_from(start).expect("a short packet") | u16::from(has_more);
    let [high, low] = place.to_be_bytes();
    header.extend([next, 0, high, low, 0, 0, 0x77, 0x01]);
    header
}
