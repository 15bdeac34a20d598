//! The settings of the application, here as words `key=value`.

use crate::{LARGEST_WRITE, backoff};
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;
use lastbyte::Options;
use lastbyte::core::{Nagle, OptionsBuilder, OptionsError};
use lastbyte::stack::smoltcp::wire::Ipv4Cidr;

/// The longest `message=`, in octets.
pub(crate) const LONGEST_MESSAGE: usize = 64;

/// What the application does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum Mode {
    /// A line at a fixed interval.
    Heartbeat,
    /// A stream that resumes.
    Bulk,
}

/// What happens to a beat that was accepted but is not known to have arrived: the
/// connection ended before the peer's TCP acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum LostBeat {
    /// It is counted, and the run does not succeed.
    Count,
    /// It is sent again over the next connection, at once. The peer may get it twice.
    SayAgain,
}

impl LostBeat {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Count => "counted",
            Self::SayAgain => "sent again",
        }
    }
}

/// The settings of a run. The defaults are those of a board in QEMU's user
/// networking, whose host is at 10.0.2.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings<'a> {
    /// `mode=heartbeat` or `bulk`. Default: heartbeat.
    pub mode: Mode,
    /// `host=`: the address of the peer. Default: 10.0.2.2.
    pub host: Ipv4Addr,
    /// `host=`, if that is a name. A DNS server resolves it, before each connection.
    #[cfg(feature = "dns")]
    pub name: Option<&'a str>,
    /// `dns=`: the DNS server. Default: those of the lease.
    #[cfg(feature = "dns")]
    pub dns: Option<Ipv4Addr>,
    /// `port=`: the port of the peer. Default: 5000.
    pub port: u16,
    /// `addr=`: our address and the length of its prefix. Default: 10.0.2.15/24.
    pub addr: Ipv4Cidr,
    /// `addr=dhcp`: a DHCP server leases our address, and names the gateway.
    #[cfg(feature = "dhcp")]
    pub dhcp: bool,
    /// `gateway=`, or `none`. Default: 10.0.2.2.
    pub gateway: Option<Ipv4Addr>,
    /// `seed=`: replaces the board's own, to repeat a run: a seed on a command line is no
    /// secret.
    pub seed: Option<u64>,
    /// `message=`: the text of a beat. Default: beat.
    pub message: &'a str,
    /// `every=`: the time from one beat to the next; 0: as fast as they are accepted.
    /// Default: 1 s.
    pub every: Duration,
    /// `count=`: how many beats; 0: without end. Default: 0.
    pub count: u64,
    /// `lost=count` or `again`: what happens to a lost beat. Default: count.
    pub lost: LostBeat,
    /// `bytes=`: the length of the stream. Default: 1,000,000.
    pub bytes: u64,
    /// `write=`: the octets of one write. Default: 1460.
    pub write: usize,
    /// `connections=`: how many before it gives up; 0: without limit. Default: 0.
    pub connections: u32,
    /// `backoff=`: the first pause before connecting again, at least 1 ms. Default: 250 ms.
    pub backoff: Duration,
    /// `backoff-most=`: the longest pause, at least 1 ms. Default: 30 s.
    pub backoff_most: Duration,
    /// `patience=`: how long one write waits for a peer that does not read; 0: without
    /// limit. Default: 60 s.
    pub patience: Duration,
    /// `connect=`, `silence=`, `finish=`, `call=`, `stall=`, `keep-alive=`, `max-segment=`,
    /// `nagle=on` or `off`: the options of each connection. The call timeout is 250 ms by
    /// default, because the application checks the link in between; the other defaults are
    /// the library's.
    pub options: Options,
}

/// What is wrong with a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is not of the form `key=value`.
    NoValue,
    /// There is no such key.
    UnknownKey,
    /// Not `heartbeat` or `bulk`.
    NoMode,
    /// Not `count` or `again`.
    NoLostBeat,
    /// Not the address of one host.
    NoAddress,
    /// Not an address with the length of a prefix.
    NoCidr,
    /// Not a number in the expected range.
    NoNumber,
    /// Not a time.
    NoTime,
    /// There would be no pause between two attempts.
    NoPause,
    /// Not `on` or `off`.
    NoSwitch,
    /// Too long for a line.
    MessageTooLong,
    /// A timeout is out of range.
    Limit(OptionsError),
}

