//! Stateless address autoconfiguration (RFC 4862): what routers advertise becomes addresses, a
//! default route and DNS servers, each for as long as it is said to last. Nothing here sends or
//! knows the interface.

use crate::Instant;
use crate::guard::advert::{Advertisement, DNS_SERVERS, PREFIXES, Prefix};
use core::time::Duration;
use smoltcp::wire::{IpAddress, Ipv6Address, Ipv6Cidr};

/// How often routers are asked, and how far apart (RFC 4861, 10:
/// `MAX_RTR_SOLICITATIONS`, `RTR_SOLICITATION_INTERVAL`).
const SOLICITATIONS: u8 = 3;
const SOLICIT_EVERY_MS: u32 = 4_000;

/// A message that anybody on the link could have sent shortens a lifetime to this at most
/// (RFC 4862, 5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(7_200);

/// What stands for a lifetime without an end.
const ENDLESS: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its address has yet to be claimed.
    New,
    Claimed,
    /// Another machine has the address.
    Refused,
}

/// An address with a prefix that a router advertises.
#[derive(Debug, Clone, Copy)]
struct Held {
    cidr: Ipv6Cidr,
    valid_until: Instant,
    stage: Stage,
}

/// What follows from what routers have said, and from the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Claim(Ipv6Cidr),
    Drop(Ipv6Cidr),
    /// The default route, from the first to the second.
    Route(Option<Ipv6Address>, Option<Ipv6Address>),
}

/// What routers have said.
#[derive(Debug)]
pub(super) struct Routers {
    /// Whether it is wanted at all.
    is_on: bool,
    /// How many more times routers are asked, and when next.
    solicitations: u8,
    solicit_at: Instant,
    /// The default router, and until when it is one.
    router: Option<(Ipv6Address, Instant)>,
    /// The one to which the default route leads.
    applied: Option<Ipv6Address>,
    prefixes: [Option<Held>; PREFIXES],
    servers: [Option<(Ipv6Address, Instant)>; DNS_SERVERS],
}

/// So many seconds from now.
fn after(now: Instant, seconds: u32) -> Instant {
    match seconds {
        ENDLESS => Instant::NEVER,
        seconds => now + Duration::from_secs(seconds.into()),
    }
}

