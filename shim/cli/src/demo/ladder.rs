//! A time-sequence diagram for the terminal: two ends, and the segments between them.

use super::style::Style;
use lastbyte::Instant;
use lastbyte_sim::loopback::{Direction, LogEntry};
use std::io::{self, Write};

/// Columns between the two ends.
const WIDTH: usize = 46;

/// Something that happened at our end, besides the segments.
#[derive(Debug, Clone)]
pub(super) struct Note {
    at: Instant,
    text: String,
}

impl Note {
    pub(super) fn ours(at: Instant, text: &str) -> Self {
        Self {
            at,
            text: text.to_owned(),
        }
    }
}

/// A line of the diagram.
#[derive(Debug)]
enum Row<'a> {
    Segment(&'a LogEntry),
    Note(Note),
}

/// The diagram: segments by the time they were sent, with notes in between.
#[derive(Debug)]
pub(super) struct Ladder<'a> {
    begins_at: Instant,
    rows: Vec<(Instant, Row<'a>)>,
}

impl<'a> Ladder<'a> {
    pub(super) fn new(begins_at: Instant, entries: &'a [LogEntry], notes: Vec<Note>) -> Self {
        let segments = entries
            .iter()
            .filter(|entry| entry.summary.contains('>'))
            .map(|entry| (entry.sent_at, Row::Segment(entry)));
        let notes = notes.into_iter().map(|note| (note.at, Row::Note(note)));
        let mut rows: Vec<_> = notes.chain(segments).collect();
        // The sort is stable: at the same instant, a call comes before what it sent.
        rows.sort_by_key(|(at, _)| *at);
        Self { begins_at, rows }
    }

    pub(super) fn draw(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(
            out,
            "    {:>8}  client{}server",
            "ms",
            " ".repeat(WIDTH - 6)
        )?;
        for (at, row) in &self.rows {
            let at = format!(
                "{:>8.1}",
                at.since(self.begins_at).as_micros() as f64 / 1_000.0
            );
            let at = style.dim(&at);
            match row {
                Row::Note(note) => {
                    let pad = " ".repeat(WIDTH.saturating_sub(note.text.len() + 2));
                    let text = if note.text.contains("PeerClosed") {
                        style.good(&note.text)
                    } else {
                        style.strong(&note.text)
                    };
                    writeln!(out, "    {at}  o {text}{pad} |")?;
                }
                Row::Segment(entry) => {
                    writeln!(out, "    {at}  |{}|", arrow(entry))?;
                }
            }
        }
        Ok(())
    }
}

/// The shaft of a segment's arrow, with its label in the middle.
fn arrow(entry: &LogEntry) -> String {
    let label = label(&entry.summary);
    let shaft = WIDTH.saturating_sub(label.len() + 5);
    let (left, right) = ("-".repeat(shaft / 2), "-".repeat(shaft - shaft / 2));
    match entry.direction {
        Direction::ToPeer if entry.fate.is_lost() => format!(" {left} {label} {right}x "),
        Direction::ToPeer => format!(" {left} {label} {right}> "),
        Direction::ToUs if entry.fate.is_lost() => format!(" x{left} {label} {right} "),
        Direction::ToUs => format!(" <{left} {label} {right} "),
    }
}

/// Flags and length, without ports, numbers and windows.
fn label(summary: &str) -> String {
    let mut words = summary.split(' ').skip(3);
    let flags = words.next().unwrap_or_default();
    let mut rest = words.skip_while(|word| *word != "len");
    match rest.nth(1) {
        Some(len) => format!("{flags}, {len} bytes"),
        None => flags.to_owned(),
    }
}