impl Why {
    const fn describe(self) -> &'static str {
        match self {
            Self::NoValue => "give a key and a value, as in port=5000",
            Self::UnknownKey => {
                "no such setting; there are mode host port addr gateway seed message every count \
                 lost bytes write connections backoff backoff-most patience connect silence finish call \
                 stall keep-alive max-segment nagle"
            }
            Self::NoMode => "the mode is heartbeat or bulk",
            Self::NoLostBeat => "a lost beat is counted or sent again: give count or again",
            Self::NoAddress => "give the IPv4 address of one host, as in 10.0.2.2",
            Self::NoCidr => "give our IPv4 address with its prefix, as in 10.0.2.15/24",
            Self::NoNumber => {
                "give a whole number: a port is 1 to 65535, a write 1 to 1460 octets, a stream at \
                 least 1"
            }
            Self::NoTime => "give a time with its unit, as in 250ms, 5s or 2m",
            Self::NoPause => "there must be a pause before each attempt: give at least 1ms",
            Self::NoSwitch => "give on or off",
            Self::MessageTooLong => "a message has at most 64 octets",
            Self::Limit(OptionsError::Zero(_)) => "this timeout must be at least 1ms",
            Self::Limit(OptionsError::TooLong(_)) => "this timeout must be at most 49 days",
            Self::Limit(OptionsError::UserTimeoutWithinRetransmission) => {
                "the user timeout must exceed one retransmission timeout: more than 1s"
            }
            Self::Limit(OptionsError::MaxSegmentTooSmall) => "a segment has at least 48 octets",
            // A reason that this program does not know.
            Self::Limit(_) => "lastbyte refuses this value, or its combination with the others",
        }
    }
}

/// The wrong word, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsError<'a> {
    /// The word, as given.
    pub word: &'a str,
    /// Why it is wrong.
    pub why: Why,
}

impl fmt::Display for SettingsError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.word, self.why.describe())
    }
}

impl core::error::Error for SettingsError<'_> {}

impl defmt::Format for SettingsError<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}: {=str}", self.word, self.why.describe());
    }
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            mode: Mode::Heartbeat,
            host: Ipv4Addr::new(10, 0, 2, 2),
            #[cfg(feature = "dns")]
            name: None,
            #[cfg(feature = "dns")]
            dns: None,
            port: 5000,
            addr: Ipv4Cidr::new(Ipv4Addr::new(10, 0, 2, 15), 24),
            #[cfg(feature = "dhcp")]
            dhcp: false,
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            seed: None,
            message: "beat",
            every: Duration::from_secs(1),
            count: 0,
            lost: LostBeat::Count,
            bytes: 1_000_000,
            write: LARGEST_WRITE,
            connections: 0,
            backoff: Duration::from_millis(250),
            backoff_most: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            options: defaults().build().unwrap_or_default(),
        }
    }
}

fn defaults() -> OptionsBuilder {
    Options::builder().call_timeout(Duration::from_millis(250))
}