/// The second half of the addresses of a machine (RFC 4291, appendix A).
pub(super) fn identifier(mac: [u8; 6]) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac;
    [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

/// An address of its two halves.
pub(super) fn joined(first: [u8; 8], second: [u8; 8]) -> Ipv6Address {
    let [first, second] = [first, second].map(u64::from_be_bytes).map(u128::from);
    Ipv6Address::from_bits(first << 64 | second)
}

impl Routers {
    pub(super) const fn new() -> Self {
        Self {
            is_on: false,
            solicitations: 0,
            solicit_at: Instant::NEVER,
            router: None,
            applied: None,
            prefixes: [None; PREFIXES],
            servers: [None; DNS_SERVERS],
        }
    }

    /// Queries routers from now on; also when a link has come up.
    pub(super) fn begin(&mut self, now: Instant) {
        self.is_on = true;
        self.solicitations = SOLICITATIONS;
        self.solicit_at = now;
    }

    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// The default router, if there is one.
    pub(super) const fn router(&self) -> Option<Ipv6Address> {
        self.applied
    }

    /// The addresses with the prefixes of routers, used or not.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv6Cidr> {
        self.prefixes.iter().flatten().map(|held| held.cidr)
    }

    /// The DNS servers that a router names.
    #[cfg(feature = "dns")]
    pub(super) fn servers(&self, now: Instant) -> impl Iterator<Item = Ipv6Address> {
        let valid = self
            .servers
            .iter()
            .flatten()
            .filter(move |(_, until)| *until > now);
        valid.map(|(server, _)| *server)
    }

    /// Whether routers are to be asked now.
    pub(super) fn is_solicitation_due(&self, now: Instant) -> bool {
        self.solicit_at <= now
    }

    /// They were asked; or cannot be, as long as there is no link-local address.
    pub(super) fn note_solicited(&mut self, now: Instant, has_left: bool) {
        if has_left {
            self.solicitations = self.solicitations.saturating_sub(1);
        }
        self.solicit_at = match self.solicitations {
            0 => Instant::NEVER,
            _ if has_left => now.plus_millis(SOLICIT_EVERY_MS),
            _ => now.plus_millis(SOLICIT_EVERY_MS >> 2),
        };
    }

    /// Takes in what a router says, for a machine with this hardware address.
    pub(super) fn heed(&mut self, said: &Advertisement, mac: [u8; 6], now: Instant) {
        if !self.is_on {
            return;
        }
        let router = Ipv6Address::from(said.router);
        let until = after(now, said.lifetime_s.into());
        let is_current = |current: Ipv6Address| current == router;
        match self.router {
            Some((current, _)) if is_current(current) => {
                self.router = Some((router, until)).filter(|_| said.lifetime_s > 0);
            }
            Some((_, current_until)) if current_until > now => {}
            _ => self.router = Some((router, until)).filter(|_| said.lifetime_s > 0),
        }
        if said.lifetime_s > 0 {
            // RFC 4861, 6.3.7: enough is known.
            self.solicitations = 0;
            self.solicit_at = Instant::NEVER;
        }
        for prefix in said.prefixes.iter().flatten() {
            self.heed_prefix(prefix, mac, now);
        }
        for server in said.servers.iter().flatten() {
            self.heed_server((*server).into(), said.servers_s, now);
        }
    }

    fn heed_prefix(&mut self, prefix: &Prefix, mac: [u8; 6], now: Instant) {
        let address = joined(prefix.octets, identifier(mac));
        let valid_until = after(now, prefix.valid_s);
        let mut known = self.prefixes.iter_mut().flatten();
        if let Some(held) = known.find(|held| held.cidr.address() == address) {
            // RFC 4862, 5.5.3 e.
            let soon = (now + TWO_HOURS).min(held.valid_until);
            held.valid_until = valid_until.max(soon);
            return;
        }
        let free = self.prefixes.iter_mut().find(|held| held.is_none());
        if let Some(place) = free.filter(|_| prefix.valid_s > 0) {
            let prefix_len = match prefix.is_on_link {
                true => 64,
                // The others are reached by way of the router.
                false => 128,
            };
            *place = Some(Held {
                cidr: Ipv6Cidr::new(address, prefix_len),
                valid_until,
                stage: Stage::New,
            });
        }
    }

    fn heed_server(&mut self, server: Ipv6Address, seconds: u32, now: Instant) {
        let until = after(now, seconds);
        let is_free = |known: &Option<(Ipv6Address, Instant)>| {
            known.is_none_or(|(known, until)| known == server || until <= now)
        };
        let is_known = |known: &Option<(Ipv6Address, Instant)>| {
            known.is_some_and(|(known, _)| known == server)
        };
        let at = self.servers.iter().position(is_known);
        let at = at.or_else(|| self.servers.iter().position(is_free));
        if let Some(place) = at.and_then(|at| self.servers.get_mut(at)) {
            *place = Some((server, until));
        }
    }

    /// Another machine has this address.
    pub(super) fn refuse(&mut self, address: IpAddress) {
        for held in self.prefixes.iter_mut().flatten() {
            if IpAddress::Ipv6(held.cidr.address()) == address {
                held.stage = Stage::Refused;
            }
        }
    }

    /// What is to be changed now; to be asked until there is nothing.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Change> {
        for place in &mut self.prefixes {
            let Some(held) = place else {
                continue;
            };
            let cidr = held.cidr;
            if held.valid_until <= now {
                *place = None;
                return Some(Change::Drop(cidr));
            }
            if held.stage == Stage::New {
                held.stage = Stage::Claimed;
                return Some(Change::Claim(cidr));
            }
        }
        self.router = self.router.filter(|(_, until)| *until > now);
        let (from, to) = (self.applied, self.router.map(|(router, _)| router));
        self.applied = to;
        (from != to).then_some(Change::Route(from, to))
    }

    /// When something changes by itself.
    pub(super) fn poll_at(&self) -> Instant {
        let prefixes = self.prefixes.iter().flatten().map(|held| match held.stage {
            Stage::New => Instant::ZERO,
            Stage::Claimed | Stage::Refused => held.valid_until,
        });
        let router = self.router.map_or(Instant::NEVER, |(_, until)| until);
        let is_settled = self.applied == self.router.map(|(router, _)| router);
        let router = match is_settled {
            true => router,
            false => Instant::ZERO,
        };
        let earliest = prefixes.min().unwrap_or(Instant::NEVER);
        earliest.min(router).min(self.solicit_at)
    }
}
