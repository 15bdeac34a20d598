//! Answers requests for the peer's hardware address.

use smoltcp::phy::{ChecksumCapabilities, Medium};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr,
    IpAddress, IpProtocol, Ipv6Packet, NdiscNeighborFlags, NdiscRepr,
};

use crate::loopback::frame::{ethernet_frame, ip_frame, ip_in_frame};
use crate::loopback::{PEER_MAC, PEER_V4, PEER_V6};

/// The answer to `frame`, if that is a request for one of the peer's addresses.
pub(super) fn answer(frame: &[u8], medium: Medium) -> Option<Vec<u8>> {
    match medium {
        Medium::Ethernet => arp(frame).or_else(|| ndisc(frame, medium)),
        Medium::Ip => None,
    }
}

fn arp(frame: &[u8]) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    (ethernet.ethertype() == EthernetProtocol::Arp).then_some(())?;
    let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr: PEER_V4,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: PEER_MAC,
        source_protocol_addr: PEER_V4,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut bytes = vec![0; reply.buffer_len()];
    reply.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    Some(ethernet_frame(
        PEER_MAC,
        source_hardware_addr,
        EthernetProtocol::Arp,
        &bytes,
    ))
}

fn ndisc(frame: &[u8], medium: Medium) -> Option<Vec<u8>> {
    let packet = ip_in_frame(frame, medium)?;
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    (ip.version() == 6 && ip.next_header() == IpProtocol::Icmpv6).then_some(())?;
    let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    let checksums = ChecksumCapabilities::default();
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: PEER_V6,
        ..
    }) = Icmpv6Repr::parse(&src, &dst, &icmp, &checksums).ok()?
    else {
        return None;
    };
    let advert = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: PEER_V6,
        lladdr: Some(PEER_MAC.into()),
    });
    let mut bytes = vec![0; advert.buffer_len()];
    let mut answer = Icmpv6Packet::new_unchecked(&mut bytes[..]);
    advert.emit(&PEER_V6, &src, &mut answer, &checksums);
    let (from, to) = (IpAddress::Ipv6(PEER_V6), IpAddress::Ipv6(src));
    Some(ip_frame(medium, from, to, IpProtocol::Icmpv6, &bytes))
}
