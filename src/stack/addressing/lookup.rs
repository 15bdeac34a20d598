//! Names of hosts (RFC 1035): which server is asked, for how long, and what it means that there
//! is no address.
//!
//! smoltcp's socket queries one server at a time and reports either addresses or a failure. The
//! guard reads from the answers why. Each try with one server is a query of its own, so that a
//! server that is silent, or fails, costs a part of the time only.

use crate::Instant;
use crate::guard::reply::{Reply, question};
use core::fmt;
use embedded_io::ErrorKind;
use heapless::Vec;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::dns;
use smoltcp::wire::{DnsQueryType, IpAddress};

/// How many DNS servers are kept.
pub(super) const SERVERS: usize = 4;

/// How long one server is asked, if there are others, and if there is none: before smoltcp
/// would give up by itself.
const TRY_MS: u32 = 3_000;
const LONG_TRY_MS: u32 = 9_000;

/// How many answers are kept until the one who asked has seen them.
const REPLIES: usize = 4;

/// The longest name, in labels with a length each (RFC 1035, 3.1).
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResolveError {
    /// There is no such name, or it has no address of an IP version that we have one of.
    NoSuchName,
    /// No DNS server has answered within the time.
    NoAnswer,
    /// Every DNS server has answered that it cannot find out (RFC 1035, 4.1.1).
    ServerFailed {
        /// The response code of the last of them: 2 if it failed, 5 if it refused.
        code: u8,
    },
    /// No DNS server is known, or we have no address of its IP version.
    NoServer,
    /// This is not a name: it is empty, or a part between its dots is empty or has more than
    /// 63 octets.
    NotAName,
    /// The name has more than 253 octets (RFC 1035, 3.1).
    NameTooLong,
    /// All places for queries are in use.
    Busy,
    /// DNS was not started.
    NotStarted,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "no such name, or it has no address that can be used",
            Self::NoAnswer => "no answer: no DNS server has answered in time",
            Self::ServerFailed { code } => {
                return write!(f, "the DNS server cannot find out (response code {code})");
            }
            Self::NoServer => "no DNS server is known that can be asked from our addresses",
            Self::NotAName => "this is not a name: a part of it is empty or exceeds 63 octets",
            Self::NameTooLong => "the name exceeds 253 octets",
            Self::Busy => "all places for queries are in use",
            Self::NotStarted => "DNS was not started",
        })
    }
}

impl core::error::Error for ResolveError {}

impl embedded_io::Error for ResolveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchName => ErrorKind::NotFound,
            Self::NoAnswer => ErrorKind::TimedOut,
            Self::ServerFailed { .. } => ErrorKind::Other,
            Self::NoServer => ErrorKind::AddrNotAvailable,
            Self::NotAName | Self::NameTooLong | Self::NotStarted => ErrorKind::InvalidInput,
            Self::Busy => ErrorKind::OutOfMemory,
        }
    }
}

/// Checks that this is a name (RFC 1035, 3.1), and returns it without the dot at its end.
pub(super) fn check(name: &str) -> Result<&str, ResolveError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    // A length for each label, and an empty one at the end.
    if name.len().saturating_add(2) > LONGEST_NAME {
        return Err(ResolveError::NameTooLong);
    }
    let mut labels = name.split('.').map(str::len);
    match labels.all(|len| (1..=LONGEST_LABEL).contains(&len)) {
        true => Ok(name),
        false => Err(ResolveError::NotAName),
    }
}

/// A name that is being resolved, made by `begin_lookup`. To be polled until there is a result,
/// or given back.
#[derive(Debug)]
pub struct Lookup<'n> {
    pub(super) name: &'n str,
    /// What is asked for: an address of which version.
    pub(super) kind: Kind,
    pub(super) query: Option<Query>,
    /// When it ends without an answer.
    pub(super) until: Instant,
    /// How many servers have failed in a row, and the response code of the last.
    pub(super) failed: u8,
    pub(super) code: Option<u8>,
}

impl Lookup<'_> {
    /// When to poll it again at the latest, if no frame arrives before.
    #[must_use]
    pub fn poll_at(&self) -> Instant {
        match &self.query {
            Some(query) => query.until.min(self.until),
            None => Instant::ZERO,
        }
    }
}

