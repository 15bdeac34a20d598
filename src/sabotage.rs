//! Rules that tests break on purpose, to see that they would be missed.
//!
//! Built with `RUSTFLAGS="--cfg lastbyte_sabotage"`, a test sets one of them, for the
//! whole process, and expects its checks to fail. Without it `is_on` is constantly
//! false, and nothing of this is left in the code.

#[cfg(lastbyte_sabotage)]
use core::sync::atomic::{AtomicU8, Ordering};

/// A rule that is broken.
#[cfg_attr(
    not(lastbyte_sabotage),
    allow(
        dead_code,
        unreachable_pub,
        reason = "only named then, most of them by the stack"
    )
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Sabotage {
    /// None: everything works.
    None,
    /// A RST anywhere in the window goes on to smoltcp.
    RstRule,
    /// An acknowledgement of octets never sent goes on to smoltcp.
    SndNxtRule,
    /// What would end an open connection replaces the cause of an ended one.
    Latch,
    /// What was received stays in the buffer under
    /// [`OnReceive::Discard`](crate::OnReceive::Discard).
    Drain,
    /// A write takes bytes without taking in first what the device has
    /// received.
    FirstWrite,
    /// The ACK number of a RST is credited.
    CreditRst,
    /// A SYN without ACK goes on to smoltcp while we connect.
    BareSyn,
    /// Fragments of TCP go on to smoltcp.
    Fragments,
    /// A segment whose ACK number is older than another goes on as it is, and so is
    /// dropped whole.
    OldAck,
    /// A write takes bytes although the device gives neither room nor frames.
    FullDevice,
    /// The RST of an abort leaves at SND.UNA after a retransmission timeout.
    RstAtUna,
    /// What is not intact is judged, and goes on.
    Damaged,
    /// A segment with any numbers counts as hearing the peer.
    BlindHeard,
    /// What was forged uses up the answers that the peer's own probes need.
    ChallengeBudget,
    /// A SYN to a group, or from where no peer can be, goes on to smoltcp.
    GroupSyn,
    /// A listener waits for one caller as long as the connect timeout, and resets the
    /// others.
    HalfOpen,
    /// What was received and not read is lost with the end.
    Unread,
    /// Three duplicate ACKs keep our FIN from being repeated.
    FinDuplicates,
    /// After three duplicate ACKs new data leaves beyond a window that is narrower than a
    /// segment.
    NarrowWindow,
    /// A lost octet of value zero is taken for a keep-alive, and never repeated.
    ZeroOctet,
    /// A wrong ACK before the handshake is complete is not answered with a RST at its
    /// number.
    WrongAck,
    /// An abort before the SYN was answered sends a RST.
    LoudAbort,
    /// A FIN beyond the announced window is taken, and its data cut off.
    CutText,
    /// A RST with data is ignored while the window is closed.
    RstWithText,
    /// Which ICMP errors there were while connecting is forgotten, and to whom they
    /// were addressed.
    Complaints,
    /// A listener at an address that is not ours is opened.
    DeafBind,
    /// What was known of a connection in TIME-WAIT judges the SYN of the next.
    StaleRow,
}

#[cfg(lastbyte_sabotage)]
impl Sabotage {
    /// Every rule that can be broken.
    pub const ALL: [Self; 27] = [
        Self::RstRule,
        Self::SndNxtRule,
        Self::Latch,
        Self::Drain,
        Self::FirstWrite,
        Self::CreditRst,
        Self::BareSyn,
        Self::Fragments,
        Self::OldAck,
        Self::FullDevice,
        Self::RstAtUna,
        Self::Damaged,
        Self::BlindHeard,
        Self::ChallengeBudget,
        Self::GroupSyn,
        Self::HalfOpen,
        Self::Unread,
        Self::FinDuplicates,
        Self::NarrowWindow,
        Self::ZeroOctet,
        Self::WrongAck,
        Self::LoudAbort,
        Self::CutText,
        Self::RstWithText,
        Self::Complaints,
        Self::DeafBind,
        Self::StaleRow,
    ];

    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(lastbyte_sabotage)]
static BROKEN: AtomicU8 = AtomicU8::new(Sabotage::None.number());

/// Breaks one rule, for every connection, until the next call.
///
/// ```
/// use lastbyte::sabotage::{Sabotage, set};
///
/// set(Sabotage::Latch);
/// set(Sabotage::None);
/// ```
#[cfg(lastbyte_sabotage)]
pub fn set(sabotage: Sabotage) {
    BROKEN.store(sabotage.number(), Ordering::Relaxed);
}

/// Whether this rule is broken.
#[cfg(lastbyte_sabotage)]
pub(crate) fn is_on(sabotage: Sabotage) -> bool {
    BROKEN.load(Ordering::Relaxed) == sabotage.number()
}

/// Whether this rule is broken: never.
#[cfg(not(lastbyte_sabotage))]
pub(crate) const fn is_on(_: Sabotage) -> bool {
    false
}
