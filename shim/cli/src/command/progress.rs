//! The progress line.

use std::borrow::Cow;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use lastbyte::core::{Progress, Window};
use lastbyte::{Cause, Instant, State};

use super::{console, locale};

/// The minimum time between two updates of the line.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// A line on the terminal, or nothing.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    drawn_at: Option<Instant>,
}

impl Line {
    /// A line for `total` bytes, or for an unknown number of bytes. It shows nothing
    /// unless `is_wanted`.
    #[must_use]
    pub fn new(total: Option<u64>, is_wanted: bool) -> Self {
        let bar = if !is_wanted {
            ProgressBar::hidden()
        } else {
            let bar = match total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            let target = ProgressDrawTarget::term_like(Box::new(Frames::default()));
            bar.set_draw_target(target);
            bar.with_style(style(total.is_some(), locale::is_utf8()))
        };
        Self {
            bar,
            drawn_at: None,
        }
    }

    /// Shows the present state. Acknowledged bytes count as done.
    pub fn show(&mut self, progress: &Progress, idle: &'static str, now: Instant) {
        let is_fresh = |at: Instant| now < at + REDRAW_INTERVAL;
        if self.bar.is_hidden() || self.drawn_at.is_some_and(is_fresh) || !console::keeps_up() {
            return;
        }
        self.drawn_at = Some(now);
        self.bar.set_message(describe(progress, idle));
        self.bar.set_position(progress.ledger.acknowledged());
    }

    /// Prints a line of text above this one.
    pub fn print(&self, text: &str) {
        if self.bar.is_hidden() || self.bar.is_finished() {
            console::line(text);
        } else {
            self.bar.println(locale::shown(text));
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// The terminal for drawing: each frame is passed to the console in one piece.
#[derive(Debug, Default)]
struct Frames {
    frame: Mutex<String>,
}

impl Frames {
    fn add(&self, text: &str) -> io::Result<()> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        frame.push_str(text);
        Ok(())
    }

    fn add_moves(&self, n: usize, direction: char) -> io::Result<()> {
        // Zero would mean one.
        match n {
            0 => Ok(()),
            n => self.add(&format!("\x1b[{n}{direction}")),
        }
    }
}

impl TermLike for Frames {
    fn width(&self) -> u16 {
        terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.add_moves(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.add_moves(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.add_moves(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.add_moves(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text)?;
        self.add("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        console::write(&std::mem::take(&mut *frame));
        Ok(())
    }
}

fn style(has_total: bool, is_utf8: bool) -> ProgressStyle {
    let template = if has_total {
        "{bar:20} {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {msg}"
    } else {
        "{spinner} {elapsed} {binary_bytes} acknowledged {msg}"
    };
    // Both templates are constant, and a test draws them.
    let style = ProgressStyle::with_template(template);
    with_characters(
        style.unwrap_or_else(|_| ProgressStyle::default_bar()),
        is_utf8,
    )
}

/// A style with characters that the terminal can show.
pub(super) fn with_characters(style: ProgressStyle, is_utf8: bool) -> ProgressStyle {
    match is_utf8 {
        true => style,
        false => style.progress_chars("=> ").tick_chars("|/-\\ "),
    }
}

fn describe(progress: &Progress, idle: &'static str) -> Cow<'static, str> {
    let pending = progress.ledger.pending();
    match progress.state {
        State::Idle | State::Connecting | State::Listening => "connecting".into(),
        State::Closed(Cause::Finished) => "finished".into(),
        State::Closed(_) => "ended".into(),
        State::Open | State::PeerFinished(_) | State::WriteFinished(_) | State::Finishing(_)
            if pending == 0 =>
        {
            idle.into()
        }
        _ if progress.window == Window::Zero => {
            format!("{pending} B pending: the peer does not read").into()
        }
        _ if progress.is_stalled => format!("{pending} B pending: no answer").into(),
        State::Open | State::PeerFinished(_) => "".into(),
        State::WriteFinished(_) | State::Finishing(_) => format!("draining {pending} B").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for has_total in [false, true] {
            let _ = style(has_total, true);
            let _ = style(has_total, false);
        }
        assert!(ProgressStyle::with_template("{spinner} {elapsed}").is_ok());
    }
}
