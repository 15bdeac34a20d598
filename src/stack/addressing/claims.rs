//! Addresses that are probed before or while they are used, and what becomes of one that another
//! machine has as well. Nothing here sends or knows the interface.

use crate::Instant;
use crate::guard::claim::ClaimKind;
use core::fmt;
use smoltcp::config::IFACE_MAX_ADDR_COUNT;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

/// Probes for an address of IPv4, and announcements of it (RFC 5227, 1.1: `PROBE_NUM`,
/// `PROBE_MIN`, `ANNOUNCE_WAIT`, `ANNOUNCE_NUM`, `ANNOUNCE_INTERVAL`).
#[cfg(feature = "proto-ipv4")]
const PROBES: u8 = 3;
#[cfg(feature = "proto-ipv4")]
const PROBE_EVERY_MS: u32 = 1_000;
#[cfg(feature = "proto-ipv4")]
const ANNOUNCEMENTS: u8 = 2;
#[cfg(feature = "proto-ipv4")]
const ANNOUNCE_EVERY_MS: u32 = 2_000;

/// How long an answer to the one probe for an address of IPv6 may take (RFC 4862, 5.1:
/// `DupAddrDetectTransmits`; RFC 4861, 10: `RETRANS_TIMER`).
#[cfg(feature = "proto-ipv6")]
const PROBE_WAIT_MS: u32 = 1_000;

/// An address is defended once in this time (RFC 5227, 1.1: `DEFEND_INTERVAL`).
const DEFEND_INTERVAL_MS: u32 = 10_000;

/// Another machine on the link has an address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Conflict {
    /// The address.
    pub address: IpAddress,
    /// The hardware address of the other machine.
    pub hardware: EthernetAddress,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, hardware } = self;
        write!(f, "the machine {hardware} has our address {address}")
    }
}

/// Whether an address is probed before it is used.
pub(super) const fn is_v6(address: IpAddress) -> bool {
    match address {
        #[cfg(feature = "proto-ipv6")]
        IpAddress::Ipv6(_) => true,
        #[allow(unreachable_patterns, reason = "there may be one version only")]
        _ => false,
    }
}

/// How far a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many probes have left.
    Probing(u8),
    /// So many announcements have left.
    #[cfg(feature = "proto-ipv4")]
    Announcing(u8),
    /// No other machine had it.
    Held,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    cidr: IpCidr,
    stage: Stage,
    /// When the next step is due.
    at: Instant,
}

/// What is to be done for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Probe,
    #[cfg(feature = "proto-ipv4")]
    Announce,
    /// No other machine has it: it is ours.
    #[cfg(feature = "proto-ipv6")]
    Assign,
}

/// What becomes of an address of ours that another machine requests or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolve {
    Nothing,
    Answer,
    /// Say once more that it is ours.
    Defend,
    /// The other machine keeps it.
    GiveUp,
}

/// The addresses that were claimed.
#[derive(Debug)]
pub(super) struct Claims {
    entries: [Option<Entry>; IFACE_MAX_ADDR_COUNT],
    /// Which address was defended last, and when.
    defended: Option<(IpAddress, Instant)>,
    /// The newest.
    conflict: Option<Conflict>,
}

impl Claims {
    pub(super) const fn new() -> Self {
        Self {
            entries: [None; IFACE_MAX_ADDR_COUNT],
            defended: None,
            conflict: None,
        }
    }

    pub(super) const fn conflict(&self) -> Option<Conflict> {
        self.conflict
    }

    /// Begins to claim an address. False if there is no room.
    pub(super) fn begin(&mut self, cidr: IpCidr, now: Instant) -> bool {
        self.release(cidr.address());
        if self.conflict.is_some_and(|it| it.address == cidr.address()) {
            self.conflict = None;
        }
        let free = self.entries.iter_mut().find(|entry| entry.is_none());
        let is_there_room = free.is_some();
        if let Some(place) = free {
            *place = Some(Entry {
                cidr,
                stage: Stage::Probing(0),
                at: now,
            });
        }
        is_there_room
    }

    /// The address is not to be ours any more.
    pub(super) fn release(&mut self, address: IpAddress) {
        let is_it = |entry: &Entry| entry.cidr.address() == address;
        for place in &mut self.entries {
            if place.as_ref().is_some_and(is_it) {
                *place = None;
            }
        }
    }

    /// The same, because another machine has it.
    pub(super) fn lose(&mut self, conflict: Conflict) {
        self.release(conflict.address);
        self.conflict = Some(conflict);
    }

