//! The first sequence numbers of a connection: a second configuration of every row puts
//! both near an edge of the number space.

use crate::common::*;
use crate::script::{CALLER, Family, OURS};
use lastbyte::stack::Config;
use lastbyte::{Instant, Options};
use lastbyte_sim::loopback::{
    BEGINNING, Flags, Handshake, World, WorldConfig, our_hardware_address,
};
use std::time::Duration;

/// The place of both initial sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Ours anywhere, the peer's at 1000.
    Anywhere,
    /// Just below 2^31, where a signed comparison changes its sign.
    At31,
    /// Just below 2^32, where the numbers wrap.
    At32,
}

/// The maximum distance of our number from the wanted one.
const NEAR: u32 = 256;

/// One tick of the clock that initial sequence numbers follow, if they follow one (RFC
/// 9293, 3.4.1).
const TICK: Duration = Duration::from_micros(4);

impl Numbers {
    /// The edge, if there is one.
    const fn edge(self) -> Option<u32> {
        match self {
            Self::Anywhere => None,
            Self::At31 => Some(1 << 31),
            Self::At32 => Some(0),
        }
    }

    /// The peer's initial sequence number: its SYN, or a few octets of data after
    /// it, reach the edge.
    pub fn of_peer(self) -> u32 {
        match self {
            Self::Anywhere => Handshake::default().isn,
            Self::At31 => (1 << 31) - 3,
            Self::At32 => u32::MAX,
        }
    }

    /// A world, and our end in it. Its first connection begins at such a number if
    /// `opening` opens it, which [`assert_placed`](Self::assert_placed) checks.
    #[track_caller]
    pub fn place(self, family: Family, opening: Opening) -> (World, Us<1>) {
        let Some(edge) = self.edge() else {
            let world = World::new(WorldConfig::instant());
            let us = Us::new(&world);
            return (world, us);
        };
        // Eight octets of data reach the edge.
        let wanted = edge.wrapping_sub(8);
        let seed = seed_of(wanted);
        let off = wanted.wrapping_sub(isn_of(family, opening, seed, BEGINNING));
        // If numbers follow a clock, the time decides.
        let begins_at = match off.wrapping_add(NEAR) <= 2 * NEAR {
            true => BEGINNING,
            false => BEGINNING + TICK * off,
        };
        end_at(seed, begins_at)
    }

    /// Asserts that our initial sequence number is where it should be.
    #[track_caller]
    pub fn assert_placed(self, isn: u32) {
        if let Some(edge) = self.edge() {
            let is_near = isn.wrapping_sub(edge).wrapping_add(NEAR) <= 2 * NEAR;
            assert!(is_near, "our numbers begin at {isn:#x}, not near {edge:#x}");
        }
    }
}

/// Our end, made from this seed, in a world that begins at this time.
fn end_at(seed: u64, begins_at: Instant) -> (World, Us<1>) {
    let world = World::new(WorldConfig {
        begins_at,
        ..WorldConfig::instant()
    });
    let config = Config::new(our_hardware_address(world.config().medium), seed);
    let us = Us::configured(&world, TX, RX, config);
    (world, us)
}

/// Which end opens the connection.
#[derive(Debug, Clone, Copy)]
pub enum Opening {
    Ours,
    Peers,
}

/// The first initial sequence number of such an end.
#[track_caller]
fn isn_of(family: Family, opening: Opening, seed: u64, begins_at: Instant) -> u32 {
    let (world, mut us) = end_at(seed, begins_at);
    let (raw, options) = (world.raw(), Options::default());
    match opening {
        Opening::Ours => {
            let id = us.stack.connect((family.peer(), PORT), options);
            id.expect("a slot, a port and a route");
            us.stack.run_for(ms(10));
            let syn = raw.recv();
            assert_eq!(syn.flags, Flags::SYN, "{syn}");
            syn.seq
        }
        Opening::Peers => {
            us.stack.listen(OURS, options).expect("a slot");
            let call = raw.call(CALLER, (family.ours(), OURS), Handshake::default(), || {
                us.stack.poll();
            });
            call.remote_isn
        }
    }
}

/// The seed with which `wanted` is the second number of smoltcp's generator (its
/// `rand.rs`). An interface draws the first number, for the identification of its
/// packets.
fn seed_of(wanted: u32) -> u64 {
    const M: u64 = 0xbb2e_fcec_3c39_611d;
    const A: u64 = 0x7590_ef39;
    // The inverse of an odd number modulo 2^64, by Newton's iteration.
    let inverse = (0..6).fold(M, |x, _| {
        x.wrapping_mul(2_u64.wrapping_sub(M.wrapping_mul(x)))
    });
    let back = |state: u64| state.wrapping_sub(A).wrapping_mul(inverse);
    // With the three highest bits clear, the output is the 32 bits below them.
    back(back(u64::from(wanted) << 29))
}
