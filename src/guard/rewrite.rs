//! Makes the segment that the TCP stack gets in place of one that it must not get, and
//! changes frames that are sent.
//!
//! A replacement is built by hand from the headers of the other segment: with a stack's own
//! functions for this, they would be compiled in twice, and the result would be larger, and
//! slower for what the stack sends.

use super::tcb::Tcb;
use super::verdict::Verdict;
#[cfg(feature = "proto-ipv4")]
use super::wire::checksum::replaced;
use super::wire::checksum::{checksum, sum};
#[cfg(feature = "proto-ipv4")]
use super::wire::layout::PROTOCOL_TCP;
use super::wire::layout::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Medium, TCP_HEADER_LEN};
use super::wire::segment::{Fields, Segment};
use crate::sabotage::{Sabotage, is_on};
use core::num::NonZeroU16;

/// The "don't fragment" flag of IPv4, which smoltcp sets (RFC 791, 3.1), in its octet.
#[cfg(feature = "proto-ipv4")]
const DONT_FRAGMENT: u8 = 0x40;

/// The size in octets of a packet that no router fragments (RFC 791, 3.2).
#[cfg(feature = "proto-ipv4")]
const CARRIED_WHOLE: usize = 68;

const LONGEST_IP_HEADER_LEN: usize = if cfg!(feature = "proto-ipv6") {
    IPV6_HEADER_LEN
} else {
    IPV4_HEADER_LEN
};

/// How many octets of payload fit. The peer has to retransmit the rest.
const PAYLOAD: usize = 128;

/// Room for the link header, the longer of the IP headers, the TCP header, and a payload.
const ROOM: usize = 14 + LONGEST_IP_HEADER_LEN + TCP_HEADER_LEN + PAYLOAD;

// For every received frame, one of these is on the call stack.
const _: () = assert!(size_of::<Replacement>() <= 88 + PAYLOAD);

/// The replacement for a segment with this verdict: the header, and the payload.
pub(crate) fn in_place_of<'s>(
    segment: &'s Segment<'_>,
    tcb: &Tcb,
    verdict: Verdict,
) -> ([u8; TCP_HEADER_LEN], &'s [u8]) {
    let (rcv_nxt, snd_una) = (tcb.known.rcv_nxt.get(), tcb.known.snd_una.get());
    let mut fields = Fields {
        seq: rcv_nxt,
        ack: segment.ack().unwrap_or(snd_una),
        flags: Segment::ACK,
        window: segment.window_len(),
    };
    let mut payload: &[u8] = &[];
    match verdict {
        Verdict::Textless if segment.is_rst() => fields.flags = segment.flags(),
        Verdict::Opened => fields.window = 1,
        Verdict::Refuted => fields.seq = segment.seq(),
        Verdict::Overtaken => {
            let all = segment.payload();
            payload = all.get(..PAYLOAD).unwrap_or(all);
            fields.seq = segment.seq();
            fields.ack = snd_una;
            fields.window = tcb.newest().window;
            if payload.len() == all.len() {
                fields.flags = segment.flags();
            }
        }
        Verdict::Answered | Verdict::Challenge => {
            fields.seq = rcv_nxt.wrapping_sub(1);
            fields.ack = snd_una;
            let is_answered = verdict == Verdict::Answered;
            if is_answered && !is_on(Sabotage::ChallengeBudget) {
                payload = &[0];
            }
        }
        Verdict::Textless
        | Verdict::Acceptable
        | Verdict::Taken
        | Verdict::Spare
        | Verdict::Reopens
        | Verdict::Unproven
        | Verdict::Drop => {}
    }
    (segment.header(fields), payload)
}

/// The replacement for a SYN: the header and the options, without data, and with only the
/// options that smoltcp reads. If one of these is malformed, smoltcp would drop the whole
/// SYN (RFC 9293, MUST-7).
pub(crate) fn in_place_of_syn(
    segment: &Segment<'_>,
    max_segment: Option<NonZeroU16>,
) -> ([u8; TCP_HEADER_LEN], [u8; 12]) {
    let options = segment.tailored_options(max_segment).to_octets();
    let mut header = segment.header(Fields {
        seq: segment.seq(),
        ack: segment.ack().unwrap_or(0),
        flags: segment.flags() | Segment::SYN,
        window: segment.window_len(),
    });
    // Eight words.
    header[12] = 0x80;
    (header, options)
}

