//! A segment to be put in place of another, with other numbers.
//!
//! It is made of the headers of the other by hand. smoltcp's functions for it
//! would be compiled in twice, and larger and slower for what smoltcp sends.

use super::checksum::{checksum, sum};
use super::parse::link_header_len;
use super::segment::Segment;
use smoltcp::phy::Medium;
use smoltcp::wire::TCP_HEADER_LEN;

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
const LONGEST_IP_HEADER_LEN: usize = if cfg!(feature = "proto-ipv6") {
    IPV6_HEADER_LEN
} else {
    IPV4_HEADER_LEN
};

/// How much of a payload fits in. The rest is left to be repeated by the peer.
pub(super) const PAYLOAD: usize = 128;

/// Room for the link header, the longer of the IP headers, TCP's, and a payload.
const ROOM: usize = 14 + LONGEST_IP_HEADER_LEN + TCP_HEADER_LEN + PAYLOAD;

// Every frame that comes in has one of these beside it on the stack.
const _: () = assert!(size_of::<Probe>() <= 88 + PAYLOAD);

/// A frame with a segment in it.
#[derive(Debug)]
pub(super) struct Probe {
    frame: [u8; ROOM],
    len: usize,
}

impl Probe {
    /// A frame with the addresses of `segment`, which came in `frame`, this TCP header,
    /// whose checksum is filled in, and this payload. `None` if `frame` is too short or the
    /// payload too long.
    pub(super) fn new(
        medium: Medium,
        frame: &[u8],
        segment: &Segment<'_>,
        header: [u8; TCP_HEADER_LEN],
        payload: &[u8],
    ) -> Option<Self> {
        let link_len = link_header_len(medium);
        let ip_len = match frame.get(link_len)? >> 4 {
            #[cfg(feature = "proto-ipv4")]
            4 => IPV4_HEADER_LEN,
            #[cfg(feature = "proto-ipv6")]
            6 => IPV6_HEADER_LEN,
            _ => return None,
        };
        let headers_len = link_len.wrapping_add(ip_len);
        let segment_len = TCP_HEADER_LEN.wrapping_add(payload.len());
        let mut probe = Self {
            len: headers_len.wrapping_add(segment_len),
            frame: [0; ROOM],
        };
        let (headers, rest) = probe.frame.split_at_mut_checked(headers_len)?;
        headers.copy_from_slice(frame.get(..headers_len)?);
        let ip = headers.get_mut(link_len..)?;
        // At most a payload above 20.
        let len = u8::try_from(segment_len).ok()?;
        match ip_len {
            IPV4_HEADER_LEN => shorten_ipv4(ip.first_chunk_mut()?, len),
            _ => shorten_ipv6(ip.first_chunk_mut()?, len),
        }
        let octets = rest.get_mut(..segment_len)?;
        let (tcp, room) = octets.split_first_chunk_mut::<TCP_HEADER_LEN>()?;
        *tcp = header;
        room.copy_from_slice(payload);
        let checksum = checksum(sum(sum(segment.pseudo_sum(segment_len), tcp), room));
        let [.., high, low, _, _] = tcp;
        [*high, *low] = checksum;
        Some(probe)
    }

    pub(super) fn frame(&self) -> &[u8] {
        self.frame.get(..self.len).unwrap_or(&[])
    }
}

/// Makes it the header (RFC 791, 3.1) of a packet with a segment of this length in it and
/// no more, without options.
fn shorten_ipv4(header: &mut [u8; IPV4_HEADER_LEN], len: u8) {
    header[0] = 0x45;
    header[2] = 0;
    // 148 octets at most.
    header[3] = len.wrapping_add(20);
    header[10] = 0;
    header[11] = 0;
    let [high, low] = checksum(sum(0, header));
    header[10] = high;
    header[11] = low;
}

/// Makes it the header (RFC 8200, 3) of a packet with a segment of this length in it and
/// no more, without extension headers.
fn shorten_ipv6(header: &mut [u8; IPV6_HEADER_LEN], len: u8) {
    header[4] = 0;
    header[5] = len;
    header[6] = 6;
}

/// Moves the segment in `frame`, which we send, to another sequence number.
/// `None` if there is none in it.
pub(super) fn set_sequence(
    medium: Medium,
    frame: &mut [u8],
    seq: u32,
    fills_checksum: bool,
) -> Option<()> {
    let packet = frame.get_mut(link_header_len(medium)..)?;
    // Nothing that is sent has options or extension headers.
    let ip_len = match packet.first()? >> 4 {
        #[cfg(feature = "proto-ipv4")]
        4 => IPV4_HEADER_LEN,
        #[cfg(feature = "proto-ipv6")]
        6 => IPV6_HEADER_LEN,
        _ => return None,
    };
    let tcp = packet
        .get_mut(ip_len..)?
        .first_chunk_mut::<TCP_HEADER_LEN>()?;
    let [_, _, _, _, a, b, c, d, .., high, low, _, _] = tcp;
    let old = [!*a, !*b, !*c, !*d];
    [*a, *b, *c, *d] = seq.to_be_bytes();
    if fills_checksum {
        // RFC 1624, equation 3.
        let rest = sum(0, &[!*high, !*low]);
        [*high, *low] = checksum(sum(sum(rest, &old), &seq.to_be_bytes()));
    }
    Some(())
}
