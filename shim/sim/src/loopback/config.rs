//! What a world is made of.

use std::time::Duration;

use lastbyte::Instant;
use smoltcp::phy::Medium;

use super::PeerConfig;
#[cfg(doc)]
use super::{RawPeer, World};

/// What the clock shows when a [`World`] begins, unless it is made otherwise:
/// 3 h 17 min 41.123457 s. A clock that began at zero would hide what depends
/// on it, as smoltcp's first window probe does.
pub const BEGINNING: Instant = Instant::from_micros(11_861_123_457);
/// The checksums that our device takes care of: it fills in those of what it
/// sends, and drops what arrives with a wrong one. What it does not take care of
/// is left to the stack, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Fills in that of the IPv4 header.
    pub ipv4_tx: bool,
    /// Verifies that of the IPv4 header.
    pub ipv4_rx: bool,
    /// Fills in that of TCP.
    pub tcp_tx: bool,
    /// Verifies that of TCP.
    pub tcp_rx: bool,
}

impl Offload {
    /// Whether the device takes care of none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// What a [`World`] is made of. Every field has a default.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// How long a frame travels, each way. Default 1 ms; zero is allowed.
    pub latency: Duration,
    /// What the frames begin with. Default Ethernet.
    pub medium: Medium,
    /// Longest frame in bytes, with its Ethernet header if there is one.
    /// Default 1514.
    pub mtu: usize,
    /// Frames each direction has in flight at most (a device refuses more),
    /// and as many again that have arrived and wait to be taken (what comes
    /// on top is lost, and [counted](super::Counters::overflowed)). Default
    /// 1024.
    pub queue_frames: usize,
    /// Frames of our end in flight at most, if fewer than `queue_frames`: our
    /// device's transmit queue. Default 1024.
    pub transmit_frames: usize,
    /// Whether checksums are made and checked. Default true.
    pub checksums: bool,
    /// What the clock shows at the beginning. Default [`BEGINNING`].
    pub begins_at: Instant,
    /// What our device does about them in place of our stack. Default nothing.
    pub offload: Offload,
    /// Virtual time after which a run counts as hung and panics. Default 10
    /// days.
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

    /// Frames arrive at the very time they are sent: the natural choice for
    /// a scripted [`RawPeer`].
    #[must_use]
    pub fn instant() -> Self {
        Self {
            latency: Duration::ZERO,
            ..Self::default()
        }
    }
}
