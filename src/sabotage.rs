//! Rules that tests break on purpose, to see that the checks notice.
//!
//! Built with `RUSTFLAGS="--cfg lastbyte_sabotage"`, a test sets one of them, for the
//! whole process, and expects its checks to fail. Without the flag `is_on` is constantly
//! false, and the compiler removes all of this.

#[cfg(lastbyte_sabotage)]
use core::sync::atomic::{AtomicU8, Ordering};

/// A rule that is broken.
#[cfg_attr(
    not(lastbyte_sabotage),
    allow(
        dead_code,
        unreachable_pub,
        reason = "without the flag they are only named, most of them by the stack layer"
    )
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Sabotage {
    /// No rule is broken.
    None,
    /// A RST anywhere in the window goes on to smoltcp.
    RstRule,
    /// An acknowledgement of octets never sent goes on to smoltcp.
    SndNxtRule,
    /// An event that would end an open connection replaces the cause of an ended one.
    Latch,
    /// Received bytes stay in the buffer under
    /// [`OnReceive::Discard`](crate::OnReceive::Discard).
    Drain,
    /// A write accepts bytes without first processing what the device has received.
    FirstWrite,
    /// The ACK number of a RST counts as an acknowledgement.
    CreditRst,
    /// While we connect, a SYN without ACK goes on to smoltcp.
    BareSyn,
    /// Fragments of TCP segments go on to smoltcp.
    Fragments,
    /// A segment whose ACK number is older than one already received goes on unchanged,
    /// so that smoltcp drops all of it.
    OldAck,
    /// A write accepts bytes although the device provides neither room nor frames.
    FullDevice,
    /// After a retransmission timeout, the RST of an abort is sent at SND.UNA.
    RstAtUna,
    /// A damaged segment is judged, and goes on.
    Damaged,
    /// A segment with any numbers counts as hearing the peer.
    BlindHeard,
    /// Forged segments use up the answers that the peer's own probes need.
    ChallengeBudget,
    /// A SYN to a group address, or from an address that no peer can have, goes on to smoltcp.
    GroupSyn,
    /// A listener waits for one caller for the whole connect timeout, and resets the
    /// others.
    HalfOpen,
    /// Received bytes that were not read are lost when the connection ends.
    Unread,
    /// After three duplicate ACKs our FIN is not retransmitted.
    FinDuplicates,
    /// After three duplicate ACKs new data is sent beyond a window that is narrower than
    /// a segment.
    NarrowWindow,
    /// A lost octet of value zero is mistaken for a keep-alive, and never retransmitted.
    ZeroOctet,
    /// A wrong ACK before the handshake is complete is not answered with a RST at its
    /// number.
    WrongAck,
    /// An abort before the SYN was answered sends a RST.
    LoudAbort,
    /// A FIN beyond the announced window is accepted, and the data before it is truncated.
    CutText,
    /// A RST with data is ignored while the window is closed.
    RstWithText,
    /// The ICMP errors received while connecting, and the addresses they were sent to,
    /// are forgotten.
    Complaints,
    /// A listener may be opened at an address that is not ours.
    DeafBind,
    /// The SYN of a new connection is judged by the TCB of an earlier one in TIME-WAIT.
    StaleRow,
    /// In [`asynch`](crate::asynch): received segments wake no task.
    DeafReceive,
    /// The effects of a call, a timeout or a lost address wake no task.
    DeafPerform,
    /// A slot that is opened again wakes no task that waits for the earlier connection.
    DeafVacate,
    /// A call timeout wakes no task.
    DeafTimeout,
    /// The timer of the call timeout is not armed.
    UnarmedTimeout,
    /// The runner is not woken if something is due before it would wake.
    Oversleep,
    /// A dropped call does not remove its waker.
    KeptWaiter,
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

    /// Those of waking tasks, which the simulator does not find: it runs the blocking stack.
    pub const WAKES: [Self; 7] = [
        Self::DeafReceive,
        Self::DeafPerform,
        Self::DeafVacate,
        Self::DeafTimeout,
        Self::UnarmedTimeout,
        Self::Oversleep,
        Self::KeptWaiter,
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
