//! Frames of the crate's own, which pass no socket of smoltcp.

use super::time::to_smoltcp;
use super::tracker::Net;
use crate::guard::wire::neighbour::Frame;
use smoltcp::phy::{Device, TxToken};

/// Sends a frame. False if the device has no room for it.
pub(super) fn send<D: Device + ?Sized>(net: &mut Net<'_, '_, D>, frame: &Frame) -> bool {
    let octets = frame.octets();
    send_with(net, octets.len(), |place| {
        for (place, octet) in place.iter_mut().zip(octets) {
            *place = *octet;
        }
    })
}

/// Sends a frame of so many octets that `fill` writes. False if the device has no room for it.
pub(super) fn send_with<D: Device + ?Sized>(
    net: &mut Net<'_, '_, D>,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> bool {
    let Some(room) = net.device.transmit(to_smoltcp(net.now)) else {
        return false;
    };
    room.consume(len, fill);
    true
}
