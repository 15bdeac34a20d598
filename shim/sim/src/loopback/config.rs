//! The configuration of a world.

use std::time::Duration;

use lastbyte::Instant;
use smoltcp::phy::Medium;

use super::PeerConfig;
#[cfg(doc)]
use super::{RawPeer, World};

/// The default time at which a [`World`] begins: 3 h 17 min 41.123457 s. A clock that
/// began at zero would hide bugs that depend on it, such as that of smoltcp's first
/// window probe.
pub const BEGINNING: Instant = Instant::from_micros(11_861_123_457);
/// The checksum offload of our device: it fills in checksums of sent frames, and drops
/// received frames with a wrong checksum. Each checksum that is not offloaded is left to
/// the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Fills in the checksum of the IPv4 header.
    pub ipv4_tx: bool,
    /// Verifies the checksum of the IPv4 header.
    pub ipv4_rx: bool,
    /// Fills in the checksum of TCP.
    pub tcp_tx: bool,
    /// Verifies the checksum of TCP.
    pub tcp_rx: bool,
}

impl Offload {
    /// Whether nothing is offloaded.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The configuration of a [`World`]. Every field has a default.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// The latency in each direction. Default 1 ms; zero is allowed.
    pub latency: Duration,
    /// The medium. Default Ethernet.
    pub medium: Medium,
    /// The maximum length of a frame in bytes, including the Ethernet header if there is
    /// one. Default 1514.
    pub mtu: usize,
    /// The maximum number of frames in flight in each direction (a device refuses more),
    /// and of frames that have arrived and are not yet received (more are lost, and
    /// [counted](super::Counters::overflowed)). Default
    /// 1024.
    pub queue_frames: usize,
    /// The maximum number of our end's frames in flight, if below `queue_frames`: our
    /// device's transmit queue. Default 1024.
    pub transmit_frames: usize,
    /// Whether checksums are computed and verified. Default true.
    pub checksums: bool,
    /// The time at the beginning. Default [`BEGINNING`].
    pub begins_at: Instant,
    /// The checksums that our device handles in place of our stack. Default none.
    pub offload: Offload,
    /// The virtual time after which a run counts as hung and panics. Default 10 days.
    pub horizon: Duration,
    /// The other end.
    pub peer: PeerConfig,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            medium: Medium::Ethernet,
            mtu: 1514,
            queue_frames: 1024,
            transmit_frames: 1024,
            checksums: true,
            begins_at: BEGINNING,
            offload: Offload::default(),
            horizon: Duration::from_secs(10 * 24 * 60 * 60),
            peer: PeerConfig::default(),
        }
    }
}

impl WorldConfig {
    /// Frames are bare IP packets of up to 1500 bytes.
    #[must_use]
    pub fn ip() -> Self {
        Self {
            medium: Medium::Ip,
            mtu: 1500,
            ..Self::default()
        }
    }

    /// Frames arrive at the time when they are sent: the natural choice for a scripted
    /// [`RawPeer`].
    #[must_use]
    pub fn instant() -> Self {
        Self {
            latency: Duration::ZERO,
            ..Self::default()
        }
    }
}
