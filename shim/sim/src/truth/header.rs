//! The numbers of a segment.

use smoltcp::phy::Medium;
use smoltcp::wire::{IpAddress, TcpPacket};

use crate::loopback::tcp_in_frame;

pub(crate) fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

pub(super) fn later(a: u32, b: u32) -> u32 {
    if is_before(a, b) { b } else { a }
}

/// The numbers of a segment; its checksums are not verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) src: IpAddress,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    /// Octets of data.
    pub(super) text: u32,
    pub(super) window: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

impl Header {
    pub(super) fn parse(frame: &[u8], medium: Medium) -> Option<Self> {
        let (src, _, bytes) = tcp_in_frame(frame, medium)?;
        let tcp = TcpPacket::new_checked(bytes).ok()?;
        Some(Self {
            src,
            src_port: tcp.src_port(),
            dst_port: tcp.dst_port(),
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack().then(|| tcp.ack_number().0 as u32),
            text: tcp.payload().len() as u32,
            window: tcp.window_len(),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
        })
    }

    /// Octets of sequence space.
    pub(super) fn len(&self) -> u32 {
        self.text + u32::from(self.syn) + u32::from(self.fin)
    }

    /// The number after its data.
    pub(super) fn text_end(&self) -> u32 {
        self.seq
            .wrapping_add(u32::from(self.syn))
            .wrapping_add(self.text)
    }

    /// The number after its last octet of sequence space.
    pub(super) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len())
    }
}
