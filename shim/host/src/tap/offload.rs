//! The checksum and segmentation offload of a TAP.
//!
//! With `IFF_VNET_HDR`, every frame that is read or written has a small header
//! in front (`struct virtio_net_hdr`). In front of a sent frame it requests segmentation
//! and checksums from the kernel. In front of a received frame it shows that both were
//! omitted, because the frame was never on a wire.

use std::io;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use smoltcp::phy::{Checksum, DeviceCapabilities, Medium};
use smoltcp::wire::{IPV4_HEADER_LEN, IpProtocol, TCP_HEADER_LEN, TcpPacket};

use super::ETHERNET_HEADER_LEN;
use crate::packet::{Content, Transport, look};

/// How much is offloaded to the kernel.
///
/// ```
/// use lastbyte_host::tap::Offload;
///
/// assert!(Offload::None < Offload::Checksum && Offload::Checksum < Offload::Segmentation);
/// assert_eq!(Offload::Segmentation.to_string(), "tso");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offload {
    /// Nothing: plain frames, as on any wire.
    None,
    /// The kernel completes the TCP checksums of what we send, and omits them in what it
    /// sends itself.
    Checksum,
    /// It also segments what we send over IPv4, and passes on several segments of its own
    /// TCP as one frame.
    Segmentation,
}

impl Offload {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Checksum, Self::Segmentation];

    /// A short name: `none`, `checksum` or `tso`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Checksum => "checksum",
            Self::Segmentation => "tso",
        }
    }

    /// How much of it applies to a connection to `remote`: smoltcp 0.14 offloads
    /// segmentation over IPv4 only.
    #[must_use]
    pub fn towards(self, remote: IpAddr) -> Self {
        match remote {
            IpAddr::V4(_) => self,
            IpAddr::V6(_) => self.min(Self::Checksum),
        }
    }

    /// A description of [`name`](Self::name).
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::None => "segmentation and checksums are done here",
            Self::Checksum => "checksums are offloaded to the kernel, segmentation is done here",
            Self::Segmentation => "segmentation and checksums are offloaded to the kernel (TSO)",
        }
    }

    /// The length of the header in front of each frame.
    pub(super) const fn header_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Checksum | Self::Segmentation => HEADER_LEN,
        }
    }

    /// The longest frame that may arrive, if an ordinary one has at most `max_frame`
    /// octets.
    pub(super) fn longest_frame(self, max_frame: usize) -> usize {
        match self {
            Self::None | Self::Checksum => max_frame,
            Self::Segmentation => max_frame.max(ETHERNET_HEADER_LEN + MAX_IP_LEN),
        }
    }

    /// Announces to a stack what it may offload to the device.
    ///
    /// The device verifies each received frame that the kernel has not verified.
    pub(super) fn announce(self, capabilities: &mut DeviceCapabilities) {
        if self == Self::None {
            return;
        }
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.ipv4 = Checksum::Tx;
        if self == Self::Segmentation {
            // Not `tcpv6`: smoltcp 0.14 would make such frames, and then drop
            // each that is longer than the MTU (`InterfaceInner::dispatch_ip`).
            capabilities.segmentation.tcpv4 = largest_frame(capabilities.ip_mtu());
        }
    }
}

impl std::fmt::Display for Offload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The longest IP packet whose length fits in its header. For a longer one smoltcp writes
/// a zero, which the guard treats as damage.
const MAX_IP_LEN: usize = 65_535;

/// The longest frame that a stack may give to segment: full segments only, so that a
/// stream of frames has no short segments in between.
fn largest_frame(mtu: usize) -> Option<NonZeroUsize> {
    let headers_len = IPV4_HEADER_LEN + TCP_HEADER_LEN;
    let segment_len = mtu.checked_sub(headers_len).filter(|len| *len > 0)?;
    let segments = (MAX_IP_LEN - headers_len) / segment_len;
    NonZeroUsize::new(ETHERNET_HEADER_LEN + headers_len + segments * segment_len)
}

// ---- the header in front of a frame ----

/// The length of `struct virtio_net_hdr`: two octets and four numbers of two octets each,
/// in the byte order of this machine.
const HEADER_LEN: usize = 10;

/// The checksum is to be completed: it covers the frame from `csum_start` on, and belongs
/// `csum_offset` octets after that.
const F_NEEDS_CSUM: u8 = 1;
/// The checksum was verified and is right.
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// May be set in addition, and determines how to treat congestion marks.
const GSO_ECN: u8 = 0x80;

/// The offset of the checksum in a TCP header (RFC 9293, 3.1).
const TCP_CHECKSUM_AT: u16 = 16;

/// Fills in the header in front of a frame to send, and what the kernel expects in place
/// of the checksum that it completes.
pub(super) fn prepare(header: &mut [u8], frame: &mut [u8], segment_len: Option<NonZeroU16>) {
    let Some(header) = header.first_chunk_mut::<HEADER_LEN>() else {
        return;
    };
    *header = [0; HEADER_LEN];
    let Content::Transport(transport) = look(Medium::Ethernet, frame) else {
        return;
    };
    if transport.protocol != IpProtocol::Tcp {
        return;
    }
    let Some((at, tcp_header_len)) = place_pseudo_sum(&transport, frame) else {
        return;
    };
    let kind = match segment_len {
        None => GSO_NONE,
        Some(_) if transport.is_ipv4() => GSO_TCPV4,
        Some(_) => GSO_TCPV6,
    };
    let [headers_0, headers_1] = (at + tcp_header_len).to_ne_bytes();
    let [size_0, size_1] = segment_len.map_or(0, NonZeroU16::get).to_ne_bytes();
    let [at_0, at_1] = at.to_ne_bytes();
    let [place_0, place_1] = TCP_CHECKSUM_AT.to_ne_bytes();
    *header = [
        F_NEEDS_CSUM,
        kind,
        headers_0,
        headers_1,
        size_0,
        size_1,
        at_0,
        at_1,
        place_0,
        place_1,
    ];
}

