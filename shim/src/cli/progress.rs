//! What is shown while it runs.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lastbyte::{Cause, Instant, Progress, State, Window};

/// How often the line is brought up to date, at the most.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// A line on the terminal, or nothing.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    drawn_at: Option<Instant>,
}

impl Line {
    /// A line for `total` bytes, or for an unknown number of them; one that
    /// shows nothing, unless `is_wanted`.
    #[must_use]
    pub fn new(total: Option<u64>, is_wanted: bool) -> Self {
        let bar = if !is_wanted {
            ProgressBar::hidden()
        } else {
            let bar = match total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.with_style(style(total.is_some()))
        };
        Self {
            bar,
            drawn_at: None,
        }
    }

    /// Shows the present state; what is acknowledged counts as done.
    pub fn show(&mut self, progress: &Progress, idle: &'static str, now: Instant) {
        let is_fresh = |at: Instant| now < at + REDRAW_INTERVAL;
        if self.bar.is_hidden() || self.drawn_at.is_some_and(is_fresh) {
            return;
        }
        self.drawn_at = Some(now);
        self.bar.set_message(describe(progress, idle));
        self.bar.set_position(progress.ledger.acknowledged());
    }

    /// Prints a line of text above this one.
    pub fn print(&self, text: &str) {
        if self.bar.is_hidden() || self.bar.is_finished() {
            anstream::eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{bar:20} {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {msg}"
    } else {
        "{spinner} {elapsed} {binary_bytes} acknowledged {msg}"
    };
    // Both templates are constant, and a test draws them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn describe(progress: &Progress, idle: &'static str) -> Cow<'static, str> {
    let pending = progress.ledger.pending();
    match progress.state {
        State::Idle | State::Connecting | State::Listening => "connecting".into(),
        State::Closed(Cause::Finished) => "finished".into(),
        State::Closed(_) => "ended".into(),
        State::Open | State::PeerFinished(_) | State::Finishing(_) if pending == 0 => idle.into(),
        _ if progress.window == Window::Zero => {
            format!("{pending} B wait: the peer does not read").into()
        }
        _ if progress.is_stalled => format!("{pending} B wait: no answer").into(),
        State::Open | State::PeerFinished(_) => "".into(),
        State::Finishing(_) => format!("draining {pending} B").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for has_total in [false, true] {
            let _ = style(has_total);
        }
        assert!(ProgressStyle::with_template("{spinner} {elapsed}").is_ok());
    }
}
