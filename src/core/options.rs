//! Timeouts and policies of a connection, validated when they are built.

use crate::core::state::{OnPeerFin, OnReceive};
use core::fmt;
use core::num::NonZeroU16;
use core::time::Duration;

/// The shortest retransmission timeout of the TCP stack, in milliseconds (RFC 6298, 2.4).
/// A user timeout at or below it would end connections before the first retransmission
/// (RFC 5482, 3.1).
const SHORTEST_RTO_MS: u32 = 1_000;

/// The smallest segment size that the TCP stack uses, however little a peer accepts.
const SMALLEST_MAX_SEGMENT: u16 = 48;

/// An option that is a time, as errors name it.
///
/// Exhaustive: a program that maps each variant to its own flag or key must fail to
/// compile when one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Setting {
    /// The longest time that a handshake may take.
    Connect,
    /// The longest time without any answer while one is due.
    User,
    /// The longest time that one blocking call waits.
    Call,
    /// The longest time that the drain and our FIN may take.
    Finish,
    /// The time without progress after which advice is given.
    StallAdvice,
    /// The interval of keep-alive probes.
    KeepAlive,
}

impl Setting {
    /// The name of the option in plain words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect timeout",
            Self::User => "user timeout",
            Self::Call => "call timeout",
            Self::Finish => "finish timeout",
            Self::StallAdvice => "stall advice time",
            Self::KeepAlive => "keep-alive interval",
        }
    }
}

/// Why a set of options was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OptionsError {
    /// This timeout is zero: it would end everything at once.
    Zero(Setting),
    /// This timeout exceeds `u32::MAX` milliseconds (49.7 days).
    TooLong(Setting),
    /// The user timeout does not exceed one retransmission timeout, which is
    /// 1 s at the least (RFC 5482, 3.1; RFC 6298, 2.4).
    UserTimeoutWithinRetransmission,
    /// The maximum segment size is below 48 octets of data: the TCP stack makes no
    /// segments that small.
    MaxSegmentTooSmall,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(setting) => write!(f, "the {} is zero; use at least 1 ms", setting.name()),
            Self::TooLong(setting) => {
                write!(
                    f,
                    "the {} is above 49 days; use a shorter one",
                    setting.name()
                )
            }
            Self::UserTimeoutWithinRetransmission => f.write_str(
                "the user timeout is not above one retransmission timeout; use more than 1 s",
            ),
            Self::MaxSegmentTooSmall => write!(
                f,
                "the largest segment is below {SMALLEST_MAX_SEGMENT} octets of data; use at least \
                 {SMALLEST_MAX_SEGMENT}"
            ),
        }
    }
}

impl core::error::Error for OptionsError {}

/// Whether small segments wait for the acknowledgement of earlier ones.
///
/// Exhaustive: a program that shows the policy must fail to compile when one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Nagle {
    /// Fewer, fuller segments (RFC 9293, SHLD-7). Once a write finds no room in the
    /// transmit buffer, its content is sent without waiting: nothing can be added to it,
    /// and the peer may delay the acknowledgement that would release it. Similarly, a
    /// blocking call first sends what is held back on every connection, because no write
    /// follows before it returns.
    #[default]
    On,
    /// Every write is sent at once, as with `TCP_NODELAY`.
    Off,
}

/// Timeouts and policies of one connection. Every timeout is on by default, so no call
/// and no connection waits without bound unless the peer keeps answering.
///
/// ```
/// use core::time::Duration;
/// use lastbyte::{OnPeerFin, Options};
///
/// let options = Options::builder()
///     .user_timeout(Duration::from_secs(20))
///     .on_peer_fin(OnPeerFin::HalfClose)
///     .build()?;
/// assert_eq!(options.user_timeout(), Duration::from_secs(20));
/// assert_eq!(options.connect_timeout(), Duration::from_secs(30));
/// # Ok::<(), lastbyte::core::OptionsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Options {
    connect_ms: u32,
    user_timeout_ms: u32,
    call_ms: u32,
    finish_ms: u32,
    stall_advice_ms: u32,
    /// Zero: off.
    keep_alive_ms: u32,
    max_segment: Option<NonZeroU16>,
    on_peer_fin: OnPeerFin,
    on_receive: OnReceive,
    nagle: Nagle,
}

