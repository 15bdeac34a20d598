//! Colours, or none.

use anstyle::{AnsiColor, Color, Style as Ansi};

/// The styles of the parts of the demonstration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    strong: Ansi,
    good: Ansi,
    bad: Ansi,
    dim: Ansi,
}

fn coloured(colour: AnsiColor) -> Ansi {
    Ansi::new().bold().fg_color(Some(Color::Ansi(colour)))
}

impl Style {
    pub(super) fn new(colour: bool) -> Self {
        if colour {
            Self {
                strong: Ansi::new().bold(),
                good: coloured(AnsiColor::Green),
                bad: coloured(AnsiColor::Red),
                dim: Ansi::new().dimmed(),
            }
        } else {
            let plain = Ansi::new();
            Self {
                strong: plain,
                good: plain,
                bad: plain,
                dim: plain,
            }
        }
    }

    fn paint(style: Ansi, text: &str) -> String {
        format!("{style}{text}{style:#}")
    }

    pub(super) fn strong(&self, text: &str) -> String {
        Self::paint(self.strong, text)
    }

    pub(super) fn good(&self, text: &str) -> String {
        Self::paint(self.good, text)
    }

    pub(super) fn bad(&self, text: &str) -> String {
        Self::paint(self.bad, text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        Self::paint(self.dim, text)
    }
}
