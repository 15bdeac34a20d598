//! Bad networks in virtual time: the same writer, a million times over.
//!
//! What cannot be tested on a bench can be simulated: a network that loses,
//! delays, doubles, damages and reorders; a peer that dawdles, resets, starts
//! anew or is never there; somebody who forges segments. Both ends are real
//! TCPs, time is virtual, and the same seed gives the same run, bit for bit,
//! on every platform.
//!
//! # For firmware
//!
//! Application logic over [`Stack`](lastbyte::stack::Stack) runs unchanged on
//! the device and the clock of a [`World`]. [`Links`] make its network bad:
//!
//! ```
//! use std::time::Duration;
//! use embedded_io::Write;
//! use lastbyte::Options;
//! use lastbyte::stack::{Config, SlotBuffers, Stack, smoltcp::iface::SocketStorage};
//! use lastbyte_shim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V4, World, WorldConfig};
//! use lastbyte_shim::loopback::our_hardware_address;
//! use lastbyte_shim::sim::{Chance, Link, Links};
//!
//! let world = World::new(WorldConfig::default());
//! let lossy = Link {
//!     jitter: Duration::from_millis(20),
//!     loss: Chance::percent(10),
//!     ..Link::with_latency(Duration::from_millis(30))
//! };
//! Links::symmetric(lossy).lay(&world, 1);
//! world.peer().listen(80, Behaviour::sink().reading(100, Duration::from_secs(1)));
//!
//! let (mut tx, mut rx) = ([0; 1024], [0; 256]);
//! let mut storage = [SocketStorage::EMPTY];
//! let mut stack = Stack::new(
//!     world.device(),
//!     world.clock(),
//!     Config::new(our_hardware_address(world.config().medium), 42),
//!     [SlotBuffers { tx: &mut tx, rx: &mut rx }],
//!     &mut storage,
//! ).unwrap();
//! stack.interface_mut().update_ip_addrs(|list| list.extend(OUR_ADDRESSES));
//!
//! // From here on it is the application's own code.
//! let id = stack.connect((PEER_V4, 80), Options::default()).unwrap();
//! let mut writer = stack.writer(id).unwrap();
//! writer.write_all(&[7; 3_000]).unwrap();
//! let report = writer.finish().unwrap();
//! assert_eq!(report.ledger.acknowledged(), 3_000);
//! assert_eq!(world.peer().received(80), [7; 3_000]);
//! ```
//!
//! # For the writer itself
//!
//! A [`Scenario`] writes a whole run down: network, peer, application, what
//! else happens. [`Scenario::new`] draws one from a [`Profile`] and a seed;
//! [`run`] plays it and holds it to the [`Rule`]s after every step; [`record`]
//! keeps it to be looked at; [`shrink`] makes a failing one smaller; a
//! [`Sweep`] runs many.
//!
//! The oracle draws its conclusions from the wire and from the peer, with
//! RFC 9293 in hand. Some things cannot be told from there; this is what it
//! lets pass:
//!
//! | seen | because |
//! |---|---|
//! | a FIN or data out of order, or with an old ACK, has no effect yet | a receiver may keep or drop it (RFC 9293, 3.10.7.4) |
//! | `Unreachable` although the neighbour answered | nobody served our end before the limit, and no SYN has left |
//! | `PeerReset` or `PeerFinished` once any RST or FIN has arrived | it may have been in order by then |
//! | what the peer received, once a FIN of ours has left beyond its window | smoltcp repeats a segment whole, whatever the window; where it is the peer, it cuts the data off and takes the FIN |
//! | nothing on the wire for 130 s with bytes pending | the longest pause between two probes is 60 s |
//! | one wake without a reason behind the end | deadlines are looked at when they come |
//!
//! ```
//! use lastbyte_shim::sim::{self, Profile, Scenario};
//!
//! for seed in 0..20 {
//!     let outcome = sim::run(&Scenario::new(Profile::Hostile, seed));
//!     assert_eq!(outcome.findings, []);
//! }
//! ```

mod app;
mod content;
mod coverage;
mod dice;
mod draw;
mod ladder;
mod link;
mod oracle;
mod pcap;
mod peers;
mod profile;
mod recording;
mod rogue;
mod run;
mod scenario;
mod script;
mod shrink;
mod sweep;
mod truth;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::loopback::World;

pub use coverage::{Coverage, Row};
pub use dice::Chance;
pub use link::{Burst, Link, LinkPath, Links};
pub use oracle::{Finding, Rule};
pub use profile::{Profile, UnknownProfile};
pub use recording::{Moment, Note, RecordedFrame, Recording};
pub use run::Outcome;
pub use scenario::{
    Family, Forgery, Happening, Network, Opening, PeerModel, Rogue, Scenario, Step,
};
pub use script::{Fault, Script, ScriptPath};
pub use shrink::shrink;
pub use sweep::{Failing, Summary, Sweep};

use recording::{Tape, keep_frames};

thread_local! {
    /// Buffers that one run leaves to the next.
    static ARENA: RefCell<run::Arena> = RefCell::default();
}

/// Plays a scenario and holds it to the rules. What panics is a finding.
///
/// ```
/// use lastbyte_shim::sim::{self, Profile, Scenario};
///
/// let scenario = Scenario::new(Profile::Wifi, 7);
/// let outcome = sim::run(&scenario);
/// assert_eq!(outcome.findings, []);
/// assert_eq!(outcome, sim::run(&scenario), "the same, bit for bit");
/// ```
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let world = run::world_of(scenario);
    play(scenario, &world, &Tape::default())
}

/// As [`run`], and keeps every frame and what our end made of it.
///
/// ```
/// use lastbyte_shim::sim::{self, Profile, Scenario};
///
/// let (outcome, recording) = sim::record(&Scenario::new(Profile::Lan, 1));
/// assert_eq!(recording.frames.len() as u64, outcome.frames);
/// println!("{recording}");
/// ```
#[must_use]
pub fn record(scenario: &Scenario) -> (Outcome, Recording) {
    let world = run::world_of(scenario);
    let frames = keep_frames(&world);
    let tape = Tape::recording();
    let outcome = play(scenario, &world, &tape);
    let recording = Recording {
        scenario: scenario.clone(),
        frames: frames.take(),
        moments: tape.take(),
    };
    (outcome, recording)
}

fn play(scenario: &Scenario, world: &World, tape: &Tape) -> Outcome {
    let mut arena = ARENA.take();
    let played = catch_unwind(AssertUnwindSafe(|| {
        run::run_in(scenario, world, &mut arena, tape)
    }));
    ARENA.replace(arena);
    played.unwrap_or_else(|panic| run::broken(world, words(&*panic)))
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
