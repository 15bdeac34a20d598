//! A TCP segment with its addresses, for tests.

use std::fmt;

use lastbyte::Instant;
use smoltcp::phy::{ChecksumCapabilities, Medium};
use smoltcp::wire::{
    IpAddress, IpProtocol, TcpControl, TcpOption, TcpPacket, TcpRepr, TcpSeqNumber,
    TcpTimestampRepr,
};

use super::frame::{ip_frame, tcp_in_frame};
use super::{OUR_V4, PEER_V4};

/// The control bits of a segment, in any combination.
///
/// ```
/// use lastbyte_sim::loopback::Flags;
///
/// let flags = Flags::SYN | Flags::ACK;
/// assert!(flags.contains(Flags::ACK) && !flags.contains(Flags::FIN));
/// assert_eq!(flags.to_string(), "SYN|ACK");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// No bit at all.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(0x20);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::SYN, "SYN"),
        (Self::FIN, "FIN"),
        (Self::RST, "RST"),
        (Self::PSH, "PSH"),
        (Self::ACK, "ACK"),
        (Self::URG, "URG"),
    ];

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter();
        let set: Vec<_> = names
            .filter(|(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
            .collect();
        f.write_str(&if set.is_empty() {
            "none".to_owned()
        } else {
            set.join("|")
        })
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A TCP segment.
///
/// Numbers are as on the wire: `window` is not scaled, `ack` is valid only with
/// [`Flags::ACK`]. The constructors make segments from the peer to us over IPv4; set the
/// fields for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// When it was sent (at a scripted end: when it arrived); ignored when sending.
    pub time: Instant,
    /// Source address.
    pub src: IpAddress,
    /// Destination address; of the same family as `src`.
    pub dst: IpAddress,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte, or of the SYN.
    pub seq: u32,
    /// Next sequence number expected from the other end.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Receive window.
    pub window: u16,
    /// Window scale option.
    pub window_scale: Option<u8>,
    /// Maximum segment size option.
    pub mss: Option<u16>,
    /// SACK-permitted option.
    pub sack_permitted: bool,
    /// Timestamps option: value and echo reply.
    pub timestamp: Option<(u32, u32)>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Segment {
    /// A segment from the peer to us without data or options, window 65535.
    #[must_use]
    pub fn new(src_port: u16, dst_port: u16, flags: Flags, seq: u32, ack: u32) -> Self {
        Self {
            time: Instant::ZERO,
            src: PEER_V4.into(),
            dst: OUR_V4.into(),
            src_port,
            dst_port,
            seq,
            ack,
            flags,
            window: u16::MAX,
            window_scale: None,
            mss: None,
            sack_permitted: false,
            timestamp: None,
            payload: Vec::new(),
        }
    }

    /// The same segment with this data.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The same segment with this window.
    #[must_use]
    pub fn with_window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// The same segment with these flags.
    #[must_use]
    pub fn with_flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// The same segment with another sequence number.
    #[must_use]
    pub fn with_seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    /// The same segment with another acknowledgement number.
    #[must_use]
    pub fn with_ack(mut self, ack: u32) -> Self {
        self.ack = ack;
        self
    }

    /// Whether all these flags are set.
    #[must_use]
    pub fn is(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// Its length in sequence numbers: its data, and one each for SYN and FIN.
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        let controls = u32::from(self.is(Flags::SYN)) + u32::from(self.is(Flags::FIN));
        self.payload.len() as u32 + controls
    }

    /// Reads the segment in a frame; `None` if it holds none, or a truncated one.
    /// Checksums are not verified.
    #[must_use]
    pub fn parse(frame: &[u8], medium: Medium, time: Instant) -> Option<Self> {
        let (src, dst, bytes) = tcp_in_frame(frame, medium)?;
        let tcp = TcpPacket::new_checked(bytes).ok()?;
        let bits = [
            (tcp.fin(), Flags::FIN),
            (tcp.syn(), Flags::SYN),
            (tcp.rst(), Flags::RST),
            (tcp.psh(), Flags::PSH),
            (tcp.ack(), Flags::ACK),
            (tcp.urg(), Flags::URG),
        ];
        let set = bits.iter().filter(|(is_set, _)| *is_set);
        let mut segment = Self {
            time,
            src,
            dst,
            src_port: tcp.src_port(),
            dst_port: tcp.dst_port(),
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack_number().0 as u32,
            flags: set.fold(Flags::NONE, |flags, (_, flag)| flags | *flag),
            window: tcp.window_len(),
            window_scale: None,
            mss: None,
            sack_permitted: false,
            timestamp: None,
            payload: tcp.payload().to_vec(),
        };
        segment.parse_options(tcp.options());
        Some(segment)
    }

    fn parse_options(&mut self, mut options: &[u8]) {
        while let Ok((rest, option)) = TcpOption::parse(options) {
            match option {
                TcpOption::EndOfList => return,
                TcpOption::MaxSegmentSize(mss) => self.mss = Some(mss),
                TcpOption::WindowScale(scale) => self.window_scale = Some(scale),
                TcpOption::SackPermitted => self.sack_permitted = true,
                TcpOption::TimeStamp { tsval, tsecr } => self.timestamp = Some((tsval, tsecr)),
                TcpOption::NoOperation | TcpOption::SackRange(_) | TcpOption::Unknown { .. } => {}
            }
            if rest.is_empty() {
                return;
            }
            options = rest;
        }
    }

    /// The whole frame, with right checksums. On Ethernet it goes from the
    /// peer to us, or from us to the peer if `src` is one of our addresses.
    ///
    /// # Panics
    ///
    /// If the addresses are of different families.
    #[must_use]
    pub fn to_frame(&self, medium: Medium) -> Vec<u8> {
        let repr = TcpRepr {
            src_port: self.src_port,
            dst_port: self.dst_port,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(self.seq as i32),
            ack_number: Some(TcpSeqNumber(self.ack as i32)),
            window_len: self.window,
            window_scale: self.window_scale,
            max_seg_size: self.mss,
            sack_permitted: self.sack_permitted,
            sack_ranges: [None; 3],
            timestamp: self
                .timestamp
                .map(|(tsval, tsecr)| TcpTimestampRepr { tsval, tsecr }),
            payload: &self.payload,
        };
        let mut bytes = vec![0; repr.buffer_len()];
        let mut tcp = TcpPacket::new_unchecked(&mut bytes[..]);
        repr.emit(
            &mut tcp,
            &self.src,
            &self.dst,
            &ChecksumCapabilities::ignored(),
        );
        tcp.set_fin(self.is(Flags::FIN));
        tcp.set_syn(self.is(Flags::SYN));
        tcp.set_rst(self.is(Flags::RST));
        tcp.set_psh(self.is(Flags::PSH));
        tcp.set_ack(self.is(Flags::ACK));
        tcp.set_urg(self.is(Flags::URG));
        tcp.fill_checksum(&self.src, &self.dst);
        ip_frame(medium, self.src, self.dst, IpProtocol::Tcp, &bytes)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src_port, self.dst_port);
        write!(f, "{src} > {dst} {} seq {}", self.flags, self.seq)?;
        if self.is(Flags::ACK) {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.window)?;
        if !self.payload.is_empty() {
            write!(f, " len {}", self.payload.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OUR_V6, PEER_V6};
    use super::*;

    fn odd_segment() -> Segment {
        Segment {
            window_scale: Some(7),
            mss: Some(1400),
            sack_permitted: true,
            timestamp: Some((1, 2)),
            ..Segment::new(80, 5000, Flags::SYN | Flags::FIN | Flags::URG, u32::MAX, 7)
                .with_payload(*b"odd")
                .with_window(12)
        }
    }

    #[test]
    fn what_is_written_is_read_back_over_both_families_and_media() {
        let mut segment = odd_segment();
        for (src, dst) in [
            (IpAddress::from(PEER_V4), IpAddress::from(OUR_V4)),
            (IpAddress::from(PEER_V6), IpAddress::from(OUR_V6)),
        ] {
            (segment.src, segment.dst) = (src, dst);
            for medium in [Medium::Ethernet, Medium::Ip] {
                let frame = segment.to_frame(medium);
                let back = Segment::parse(&frame, medium, Instant::ZERO);
                assert_eq!(back.as_ref(), Some(&segment));
                let (_, _, tcp) = tcp_in_frame(&frame, medium).expect("a segment");
                assert!(TcpPacket::new_unchecked(tcp).verify_checksum(&src, &dst));
            }
        }
    }

    #[test]
    fn half_a_segment_is_none() {
        let frame = odd_segment().to_frame(Medium::Ethernet);
        for len in 0..frame.len() {
            assert_eq!(
                Segment::parse(&frame[..len], Medium::Ethernet, Instant::ZERO),
                None
            );
        }
    }
}
