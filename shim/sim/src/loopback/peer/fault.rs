//! Faults at exactly one byte of a stream.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::Ending;
use crate::loopback::World;

/// A place in the stream of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// The peer's TCP has received exactly this many bytes of ours. A segment with more
    /// bytes is split, so that the peer does not receive a byte too many. The rest is
    /// received once the fault has happened. 0: the connection is open.
    Received(u64),
    /// The peer has sent exactly this many bytes, and we have acknowledged them. Further
    /// bytes wait until the fault has happened. (A [`StreamFault::End`] by a FIN does not
    /// wait for our acknowledgement.)
    Sent(u64),
}

/// A fault that happens at a [`Mark`]: once for each connection, before anything else at that
/// time.
///
/// ```
/// use std::time::Duration;
/// use lastbyte_sim::loopback::{Behaviour, Ending, Mark, StreamFault};
///
/// // Hangs for 5 s at byte 300, and resets at byte 1,000.
/// let behaviour = Behaviour::sink()
///     .fault(Mark::Received(300), StreamFault::Stalls(Duration::from_secs(5)))
///     .fault(Mark::Received(1_000), StreamFault::End(Ending::Reset));
/// # let _ = behaviour;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// The peer ends the connection.
    End(Ending),
    /// The application at the peer stops reading; its TCP still fills its buffer.
    StopsReading,
    /// The application at the peer hangs for this long: it neither reads nor sends.
    Stalls(Duration),
    /// The link is down for this long, in both directions; what is in flight is lost. See
    /// [`World::set_link`].
    LinkDown(Duration),
    /// The peer's machine neither receives nor sends for this long, and keeps its connections.
    Vanishes(Duration),
    /// The peer's machine reboots, with this seed: see [`Peer::reboot`](super::Peer::reboot).
    Reboots(u64),
    /// Anything else.
    Call(Action),
}

/// An action of a test on the world when a [`Mark`] is reached.
///
/// ```
/// use lastbyte_sim::loopback::{Action, Behaviour, Direction, Drops, Mark, StreamFault};
///
/// // The frame that acknowledges byte 100 is lost.
/// let action = Action::new(|world| world.set_drops(Direction::ToUs, Drops::Next(1)));
/// let behaviour = Behaviour::sink().fault(Mark::Received(100), StreamFault::Call(action));
/// # let _ = behaviour;
/// ```
#[derive(Clone)]
pub struct Action(Rc<dyn Fn(&World)>);

impl Action {
    /// Runs `action`, once for each connection that reaches the mark.
    pub fn new(action: impl Fn(&World) + 'static) -> Self {
        Self(Rc::new(action))
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Action(..)")
    }
}

impl PartialEq for Action {
    /// Whether it is the same action.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Action {}

/// The faults that have just happened at marks.
#[derive(Debug, Default)]
pub(super) struct Suffered {
    /// Whether a fault has happened: its effects come before the next byte is received.
    pub(super) any: bool,
    /// The faults that concern more than one connection and have still to happen.
    pub(super) outside: Vec<Outside>,
}

/// A fault that concerns more than one connection.
#[derive(Debug)]
pub(super) enum Outside {
    LinkDown(Duration),
    Vanishes(Duration),
    Reboots(u64),
    Call(Action),
}

impl Outside {
    /// Performs the fault, while the peer is not borrowed.
    pub(super) fn happen(self, world: &World) {
        let since = world.now();
        match self {
            Self::LinkDown(lasts) => {
                world.set_link(false);
                world.at(since + lasts, |world| world.set_link(true));
            }
            Self::Vanishes(lasts) => {
                world.peer().set_presence(super::Presence::Absent);
                world.at(since + lasts, |world| {
                    world.peer().set_presence(super::Presence::Present);
                });
            }
            Self::Reboots(seed) => world.peer().reboot(seed),
            Self::Call(action) => (action.0)(world),
        }
    }
}
