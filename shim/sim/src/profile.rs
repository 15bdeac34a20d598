//! Families of scenarios.

use std::fmt;
use std::str::FromStr;

/// The kind of network, peers and applications from which scenarios are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A cable: below a millisecond, almost no loss.
    Lan,
    /// Radio in a house: some milliseconds, bursts of loss, duplicates.
    Wifi,
    /// A mobile network: sometimes slow, long queues, interruptions.
    Lte,
    /// A satellite: a round trip of half a second.
    Satellite,
    /// A bad wire: loss, damage, reordering and every other fault.
    Rotten,
    /// Peers that misbehave and an attacker that forges segments, over any of the
    /// networks.
    Hostile,
    /// Lines of 64 kbit/s to 1 Mbit/s with short queues, and transmit buffers of up to 64 KiB.
    Slow,
    /// An outage that is shorter than any timeout: everything is delivered.
    Outage,
    /// Any of the other networks; the application also announces bytes, writes whole messages,
    /// and finishes its direction before it ends the connection.
    Calls,
    /// 8 KiB and a close, over 20 ms of jitter and 10 % loss, to measure speed.
    Transfer,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 10] = [
        Self::Lan,
        Self::Wifi,
        Self::Lte,
        Self::Satellite,
        Self::Rotten,
        Self::Hostile,
        Self::Slow,
        Self::Outage,
        Self::Calls,
        Self::Transfer,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wifi => "wifi",
            Self::Lte => "lte",
            Self::Satellite => "satellite",
            Self::Rotten => "rotten",
            Self::Hostile => "hostile",
            Self::Slow => "slow",
            Self::Outage => "outage",
            Self::Calls => "calls",
            Self::Transfer => "transfer",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no profile of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProfile {
    name: String,
}

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "there is no profile {:?}; there are lan, wifi, lte, satellite, rotten, hostile, slow, outage, calls and transfer",
            self.name
        )
    }
}

impl std::error::Error for UnknownProfile {}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == name);
        found.ok_or_else(|| UnknownProfile {
            name: name.to_owned(),
        })
    }
}
