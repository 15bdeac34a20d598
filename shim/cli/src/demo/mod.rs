//! The demonstration in three scenes, each measured while it is shown.
//!
//! The same server, which reads five bytes and closes, meets (a) a socket of
//! the host's kernel and (b) lastbyte; in (c) a server resets in the middle of
//! a transfer. The results are not fixed text: each line prints what the calls returned,
//! and what the server received.

mod kernel;
mod ladder;
mod ours;
mod style;

use std::io::{self, Write};
use style::Style;

/// Runs the demonstration on standard output.
///
/// # Errors
///
/// Errors of standard output, or of the host's loopback sockets.
pub fn run(colour: bool) -> io::Result<()> {
    play(&mut io::stdout().lock(), colour)
}

/// Runs the demonstration on any output.
///
/// # Errors
///
/// Errors of that output, or of the host's loopback sockets.
pub fn play(out: &mut dyn Write, colour: bool) -> io::Result<()> {
    let style = Style::new(colour);
    writeln!(
        out,
        "{}",
        style.strong("A server reads 5 bytes and closes. The client continues to write.")
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "{}",
        style.strong("(a) a kernel socket on 127.0.0.1, as with Python's sendall")
    )?;
    kernel::play(out, &style)?;
    writeln!(out)?;
    writeln!(
        out,
        "{}",
        style.strong("(b) lastbyte over smoltcp, the same server, in-process and in virtual time")
    )?;
    ours::play_close(out, &style)?;
    writeln!(out)?;
    writeln!(
        out,
        "{}",
        style.strong("(c) lastbyte, and a server that resets in mid-transfer")
    )?;
    ours::play_reset(out, &style)?;
    writeln!(out)?;
    writeln!(out, "Next: lastbyte send --help, lastbyte doctor")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_demonstration_is_true() {
        let mut out = Vec::new();
        play(&mut out, false).unwrap();
        let text = String::from_utf8(out).unwrap();
        // (a) depends on this machine's kernel: one write lost, then EPIPE.
        assert!(
            text.contains("first write after the close: Ok(5)"),
            "{text}"
        );
        assert!(text.contains("second write: Broken pipe"), "{text}");
        // (b) is what lastbyte guarantees.
        assert!(
            text.contains("first write after the close: the peer has closed the connection (FIN)"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "no colours were asked for");
    }

    #[test]
    fn colours_only_when_asked_for() {
        let mut out = Vec::new();
        play(&mut out, true).unwrap();
        assert!(String::from_utf8(out).unwrap().contains('\u{1b}'));
    }
}
