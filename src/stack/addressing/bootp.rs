//! A DHCPDECLINE (RFC 2131, 4.4.4), which smoltcp's DHCP socket does not send.

use super::lease::Lease;
use crate::guard::wire::checksum::{checksum, sum_header};
use crate::guard::wire::neighbour::BROADCAST;
use crate::stack::frames::send_with;
use crate::stack::tracker::Net;
use smoltcp::phy::Device;

/// The shortest message that every relay takes (RFC 1542, 2.1).
const MESSAGE_LEN: usize = 300;
const LEN: usize = 14 + 20 + 8 + MESSAGE_LEN;

/// Declines a lease: another machine has the address. There is no answer to it, and it is sent
/// once.
pub(super) fn send_decline<D: Device + ?Sized>(
    net: &mut Net<'_, '_, D>,
    mac: [u8; 6],
    lease: &Lease,
) {
    // Any number will do, as long as it changes.
    let [.., a, b, c, d] = net.now.as_micros().to_be_bytes();
    let mut ip = [
        0x45, 0, 1, 72, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255,
    ];
    let [high, low] = checksum(sum_header(0, &ip));
    ip[10] = high;
    ip[11] = low;
    let [m, n, o, p] = lease.address().address().octets();
    let [q, r, s, t] = lease.server().octets();
    let parts: [&[u8]; 12] = [
        &BROADCAST,
        &mac,
        &[8, 0],
        &ip,
        // Ports 68 and 67, no checksum.
        &[0, 68, 0, 67, 1, 52, 0, 0],
        &[1, 1, 6, 0, a, b, c, d],
        // No addresses.
        &[0; 20],
        &mac,
        // The rest of the hardware address, and no names.
        &[0; 202],
        &[0x63, 0x82, 0x53, 0x63],
        &[53, 1, 4, 50, 4, m, n, o, p, 54, 4, q, r, s, t, 61, 7, 1],
        &mac,
    ];
    let octets = parts.into_iter().flatten().copied();
    // The end of the options, and padding.
    let octets = octets.chain([255]).chain(core::iter::repeat(0));
    send_with(net, LEN, |frame| {
        for (place, octet) in frame.iter_mut().zip(octets) {
            *place = octet;
        }
    });
}
