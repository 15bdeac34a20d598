//! Bad networks in virtual time.
mod dice;
mod draw;
mod link;
mod oracle;
mod peers;
mod profile;
mod rogue;
mod run;
mod scenario;
mod truth;
pub use dice::Chance;
pub use link::{Burst, Link, LinkPath, Links};
pub use oracle::{Finding, Rule};
pub use profile::{Profile, UnknownProfile};
pub use run::Outcome;
pub use scenario::{Family, Forgery, Happening, Opening, PeerModel, Rogue, Scenario, Step};

/// Runs.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let world = run::world_of(scenario);
    let mut arena = run::Arena::default();
    let log = world.record(if std::env::var_os("SIMLOG").is_some() {
        400
    } else {
        0
    });
    let o = run::run_in(scenario, &world, &mut arena);
    if std::env::var_os("SIMLOG").is_some() {
        println!("{log}");
    }
    o
}
