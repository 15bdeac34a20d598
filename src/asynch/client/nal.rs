//! The trait of `embedded-nal-async` 0.9.

use super::Client;
use crate::asynch::connection::Connection;
use crate::asynch::network::AnyShared;
use crate::stack::Error;
use core::net::SocketAddr;
use embedded_nal_async::TcpConnect;

/// Dropping a connection that was not finished resets it: to end with a FIN, call
/// [`Connection::finish`], if the crate gives access to the connection.
impl<'s, S: AnyShared> TcpConnect for Client<'s, S> {
    type Error = Error;
    type Connection<'a>
        = Connection<'s, S>
    where
        Self: 'a;

    async fn connect<'a>(&'a self, remote: SocketAddr) -> Result<Connection<'s, S>, Error> {
        Client::connect(self, remote).await
    }
}
