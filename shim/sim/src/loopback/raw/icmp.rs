//! ICMP errors about segments of ours.

use smoltcp::phy::{ChecksumCapabilities, Medium};
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet,
    Icmpv6ParamProblem, Icmpv6Repr, IpAddress, IpProtocol, IpRepr,
};

use crate::loopback::Segment;
use crate::loopback::frame::{ip_frame, ip_in_frame};

/// The maximum number of bytes of our segment that are quoted: what fits into 576 bytes
/// together with two IPv4 headers and the ICMP header (RFC 1812, 4.3.2.3). smoltcp does
/// not accept a truncated quotation, such as the eight bytes of RFC 792.
const QUOTED: usize = 576 - 20 - 8 - 20;

/// "Destination unreachable" from the segment's destination to its source, or to
/// another host.
pub(crate) fn unreachable(
    medium: Medium,
    segment: &Segment,
    code: u8,
    to: Option<IpAddress>,
) -> Vec<u8> {
    let (ip, quoted) = quotation(medium, segment);
    let checksums = ChecksumCapabilities::default();
    let (from, to) = (segment.dst, to.unwrap_or(segment.src));
    let (bytes, protocol) = match ip {
        IpRepr::Ipv4(header) => {
            let repr = Icmpv4Repr::DstUnreachable {
                reason: Icmpv4DstUnreachable::from(code),
                header,
                data: &quoted,
            };
            let mut bytes = vec![0; repr.buffer_len()];
            repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[..]), &checksums);
            (bytes, IpProtocol::Icmp)
        }
        IpRepr::Ipv6(header) => {
            let repr = Icmpv6Repr::DstUnreachable {
                reason: Icmpv6DstUnreachable::from(code),
                header,
                data: &quoted,
            };
            return icmpv6(medium, from, to, &repr);
        }
    };
    ip_frame(medium, from, to, protocol, &bytes)
}

/// "Parameter problem" of ICMPv6 (RFC 4443, 3.4) from the segment's destination to
/// its source, about what follows the IPv6 header. The segment goes over IPv6.
pub(crate) fn parameter_problem(medium: Medium, segment: &Segment, code: u8) -> Vec<u8> {
    let (ip, quoted) = quotation(medium, segment);
    match ip {
        IpRepr::Ipv6(header) => {
            let repr = Icmpv6Repr::ParamProblem {
                reason: Icmpv6ParamProblem::from(code),
                pointer: 6,
                header,
                data: &quoted,
            };
            icmpv6(medium, segment.dst, segment.src, &repr)
        }
        IpRepr::Ipv4(_) => Vec::new(),
    }
}

/// The IP header of a segment, and as much of it as is quoted.
fn quotation(medium: Medium, segment: &Segment) -> (IpRepr, Vec<u8>) {
    let original = segment.to_frame(medium);
    let packet = ip_in_frame(&original, medium).unwrap_or_default();
    let header_len = IpRepr::new(segment.src, segment.dst, IpProtocol::Tcp, 0, 64).header_len();
    let tcp = packet.get(header_len..).unwrap_or_default();
    let ip = IpRepr::new(segment.src, segment.dst, IpProtocol::Tcp, tcp.len(), 64);
    (ip, tcp[..QUOTED.min(tcp.len())].to_vec())
}

fn icmpv6(medium: Medium, from: IpAddress, to: IpAddress, repr: &Icmpv6Repr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; repr.buffer_len()];
    if let (IpAddress::Ipv6(from), IpAddress::Ipv6(to)) = (from, to) {
        let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[..]);
        repr.emit(&from, &to, &mut packet, &ChecksumCapabilities::default());
    }
    ip_frame(medium, from, to, IpProtocol::Icmpv6, &bytes)
}