/// A frame that holds a segment.
#[derive(Debug)]
pub(crate) struct Replacement {
    frame: [u8; ROOM],
    len: u8,
}

impl Replacement {
    /// An empty frame.
    pub(crate) const EMPTY: Self = Self {
        frame: [0; ROOM],
        len: 0,
    };

    /// Fills in the headers of `frame`, which holds `segment`, then this TCP header with its
    /// checksum, and what follows it. `None` if `frame` is too short or `payload` too long.
    pub(crate) fn fill(
        &mut self,
        medium: Medium,
        frame: &[u8],
        segment: &Segment<'_>,
        header: [u8; TCP_HEADER_LEN],
        payload: &[u8],
    ) -> Option<()> {
        let link_len = medium.header_len();
        let ip_len = match frame.get(link_len)? >> 4 {
            #[cfg(feature = "proto-ipv4")]
            4 => IPV4_HEADER_LEN,
            #[cfg(feature = "proto-ipv6")]
            6 => IPV6_HEADER_LEN,
            _ => return None,
        };
        let headers_len = link_len.wrapping_add(ip_len);
        let segment_len = TCP_HEADER_LEN.wrapping_add(payload.len());
        self.len = u8::try_from(headers_len.wrapping_add(segment_len)).ok()?;
        let (headers, rest) = self.frame.split_at_mut_checked(headers_len)?;
        headers.copy_from_slice(frame.get(..headers_len)?);
        let ip = headers.get_mut(link_len..)?;
        // At most 20 plus `PAYLOAD`.
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
        Some(())
    }

    pub(crate) fn frame(&self) -> &[u8] {
        self.frame.get(..self.len.into()).unwrap_or(&[])
    }
}

/// Changes `header` to the header (RFC 791, 3.1), without options, of a packet with a
/// segment of this length.
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

/// Changes `header` to the header (RFC 8200, 3), without extension headers, of a packet
/// with a segment of this length.
fn shorten_ipv6(header: &mut [u8; IPV6_HEADER_LEN], len: u8) {
    header[4] = 0;
    header[5] = len;
    header[6] = 6;
}

