//! Messages of Neighbor Discovery (RFC 4861), read.

use super::checksum::{is_complete, sum};
use super::layout::{IPV6_HEADER_LEN, PROTOCOL_ICMPV6};

/// An intact message of Neighbor Discovery, from a host on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NdpPacket<'f> {
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    pub(crate) kind: u8,
    /// What follows the checksum.
    pub(crate) body: &'f [u8],
}

/// Reads a message of Neighbor Discovery, with the checks that RFC 4861 demands of all of them
/// (6.1, 7.1): a hop limit of 255, which no router has passed on, code 0, the checksum.
pub(crate) fn read_ndp(frame: &[u8]) -> Option<NdpPacket<'_>> {
    let (header, rest) = frame.get(14..)?.split_first_chunk::<IPV6_HEADER_LEN>()?;
    let [
        version,
        _,
        _,
        _,
        len_high,
        len_low,
        PROTOCOL_ICMPV6,
        255,
        addresses @ ..,
    ] = header
    else {
        return None;
    };
    let [source, destination] = *addresses.as_chunks::<16>().0.first_chunk::<2>()?;
    let message = rest.get(..usize::from(u16::from_be_bytes([*len_high, *len_low])))?;
    let pseudo = sum(sum(0, &source), &destination);
    let pseudo = sum(pseudo, &[*len_high, *len_low, 0, PROTOCOL_ICMPV6]);
    let (&[kind, 0, _, _], body) = message.split_first_chunk::<4>()? else {
        return None;
    };
    let is_intact = version >> 4 == 6 && is_complete(sum(pseudo, message));
    is_intact.then_some(NdpPacket {
        source,
        destination,
        kind,
        body,
    })
}

/// The options of a message of Neighbor Discovery (RFC 4861, 4.6): the type of each, and all
/// of its octets. `None` if they are malformed: then the message must be dropped.
pub(crate) fn options(octets: &[u8]) -> Option<impl Iterator<Item = (u8, &[u8])>> {
    let mut rest = octets;
    while !rest.is_empty() {
        rest = split_option(rest)?.1;
    }
    let mut rest = octets;
    Some(core::iter::from_fn(move || {
        let (option, after) = split_option(rest)?;
        rest = after;
        Some((*option.first()?, option))
    }))
}

fn split_option(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(*octets.get(1)?) << 3;
    octets.split_at_checked(len).filter(|_| len > 0)
}
