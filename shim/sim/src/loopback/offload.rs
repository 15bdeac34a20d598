//! The checksum offload of our device.

use smoltcp::phy::{Checksum, ChecksumCapabilities, Medium};
use smoltcp::wire::Ipv4Packet;

use super::frame::{
    change_segment, has_sound_header, has_sound_segment, ip_in_frame, tcp_in_frame,
};
use super::{Offload, WorldConfig};

/// The checksums that are left to the stack.
const fn left(tx: bool, rx: bool) -> Checksum {
    match (tx, rx) {
        (false, false) => Checksum::Both,
        (true, false) => Checksum::Rx,
        (false, true) => Checksum::Tx,
        (true, true) => Checksum::None,
    }
}

/// Records what is left to the stack.
pub(super) fn announce(offload: Offload, checksums: &mut ChecksumCapabilities) {
    checksums.ipv4 = left(offload.ipv4_tx, offload.ipv4_rx);
    checksums.tcp = left(offload.tcp_tx, offload.tcp_rx);
}

/// Whether the device passes a frame to the stack. It cannot verify the segment in a
/// fragment.
pub(super) fn lets_in(config: &WorldConfig, frame: &[u8]) -> bool {
    let (offload, medium) = (config.offload, config.medium);
    if !(offload.ipv4_rx || offload.tcp_rx) || ip_in_frame(frame, medium).is_none() {
        return true;
    }
    if offload.ipv4_rx && !has_sound_header(frame, medium) {
        return false;
    }
    let is_segment = tcp_in_frame(frame, medium).is_some() && !is_fragment(frame, medium);
    !(offload.tcp_rx && is_segment) || has_sound_segment(frame, medium)
}

fn is_fragment(frame: &[u8], medium: Medium) -> bool {
    ip_in_frame(frame, medium)
        .filter(|packet| packet.first().is_some_and(|first| first >> 4 == 4))
        .and_then(|packet| Ipv4Packet::new_checked(packet).ok())
        .is_some_and(|ip| ip.more_frags() || ip.frag_offset() > 0)
}

/// Fills in the checksums that the stack has left to the device.
pub(super) fn fill_in(config: &WorldConfig, frame: &mut [u8]) {
    let (offload, medium) = (config.offload, config.medium);
    if !(offload.ipv4_tx || offload.tcp_tx) {
        return;
    }
    if offload.tcp_tx {
        change_segment(frame, medium, |_| ());
    }
    let link = frame.len() - ip_in_frame(frame, medium).map_or(0, <[u8]>::len);
    let packet = frame.get_mut(link..).unwrap_or_default();
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    if offload.ipv4_tx && is_v4 {
        Ipv4Packet::new_unchecked(packet).fill_checksum();
    }
}
