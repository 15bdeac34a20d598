//! What the connections of a thread do, reported as it happens.
//!
//! For tests of applications, on hosts: the simulator uses it to draw and judge a firmware
//! that it does not know. With the feature `trace` a test sets one observer for each
//! thread. Without the feature the compiler removes all of this.

use crate::Instant;
use crate::core::connection::Connection;
use crate::core::error::WriteError;
use crate::core::state::Event;
#[cfg(feature = "trace")]
use core::cell::Cell;

/// Whether there can be an observer.
#[cfg(feature = "smoltcp")]
pub(crate) const IS_ON: bool = cfg!(feature = "trace");

/// What a connection does.
#[cfg_attr(
    not(feature = "trace"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "read only with `trace`, and mostly reported by the stack layer"
    )
)]
///
/// Exhaustive: an observer that judges each variant must fail to compile when one is
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'n> {
    /// A call has opened the connection.
    Opened {
        /// Our port.
        local_port: u16,
        /// The peer's port; `None` if the connection listens.
        remote_port: Option<u16>,
    },
    /// A cell of the transition table was used for an event or a write: `7` is T007.
    Row(u8),
    /// The transition table processed an event: a call, a fact or a timeout.
    Event(Event),
    /// A write has put these bytes into the transmit buffer. The ledger counts them next.
    Written(&'n [u8]),
    /// The ledger counts bytes that were written.
    Accepted,
    /// The ledger counts bytes that the peer acknowledged.
    Acknowledged,
    /// A read has taken these bytes out of the receive buffer.
    Read(&'n [u8]),
    /// A write was refused, or a call reached its timeout.
    Failed(WriteError),
    /// A flush begins.
    Flush,
    /// A flush has ended with this result.
    Flushed(Result<(), WriteError>),
    /// A blocking call waits, perhaps not for the first time.
    Waits {
        /// When it began.
        since: Instant,
    },
}

/// A function that is called for each note, while a call is in progress. It must not call
/// into the stack.
#[cfg(feature = "trace")]
pub type Observer = fn(&Connection, Note<'_>);

#[cfg(feature = "trace")]
std::thread_local! {
    static OBSERVER: Cell<Option<Observer>> = const { Cell::new(None) };
}

/// Sets the observer of this thread. Returns the previous one.
///
/// ```
/// use lastbyte::trace::{Note, set};
/// use lastbyte::core::Connection;
/// use lastbyte::{Instant, Options};
///
/// set(Some(|connection, note| println!("{}: {note:?}", connection.tag())));
/// Connection::new(1).handle_connect(Options::default(), Instant::ZERO);
/// assert!(set(None).is_some());
/// ```
#[cfg(feature = "trace")]
#[expect(
    clippy::must_use_candidate,
    reason = "called for the effect, unless there was another"
)]
pub fn set(observer: Option<Observer>) -> Option<Observer> {
    OBSERVER.replace(observer)
}

/// Calls the observer of this thread, if there is one.
#[cfg(feature = "trace")]
pub(crate) fn report(connection: &Connection, note: Note<'_>) {
    if let Some(observer) = OBSERVER.get() {
        observer(connection, note);
    }
}

/// Does nothing: there are no observers.
#[cfg(not(feature = "trace"))]
pub(crate) const fn report(_: &Connection, _: Note<'_>) {}