impl Options {
    /// All defaults.
    ///
    /// ```
    /// use lastbyte::Options;
    ///
    /// static OPTIONS: Options = Options::DEFAULT;
    /// assert_eq!(OPTIONS, Options::default());
    /// ```
    pub const DEFAULT: Self = Self {
        connect_ms: 30_000,
        user_timeout_ms: 100_000,
        call_ms: 60_000,
        finish_ms: 30_000,
        stall_advice_ms: 10_000,
        keep_alive_ms: 0,
        max_segment: None,
        on_peer_fin: OnPeerFin::Refuse,
        on_receive: OnReceive::Discard,
        nagle: Nagle::On,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A duration of this many milliseconds; `None` for zero.
pub(crate) const fn interval(millis: u32) -> Option<Duration> {
    match millis {
        0 => None,
        _ => Some(self::millis(millis)),
    }
}

const fn millis(millis: u32) -> Duration {
    Duration::from_millis(1).saturating_mul(millis)
}

impl Options {
    /// Starts from the defaults.
    #[must_use]
    pub const fn builder() -> OptionsBuilder {
        OptionsBuilder {
            options: Self::DEFAULT,
            error: None,
        }
    }

    /// Gives up connecting after this time. Default: 30 s.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        millis(self.connect_ms)
    }

    /// The connection ends when an answer is due and the peer was not heard for this time
    /// ([`Cause::Vanished`](crate::Cause::Vanished)), or when the peer is heard but
    /// acknowledges none of the pending bytes
    /// ([`Cause::Unacknowledged`](crate::Cause::Unacknowledged)). Default: 100 s (RFC 9293,
    /// 3.8.3, R2).
    #[must_use]
    pub const fn user_timeout(&self) -> Duration {
        millis(self.user_timeout_ms)
    }

    /// The longest time that one blocking call waits. Default: 60 s.
    #[must_use]
    pub const fn call_timeout(&self) -> Duration {
        millis(self.call_ms)
    }

    /// The longest time from the call to finish until our FIN is acknowledged. Default: 30 s.
    #[must_use]
    pub const fn finish_timeout(&self) -> Duration {
        millis(self.finish_ms)
    }

    /// Advice is given after this time without progress, or after three
    /// retransmissions (RFC 9293, 3.8.3, R1). Default: 10 s.
    #[must_use]
    pub const fn stall_advice_after(&self) -> Duration {
        millis(self.stall_advice_ms)
    }

    /// The interval at which an idle peer is probed; `None` by default (RFC 9293,
    /// MUST-25). A probed peer that stays silent for the user timeout counts as vanished.
    #[must_use]
    pub const fn keep_alive(&self) -> Option<Duration> {
        interval(self.keep_alive_ms)
    }

    /// The maximum number of octets of data in one of our segments. `None` by default: as
    /// many as the peer (RFC 9293, 3.7.1) and the device accept, and at most 1,220 to an
    /// IPv6 host that does not share the first 64 bits of our address.
    ///
    /// IPv4 needs no such maximum: a packet may be fragmented on its way (RFC 791, 3.2).
    /// Routers never fragment an IPv6 packet (RFC 8200, 5), but carry at least 1,280 octets,
    /// 60 of which are headers. To send larger IPv6 packets beyond our link, or to avoid
    /// IPv4 fragments, set this to the MTU of the path minus 60 (IPv6) or 40 (IPv4).
    #[must_use]
    pub const fn max_segment(&self) -> Option<u16> {
        match self.max_segment {
            Some(octets) => Some(octets.get()),
            None => None,
        }
    }

    /// What a FIN from the peer means for our writes.
    #[must_use]
    pub const fn on_peer_fin(&self) -> OnPeerFin {
        self.on_peer_fin
    }

    /// What becomes of received bytes.
    #[must_use]
    pub const fn on_receive(&self) -> OnReceive {
        self.on_receive
    }

    /// Whether small segments wait for earlier acknowledgements.
    #[must_use]
    pub const fn nagle(&self) -> Nagle {
        self.nagle
    }

    pub(crate) const fn connect_ms(&self) -> u32 {
        self.connect_ms
    }

    #[cfg(feature = "smoltcp")]
    pub(crate) const fn call_ms(&self) -> u32 {
        self.call_ms
    }

    #[cfg(feature = "smoltcp")]
    pub(crate) const fn largest_segment(&self) -> Option<NonZeroU16> {
        self.max_segment
    }

    /// Zero: off.
    pub(crate) const fn keep_alive_ms(&self) -> u32 {
        self.keep_alive_ms
    }

    pub(crate) const fn user_timeout_ms(&self) -> u32 {
        self.user_timeout_ms
    }

    pub(crate) const fn finish_ms(&self) -> u32 {
        self.finish_ms
    }

    pub(crate) const fn stall_advice_ms(&self) -> u32 {
        self.stall_advice_ms
    }
}

/// The longest time that an option holds: 49.7 days.
const LONGEST_MS: u128 = 0xffff_ffff;

#[allow(
    clippy::as_conversions,
    reason = "const fn; the caller has compared it with LONGEST_MS"
)]
const fn truncated(millis: u128) -> u32 {
    millis as u32
}

/// Collects options; [`build`](Self::build) checks them.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OptionsBuilder {
    options: Options,
    /// The first value that was out of range.
    error: Option<OptionsError>,
}

