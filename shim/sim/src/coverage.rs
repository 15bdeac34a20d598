//! Measures how much of the transition table simulations reach.
//!
//! A cell that can be reached but never is shows what scenarios lack. This file lists
//! which cells cannot be reached, and why, so that both a gap and a wrong reason are
//! detected.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use lastbyte::core::transition::transition;
use lastbyte::core::{Closer, Connection, Event, Incoming};
use lastbyte::trace::{self, Note};
use lastbyte::{Cause, OnPeerFin, State};

/// One cell of the transition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number, as in `T007`.
    pub number: u8,
    /// The state. One ended connection stands for all causes.
    pub state: State,
    /// The event.
    pub event: Event,
}

impl Row {
    /// Every cell, in the order of the printed table.
    pub fn all() -> impl Iterator<Item = Self> {
        let is_shown = |state: &State| !state.is_closed() || *state == ENDED;
        let states = State::ALL.into_iter().filter(is_shown);
        states.flat_map(|state| {
            Event::ALL.into_iter().map(move |event| Self {
                number: transition(state, event).row,
                state,
                event,
            })
        })
    }

    /// Why no simulation reaches the cell; `None` if one must.
    #[must_use]
    pub fn excuse(&self) -> Option<&'static str> {
        match self.event {
            Event::Connect | Event::Listen | Event::Release => excuse_opening(self),
            Event::Write | Event::FinishWriting | Event::Finish => match self.state {
                State::Idle => Some("every run opens a slot before it uses it"),
                _ => None,
            },
            // A stack that is dropped aborts its slots, whatever their state.
            Event::Abort => None,
            Event::ConnectTimeout
            | Event::UserTimeout
            | Event::ProgressTimeout
            | Event::FinishTimeout => excuse_limit(self),
            _ => excuse_fact(self),
        }
    }

    /// Why the cell may be reached but need not be: once in millions of runs.
    #[must_use]
    pub fn rarity(&self) -> Option<&'static str> {
        match (self.state, self.event) {
            (
                State::PeerFinished(OnPeerFin::Refuse) | State::Finishing(Closer::Peer),
                Event::PeerFin(OnPeerFin::Refuse),
            )
            | (State::PeerFinished(OnPeerFin::HalfClose), Event::PeerFin(OnPeerFin::HalfClose))
            | (State::WriteFinished(Incoming::Ended), Event::PeerFin(_)) => {
                Some("a FIN after data that was only kept in part is retransmitted")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ENDED => "Closed(any)".to_owned(),
            state => state.to_string(),
        };
        let event = self.event.to_string();
        write!(f, "T{:03}  {state:<23} {event:<19}", self.number)
    }
}

/// The ended connection that stands for every cause in the printed table.
const ENDED: State = State::Closed(Cause::PeerFinished);

fn excuse_opening(row: &Row) -> Option<&'static str> {
    match (row.state, row.event) {
        (State::Idle, _) | (State::Closed(_), Event::Release) => None,
        (State::Closed(_), _) => Some("opening a slot releases it first"),
        _ => Some("a slot that lives is neither opened nor released"),
    }
}

fn excuse_limit(row: &Row) -> Option<&'static str> {
    match (row.state, row.event) {
        (State::Idle | State::Closed(_), _) => Some("no timer runs"),
        (State::Connecting | State::Listening, Event::ConnectTimeout) => None,
        (_, Event::ConnectTimeout) => Some("the handshake stops the timer"),
        (State::Connecting | State::Listening, Event::UserTimeout | Event::ProgressTimeout) => {
            Some("the handshake precedes the timer")
        }
        (State::WriteFinished(_) | State::Finishing(_), Event::FinishTimeout) => None,
        (_, Event::FinishTimeout) => Some("finishing starts the timer"),
        _ => None,
    }
}

fn excuse_fact(row: &Row) -> Option<&'static str> {
    let is_opening = matches!(row.state, State::Connecting | State::Listening);
    match (row.state, row.event) {
        (State::Idle, _) => Some("nothing on the wire belongs to it"),
        (_, Event::Established) if !is_opening => Some("the handshake completes once"),
        (_, Event::PeerFin(_)) if is_opening => Some("the handshake is reported before the FIN"),
        (
            State::PeerFinished(OnPeerFin::Refuse) | State::Finishing(Closer::Peer),
            Event::PeerFin(OnPeerFin::HalfClose),
        )
        | (State::PeerFinished(OnPeerFin::HalfClose), Event::PeerFin(OnPeerFin::Refuse)) => {
            Some("a retransmitted FIN meets the same policy")
        }
        (State::Listening, Event::PeerRst) => Some("the socket listens again by itself"),
        (State::Closed(_), Event::AddressLost) => Some("the owner of the address is not checked"),
        (State::Closed(_), Event::Unreachable) => Some("an ended connection ignores ICMP errors"),
        (State::Finishing(_), _) => None,
        (State::WriteFinished(_) | State::Closed(_), Event::FinAcknowledged) => None,
        (_, Event::FinAcknowledged) => Some("no FIN of ours was sent"),
        (_, Event::DrainedUnread) => Some("reported only while finishing"),
        _ => None,
    }
}