/// Writes the sum of the pseudo header in place of the checksum. Returns where the
/// segment begins, and the length of its header.
fn place_pseudo_sum(transport: &Transport, frame: &mut [u8]) -> Option<(u16, u16)> {
    let mut tcp = TcpPacket::new_unchecked(frame.get_mut(transport.octets.clone())?);
    tcp.set_checksum(transport.pseudo_sum());
    let at = u16::try_from(transport.octets.start).ok()?;
    Some((at, tcp.header_len().into()))
}

/// The content of the header in front of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    vouched: Vouched,
    /// Whether the frame is of a kind that was requested.
    is_known: bool,
    /// The length of the segments that the frame would be on a wire.
    pub(super) segment_len: Option<NonZeroU16>,
}

/// The checksum that need not be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vouched {
    Nothing,
    /// The segment that begins here.
    At(u16),
    Everything,
}

impl Arrival {
    /// Reads the header in front of a frame.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        let &[flags, gso, _, _, size_0, size_1, start_0, start_1, _, _] =
            header.first_chunk::<HEADER_LEN>()?;
        let segment_len = NonZeroU16::new(u16::from_ne_bytes([size_0, size_1]));
        let kind = gso & !GSO_ECN;
        Some(Self {
            vouched: if flags & F_NEEDS_CSUM != 0 {
                Vouched::At(u16::from_ne_bytes([start_0, start_1]))
            } else if flags & F_DATA_VALID != 0 {
                Vouched::Everything
            } else {
                Vouched::Nothing
            },
            is_known: matches!(kind, GSO_NONE | GSO_TCPV4 | GSO_TCPV6),
            segment_len: segment_len.filter(|_| kind != GSO_NONE),
        })
    }

    /// Whether a stack that verifies no checksum may get this frame.
    pub(super) fn is_sound(&self, frame: &[u8]) -> bool {
        self.is_known
            && match look(Medium::Ethernet, frame) {
                Content::Transport(transport) => match self.vouched {
                    Vouched::Everything => true,
                    Vouched::At(at) if usize::from(at) == transport.octets.start => true,
                    Vouched::At(_) | Vouched::Nothing => transport.is_intact(frame),
                },
                // Its checksum spans other frames.
                Content::Fragment | Content::Damaged => false,
                Content::Other => true,
            }
    }
}

// ---- the settings of the driver ----

nix::ioctl_write_int_bad! {
    /// Sets which frames the kernel may pass on. Although it is declared with a pointer,
    /// it takes the number itself.
    tun_set_offload, nix::request_code_write!(b'T', 208, size_of::<libc::c_uint>())
}
nix::ioctl_write_ptr! {
    /// The length of the header in front of each frame.
    tun_set_header_len, b'T', 216, libc::c_int
}
nix::ioctl_read! {
    /// The flags that the driver knows.
    tun_features, b'T', 207, libc::c_uint
}

/// Requests `offload`, on a device that was opened with `IFF_VNET_HDR`.
pub(super) fn enable(device: &impl AsFd, offload: Offload) -> io::Result<()> {
    set_header_len(device.as_fd())?;
    let mask = match offload {
        Offload::None => 0,
        Offload::Checksum => libc::TUN_F_CSUM,
        Offload::Segmentation => libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6,
    };
    set_mask(device.as_fd(), mask)
}

/// Switches off what [`enable`] requested: the setting belongs to the interface, not to
/// the descriptor, and the next program that attaches may not expect it.
pub(super) fn disable(device: &impl AsFd) -> io::Result<()> {
    set_mask(device.as_fd(), 0)
}

#[expect(
    unsafe_code,
    reason = "an ioctl is a call that the compiler cannot check"
)]
fn set_mask(fd: BorrowedFd<'_>, mask: libc::c_uint) -> io::Result<()> {
    let mask = libc::c_int::try_from(mask).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and the driver takes the argument as a
    // number: it reads and writes no memory.
    unsafe { tun_set_offload(fd.as_raw_fd(), mask) }?;
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "an ioctl is a call that the compiler cannot check"
)]
fn set_header_len(fd: BorrowedFd<'_>) -> io::Result<()> {
    let len = libc::c_int::try_from(HEADER_LEN).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and the driver reads one `int` through the pointer,
    // which points to a live one.
    unsafe { tun_set_header_len(fd.as_raw_fd(), &raw const len) }?;
    Ok(())
}

/// Whether this driver can put a header in front of frames at all.
#[expect(
    unsafe_code,
    reason = "an ioctl is a call that the compiler cannot check"
)]
pub(super) fn is_known_to(driver: &impl AsFd) -> bool {
    let mut features: libc::c_uint = 0;
    // SAFETY: the descriptor is open, and the driver writes one `unsigned int` through
    // the pointer, which points to a live one.
    let asked = unsafe { tun_features(driver.as_fd().as_raw_fd(), &raw mut features) };
    asked.is_ok() && features & libc::IFF_VNET_HDR.cast_unsigned() != 0
}

#[cfg(test)]
mod tests;
