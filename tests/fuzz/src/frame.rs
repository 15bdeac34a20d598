//! Frames, sound and broken.

use super::input::Mangle;
use lastbyte_shim::loopback::Segment;
use smoltcp::phy::Medium;
use smoltcp::wire::{IpAddress, Ipv4Address, Ipv4Packet, Ipv6Address};

const BROADCAST: [u8; 6] = [0xff; 6];
const FOREIGN: [u8; 6] = [0x02, 0, 0, 0, 0, 9];

const FRAGMENT_HEADER: u8 = 44;
/// Hop-by-hop, routing, fragment, no next header, destination options.
const EXTENSIONS: [u8; 5] = [0, 43, FRAGMENT_HEADER, 59, 60];

/// The frame of `segment`, with this wrong about it, if anything.
pub fn build(medium: Medium, segment: &Segment, mangle: Option<Mangle>) -> Vec<u8> {
    let Some(mangle) = mangle else {
        return segment.to_frame(medium);
    };
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
    let link = match medium {
        Medium::Ethernet => 14,
        Medium::Ip => 0,
    };
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
            // No more octets than these; six of padding (RFC 8200, 4.2).
            extend(&mut frame, link, kind, [0, 1, 4, 0, 0, 0, 0]);
        }
        Mangle::ForeignMac if link > 0 => frame[..6].copy_from_slice(&FOREIGN),
        Mangle::BroadcastMac if link > 0 => frame[..6].copy_from_slice(&BROADCAST),
        Mangle::Vlan | Mangle::Extension(_) | Mangle::ForeignMac | Mangle::BroadcastMac => {}
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

/// Puts a header of eight octets between those of IPv6 and TCP.
fn extend(frame: &mut Vec<u8>, link: usize, kind: u8, rest: [u8; 7]) {
    let next = std::mem::replace(&mut frame[link + 6], kind);
    let len = u16::from_be_bytes([frame[link + 4], frame[link + 5]]).saturating_add(8);
    frame[link + 4..link + 6].copy_from_slice(&len.to_be_bytes());
    let header = std::iter::once(next).chain(rest);
    frame.splice(link + 40..link + 40, header);
}