/// The cells that runs of this process have reached, as bits.
static REACHED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Records that a run has reached a cell. If it was reached before, this is one load.
pub(super) fn mark(row: u8) {
    let (word, bit) = (&REACHED[usize::from(row >> 6)], 1 << (row & 63));
    if word.load(Ordering::Relaxed) & bit == 0 {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Records the cells that the connections of this thread reach, until it is dropped.
pub(super) struct Marking {
    before: Option<trace::Observer>,
}

impl Marking {
    pub(super) fn begin() -> Self {
        let observe: trace::Observer = |_: &Connection, note: Note<'_>| {
            if let Note::Row(row) = note {
                mark(row);
            }
        };
        Self {
            before: trace::set(Some(observe)),
        }
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        trace::set(self.before);
    }
}

/// The cells that were reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    is_reached: [bool; 256],
}

impl Coverage {
    /// What the runs of this process have reached so far.
    ///
    /// ```
    /// use lastbyte_sim::{Coverage, Profile, Row, Scenario, run};
    ///
    /// let _ = run(&Scenario::new(Profile::Lan, 1));
    /// let connect = Row::all().next().expect("the table is not empty");
    /// assert!(Coverage::now().is_reached(&connect));
    /// ```
    #[must_use]
    pub fn now() -> Self {
        let words = REACHED.each_ref().map(|word| word.load(Ordering::Relaxed));
        let is_reached = |row: &u8| words[usize::from(row >> 6)] & (1 << (row & 63)) != 0;
        Self::of((0..=u8::MAX).filter(is_reached))
    }

    fn of(rows: impl IntoIterator<Item = u8>) -> Self {
        let mut is_reached = [false; 256];
        for row in rows {
            is_reached[usize::from(row)] = true;
        }
        Self { is_reached }
    }

    /// Forgets what the runs of this process have reached.
    pub fn reset() {
        for word in &REACHED {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Whether this cell was reached.
    #[must_use]
    pub fn is_reached(&self, row: &Row) -> bool {
        self.is_reached[usize::from(row.number)]
    }

    /// How many cells were reached.
    #[must_use]
    pub fn reached(&self) -> usize {
        Row::all().filter(|row| self.is_reached(row)).count()
    }

    /// Cells that can be reached, and were not.
    #[must_use]
    pub fn missing(&self) -> Vec<Row> {
        let is_due = |row: &Row| row.excuse().is_none() && row.rarity().is_none();
        let is_missing = |row: &Row| !self.is_reached(row) && is_due(row);
        Row::all().filter(is_missing).collect()
    }

    /// Cells that were reached, although they are listed as out of reach.
    #[must_use]
    pub fn unexpected(&self) -> Vec<Row> {
        let is_unexpected = |row: &Row| self.is_reached(row) && row.excuse().is_some();
        Row::all().filter(is_unexpected).collect()
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = Row::all().filter(|row| self.is_reached(row));
        f.debug_set()
            .entries(reached.map(|row| row.number))
            .finish()
    }
}

/// The table, one cell in a line, and the total.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut reached, mut reachable) = (0, 0);
        for row in Row::all() {
            let is_reached = self.is_reached(&row);
            reached += usize::from(is_reached);
            let excuse = row.excuse().or(row.rarity());
            reachable += usize::from(is_reached || excuse.is_none());
            match (is_reached, excuse) {
                (true, Some(_)) if row.rarity().is_some() => writeln!(f, "{row} reached")?,
                (false, Some(why)) if row.rarity().is_some() => writeln!(f, "{row} rare: {why}")?,
                (true, None) => writeln!(f, "{row} reached")?,
                (true, Some(excuse)) => writeln!(f, "{row} REACHED, although: {excuse}")?,
                (false, None) => writeln!(f, "{row} MISSING")?,
                (false, Some(excuse)) => writeln!(f, "{row} out of reach: {excuse}")?,
            }
        }
        let all = Row::all().count();
        write!(
            f,
            "reached {reached} of {reachable} rows, {all} with those out of reach"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table_is_listed_once() {
        let numbers: Vec<u8> = Row::all().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=209).collect::<Vec<u8>>());
    }

    #[test]
    fn a_cell_is_missing_or_excused_until_it_is_reached() {
        let excused = Row::all().filter(|row| row.excuse().is_some()).count();
        let rare = Row::all().filter(|row| row.rarity().is_some()).count();
        let none = Coverage::of([]);
        assert_eq!(none.missing().len() + excused + rare, 209);
        assert_eq!(none.unexpected(), []);
        let all = Coverage::of(1..=209);
        assert_eq!(all.missing(), []);
        assert_eq!(all.unexpected().len(), excused);
    }

    #[test]
    fn cells_that_change_a_state_have_no_excuse() {
        for row in Row::all().filter(|row| row.excuse().is_some()) {
            let next = transition(row.state, row.event).next;
            assert_eq!(next, row.state, "{row}");
        }
    }

    #[test]
    fn the_table_lists_missing_cells_with_reasons() {
        let text = Coverage::of([1, 19]).to_string();
        let line = |number: usize| text.lines().nth(number - 1).unwrap_or_default();
        assert!(line(1).ends_with(" reached"), "{}", line(1));
        assert!(line(2).ends_with(" MISSING"), "{}", line(2));
        assert!(line(19).contains("REACHED, although"), "{}", line(19));
        assert!(line(20).contains("out of reach: "), "{}", line(19));
        assert!(line(210).starts_with("reached 2 of "), "{}", line(210));
    }
}
