//! What a connection reports: advice, progress, and the final report.

use crate::core::facts::Window;
use crate::core::ledger::Ledger;
use crate::core::state::{Cause, State};
use core::fmt;
use core::time::Duration;

/// Information that the application may act on; the connection does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Advice {
    /// Bytes are pending and no progress was made for three retransmissions
    /// or the stall advice time (RFC 9293, 3.8.3, R1). The connection is open.
    Stalled,
    /// An ICMP error reports the peer as unreachable. It does not end an open connection
    /// (RFC 9293, MUST-56; RFC 5461, 4).
    Icmp,
    /// The link went down. It may come back.
    LinkDown,
    /// A router reports that a segment was too large for the path. [`Report::path_mtu`]
    /// is the largest packet that it forwards. Open the next connection with a smaller
    /// [`Options::max_segment`](crate::Options::max_segment).
    NarrowPath,
}

/// Whether there is something to advise, and whether the advice was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Note {
    None,
    Due,
    Given,
}

impl Note {
    /// Makes advice due. Advice that was given is not given again.
    pub(crate) const fn raise(&mut self) {
        if matches!(self, Self::None) {
            *self = Self::Due;
        }
    }

    /// Returns whether advice is due, and marks it as given.
    pub(crate) const fn take(&mut self) -> bool {
        let is_due = matches!(self, Self::Due);
        if is_due {
            *self = Self::Given;
        }
        is_due
    }

    pub(crate) const fn is_raised(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// What the driver reported about the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Link {
    NeverDown,
    Down,
    WasDown,
}

impl Link {
    pub(crate) const fn changed(self, up: bool) -> Self {
        match (self, up) {
            (_, false) => Self::Down,
            (Self::NeverDown, true) => Self::NeverDown,
            (Self::Down | Self::WasDown, true) => Self::WasDown,
        }
    }

    pub(crate) const fn is_down(self) -> bool {
        matches!(self, Self::Down)
    }

    pub(crate) const fn was_down(self) -> bool {
        match self {
            Self::NeverDown => false,
            Self::Down | Self::WasDown => true,
        }
    }
}

/// The progress of a connection while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress {
    /// The state of the connection.
    pub state: State,
    /// Accepted, acknowledged, pending.
    pub ledger: Ledger,
    /// Whether the window of the peer is open.
    pub window: Window,
    /// Whether the stall advice was given and there was no progress since.
    pub is_stalled: bool,
    /// Whether the receive buffer is full. While it is, a FIN after the unread bytes
    /// cannot be detected. Always `false` if received bytes are discarded.
    pub is_receive_full: bool,
}

/// The report of a connection.
///
/// ```
/// use lastbyte::core::Connection;
/// use lastbyte::Instant;
///
/// let report = Connection::new(1).report(Instant::ZERO);
/// assert_eq!(
///     report.to_string(),
///     "not ended: 0 bytes accepted, 0 acknowledged, 0 not known to be delivered"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// Why the connection ended; `None` while it lives.
    pub cause: Option<Cause>,
    /// Accepted, acknowledged, undelivered.
    pub ledger: Ledger,
    /// Bytes of the peer that were dropped unread.
    pub discarded: u64,
    /// Writes that accepted at least one byte.
    pub writes_accepted: u64,
    /// Writes that the state refused.
    pub writes_refused: u64,
    /// Whether the link was down at any time.
    pub link_was_down: bool,
    /// The MTU of the path in octets, as a router reported it when it dropped a segment of
    /// ours: the smallest one, if there were several. Headers take 40 octets with IPv4, 60
    /// with IPv6. `None` if no router reported any.
    pub path_mtu: Option<u16>,
    /// The time from opening to the end, or to the time of the report. Zero for a connection
    /// that was never opened.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    /// The cause and the ledger, and how many received bytes were discarded, if any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.cause.map_or("not ended", Cause::name);
        write!(f, "{cause}: {}", self.ledger)?;
        if self.discarded > 0 {
            write!(f, ", {} received and discarded", self.discarded)?;
        }
        if self.link_was_down {
            f.write_str(", the link was down")?;
        }
        Ok(())
    }
}
