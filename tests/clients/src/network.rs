//! A network of `lastbyte::asynch` on a TAP in a private namespace.

use lastbyte::asynch::Client;
use lastbyte::stack::smoltcp::wire::IpCidr;
use lastbyte::{OnReceive, Options};
use lastbyte_host::namespace::{self, KERNEL_V4, Namespace, NamespaceError, OUR_V4, PREFIX_V4};
use std::net::SocketAddr;
use std::time::Duration;

pub use lastbyte_protocols::Net;

/// How long a test may take. Far more than it needs.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a test waits for what must happen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a test uses.
pub struct Lab<'n, 'a> {
    pub net: &'n Net<'a>,
    pub namespace: &'n Namespace,
}

impl<'n, 'a> Lab<'n, 'a> {
    /// What a protocol crate gets: connections with the timeouts of these tests.
    pub fn client(&self) -> Client<'n, Net<'a>> {
        self.client_with(quick().build().expect("they do not contradict each other"))
    }

    pub fn client_with(&self, options: Options) -> Client<'n, Net<'a>> {
        Client::new(self.net, options)
    }

    /// From here on no frame passes in either direction, and neither end is informed.
    pub fn cut_cable(&self) {
        let cut = self.net.with_device(|tap| tap.set_dropping(true));
        cut.expect("the network is not lent");
    }
}

/// Timeouts that are short enough for a test.
pub fn quick() -> lastbyte::core::OptionsBuilder {
    Options::builder()
        .on_receive(OnReceive::Keep)
        .connect_timeout(Duration::from_secs(3))
        .user_timeout(Duration::from_secs(3))
        .finish_timeout(Duration::from_secs(3))
        .call_timeout(Duration::from_secs(4))
}

/// A port of the kernel's.
pub fn at(port: u16) -> SocketAddr {
    SocketAddr::new(KERNEL_V4.into(), port)
}

/// A port of ours, as the kernel's programs see it.
pub fn ours(port: u16) -> SocketAddr {
    SocketAddr::new(OUR_V4.into(), port)
}

/// What is missing on this machine for these tests; `None` if they can run.
///
/// The first thread calls it, before there are others: without root, it enters a user
/// namespace, in which every later thread is root.
pub fn missing() -> Option<String> {
    let tried = match namespace::run(|_, _| ()) {
        Err(NamespaceError::MultiThreaded) => {
            Namespace::enter_empty().and_then(|_| namespace::run(|_, _| ()))
        }
        other => other,
    };
    tried.err().map(|error| error.to_string())
}

/// Runs `test` in a namespace of its own.
#[track_caller]
pub fn lab(test: impl AsyncFnOnce(&Lab<'_, '_>) + Send) {
    let done = namespace::run(|namespace, tap| {
        let ours = IpCidr::new(OUR_V4.into(), PREFIX_V4);
        lastbyte_protocols::run(tap, ours, async |net: &Net<'_>| {
            let lab = Lab {
                net,
                namespace: &namespace,
            };
            tokio::time::timeout(LIMIT, test(&lab)).await
        })
    });
    let done = done.expect("the namespace was there a moment ago");
    let in_time = done.expect("descriptors are left");
    in_time.unwrap_or_else(|_| panic!("not done within {LIMIT:?}"));
}
