//! `lastbyte heartbeat`: sends the same message again and again.

use std::time::Duration;

use lastbyte::Instant;

use super::args::HeartbeatArgs;
use super::exit::Failure;
use super::over::Connection;
use super::progress::Line;
use super::send;
use super::session::{Feed, Supply};

/// Runs `lastbyte heartbeat`.
///
/// # Errors
///
/// There was no connection; [`Failure`] contains the reason.
pub fn run(args: HeartbeatArgs) -> Result<u8, Failure> {
    let connection = &args.connection;
    send::transfer(connection, &args.target, |signals| {
        let beats = Beats {
            message: args.message.clone().read(connection, signals)?,
            every: args.every,
            left: args.count,
            unsent: 0,
            due_at: None,
            was_refused: false,
            write_size: connection.write_size.unwrap_or(usize::MAX),
        };
        Ok((beats, Line::new(None, connection.shows_progress())))
    })
}

/// One message per interval. A beat that is not yet completely accepted delays the next
/// ones; they do not accumulate.
#[derive(Debug)]
struct Beats {
    message: Vec<u8>,
    every: Duration,
    /// How many more beats to begin; `None`: without end.
    left: Option<u64>,
    /// How many bytes at the end of the message are still to be written for the present beat.
    unsent: usize,
    due_at: Option<Instant>,
    was_refused: bool,
    write_size: usize,
}

impl Beats {
    /// Begins a beat if one is due; otherwise returns what to wait for.
    fn begin(&mut self, now: Instant) -> Option<Supply> {
        if self.left == Some(0) {
            return Some(Supply::End);
        }
        let due_at = *self.due_at.get_or_insert(now);
        if now < due_at {
            return Some(Supply::Until(due_at));
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.unsent = self.message.len();
        let next_at = due_at + self.every;
        self.due_at = Some(if next_at > now {
            next_at
        } else {
            now + self.every
        });
        None
    }
}

impl Feed for Beats {
    async fn supply(&mut self, connection: &mut impl Connection, now: Instant, _: bool) -> Supply {
        if self.unsent == 0
            && let Some(wait) = self.begin(now)
        {
            return wait;
        }
        let start = self.message.len().saturating_sub(self.unsent);
        let rest = self.message.get(start..).unwrap_or_default();
        let chunk = rest.get(..self.write_size).unwrap_or(rest);
        match connection.write(chunk).await {
            Ok(accepted) => {
                self.unsent = self.unsent.saturating_sub(accepted);
                Supply::Moved
            }
            Err(_) => {
                self.was_refused = true;
                Supply::Refused
            }
        }
    }

    fn is_probe(&self) -> bool {
        !self.was_refused
    }

    fn idle(&self) -> &'static str {
        "waiting for the next beat"
    }
}
