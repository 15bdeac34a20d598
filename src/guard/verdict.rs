//! What becomes of a segment that arrives.

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the peer's, and goes on.
    Acceptable,
    /// It is the peer's, and goes on without its data.
    Textless,
    /// It is the peer's, and goes on with the newest ACK number in place of its own.
    Overtaken,
    /// It is the peer's, and goes on without its data and with a window that is open.
    Opened,
    /// It is the peer's; it is answered with an ACK and goes no further.
    Answered,
    /// It is the peer's, and goes no further.
    Taken,
    /// It is the peer's and counts as one that goes on, but smoltcp must not count it.
    Spare,
    /// It proves nothing, and goes on: smoltcp answers it with a RST.
    Unproven,
    /// It proves nothing; smoltcp gets a pure ACK with its numbers, and answers that with
    /// a RST.
    Refuted,
    /// It proves nothing; it is answered with a challenge ACK and goes no further.
    Challenge,
    /// It begins a new connection, so that the old one is over; it goes no further.
    Reopens,
    /// It proves nothing, and goes no further.
    Drop,
}

impl Verdict {
    /// Whether the segment is the peer's: an attacker off the path could not have made it.
    pub(crate) const fn is_heard(self) -> bool {
        matches!(
            self,
            Self::Acceptable
                | Self::Textless
                | Self::Overtaken
                | Self::Opened
                | Self::Answered
                | Self::Taken
                | Self::Spare
        )
    }

    /// Whether its ACK number and its window count.
    pub(crate) const fn acknowledges(self) -> bool {
        matches!(
            self,
            Self::Acceptable | Self::Textless | Self::Opened | Self::Spare
        )
    }

    /// Whether its data and its FIN count.
    pub(crate) const fn delivers(self) -> bool {
        matches!(self, Self::Acceptable | Self::Overtaken)
    }
}
