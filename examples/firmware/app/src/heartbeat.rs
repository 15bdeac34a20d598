//! A line every so often.

use crate::session::{Connection, Stop};
use crate::settings::Settings;
use core::fmt::Write as _;
use core::time::Duration;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::{Clock, Report};

/// The longest line: the message, a space, the number of the beat, a line feed.
const LONGEST_LINE: usize = crate::settings::LONGEST_MESSAGE.saturating_add(22);

/// The beats that were accepted so far, over all connections.
///
/// A beat is not repeated on the next connection: it says that the device is
/// alive now. Those that are not known to have arrived are in the ledger.
pub(crate) struct Beats<'a> {
    message: &'a str,
    every: Duration,
    /// Zero: no end.
    count: u64,
    accepted: u64,
}

impl<'a> Beats<'a> {
    pub(crate) const fn new(settings: &Settings<'a>) -> Self {
        Self {
            message: settings.message,
            every: settings.every,
            count: settings.count,
            accepted: 0,
        }
    }

    /// Beats until the count is reached or the peer is gone.
    pub(crate) fn write<D: Device, C: Clock>(
        &mut self,
        connection: &mut Connection<'_, '_, D, C>,
    ) -> Result<(), Stop> {
        loop {
            let beat = self.accepted.saturating_add(1);
            connection.write_all(Line::new(self.message, beat).as_bytes())?;
            self.accepted = beat;
            let ledger = connection.ledger();
            defmt::info!("beat {}: pending={}", beat, ledger.pending());
            if self.accepted == self.count {
                return Ok(());
            }
            connection.pause(self.every);
        }
    }

    pub(crate) const fn is_done_after(&self, report: &Report) -> bool {
        self.count > 0 && self.accepted >= self.count && report.ledger.undelivered() == 0
    }
}

/// A line of text in memory that is fixed at compile time.
struct Line {
    text: [u8; LONGEST_LINE],
    len: usize,
}

impl Line {
    fn new(message: &str, beat: u64) -> Self {
        let mut line = Self {
            text: [0; LONGEST_LINE],
            len: 0,
        };
        // The longest message and the largest number fit.
        let _ = writeln!(line, "{message} {beat}");
        line
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let free = self.text.get_mut(self.len..).unwrap_or_default();
        let room = free.get_mut(..text.len()).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = self.len.saturating_add(text.len());
        Ok(())
    }
}
