//! A TCP segment in a frame.

use super::checksum::{add, is_complete, sum, sum_header};
#[cfg(feature = "proto-ipv4")]
use super::layout::IPV4_HEADER_LEN;
use super::layout::{PROTOCOL_TCP, TCP_HEADER_LEN};
use crate::core::facts::Window;
use crate::guard::flow::{Addresses, Flow};
use core::num::NonZeroU16;

/// The relevant fields of the IP header in front of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpHeader<'f> {
    /// The fixed part.
    #[cfg(feature = "proto-ipv4")]
    V4(&'f [u8; IPV4_HEADER_LEN]),
    /// The addresses, the sender's address first.
    #[cfg(feature = "proto-ipv6")]
    V6(&'f [[u8; 16]; 2]),
}

/// The options of a SYN that smoltcp reads (RFC 9293, 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SynOptions {
    /// The maximum number of octets of data that its sender accepts in one segment; zero if it
    /// announces none.
    pub(crate) mss: u16,
    /// The shift of its windows (RFC 7323, 2.2).
    pub(crate) shift: Option<u8>,
    /// SACK permitted (RFC 2018, 2).
    pub(crate) has_sack: bool,
}

impl SynOptions {
    /// The options as the three words that follow the header of a SYN.
    pub(crate) fn to_octets(self) -> [u8; 12] {
        const PADDING: u8 = 1;
        let [high, low] = self.mss.to_be_bytes();
        let [a, b, c] = self.shift.map_or([PADDING; 3], |shift| [3, 3, shift]);
        let [d, e] = match self.has_sack {
            true => [4, 2],
            false => [PADDING; 2],
        };
        [2, 4, high, low, a, b, c, d, e, PADDING, PADDING, PADDING]
    }
}

/// A TCP segment in a frame. A field is read when it is used: for most frames, few are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'f> {
    ip: IpHeader<'f>,
    /// The fixed part of the header (RFC 9293, 3.1).
    header: &'f [u8; TCP_HEADER_LEN],
    /// What follows the fixed part: options and payload.
    rest: &'f [u8],
    payload_len: u32,
}

impl IpHeader<'_> {
    fn addresses(&self) -> Addresses {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4(&[.., a, b, c, d, e, f, g, h]) => Addresses::V4([[a, b, c, d], [e, f, g, h]]),
            #[cfg(feature = "proto-ipv6")]
            Self::V6(addresses) => Addresses::V6(*addresses),
        }
    }

    /// The sum of the addresses.
    fn sum(&self) -> usize {
        match *self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4(&[.., a, b, c, d, e, f, g, h]) => add(add(0, [a, b, c, d]), [e, f, g, h]),
            #[cfg(feature = "proto-ipv6")]
            Self::V6(addresses) => sum(0, addresses.as_flattened()),
        }
    }
}

/// The fields of a header except the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// Not scaled.
    pub(crate) window: u16,
}

impl<'f> Segment<'f> {
    /// Reads the payload of an IP packet; `None` if a header does not fit into it.
    pub(crate) fn read(ip: IpHeader<'f>, payload: &'f [u8]) -> Option<Self> {
        let (header, rest) = payload.split_first_chunk::<TCP_HEADER_LEN>()?;
        let [_, _, _, _, _, _, _, _, _, _, _, _, offset, ..] = *header;
        // At least five words, and not longer than the payload.
        let words = usize::from(offset >> 4).checked_sub(TCP_HEADER_LEN >> 2)?;
        let payload_len = rest.len().checked_sub(words << 2)?;
        Some(Self {
            ip,
            header,
            rest,
            // An IP packet holds fewer than 2^16 octets.
            payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
        })
    }
}