    fn entry(&self, address: IpAddress) -> Option<&Entry> {
        let entries = self.entries.iter().flatten();
        entries
            .into_iter()
            .find(|entry| entry.cidr.address() == address)
    }

    /// Whether the address is being claimed and not used yet.
    pub(super) fn is_tentative(&self, address: IpAddress) -> bool {
        is_v6(address) && self.is_probing(address)
    }

    /// How many there are of these.
    pub(super) fn tentative(&self) -> usize {
        let entries = self.entries.iter().flatten();
        let addresses = entries.map(|entry| entry.cidr.address());
        addresses
            .filter(|address| self.is_tentative(*address))
            .count()
    }

    fn is_probing(&self, address: IpAddress) -> bool {
        let stage = self.entry(address).map(|entry| entry.stage);
        matches!(stage, Some(Stage::Probing(_)))
    }

    /// When the next step is due.
    pub(super) fn poll_at(&self) -> Instant {
        let times = self.entries.iter().flatten().map(|entry| entry.at);
        times.min().unwrap_or(Instant::NEVER)
    }

    /// What is due now, for which address.
    pub(super) fn due(&self, now: Instant) -> Option<(IpCidr, Due)> {
        let entry = self
            .entries
            .iter()
            .flatten()
            .find(|entry| entry.at <= now)?;
        let due = match (entry.cidr, entry.stage) {
            #[cfg(feature = "proto-ipv6")]
            (IpCidr::Ipv6(_), Stage::Probing(1..)) => Due::Assign,
            (_, Stage::Probing(_)) => Due::Probe,
            #[cfg(feature = "proto-ipv4")]
            (_, Stage::Announcing(_)) => Due::Announce,
            (_, Stage::Held) => return None,
        };
        Some((entry.cidr, due))
    }

    /// What was due for this address is done.
    pub(super) fn advance(&mut self, address: IpAddress, now: Instant) {
        let entries = self.entries.iter_mut().flatten();
        for entry in entries.filter(|entry| entry.cidr.address() == address) {
            (entry.stage, entry.at) = entry.next(now);
        }
    }

    /// Decides about an address of ours, or one that is about to be, of which another machine
    /// has said something. `is_ours` is whether it is in use.
    pub(super) fn heed(
        &mut self,
        address: IpAddress,
        kind: ClaimKind,
        is_ours: bool,
        now: Instant,
    ) -> Resolve {
        match kind {
            #[cfg(feature = "proto-ipv6")]
            ClaimKind::Queries(_) if !is_ours => Resolve::Nothing,
            #[cfg(feature = "proto-ipv6")]
            ClaimKind::Queries(_) => Resolve::Answer,
            // Who probes it at the same time has as much right to it.
            ClaimKind::Holds | ClaimKind::Probes if self.is_probing(address) => Resolve::GiveUp,
            _ if !is_ours => Resolve::Nothing,
            ClaimKind::Probes => Resolve::Answer,
            ClaimKind::Holds => {
                let was_defended = self.defended.is_some_and(|(defended, at)| {
                    defended == address && now < at.plus_millis(DEFEND_INTERVAL_MS)
                });
                self.defended = Some((address, now));
                match was_defended {
                    true => Resolve::GiveUp,
                    false => Resolve::Defend,
                }
            }
        }
    }
}

impl Entry {
    /// The stage after this one, and when something is due in it.
    fn next(&self, now: Instant) -> (Stage, Instant) {
        match (self.cidr, self.stage) {
            #[cfg(feature = "proto-ipv6")]
            (IpCidr::Ipv6(_), Stage::Probing(0)) => {
                (Stage::Probing(1), now.plus_millis(PROBE_WAIT_MS))
            }
            #[cfg(feature = "proto-ipv4")]
            (IpCidr::Ipv4(_), Stage::Probing(sent)) => match sent.wrapping_add(1) {
                PROBES => (Stage::Announcing(0), now.plus_millis(ANNOUNCE_EVERY_MS)),
                sent => (Stage::Probing(sent), now.plus_millis(PROBE_EVERY_MS)),
            },
            #[cfg(feature = "proto-ipv4")]
            (IpCidr::Ipv4(_), Stage::Announcing(sent)) if sent.wrapping_add(1) < ANNOUNCEMENTS => {
                let sent = sent.wrapping_add(1);
                (Stage::Announcing(sent), now.plus_millis(ANNOUNCE_EVERY_MS))
            }
            _ => (Stage::Held, Instant::NEVER),
        }
    }
}