/// One question to one server.
pub(super) struct Query {
    pub(super) handle: dns::QueryHandle,
    /// Until when that server is waited for.
    pub(super) until: Instant,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// An address of which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    #[cfg(feature = "proto-ipv4")]
    V4,
    #[cfg(feature = "proto-ipv6")]
    V6,
}

impl Kind {
    pub(super) const fn wanted(self) -> DnsQueryType {
        match self {
            #[cfg(feature = "proto-ipv4")]
            Self::V4 => DnsQueryType::A,
            #[cfg(feature = "proto-ipv6")]
            Self::V6 => DnsQueryType::Aaaa,
        }
    }

    fn question(self, name: &str) -> u32 {
        let kind = u16::from(self.wanted()).to_be_bytes();
        question(name.split('.').map(str::as_bytes), kind)
    }

    /// Whether an address is of this version, and can be that of a host.
    pub(super) const fn is_of(self, address: &IpAddress) -> bool {
        match address {
            #[cfg(feature = "proto-ipv4")]
            IpAddress::Ipv4(_) => matches!(self, Self::V4),
            #[cfg(feature = "proto-ipv6")]
            IpAddress::Ipv6(_) => matches!(self, Self::V6),
            #[allow(
                unreachable_patterns,
                reason = "other crates may turn more versions on"
            )]
            _ => false,
        }
    }
}

/// The DNS client: its socket, and the servers that it queries.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) handle: SocketHandle,
    /// Those that the application named. If there are none, those of the lease and of routers
    /// are asked.
    pub(super) configured: Vec<IpAddress, SERVERS>,
    /// Counts the servers that have failed or were silent: who is asked next.
    pub(super) turn: usize,
    /// How many queries were begun, for their numbers.
    pub(super) count: u32,
    replies: [Option<Reply>; REPLIES],
}

impl Names {
    pub(super) const fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            configured: Vec::new(),
            turn: 0,
            count: 0,
            replies: [None; REPLIES],
        }
    }

    /// Takes in what a server has answered.
    pub(super) fn heed(&mut self, reply: Reply) {
        self.replies.rotate_right(1);
        let [newest, ..] = &mut self.replies;
        *newest = Some(reply);
    }

    /// The response code of the newest answer to the question of this lookup.
    pub(super) fn code(&self, lookup: &Lookup<'_>) -> Option<u8> {
        let wanted = lookup.kind.question(lookup.name);
        let mut replies = self.replies.iter().flatten();
        let found = replies.find(|reply| reply.question == wanted)?;
        Some(found.code)
    }

    /// Until when a server is waited for that is asked now, one of so many.
    pub(super) fn try_until(servers: usize, now: Instant) -> Instant {
        now.plus_millis(match servers {
            0 | 1 => LONG_TRY_MS,
            _ => TRY_MS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::str::from_utf8;

    /// As many labels of 63 octets as fit, and one of the rest.
    fn name(octets: &mut [u8], len: usize) -> &str {
        octets.fill(b'a');
        octets[63..len]
            .iter_mut()
            .step_by(64)
            .for_each(|octet| *octet = b'.');
        from_utf8(&octets[..len]).expect("letters")
    }

    /// smoltcp has a limit too, which another crate may raise beyond what its buffer holds.
    #[test]
    fn names_have_the_lengths_of_rfc_1035() {
        let mut octets = [0; 300];
        let longest = name(&mut octets, 253);
        assert_eq!(check(longest), Ok(longest));
        let mut octets = [0; 300];
        assert_eq!(
            check(name(&mut octets, 254)),
            Err(ResolveError::NameTooLong)
        );
        let letters = from_utf8(&[b'a'; 64]).expect("letters");
        let label = letters.get(..63).expect("64 letters");
        assert_eq!(check(label), Ok(label));
        assert_eq!(check("a.b."), Ok("a.b"));
        for name in ["", ".", "..", "a..b", ".a", letters] {
            assert_eq!(check(name), Err(ResolveError::NotAName), "{name:?}");
        }
    }
}
