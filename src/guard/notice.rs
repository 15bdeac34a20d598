//! What a frame says that belongs to no connection.

#[cfg(feature = "slaac")]
use super::advert::{self, Advertisement};
#[cfg(feature = "address-conflicts")]
use super::claim::{self, Claim};
#[cfg(feature = "dns")]
use super::reply::{self, Reply};
use super::wire::layout::Medium;

/// What a frame says that belongs to no connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice {
    /// Who has an address.
    #[cfg(feature = "address-conflicts")]
    Claim(Claim),
    /// What a router advertises.
    #[cfg(feature = "slaac")]
    Router(Advertisement),
    /// What a name server has answered.
    #[cfg(feature = "dns")]
    Reply(Reply),
}

/// Reads a frame that holds no segment of TCP.
pub(crate) fn read(medium: Medium, frame: &[u8]) -> Option<Notice> {
    #[cfg(feature = "address-conflicts")]
    if medium == Medium::Ethernet
        && let Some(claim) = claim::read(frame)
    {
        return Some(Notice::Claim(claim));
    }
    #[cfg(feature = "slaac")]
    if medium == Medium::Ethernet
        && let Some(advertisement) = advert::read(frame)
    {
        return Some(Notice::Router(advertisement));
    }
    #[cfg(feature = "dns")]
    if let Some(reply) = reply::read(medium, frame) {
        return Some(Notice::Reply(reply));
    }
    None
}
