//! All cells of the table, on all cores.

use crate::Failure;
use crate::cell::{Cell, Outcome};
use crate::content::Content;
use crate::ends::Writer;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The results of a cell, by writer in the order of [`Writer::ALL`].
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub cell: Cell,
    pub results: [Summary; Writer::ALL.len()],
}

/// The result of several runs.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// The median time; `None` if that run was stopped or a connection of it ended.
    pub time: Option<Duration>,
    /// The number of runs in which a timeout of lastbyte ended a connection.
    pub ended: usize,
    /// The number of octets of data that our end sent, in all runs.
    pub sent: u64,
    /// The number of octets of data that the peer received, in all runs.
    pub delivered: u64,
}

impl Summary {
    fn of(outcomes: &[Outcome]) -> Self {
        let mut times: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.time.unwrap_or(Duration::MAX))
            .collect();
        times.sort();
        let median = times.get(times.len() / 2).copied();
        Self {
            time: median.filter(|&time| time < Duration::MAX),
            ended: outcomes.iter().filter(|outcome| outcome.has_ended).count(),
            sent: outcomes.iter().map(|outcome| outcome.sent).sum(),
            delivered: outcomes.iter().map(|outcome| outcome.delivered).sum(),
        }
    }

    /// The percentage of the sent octets that the peer did not need.
    pub fn percent_twice(&self) -> f64 {
        100.0 * (self.sent - self.delivered) as f64 / self.sent.max(1) as f64
    }
}

impl Row {
    pub fn of(&self, writer: Writer) -> Summary {
        self.results[writer as usize]
    }

    /// The time as a multiple of the line's own; `None` if the run was stopped.
    pub fn ratio(&self, writer: Writer) -> Option<f64> {
        let time = self.of(writer).time?;
        Some(time.as_secs_f64() / self.cell.own_time().as_secs_f64())
    }

    fn measure(cell: Cell, seeds: u64, content: &Content) -> Result<Self, Failure> {
        let seeds = if cell.loss == 0 { 1 } else { seeds };
        let mut results = Vec::new();
        for writer in Writer::ALL {
            let outcomes = (0..seeds).map(|seed| cell.run(writer, seed, content));
            let outcomes: Result<Vec<_>, Failure> = outcomes.collect();
            let outcomes =
                outcomes.map_err(|error| format!("{} in {cell:?}: {error}", writer.name()))?;
            results.push(Summary::of(&outcomes));
        }
        let results = results.try_into().map_err(|_| "one result a writer")?;
        Ok(Self { cell, results })
    }
}

/// Measures `cells`. The rows are in the same order.
pub fn measure(cells: &[Cell], seeds: u64, content: &Content) -> Result<Vec<Row>, Failure> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let work = || {
        while let Some(&cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = Row::measure(cell, seeds, content);
            if let Ok(mut rows) = rows.lock() {
                rows.push((cell, row));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let rows = rows.into_inner().map_err(|_| "a run failed")?;
    let mut rows = rows
        .into_iter()
        .map(|(_, row)| row)
        .collect::<Result<Vec<Row>, Failure>>()?;
    rows.sort_by_key(|row| cells.iter().position(|&cell| cell == row.cell));
    Ok(rows)
}
