//! How a server ends, and what its client must get.

use crate::network::Lab;
use crate::servers::Server;
use embedded_io_async::ErrorKind;
use futures_util::join;
use std::thread;
use std::time::Duration;

/// How long the executor is blocked after the end of a server, so that its FIN or RST is at
/// the device and no task has run since.
const NO_POLLS: Duration = Duration::from_millis(100);

/// More messages than the buffers of both ends take.
const MANY: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Its process is killed after it has read everything: a FIN.
    Killed,
    /// Its process is killed before it has read everything: a RST.
    Reset,
    /// Its process is stopped: it does not read, and its kernel still answers.
    Stopped,
    /// The cable is cut.
    Vanished,
}

impl Death {
    /// The kind of the error that the caller of a protocol crate gets.
    fn kind(self) -> ErrorKind {
        match self {
            Self::Killed => ErrorKind::BrokenPipe,
            Self::Reset => ErrorKind::ConnectionReset,
            Self::Stopped | Self::Vanished => ErrorKind::TimedOut,
        }
    }
}

/// A client that sends messages without an answer.
pub trait Publisher {
    /// Returns once the server has read everything.
    async fn settle(&mut self);
    /// Sends a message, of some kilobytes.
    async fn publish(&mut self) -> Result<(), ErrorKind>;
}

/// After the server's end no publication is `Ok`: at once if the end has arrived, and
/// otherwise when the buffers are full.
pub async fn check_publisher(
    lab: &Lab<'_, '_>,
    server: &mut Server,
    death: Death,
    publisher: &mut impl Publisher,
) {
    publisher.publish().await.expect("the server lives");
    publisher.settle().await;
    match death {
        Death::Killed => server.kill(),
        Death::Reset => {
            server.stop();
            let sent = publisher.publish().await;
            sent.expect("the kernel of a stopped server acknowledges");
            server.kill();
        }
        Death::Stopped => server.stop(),
        Death::Vanished => lab.cut_cable(),
    }
    let error = if matches!(death, Death::Killed | Death::Reset) {
        thread::sleep(NO_POLLS);
        publisher.publish().await.expect_err("the very next one")
    } else {
        first_error(publisher).await
    };
    assert_eq!(error, death.kind(), "{death:?}");
    assert!(publisher.publish().await.is_err(), "also the one after it");
}

async fn first_error(publisher: &mut impl Publisher) -> ErrorKind {
    for _ in 0..MANY {
        if let Err(error) = publisher.publish().await {
            return error;
        }
    }
    panic!("{MANY} messages accepted without a reader");
}

/// A request after the server's end, or during it, is not `Ok`.
pub async fn check_requester(
    lab: &Lab<'_, '_>,
    server: &mut Server,
    death: Death,
    mut request: impl AsyncFnMut() -> Result<(), ErrorKind>,
) {
    request().await.expect("the server lives");
    let answer = match death {
        Death::Killed => {
            server.kill();
            thread::sleep(NO_POLLS);
            request().await
        }
        Death::Reset => {
            server.stop();
            let killed = async {
                tokio::time::sleep(NO_POLLS).await;
                server.kill();
            };
            join!(request(), killed).0
        }
        Death::Stopped => {
            server.stop();
            request().await
        }
        Death::Vanished => {
            lab.cut_cable();
            request().await
        }
    };
    assert_eq!(answer, Err(death.kind()), "{death:?}");
}
