//! The addresses of both ends.

use smoltcp::phy::Medium;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Address,
};

/// Our IPv4 address, in `10.77.0.0/24`.
pub const OUR_V4: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);
/// The peer's IPv4 address, in `10.77.0.0/24`.
pub const PEER_V4: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);
/// Our IPv6 address, in `fd77::/64`.
pub const OUR_V6: Ipv6Address = Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// The peer's IPv6 address, in `fd77::/64`.
pub const PEER_V6: Ipv6Address = Ipv6Address::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Our Ethernet address: locally administered, unicast.
pub const OUR_MAC: EthernetAddress = EthernetAddress([0x02, 0x77, 0, 0, 0, 2]);
/// The peer's Ethernet address: locally administered, unicast.
pub const PEER_MAC: EthernetAddress = EthernetAddress([0x02, 0x77, 0, 0, 0, 1]);

/// The addresses of our interface: [`OUR_V4`]`/24` and [`OUR_V6`]`/64`.
pub const OUR_ADDRESSES: [IpCidr; 2] = [
    IpCidr::new(IpAddress::Ipv4(OUR_V4), 24),
    IpCidr::new(IpAddress::Ipv6(OUR_V6), 64),
];

/// The addresses of the peer's interface.
pub(super) const PEER_ADDRESSES: [IpCidr; 2] = [
    IpCidr::new(IpAddress::Ipv4(PEER_V4), 24),
    IpCidr::new(IpAddress::Ipv6(PEER_V6), 64),
];

/// The hardware address of our interface on a wire of this medium.
#[must_use]
pub fn our_hardware_address(medium: Medium) -> HardwareAddress {
    hardware_address(medium, OUR_MAC)
}

pub(super) fn hardware_address(medium: Medium, mac: EthernetAddress) -> HardwareAddress {
    match medium {
        Medium::Ethernet => HardwareAddress::Ethernet(mac),
        Medium::Ip => HardwareAddress::Ip,
    }
}
