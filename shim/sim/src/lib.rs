//! Bad networks in virtual time: the same writer, a million times over.
//!
//! What cannot be tested on a bench can be simulated: a network that loses, delays,
//! duplicates, damages and reorders frames; a peer that reads slowly, resets, reboots or
//! is unreachable; an attacker that forges segments. Both ends are real TCPs, time is
//! virtual, and the same seed gives the same run, bit for bit, on every platform.
//!
//! # For firmware
//!
//! Application logic over [`Stack`](lastbyte::stack::Stack) runs unchanged,
//! whatever the device and the clock. [`run_app`] lends it a stack in a [`Scenario`],
//! which is drawn from a [`Profile`] and a seed, changed by hand, or written by hand as a
//! whole. In a plain `#[test]`, with a range of seeds:
//!
//! ```
//! use std::time::Duration;
//! use embedded_io::Write;
//! use lastbyte::{Clock, Options, WriteError};
//! use lastbyte::stack::{Stack, smoltcp::phy::Device, smoltcp::wire::IpEndpoint};
//! use lastbyte_sim::{self as sim, Chance, Link, Links, Network, PeerModel, Profile, Scenario};
//!
//! // The application's own code, the same on a board.
//! fn upload<D: Device, C: Clock>(
//!     stack: &mut Stack<'_, D, C, 1>,
//!     server: IpEndpoint,
//! ) -> Result<u64, WriteError> {
//!     let id = stack.connect(server, Options::default()).unwrap();
//!     let mut writer = stack.writer(id).unwrap();
//!     writer.write_all(&[7; 3_000])?;
//!     Ok(writer.finish()?.ledger.acknowledged())
//! }
//!
//! let lossy = Link {
//!     jitter: Duration::from_millis(20),
//!     loss: Chance::percent(10),
//!     ..Link::with_latency(Duration::from_millis(30))
//! };
//! for seed in 0..10 {
//!     let scenario = Scenario {
//!         network: Network::Links(Box::new(Links::symmetric(lossy.clone()))),
//!         peer: PeerModel::ReadsSlowly { bytes: 100, every: Duration::from_secs(1) },
//!         ..Scenario::new(Profile::Lan, seed)
//!     };
//!     let visit = sim::run_app(&scenario, upload);
//!     assert_eq!(visit.result, Ok(3_000), "{scenario}");
//!     assert_eq!(visit.received, [[7; 3_000]], "{scenario}");
//! }
//! ```
//!
//! A seed that fails always fails: [`record_app`] with the same scenario records every
//! frame and every call, and with the feature `svg` `Recording::ladder` draws them.
//!
//! - [`explore`] runs a trial with many seeds, and records the first that fails.
//! - [`Harness`] is [`run_app`] with servers of your own code
//!   ([`serve`](Harness::serve), [`serve_udp`](Harness::serve_udp)), several connections,
//!   and other changes that a test makes to the world.
//! - [`Scenario::faults`] happen at exactly one byte.
//! - [`Visit::findings`] are broken rules of the stack.
//!
//! `docs/TESTING.md` explains all of it; the example `simulate_my_firmware` is a whole test
//! file. For a world that a scenario cannot describe, build a [`World`]: it can have
//! [`Links`] between its ends, and a [`Behaviour`](crate::loopback::Behaviour) sets what its
//! peer does.
//!
//! # For the writer itself
//!
//! A [`Scenario`] describes a whole run: network, peer, application, what else happens.
//! [`Scenario::new`] draws one from a [`Profile`] and a seed; [`run`] runs it and checks
//! the [`Rule`]s after every step; [`record`] records it; [`shrink`] makes a failing one
//! smaller; a [`Sweep`] runs many.
//!
//! The oracle draws its conclusions from the wire and from the peer, by RFC 9293 and RFC
//! 5961. Some things cannot be observed there. So it accepts:
//!
//! | observation | reason |
//! |---|---|
//! | a FIN or data out of order, or beyond the announced window, has no effect yet | a receiver may keep or drop it (RFC 9293, 3.10.7.4) |
//! | a FIN or data whose ACK number is older than anything that was ever in flight has no effect | a receiver may treat it as forged (RFC 5961, 5.2) |
//! | `PeerReset` by a RST at the end of what arrived, in order or not | a receiver may have kept what is out of order |
//! | octets beyond the peer's window at the end of a retransmitted segment | smoltcp retransmits the whole segment; the peer accepts what it has room for |
//! | octets up to the edge of an older window | smoltcp keeps no SND.WL1 and SND.WL2 |
//! | received bytes are lost with our address, or with a RST that could not be sent for a released connection | smoltcp clears the buffers of such a socket |
//! | a first SYN without an answer | it may remove what TIME-WAIT has left; the caller retransmits it |
//! | a write that accepts nothing, without an error, while the device has no room | the FIN is in the device, which returns no received frame |
//! | one wake without a reason after the end | deadlines are checked when they are reached |
//!
//! ```
//! use lastbyte_sim::{self as sim, Profile, Scenario};
//!
//! for seed in 0..20 {
//!     let outcome = sim::run(&Scenario::new(Profile::Hostile, seed));
//!     assert_eq!(outcome.findings, []);
//! }
//! ```
#![deny(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

#[cfg(feature = "async")]
pub mod executor;
pub mod loopback;
pub mod setup;

mod aftermath;
mod app;
mod content;
mod coverage;
mod dice;
mod draw;
mod draw_outside;
mod draw_path;
mod end;
mod forge;
mod guest;
mod happening;
mod judge;
#[cfg(feature = "svg")]
mod ladder;
mod link;
mod model;
mod oracle;
mod pcap;
mod peers;
mod profile;
mod recording;
mod rogue;
mod rule;
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

use crate::coverage::Marking;
use crate::loopback::World;

pub use coverage::{Coverage, Row};
pub use dice::Chance;
pub use end::Over;
pub use guest::{Failure, GuestStack, Harness, Visit, explore, note, record_app, run_app};
pub use happening::{Answer, Astray, Forgery, Fragmented, Happening, Layer};
pub use link::{Burst, Link, LinkPath, Links};
pub use model::{Lost, Overrun, PeerModel, Relic, Restart, Rogue};
pub use profile::{Profile, UnknownProfile};
pub use recording::{Call, Moment, Note, RecordedFrame, Recording};
pub use rule::{Finding, Rule};
pub use run::Outcome;
pub use scenario::{Beside, Bind, Family, Network, Opening, Scenario, Step};
pub use script::{Fault, Script, ScriptPath};
pub use shrink::shrink;
pub use sweep::{Failing, Summary, Sweep};

use recording::{Tape, keep_frames};

thread_local! {
    /// Buffers that one run passes to the next.
    static ARENA: RefCell<run::Arena> = RefCell::default();
}

/// Runs a scenario and checks the rules. A panic is a finding.
///
/// ```
/// use lastbyte_sim::{self as sim, Profile, Scenario};
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

/// Like [`run`], and records every frame and what happened at our end.
///
/// ```
/// use lastbyte_sim::{self as sim, Profile, Scenario};
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
    let marking = Marking::begin();
    let played = catch_unwind(AssertUnwindSafe(|| {
        run::run_in(scenario, world, &mut arena, tape)
    }));
    drop(marking);
    ARENA.replace(arena);
    played.unwrap_or_else(|panic| run::broken(world, words(&*panic)))
}

/// The message of a panic.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// The snippets of the page on testing, run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/TESTING.md")]
pub struct TestingDoctests;

/// The snippet of the README, run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeDoctests;
