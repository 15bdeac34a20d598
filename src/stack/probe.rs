//! A segment to be put in place of another: a bare ACK at other numbers.

use super::parse::{Segment, link_header_len};
use smoltcp::phy::{ChecksumCapabilities, Medium};
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::Ipv4Packet;
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::Ipv6Packet;
use smoltcp::wire::{IpAddress, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

/// Room for the link header, the longer of the two IP headers, and TCP's.
const ROOM: usize = 14 + 40 + 20;

/// A frame of headers only.
#[derive(Debug)]
pub(super) struct Probe {
    frame: [u8; ROOM],
    len: usize,
}

impl Probe {
    /// An empty frame, which the stack below drops without a word.
    pub(super) const NOTHING: Self = Self {
        frame: [0; ROOM],
        len: 0,
    };

    /// A bare ACK with the addresses and the window of `segment`, which came in
    /// `frame`, at these numbers. `None` if `frame` is too short to be one.
    pub(super) fn new(
        medium: Medium,
        frame: &[u8],
        segment: &Segment<'_>,
        seq: u32,
        ack: u32,
    ) -> Option<Self> {
        let link_len = link_header_len(medium);
        let tcp = TcpRepr {
            src_port: segment.from().port,
            dst_port: segment.to().port,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(seq.cast_signed()),
            ack_number: Some(TcpSeqNumber(ack.cast_signed())),
            window_len: segment.window_len(),
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let (from, to) = (segment.from().addr, segment.to().addr);
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), 64);
        let mut probe = Self {
            frame: [0; ROOM],
            len: link_len.checked_add(ip.buffer_len())?,
        };
        let (link, packet) = probe
            .frame
            .get_mut(..probe.len)?
            .split_at_mut_checked(link_len)?;
        link.copy_from_slice(frame.get(..link_len)?);
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut *packet, &checksums);
        let segment = packet.get_mut(ip.header_len()..)?;
        tcp.emit(
            &mut TcpPacket::new_unchecked(segment),
            &from,
            &to,
            &checksums,
        );
        Some(probe)
    }

    pub(super) fn frame(&self) -> &[u8] {
        self.frame.get(..self.len).unwrap_or(&[])
    }
}

/// Moves the segment in `frame` to another sequence number. `None` if there is
/// none in it.
pub(super) fn set_sequence(
    medium: Medium,
    frame: &mut [u8],
    seq: u32,
    fills_checksum: bool,
) -> Option<()> {
    let packet = frame.get_mut(link_header_len(medium)..)?;
    let move_to = |octets: &mut [u8], from: IpAddress, to: IpAddress| {
        let mut tcp = TcpPacket::new_checked(octets).ok()?;
        tcp.set_seq_number(TcpSeqNumber(seq.cast_signed()));
        if fills_checksum {
            tcp.fill_checksum(&from, &to);
        }
        Some(())
    };
    match packet.first()? >> 4 {
        #[cfg(feature = "proto-ipv4")]
        4 => {
            let mut ip = Ipv4Packet::new_checked(packet).ok()?;
            let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
            move_to(ip.payload_mut(), from, to)
        }
        #[cfg(feature = "proto-ipv6")]
        6 => {
            let mut ip = Ipv6Packet::new_checked(packet).ok()?;
            let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
            move_to(ip.payload_mut(), from, to)
        }
        _ => None,
    }
}
