//! Frames, correct and broken.

use super::input::{Astray, Mangle};
use lastbyte_sim::loopback::{Flags, OUR_MAC, OUR_V4, OUR_V6, PEER_MAC, PEER_V4, PEER_V6, Segment};
use smoltcp::phy::Medium;
use smoltcp::wire::{IpAddress, Ipv4Address, Ipv4Packet, Ipv6Address};

const BROADCAST: [u8; 6] = [0xff; 6];
const FOREIGN: [u8; 6] = [0x02, 0, 0, 0, 0, 9];

const FRAGMENT_HEADER: u8 = 44;
/// Hop-by-hop, routing, fragment, no next header, destination options.
const EXTENSIONS: [u8; 5] = [0, 43, FRAGMENT_HEADER, 59, 60];

/// The frames of `segment`, usually one, with this fault, if any.
pub fn build(medium: Medium, segment: &Segment, mangle: Option<Mangle>) -> Vec<Vec<u8>> {
    match mangle {
        None => vec![segment.to_frame(medium)],
        Some(Mangle::Split(at)) => split(segment.to_frame(medium), link_len(medium), at),
        Some(mangle) => vec![mangled(medium, segment, mangle)],
    }
}

const fn link_len(medium: Medium) -> usize {
    match medium {
        Medium::Ethernet => 14,
        Medium::Ip => 0,
    }
}

/// A SYN from or to an address that no connection can have, or from a caller that sends nothing
/// else.
pub fn astray(medium: Medium, astray: Astray, ipv6: bool, port: u16) -> Vec<u8> {
    let v4 = |a, b, c, d| IpAddress::from(Ipv4Address::new(a, b, c, d));
    let v6 = |a, g, h| IpAddress::from(Ipv6Address::new(a, 0, 0, 0, 0, 0, g, h));
    let (ours, peers, stranger) = match ipv6 {
        false => (OUR_V4.into(), PEER_V4.into(), v4(10, 77, 0, 9)),
        true => (OUR_V6.into(), PEER_V6.into(), v6(0xfd77, 0, 9)),
    };
    let loopback = match ipv6 {
        false => v4(127, 0, 0, 1),
        true => v6(0, 0, 1),
    };
    let (src, dst) = match (astray, ipv6) {
        (Astray::Broadcast, false) => (peers, v4(10, 77, 0, 255)),
        (Astray::LimitedBroadcast, false) => (peers, v4(255, 255, 255, 255)),
        (Astray::Group, false) => (peers, v4(224, 0, 0, 1)),
        (Astray::Broadcast | Astray::Group, true) => (peers, v6(0xff02, 0, 1)),
        (Astray::LimitedBroadcast, true) => (
            peers,
            Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2).into(),
        ),
        (Astray::ToLoopback, _) => (peers, loopback),
        (Astray::FromLoopback, _) => (loopback, ours),
        (Astray::FromOurselves, _) => (ours, ours),
        (Astray::FromMapped, true) => {
            (Ipv4Address::new(10, 77, 0, 1).to_ipv6_mapped().into(), ours)
        }
        (Astray::FromMapped | Astray::Stranger, _) => (stranger, ours),
    };
    let syn = Segment {
        src,
        dst,
        ..Segment::new(9_000, port, Flags::SYN, 77, 0)
    };
    let mut frame = syn.to_frame(medium);
    if medium == Medium::Ethernet {
        let is_group = !matches!(
            astray,
            Astray::ToLoopback
                | Astray::FromLoopback
                | Astray::FromOurselves
                | Astray::FromMapped
                | Astray::Stranger
        );
        frame[..6].copy_from_slice(if is_group { &BROADCAST } else { &OUR_MAC.0 });
        frame[6..12].copy_from_slice(&PEER_MAC.0);
    }
    frame
}