impl OptionsBuilder {
    /// `duration` in whole milliseconds, rounded up so that a timeout is never shorter
    /// than requested. Records the first one that is out of range.
    const fn checked(&mut self, setting: Setting, duration: Duration) -> u32 {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        let error = match millis {
            0 => OptionsError::Zero(setting),
            1..=LONGEST_MS => return truncated(millis),
            _ => OptionsError::TooLong(setting),
        };
        self.refuse(error);
        0
    }

    /// Records the first value that was out of range.
    const fn refuse(&mut self, error: OptionsError) {
        if self.error.is_none() {
            self.error = Some(error);
        }
    }

    /// Sets [`Options::connect_timeout`].
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_ms = self.checked(Setting::Connect, timeout);
        self
    }

    /// Sets [`Options::user_timeout`].
    #[must_use]
    pub const fn user_timeout(mut self, timeout: Duration) -> Self {
        self.options.user_timeout_ms = self.checked(Setting::User, timeout);
        self
    }

    /// Sets [`Options::call_timeout`].
    #[must_use]
    pub const fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_ms = self.checked(Setting::Call, timeout);
        self
    }

    /// Sets [`Options::finish_timeout`].
    #[must_use]
    pub const fn finish_timeout(mut self, timeout: Duration) -> Self {
        self.options.finish_ms = self.checked(Setting::Finish, timeout);
        self
    }

    /// Sets [`Options::stall_advice_after`].
    #[must_use]
    pub const fn stall_advice_after(mut self, time: Duration) -> Self {
        self.options.stall_advice_ms = self.checked(Setting::StallAdvice, time);
        self
    }

    /// Turns [`Options::keep_alive`] on, with this interval.
    #[must_use]
    pub const fn keep_alive(mut self, interval: Duration) -> Self {
        self.options.keep_alive_ms = self.checked(Setting::KeepAlive, interval);
        self
    }

    /// Sets [`Options::max_segment`], in octets of data. The minimum is 48.
    ///
    /// ```
    /// use lastbyte::core::OptionsError;
    /// use lastbyte::Options;
    ///
    /// // The path has a tunnel with an MTU of 1,400 octets, and the peer has an IPv6 address.
    /// let options = Options::builder().max_segment(1_400 - 60).build()?;
    /// assert_eq!(options.max_segment(), Some(1_340));
    ///
    /// let error = Options::builder().max_segment(40).build();
    /// assert_eq!(error, Err(OptionsError::MaxSegmentTooSmall));
    /// # Ok::<(), OptionsError>(())
    /// ```
    #[must_use]
    pub const fn max_segment(mut self, octets: u16) -> Self {
        if octets < SMALLEST_MAX_SEGMENT {
            self.refuse(OptionsError::MaxSegmentTooSmall);
        }
        self.options.max_segment = NonZeroU16::new(octets);
        self
    }

    /// Sets [`Options::on_peer_fin`].
    #[must_use]
    pub const fn on_peer_fin(mut self, policy: OnPeerFin) -> Self {
        self.options.on_peer_fin = policy;
        self
    }

    /// Sets [`Options::on_receive`].
    #[must_use]
    pub const fn on_receive(mut self, policy: OnReceive) -> Self {
        self.options.on_receive = policy;
        self
    }

    /// Sets [`Options::nagle`].
    #[must_use]
    pub const fn nagle(mut self, nagle: Nagle) -> Self {
        self.options.nagle = nagle;
        self
    }

    /// Checks the options against each other.
    ///
    /// # Errors
    ///
    /// The first timeout that is zero or too long, or a maximum segment size that is too
    /// small; otherwise a user timeout that does not exceed one retransmission timeout.
    ///
    /// ```
    /// use core::time::Duration;
    /// use lastbyte::core::{Setting, OptionsError};
    /// use lastbyte::Options;
    ///
    /// let error = Options::builder().call_timeout(Duration::ZERO).build();
    /// assert_eq!(error, Err(OptionsError::Zero(Setting::Call)));
    ///
    /// let error = Options::builder().user_timeout(Duration::from_secs(1)).build();
    /// assert_eq!(error, Err(OptionsError::UserTimeoutWithinRetransmission));
    /// ```
    ///
    /// In a constant, an invalid value does not compile:
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lastbyte::Options;
    /// const OPTIONS: Options =
    ///     match Options::builder().call_timeout(Duration::from_secs(5)).build() {
    ///         Ok(options) => options,
    ///         Err(_) => panic!("the options contradict each other"),
    ///     };
    /// ```
    pub const fn build(self) -> Result<Options, OptionsError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.options.user_timeout_ms <= SHORTEST_RTO_MS {
            return Err(OptionsError::UserTimeoutWithinRetransmission);
        }
        Ok(self.options)
    }
}