/// Changes the sequence number of the segment in `frame`, which we send. `None` if
/// `frame` holds no segment.
pub(crate) fn set_sequence(
    medium: Medium,
    frame: &mut [u8],
    seq: u32,
    fills_checksum: bool,
) -> Option<()> {
    let packet = frame.get_mut(medium.header_len()..)?;
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

/// Allows routers to fragment the IPv4 packet in `frame`, which smoltcp has made: smoltcp
/// forbids this, and sets no identification (RFC 791, 3.2). Returns how many
/// identifications from `ident` on are used up: one, or as many as a device may need that
/// segments a longer packet (TSO).
///
/// `None` if this is not a packet of TCP, or so short that no router fragments it: such a
/// packet needs no identification (RFC 6864, 4.1).
#[cfg(feature = "proto-ipv4")]
pub(crate) fn allow_fragments(
    medium: Medium,
    frame: &mut [u8],
    ident: u16,
    fills_checksum: bool,
) -> Option<u16> {
    let len = frame.len();
    let packet = frame.get_mut(medium.header_len()..)?;
    let header = packet.first_chunk_mut::<IPV4_HEADER_LEN>()?;
    let [
        0x45,
        _,
        _,
        _,
        a,
        b,
        flags @ DONT_FRAGMENT,
        _,
        _,
        PROTOCOL_TCP,
        high,
        low,
        ..,
    ] = header
    else {
        return None;
    };
    if len <= medium.header_len().wrapping_add(CARRIED_WHOLE) {
        return None;
    }
    [*a, *b] = ident.to_be_bytes();
    *flags = 0;
    if fills_checksum {
        [*high, *low] = replaced([*high, *low], [DONT_FRAGMENT, 0], [*a, *b]);
    }
    // One for up to 1,500 octets, above that at least one for each 448. Segments are rarely
    // shorter.
    let above = len
        .wrapping_add(2_047 - 1_500)
        .wrapping_sub(medium.header_len());
    let pieces = (above >> 11 << 3) | 1;
    Some(u16::try_from(pieces).unwrap_or(u16::MAX))
}

#[cfg(test)]
#[cfg(all(feature = "smoltcp", feature = "proto-ipv4"))]
mod tests {
    use super::*;
    use smoltcp::wire::{IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr};

    const LONGEST: usize = 65_535;

    /// The packet that smoltcp makes for a segment of this many octets, headers included.
    fn packet(buffer: &mut [u8; LONGEST], len: usize, to: [u8; 4]) -> &mut [u8] {
        let repr = Ipv4Repr {
            src_addr: Ipv4Address::new(10, 0, 0, 2),
            dst_addr: Ipv4Address::from(to),
            next_header: IpProtocol::Tcp,
            payload_len: len.wrapping_sub(20),
            hop_limit: 64,
        };
        let packet = buffer.get_mut(..len).expect("the longest packet");
        repr.emit(
            &mut Ipv4Packet::new_unchecked(&mut packet[..]),
            &smoltcp::phy::ChecksumCapabilities::default(),
        );
        packet
    }

    #[cfg(feature = "medium-ip")]
    #[test]
    fn the_header_is_right_with_every_checksum() {
        let mut buffer = [0; LONGEST];
        let mut zeros = 0;
        for host in 0..=u16::MAX {
            let [a, b] = host.to_be_bytes();
            let packet = packet(&mut buffer, 1_500, [10, 0, a, b]);
            zeros += u32::from(Ipv4Packet::new_unchecked(&packet[..]).checksum() == 0);
            let number = host.wrapping_mul(40_503);
            assert_eq!(allow_fragments(Medium::Ip, packet, number, true), Some(1));
            let header = Ipv4Packet::new_checked(&packet[..]).expect("a packet");
            assert!(header.verify_checksum(), "{header}");
            assert_eq!((header.ident(), header.dont_frag()), (number, false));
        }
        // A correct checksum of zero, which looks as if it were still to be filled in.
        assert!(zeros > 0);
    }

    #[cfg(feature = "medium-ip")]
    #[test]
    fn a_checksum_that_the_device_fills_in_stays_empty() {
        let mut buffer = [0; LONGEST];
        let packet = packet(&mut buffer, 1_500, [10, 0, 0, 1]);
        packet[10..12].fill(0);
        assert_eq!(allow_fragments(Medium::Ip, packet, 7, false), Some(1));
        let header = Ipv4Packet::new_unchecked(&packet[..]);
        assert_eq!((header.checksum(), header.ident()), (0, 7));
    }

    /// A device that segments a packet counts up from its identification.
    #[cfg(feature = "medium-ip")]
    #[test]
    fn a_long_segment_uses_up_a_number_for_each_packet() {
        let mut buffer = [0; LONGEST];
        for len in 69..LONGEST {
            let packet = packet(&mut buffer, len, [10, 0, 0, 1]);
            let numbers = allow_fragments(Medium::Ip, packet, 1, true).expect("it is long");
            let pieces = if len <= 1_500 { 1 } else { len.div_ceil(448) };
            assert!(usize::from(numbers) >= pieces, "{numbers} for {len}");
            assert!(numbers < 300, "{numbers} for {len}");
        }
    }

    #[cfg(feature = "medium-ip")]
    #[test]
    fn other_packets_stay_unchanged() {
        let mut buffer = [0; LONGEST];
        // Too short.
        let same = |packet: &mut [u8]| {
            let mut before = [0; 100];
            before[..packet.len()].copy_from_slice(packet);
            assert_eq!(allow_fragments(Medium::Ip, packet, 7, true), None);
            assert_eq!(before[..packet.len()], *packet);
        };
        same(packet(&mut buffer, 40, [10, 0, 0, 1]));
        same(packet(&mut buffer, 68, [10, 0, 0, 1]));
        same(&mut []);
        same(&mut [0x45; 19]);
        // UDP.
        let udp = packet(&mut buffer, 100, [10, 0, 0, 1]);
        udp[9] = 17;
        same(udp);
        // IPv6.
        let ipv6 = packet(&mut buffer, 100, [10, 0, 0, 1]);
        ipv6[0] = 0x65;
        same(ipv6);
    }

    #[cfg(feature = "medium-ethernet")]
    #[test]
    fn the_packet_is_found_in_a_frame() {
        let mut buffer = [0; LONGEST];
        let mut frame = [0; 14 + 69];
        for (len, numbers) in [(68, None), (69, Some(1))] {
            frame[14..14 + len].copy_from_slice(packet(&mut buffer, len, [10, 0, 0, 1]));
            let frame = &mut frame[..14 + len];
            let used = allow_fragments(Medium::Ethernet, frame, 7, true);
            assert_eq!(used, numbers);
        }
    }
}
