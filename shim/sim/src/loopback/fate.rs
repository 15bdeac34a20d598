//! What the wire does to a frame.

use std::fmt;

use lastbyte::Instant;

/// Why a frame was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// A [drop switch](super::Drops).
    Switched,
    /// A random loss.
    Random,
    /// A burst of losses.
    Burst,
    /// The path was interrupted.
    Partition,
    /// The queue before a slow line was full.
    QueueFull,
    /// It was longer than the path's MTU, and no ICMP error reported it.
    TooLong,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switched => "dropped",
            Self::Random => "lost",
            Self::Burst => "lost in a burst",
            Self::Partition => "no way through",
            Self::QueueFull => "queue full",
            Self::TooLong => "too long",
        })
    }
}

/// The damage to a frame that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Damage {
    /// This bit is inverted, counted from the first bit of the frame.
    Bit(usize),
    /// Only this many octets are left.
    Cut(usize),
}

impl Damage {
    pub(crate) fn apply(self, frame: &mut Vec<u8>) {
        match self {
            Self::Bit(bit) => {
                if let Some(octet) = frame.get_mut(bit / 8) {
                    *octet ^= 1 << (bit % 8);
                }
            }
            Self::Cut(len) => frame.truncate(len),
        }
    }
}

/// What the wire does to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It never arrives.
    Lost(Loss),
    /// It arrives.
    Arrives {
        /// When.
        at: Instant,
        /// When a second copy arrives, if there is one.
        again_at: Option<Instant>,
        /// The damage to the first copy (the second copy is undamaged).
        damage: Option<Damage>,
    },
}

impl Fate {
    /// It arrives at this time, once and undamaged.
    #[must_use]
    pub const fn sound(at: Instant) -> Self {
        Self::Arrives {
            at,
            again_at: None,
            damage: None,
        }
    }

    /// Whether no copy of it arrives.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// When the first copy arrives; `None` if it is lost.
    #[must_use]
    pub const fn arrives_at(self) -> Option<Instant> {
        match self {
            Self::Lost(_) => None,
            Self::Arrives { at, .. } => Some(at),
        }
    }
}

/// Decides the fate of each frame of one direction; see
/// [`World::set_path`](super::World::set_path).
pub trait Path {
    /// The fate of this frame, which is sent at `now`. Called once for each frame, in the
    /// order of sending.
    fn carry(&mut self, now: Instant, frame: &[u8]) -> Fate;
}

impl<F: FnMut(Instant, &[u8]) -> Fate> Path for F {
    fn carry(&mut self, now: Instant, frame: &[u8]) -> Fate {
        self(now, frame)
    }
}
