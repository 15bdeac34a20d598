//! A line at a fixed interval.

use crate::Outcome;
use crate::session::{Connection, Stop};
use crate::settings::{LostBeat, Settings};
use core::fmt::Write as _;
use core::time::Duration;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::{Clock, Instant, Ledger};

/// The longest line: the message, a space, the number of the beat, a line feed.
const LONGEST_LINE: usize = crate::settings::LONGEST_MESSAGE.saturating_add(22);

/// The beats, over all connections.
pub(crate) struct Beats<'a> {
    message: &'a str,
    every: Duration,
    /// Zero: without end.
    count: u64,
    on_lost: LostBeat,
    /// The number of the next beat.
    next: u64,
    /// The number of beats that were counted as lost.
    lost: u64,
    /// The number of octets of the beats that this connection has accepted completely.
    accepted: u64,
}

impl<'a> Beats<'a> {
    pub(crate) const fn new(settings: &Settings<'a>) -> Self {
        Self {
            message: settings.message,
            every: settings.every,
            count: settings.count,
            on_lost: settings.lost,
            next: 1,
            lost: 0,
            accepted: 0,
        }
    }

    /// Sends beats until the count is reached or the connection ends.
    pub(crate) fn write<D: Device, C: Clock>(
        &mut self,
        connection: &mut Connection<'_, '_, D, C>,
    ) -> Result<(), Stop> {
        self.accepted = 0;
        let mut rhythm = Rhythm::new(connection.now(), self.every);
        loop {
            let line = self.line(self.next);
            connection.write_all(line.as_bytes())?;
            self.accepted = self.accepted.saturating_add(line.octets());
            defmt::info!(
                "beat {}: pending={}",
                self.next,
                connection.ledger().pending()
            );
            self.next = self.next.saturating_add(1);
            if self.is_over() {
                return Ok(());
            }
            let due = rhythm.next(connection.now());
            connection.pause_until(due);
        }
    }

    /// Processes the result of a connection. This decides what happens to a beat that was
    /// accepted but is not known to have arrived.
    pub(crate) fn after(&mut self, ledger: Ledger) -> Option<Outcome> {
        let lost = self.lost_of(ledger.accepted(), ledger.undelivered());
        self.accepted = 0;
        if lost > 0 {
            let last = self.next.saturating_sub(1);
            let first = self.next.saturating_sub(lost);
            defmt::warn!(
                "beats {} to {} are not known to have arrived: {=str}",
                first,
                last,
                self.on_lost.name()
            );
            match self.on_lost {
                // Its content is out of date: that the device was alive at that time.
                LostBeat::Count => self.lost = self.lost.saturating_add(lost),
                // The peer may get a beat twice, if only its acknowledgement was lost.
                LostBeat::SayAgain => self.next = first,
            }
        }
        match (self.is_over(), self.lost) {
            (false, _) => None,
            (true, 0) => Some(Outcome::Done),
            (true, lost) => Some(Outcome::BeatsLost(lost)),
        }
    }

    /// How many of the last beats the peer's TCP has not acknowledged to their last octet.
    fn lost_of(&self, accepted: u64, undelivered: u64) -> u64 {
        // A beat that was accepted in part does not count as sent: the next connection sends
        // it.
        let in_part = accepted.saturating_sub(self.accepted);
        let mut missing = undelivered.saturating_sub(in_part);
        let mut lost: u64 = 0;
        // At most as many iterations as beats fit into the transmit buffer.
        while missing > 0 {
            lost = lost.saturating_add(1);
            let beat = self.next.saturating_sub(lost);
            missing = missing.saturating_sub(self.line(beat).octets());
        }
        lost
    }

    const fn is_over(&self) -> bool {
        self.count > 0 && self.next > self.count
    }

    fn line(&self, beat: u64) -> Line {
        Line::new(self.message, beat)
    }
}

/// When the beats of a connection are due: the first when it opens, and each further one
/// `every` after the previous one was *due*, however long its write took.
struct Rhythm {
    due: Instant,
    every: Duration,
}

impl Rhythm {
    const fn new(first: Instant, every: Duration) -> Self {
        Self { due: first, every }
    }

    /// When the next beat is due. A late beat is due at once. Beats whose whole period has
    /// passed while a write waited are skipped; otherwise a peer that reads again would
    /// get them in a burst.
    fn next(&mut self, now: Instant) -> Instant {
        self.due = self.due + self.every;
        let every = u64::try_from(self.every.as_micros()).unwrap_or(u64::MAX);
        let late = now.as_micros().saturating_sub(self.due.as_micros());
        let within_period = late.checked_rem(every).unwrap_or(0);
        let left_out = late.saturating_sub(within_period);
        self.due = self.due + Duration::from_micros(left_out);
        self.due
    }
}

/// A line of text in memory of a fixed size.
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

    fn octets(&self) -> u64 {
        u64::try_from(self.len).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn the_duration_of_a_write_delays_no_beat() {
        let mut rhythm = Rhythm::new(at(7), EVERY);
        for beat in 1..1_000 {
            let write = beat * 31 % 50;
            let now = at(7 + (beat - 1) * 50 + write);
            assert_eq!(rhythm.next(now), at(7 + beat * 50));
        }
    }

    #[test]
    fn a_late_beat_is_due_at_once_and_delays_no_other() {
        let mut rhythm = Rhythm::new(at(0), EVERY);
        assert_eq!(rhythm.next(at(99)), at(50));
        assert_eq!(rhythm.next(at(99)), at(100));
    }

    #[test]
    fn beats_whose_period_has_passed_are_skipped() {
        let mut rhythm = Rhythm::new(at(0), EVERY);
        assert_eq!(rhythm.next(at(1_234)), at(1_200));
        assert_eq!(rhythm.next(at(1_234)), at(1_250));
    }

    #[test]
    fn without_a_period_a_beat_is_always_due() {
        let mut rhythm = Rhythm::new(at(3), Duration::ZERO);
        assert_eq!(rhythm.next(at(10)), at(10));
    }

    /// Beats 8 to 11 were accepted completely, and some octets of the next: `beat 8` and the
    /// line feed are 7 octets, `beat 10` 8.
    #[test]
    fn a_beat_is_lost_unless_its_last_octet_was_acknowledged() {
        let mut beats = Beats::new(&Settings::default());
        beats.next = 12;
        beats.accepted = 7 + 7 + 8 + 8;
        for (in_part, undelivered, lost) in [
            (0, 0, 0),
            (0, 1, 1),
            (0, 8, 1),
            (0, 9, 2),
            (0, 16, 2),
            (0, 17, 3),
            (0, 30, 4),
            (3, 3, 0),
            (3, 4, 1),
            (3, 33, 4),
        ] {
            assert_eq!(beats.lost_of(30 + in_part, undelivered), lost);
        }
    }
}