impl Segment<'_> {
    const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;

    /// The addresses and ports of the segment.
    pub(crate) fn flow(&self) -> Flow {
        let [a, b, c, d, ..] = *self.header;
        Flow {
            addresses: self.ip.addresses(),
            ports: [[a, b], [c, d]],
        }
    }

    /// The sequence number of the first octet.
    pub(crate) const fn seq(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The acknowledgement number, if the segment carries one.
    pub(crate) const fn ack(&self) -> Option<u32> {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *self.header;
        match self.has(Self::ACK) {
            true => Some(u32::from_be_bytes([a, b, c, d])),
            false => None,
        }
    }

    /// The acknowledgement number of a segment that has only this and data.
    pub(crate) const fn plain_ack(&self) -> Option<u32> {
        let [_, _, _, _, _, _, _, _, a, b, c, d, _, flags, ..] = *self.header;
        match flags & (Self::FIN | Self::SYN | Self::RST | Self::ACK) {
            Self::ACK => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }

    const fn has(&self, flag: u8) -> bool {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = *self.header;
        flags & flag != 0
    }

    /// Whether it has more than one of SYN, FIN and RST, and so is meaningless.
    pub(crate) const fn is_nonsense(&self) -> bool {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = *self.header;
        (flags & (Self::SYN | Self::FIN | Self::RST)).count_ones() > 1
    }

    pub(crate) const fn is_fin(&self) -> bool {
        self.has(Self::FIN)
    }

    pub(crate) const fn is_syn(&self) -> bool {
        self.has(Self::SYN)
    }

    pub(crate) const fn is_rst(&self) -> bool {
        self.has(Self::RST)
    }

    /// Whether it looks like smoltcp's keep-alive probe: one octet, zero, and no other
    /// flag. A segment of ours that retransmits an octet of value zero looks the same.
    pub(crate) fn is_keep_alive(&self) -> bool {
        let [.., flags, _, _, _, _, _, _] = *self.header;
        flags == Self::ACK && self.payload_len == 1 && self.ends_in_zero()
    }

    /// Whether the last octet of the payload is zero.
    pub(crate) fn ends_in_zero(&self) -> bool {
        self.payload_len > 0 && self.rest.last() == Some(&0)
    }

    /// The window field, not scaled.
    pub(crate) const fn window_len(&self) -> u16 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] = *self.header;
        u16::from_be_bytes([high, low])
    }

    /// Whether its sender has room for data.
    pub(crate) const fn window(&self) -> Window {
        match self.window_len() {
            0 => Window::Zero,
            _ => Window::Open,
        }
    }

    /// Octets of sequence space: payload, SYN and FIN.
    pub(crate) const fn len(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = *self.header;
        let controls = (flags >> 1 & 1).wrapping_add(flags & 1);
        self.payload_len
            .wrapping_add(u32::from_be_bytes([0, 0, 0, controls]))
    }

    /// The octets of the payload.
    pub(crate) fn payload(&self) -> &[u8] {
        let len = usize::try_from(self.payload_len).unwrap_or(0);
        let start = self.rest.len().saturating_sub(len);
        self.rest.get(start..).unwrap_or(&[])
    }

    /// How many octets the payload has.
    pub(crate) const fn payload_len(&self) -> u32 {
        self.payload_len
    }

    /// The flags of this segment that its replacement keeps.
    pub(crate) const fn flags(&self) -> u8 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..] = *self.header;
        flags & (Self::FIN | Self::RST | Self::ACK)
    }

    /// The header of a segment with the ports of this one, without options and without a
    /// checksum.
    pub(crate) const fn header(&self, fields: Fields) -> [u8; TCP_HEADER_LEN] {
        let [a, b, c, d, ..] = *self.header;
        let [e, f, g, h] = fields.seq.to_be_bytes();
        let [i, j, k, l] = fields.ack.to_be_bytes();
        let [m, n] = fields.window.to_be_bytes();
        let flags = fields.flags;
        [
            a, b, c, d, e, f, g, h, i, j, k, l, 0x50, flags, m, n, 0, 0, 0, 0,
        ]
    }

    /// The options of a SYN. The last one of each kind counts. An option of a known kind
    /// but with a wrong length is skipped. An option with an impossible length ends the
    /// list.
    pub(crate) fn syn_options(&self) -> SynOptions {
        let len = usize::try_from(self.payload_len).unwrap_or(0);
        let len = self.rest.len().saturating_sub(len);
        let mut list = self.rest.get(..len).unwrap_or(&[]);
        let mut options = SynOptions::default();
        loop {
            let len = match *list {
                [1, ..] => 1,
                // The list ends, and what follows is padding.
                [] | [0, ..] | [_] | [_, 0 | 1, ..] => return options,
                [_, len, ..] => len,
            };
            match *list {
                [2, 4, high, low, ..] => options.mss = u16::from_be_bytes([high, low]),
                [3, 3, shift, ..] => options.shift = Some(shift.min(14)),
                [4, 2, ..] => options.has_sack = true,
                _ => {}
            }
            list = list.get(usize::from(len)..).unwrap_or(&[]);
        }
    }

    /// The options that smoltcp gets with a SYN, including our maximum segment size: what
    /// the sender of the SYN accepts (RFC 9293, MUST-15 and MUST-16), and at most `most`.
    ///
    /// Without `most`, segments to an IPv6 host beyond our link are no larger than every
    /// path carries (RFC 8200, 5). The first half of our address is assumed to identify
    /// our link. IPv4 packets may be fragmented on their way.
    pub(crate) fn tailored_options(&self, most: Option<NonZeroU16>) -> SynOptions {
        let (unless_named, unless_set) = match self.ip {
            #[cfg(feature = "proto-ipv4")]
            IpHeader::V4(_) => (536, u16::MAX),
            #[cfg(feature = "proto-ipv6")]
            IpHeader::V6([from, to]) => {
                let is_on_link = from.first_chunk::<8>() == to.first_chunk::<8>();
                (1_220, if is_on_link { u16::MAX } else { 1_220 })
            }
        };
        let options = self.syn_options();
        let mss = match options.mss {
            0 => unless_named,
            mss => mss,
        };
        SynOptions {
            mss: mss.min(most.map_or(unless_set, NonZeroU16::get)),
            ..options
        }
    }

    /// The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1) of a segment of
    /// this length.
    pub(crate) fn pseudo_sum(&self, len: usize) -> usize {
        let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        add(self.ip.sum(), [0, PROTOCOL_TCP, high, low])
    }

    /// The sequence number after the last octet of sequence space.
    pub(crate) const fn end(&self) -> u32 {
        self.seq().wrapping_add(self.len())
    }

    /// Whether the checksum is right.
    pub(crate) fn is_intact(&self) -> bool {
        let len = TCP_HEADER_LEN.wrapping_add(self.rest.len());
        let header = sum_header(self.pseudo_sum(len), self.header);
        is_complete(sum(header, self.rest))
    }
}
