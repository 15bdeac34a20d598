//! Bad networks in virtual time.
mod dice;
mod draw;
mod link;
mod profile;
mod scenario;
mod truth;
pub use dice::Chance;
pub use link::{Burst, Link, LinkPath, Links};
pub use profile::{Profile, UnknownProfile};
pub use scenario::{Family, Forgery, Happening, Opening, PeerModel, Rogue, Scenario, Step};