fn mangled(medium: Medium, segment: &Segment, mangle: Mangle) -> Vec<u8> {
    let mut segment = segment.clone();
    match mangle {
        Mangle::OtherPort => segment.src_port ^= 1,
        Mangle::OtherAddress => {
            segment.src = match segment.src {
                IpAddress::Ipv4(_) => Ipv4Address::new(10, 77, 0, 9).into(),
                IpAddress::Ipv6(_) => Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 9).into(),
            };
        }
        _ => {}
    }
    let mut frame = segment.to_frame(medium);
    let link = link_len(medium);
    let is_v4 = frame[link] >> 4 == 4;
    match mangle {
        Mangle::OtherPort | Mangle::OtherAddress => {}
        Mangle::TcpChecksum => {
            let at = link + if is_v4 { 20 } else { 40 } + 16;
            frame[at] ^= 0x55;
        }
        Mangle::IpChecksum => frame[link + 10] ^= 0x55,
        Mangle::Cut(len) => frame.truncate(frame.len().saturating_sub(usize::from(len) + 1)),
        Mangle::Padding(len) => frame.resize(frame.len() + usize::from(len), 0xa5),
        Mangle::Vlan if link > 0 => {
            frame.splice(12..12, [0x81, 0x00, 0x00, 0x01]);
        }
        Mangle::Fragment(field) if is_v4 => fragment(&mut frame[link..], field),
        Mangle::Fragment(field) => {
            let [high, low] = field.to_be_bytes();
            extend(
                &mut frame,
                link,
                FRAGMENT_HEADER,
                [0, high, low, 0, 0, 0, 7],
            );
        }
        Mangle::Extension(kind) if !is_v4 => {
            let kind = EXTENSIONS[usize::from(kind) % EXTENSIONS.len()];
            // The minimum length, with six octets of padding (RFC 8200, 4.2).
            extend(&mut frame, link, kind, [0, 1, 4, 0, 0, 0, 0]);
        }
        Mangle::ForeignMac if link > 0 => frame[..6].copy_from_slice(&FOREIGN),
        Mangle::BroadcastMac if link > 0 => frame[..6].copy_from_slice(&BROADCAST),
        Mangle::Vlan
        | Mangle::Extension(_)
        | Mangle::ForeignMac
        | Mangle::BroadcastMac
        | Mangle::Split(_) => {}
        Mangle::Flip { at, bits } => {
            let at = usize::from(at) % frame.len();
            frame[at] ^= bits;
        }
    }
    frame
}

fn fragment(packet: &mut [u8], field: u16) {
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    Ipv4Packet::new_unchecked(packet).fill_checksum();
}

/// Two fragments of an IPv4 packet, the first with this many times eight octets; one
/// complete IPv6 packet.
fn split(frame: Vec<u8>, link: usize, at: u8) -> Vec<Vec<u8>> {
    let headers = link + 20;
    let at = headers + 8 * (1 + usize::from(at) % 8);
    if frame[link] >> 4 != 4 || at >= frame.len() {
        return vec![frame];
    }
    let part = |range: std::ops::Range<usize>, more: bool| {
        let offset = (range.start - headers) as u16;
        let mut fragment = [&frame[..headers], &frame[range]].concat();
        let len = (fragment.len() - link) as u16;
        let mut packet = Ipv4Packet::new_unchecked(&mut fragment[link..]);
        packet.set_total_len(len);
        packet.set_ident(77);
        packet.set_dont_frag(false);
        packet.set_more_frags(more);
        packet.set_frag_offset(offset);
        packet.fill_checksum();
        fragment
    };
    vec![part(headers..at, true), part(at..frame.len(), false)]
}

/// Inserts a header of eight octets between those of IPv6 and TCP.
fn extend(frame: &mut Vec<u8>, link: usize, kind: u8, rest: [u8; 7]) {
    let next = std::mem::replace(&mut frame[link + 6], kind);
    let len = u16::from_be_bytes([frame[link + 4], frame[link + 5]]).saturating_add(8);
    frame[link + 4..link + 6].copy_from_slice(&len.to_be_bytes());
    let header = std::iter::once(next).chain(rest);
    frame.splice(link + 40..link + 40, header);
}
