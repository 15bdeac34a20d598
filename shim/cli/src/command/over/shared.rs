//! A session over the async layer: two tasks, the session and the runner of the network, on
//! this thread.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use lastbyte::asynch::{self, Alarm, Now, Shared};
use lastbyte::core::{Progress, Timeout};
use lastbyte::stack::smoltcp::socket::Socket;
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{Network, OpenError};
use lastbyte::{Error, Instant, Options, Report, WriteError};
use lastbyte_host::host_clock::HostClock;
use lastbyte_sim::executor::Time;

use super::{Connection, Over, Program};
use crate::command::connect::HostDevice;

/// How long an abort waits at most for its RST to leave, as long as that of the stack.
const RST_LIMIT: Duration = Duration::from_secs(1);
/// How often it is checked whether the RST has left.
const RST_PAUSE: Duration = Duration::from_millis(1);

/// The clock of the command, and the executor that sleeps with it.
pub(in crate::command) type HostTime = Time<HostClock>;
/// The shared network of the command.
pub(in crate::command) type HostShared<'a> = Shared<'a, HostDevice, HostTime, 1>;

/// Runs `program` over `shared`.
pub(in crate::command) fn on_shared<P: Program>(
    shared: &HostShared<'_>,
    time: &HostTime,
    program: P,
) -> P::Output {
    let runner = shared.run(DeviceAlarm(time.clone()));
    time.block_on(runner, program.run(OnShared { shared, time }))
}

/// Ends by the device, and by no other descriptor: those concern the session.
struct DeviceAlarm(HostTime);

impl Alarm for DeviceAlarm {
    async fn wait(&mut self, until: Option<Instant>) {
        let until = until.unwrap_or(Instant::NEVER);
        let is_ready = |clock: &mut HostClock| clock.is_device_ready();
        self.0.wait_for(until, is_ready).await;
    }
}

#[derive(Clone, Copy)]
struct OnShared<'s, 'a> {
    shared: &'s HostShared<'a>,
    time: &'s HostTime,
}

impl<'s, 'a> Over for OnShared<'s, 'a> {
    type Connection = OfShared<'s, 'a>;

    fn with_clock<R>(self, use_it: impl FnOnce(&mut HostClock) -> R) -> R {
        self.time.with_clock(use_it)
    }

    // The network is not lent while the session runs, so neither of these fails.

    fn with_device<R: Default>(self, use_it: impl FnOnce(&mut HostDevice) -> R) -> R {
        self.shared.with_device(use_it).unwrap_or_default()
    }

    fn with_network<R: Default>(self, use_it: impl FnOnce(Network<'_, '_>) -> R) -> R {
        self.shared.with_network(use_it).unwrap_or_default()
    }

    fn set_link(self, is_up: bool) {
        let _ = self.shared.set_link(is_up);
    }

    fn connect(self, remote: SocketAddr, options: Options) -> Result<Self::Connection, OpenError> {
        match self.shared.begin_connect(remote, options) {
            Ok(connection) => Ok(OfShared {
                over: self,
                connection,
            }),
            Err(Error::Open(error)) => Err(error),
            Err(_) => Err(OpenError::NoSlot),
        }
    }

    /// The runner does it.
    fn serve(self) -> Instant {
        Instant::NEVER
    }

    async fn wait(self, until: Instant) {
        let is_ready = |clock: &mut HostClock| clock.is_other_ready();
        self.time.wait_for(until, is_ready).await;
    }

    fn now(self) -> Instant {
        self.time.now()
    }
}

/// A connection that a task owns.
struct OfShared<'s, 'a> {
    over: OnShared<'s, 'a>,
    connection: asynch::Connection<'s, HostShared<'a>>,
}

/// Whether a call has only reached the call timeout. Then it is made again: the session keeps
/// the time itself, from one byte of progress to the next.
fn goes_on<T>(called: &Result<T, Error>) -> bool {
    let Err(Error::Write(WriteError::TimedOut { why, .. })) = called else {
        return false;
    };
    matches!(why, Timeout::Call | Timeout::NotReading)
}

impl Connection for OfShared<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        loop {
            let written = embedded_io_async::Write::write(&mut self.connection, bytes).await;
            if !goes_on(&written) {
                return written;
            }
        }
    }

    async fn write_with(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<usize, Error> {
        let mut fill = Some(fill);
        loop {
            let fill = |room: &mut [u8]| fill.take().map_or(0, |fill| fill(room));
            let written = self.connection.write_with(fill).await;
            if !goes_on(&written) {
                return written;
            }
        }
    }

    async fn opened(&mut self) {
        while goes_on(&self.connection.wait_open().await) {}
    }

    async fn ended(&mut self) {
        // Why it has ended is in its state.
        let _ = self.connection.wait_end().await;
    }

    /// Begun by its first poll, it goes on when it is dropped.
    fn begin_finish(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = pin!(self.connection.finish()).poll(&mut cx);
    }

    async fn finished(&mut self) {
        // How it has ended is in its report.
        let _ = self.connection.finish().await;
    }

    async fn abort(&mut self) -> Result<Report, Error> {
        let report = self.connection.abort()?;
        let until = self.over.now() + RST_LIMIT;
        // A socket forgets its endpoints once the RST was sent.
        let is_due = |network: Network<'_, '_>| {
            network.sockets.iter().any(|(_, socket)| {
                matches!(socket, Socket::Tcp(socket) if !socket.is_open() && socket.remote_endpoint().is_some())
            })
        };
        while self.over.with_network(is_due) && self.over.now() < until {
            self.over.wait(self.over.now() + RST_PAUSE).await;
        }
        Ok(report)
    }

    fn progress(&mut self) -> Result<Progress, Error> {
        self.connection.progress()
    }

    fn report(&mut self) -> Result<Report, Error> {
        self.connection.report()
    }

    fn endpoints(&self) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error> {
        self.connection.endpoints()
    }
}
