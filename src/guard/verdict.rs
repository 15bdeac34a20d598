//! The verdict on a segment that arrives.

/// What happens to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The segment is the peer's, and goes on.
    Acceptable,
    /// The segment is the peer's, and goes on without its data.
    Textless,
    /// The segment is the peer's, and goes on with the newest ACK number in place of its own.
    Overtaken,
    /// The segment is the peer's, and goes on without its data and with an open window.
    Opened,
    /// The segment is the peer's. It is answered with an ACK and goes no further.
    Answered,
    /// The segment is the peer's, and goes no further.
    Taken,
    /// The segment is the peer's and counts like one that goes on, but smoltcp must not count
    /// it.
    Spare,
    /// The sender is unproven. The segment goes on, and smoltcp answers it with a RST.
    Unproven,
    /// The sender is unproven. smoltcp gets a pure ACK with the numbers of the segment,
    /// and answers that with a RST.
    Refuted,
    /// The sender is unproven. The segment is answered with a challenge ACK and goes no
    /// further.
    Challenge,
    /// The segment begins a new connection, so that the old one is over. It goes no further.
    Reopens,
    /// The sender is unproven. The segment goes no further.
    Drop,
}

impl Verdict {
    /// Whether the segment is the peer's: an off-path attacker could not have made it.
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