impl<'a> Settings<'a> {
    /// Reads the settings from words `key=value`. A missing setting keeps its default.
    ///
    /// # Errors
    ///
    /// The first wrong word, and the reason.
    pub fn parse(words: impl IntoIterator<Item = &'a str>) -> Result<Self, SettingsError<'a>> {
        let mut settings = Self::default();
        let mut options = defaults();
        for word in words {
            settings
                .take(word, &mut options)
                .map_err(|why| SettingsError { word, why })?;
        }
        Ok(settings)
    }

    fn take(&mut self, word: &'a str, options: &mut OptionsBuilder) -> Result<(), Why> {
        let (key, value) = word.split_once('=').ok_or(Why::NoValue)?;
        match key {
            "mode" => {
                self.mode = match value {
                    "heartbeat" => Mode::Heartbeat,
                    "bulk" => Mode::Bulk,
                    _ => return Err(Why::NoMode),
                }
            }
            #[cfg(feature = "dns")]
            "host" if is_name(value) => self.name = Some(value),
            "host" => self.host = host(value)?,
            #[cfg(feature = "dns")]
            "dns" => self.dns = Some(host(value)?),
            "port" => self.port = at_least_one(value)?,
            #[cfg(feature = "dhcp")]
            "addr" if value == "dhcp" => self.dhcp = true,
            "addr" => self.addr = cidr(value)?,
            "gateway" if value == "none" => self.gateway = None,
            "gateway" => self.gateway = Some(host(value)?),
            "seed" => self.seed = Some(number(value)?),
            "message" if value.len() > LONGEST_MESSAGE => return Err(Why::MessageTooLong),
            "message" => self.message = value,
            "every" => self.every = time(value)?,
            "count" => self.count = number(value)?,
            "lost" => {
                self.lost = match value {
                    "count" => LostBeat::Count,
                    "again" => LostBeat::SayAgain,
                    _ => return Err(Why::NoLostBeat),
                }
            }
            "bytes" => self.bytes = at_least_one(value)?,
            "write" => {
                self.write = Some(at_least_one(value)?)
                    .filter(|&len| len <= LARGEST_WRITE)
                    .ok_or(Why::NoNumber)?;
            }
            "connections" => self.connections = number(value)?,
            "backoff" => self.backoff = pause(value)?,
            "backoff-most" => self.backoff_most = pause(value)?,
            "patience" => self.patience = time(value)?,
            _ => {
                *options = option(*options, key, value)?;
                // Checked word by word, so that the error names the wrong one.
                self.options = options.build().map_err(Why::Limit)?;
            }
        }
        Ok(())
    }
}

/// The options of a connection.
fn option(options: OptionsBuilder, key: &str, value: &str) -> Result<OptionsBuilder, Why> {
    Ok(match key {
        "connect" => options.connect_timeout(time(value)?),
        "silence" => options.user_timeout(time(value)?),
        "finish" => options.finish_timeout(time(value)?),
        "call" => options.call_timeout(time(value)?),
        "stall" => options.stall_advice_after(time(value)?),
        "keep-alive" => options.keep_alive(time(value)?),
        "max-segment" => options.max_segment(number(value)?),
        "nagle" => options.nagle(match value {
            "on" => Nagle::On,
            "off" => Nagle::Off,
            _ => return Err(Why::NoSwitch),
        }),
        _ => return Err(Why::UnknownKey),
    })
}

/// Whether this is the name of a host: with a letter, which no address of IPv4 has.
#[cfg(feature = "dns")]
fn is_name(value: &str) -> bool {
    value.bytes().any(|octet| octet.is_ascii_alphabetic())
}

fn host(value: &str) -> Result<Ipv4Addr, Why> {
    let host: Ipv4Addr = value.parse().map_err(|_| Why::NoAddress)?;
    let is_one_host = !host.is_unspecified() && !host.is_multicast() && !host.is_broadcast();
    is_one_host.then_some(host).ok_or(Why::NoAddress)
}

fn cidr(value: &str) -> Result<Ipv4Cidr, Why> {
    let (addr, prefix) = value.split_once('/').ok_or(Why::NoCidr)?;
    let addr = host(addr).map_err(|_| Why::NoCidr)?;
    match prefix.parse() {
        Ok(prefix @ 0..=32) => Ok(Ipv4Cidr::new(addr, prefix)),
        Ok(_) | Err(_) => Err(Why::NoCidr),
    }
}

fn number<T: core::str::FromStr>(value: &str) -> Result<T, Why> {
    value.parse().map_err(|_| Why::NoNumber)
}

fn at_least_one<T: core::str::FromStr + PartialEq + Default>(value: &str) -> Result<T, Why> {
    Some(number(value)?)
        .filter(|value| *value != T::default())
        .ok_or(Why::NoNumber)
}

/// A time between two attempts.
fn pause(value: &str) -> Result<Duration, Why> {
    let pause = time(value)?;
    (pause >= backoff::SHORTEST)
        .then_some(pause)
        .ok_or(Why::NoPause)
}

/// A whole number of `ms`, `s`, `m` or `h`; a zero needs no unit.
fn time(value: &str) -> Result<Duration, Why> {
    if value == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = value
        .find(|letter: char| !letter.is_ascii_digit())
        .ok_or(Why::NoTime)?;
    let (count, unit) = value.split_at_checked(unit_at).ok_or(Why::NoTime)?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(Why::NoTime),
    };
    let count: u32 = count.parse().map_err(|_| Why::NoTime)?;
    Ok(unit.saturating_mul(count))
}
