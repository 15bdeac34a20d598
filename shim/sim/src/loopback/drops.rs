//! The drop switch of one direction.

use std::fmt;

/// Whether to drop a frame.
type Predicate = Box<dyn FnMut(&[u8]) -> bool>;

/// The frames that one direction of the wire drops.
#[derive(Default)]
pub enum Drops {
    /// Nothing.
    #[default]
    Nothing,
    /// Every frame, as when a cable is cut.
    All,
    /// The next frames, up to this number, then nothing.
    Next(u32),
    /// The frames for which the predicate holds. It is called once for each
    /// frame, in the order of sending, and must not set the switch of its
    /// own direction.
    If(Predicate),
}

impl Drops {
    /// Drops the frames for which `predicate` holds.
    ///
    /// ```
    /// use lastbyte_sim::loopback::{Direction, Drops, World, WorldConfig};
    ///
    /// let world = World::new(WorldConfig::default());
    /// // Every third frame towards the peer is lost.
    /// let mut sent = 0;
    /// world.set_drops(Direction::ToPeer, Drops::matching(move |_frame| {
    ///     sent += 1;
    ///     sent % 3 == 0
    /// }));
    /// ```
    pub fn matching(predicate: impl FnMut(&[u8]) -> bool + 'static) -> Self {
        Self::If(Box::new(predicate))
    }

    pub(super) fn drops(&mut self, frame: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Next(left) => {
                let drops = *left > 0;
                *left = left.saturating_sub(1);
                drops
            }
            Self::If(predicate) => predicate(frame),
        }
    }
}

impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::All => f.write_str("All"),
            Self::Next(left) => f.debug_tuple("Next").field(left).finish(),
            Self::If(_) => f.write_str("If(..)"),
        }
    }
}
