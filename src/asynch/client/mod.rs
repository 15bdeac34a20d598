//! A network for crates that implement protocols: connections by address, all with the same
//! options.
//!
//! Such crates need a connection factory that implements a trait. [`Client`] implements
//! those of `embedded-nal-async` (feature `embedded-nal-async-v0.9`) and `edge-nal`
//! (feature `edge-nal-v0.7`); each feature is named after the version of the crate.

#[cfg(feature = "edge-nal-v0.7")]
mod edge;
#[cfg(feature = "embedded-nal-async-v0.9")]
mod nal;

#[cfg(feature = "edge-nal-v0.7")]
pub use edge::Acceptor;

use super::connection::Connection;
use super::network::AnyShared;
use crate::core::options::Options;
use crate::stack::smoltcp::wire::{IpAddress, IpEndpoint};
use crate::stack::{Error, OpenError};
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// Opens connections on a [`Shared`](super::Shared) network, all with the same options,
/// for crates that need a connection factory.
///
/// It is a handle, as cheap to copy as a reference.
///
/// ```
/// use lastbyte::asynch::{AnyShared, Client};
/// use lastbyte::stack::Error;
/// use lastbyte::{OnReceive, Options};
///
/// // What a protocol reads must be kept for it.
/// const OPTIONS: Options = match Options::builder().on_receive(OnReceive::Keep).build() {
///     Ok(options) => options,
///     Err(_) => panic!("these do not contradict each other"),
/// };
///
/// async fn greet<S: AnyShared>(net: &S) -> Result<(), Error> {
///     let client = Client::new(net, OPTIONS);
///     let remote = "192.0.2.1:80".parse().expect("an address");
///     let mut connection = client.connect(remote).await?;
///     connection.write_more(b"HEAD / HTTP/1.0\r\n\r\n").await?;
///     connection.finish_writing().await
/// }
/// ```
pub struct Client<'s, S: AnyShared> {
    shared: &'s S,
    options: Options,
}

impl<'s, S: AnyShared> Client<'s, S> {
    /// Connections of this network, with these options. Most protocols need
    /// [`OnReceive::Keep`](crate::OnReceive::Keep): otherwise the peer's bytes are discarded,
    /// and a read is the error [`ReadError::Discarding`](crate::ReadError::Discarding).
    #[must_use]
    pub const fn new(shared: &'s S, options: Options) -> Self {
        Self { shared, options }
    }

    /// Opens a connection and waits until it is open, as [`Shared::connect`](super::Shared::connect)
    /// does.
    ///
    /// # Errors
    ///
    /// See [`Shared::connect`](super::Shared::connect); [`OpenError::NoRoute`] for an address
    /// of an IP version that lastbyte was built without.
    pub async fn connect(&self, remote: SocketAddr) -> Result<Connection<'s, S>, Error> {
        let remote = endpoint(remote)?;
        Connection::open(self.shared, remote, self.options).await
    }
}

impl<S: AnyShared> Clone for Client<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: AnyShared> Copy for Client<'_, S> {}

impl<S: AnyShared> fmt::Debug for Client<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// An address as smoltcp's type.
fn endpoint(address: SocketAddr) -> Result<IpEndpoint, OpenError> {
    let ip = match address.ip() {
        #[cfg(feature = "proto-ipv4")]
        IpAddr::V4(v4) => IpAddress::Ipv4(v4),
        #[cfg(feature = "proto-ipv6")]
        IpAddr::V6(v6) => IpAddress::Ipv6(v6),
        #[allow(unreachable_patterns, reason = "there may be one version only")]
        _ => return Err(OpenError::NoRoute),
    };
    Ok(IpEndpoint::new(ip, address.port()))
}
