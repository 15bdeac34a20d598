//! One connection at a time, from its opening to its report: the part to copy.
//!
//! Nothing here blocks for longer than the call timeout, a quarter of a second by
//! default. In between, the application does its periodic work: it checks the link, logs
//! advice, and would feed its watchdog.

use crate::settings::Settings;
use crate::{Board, Link};
use core::time::Duration;
use embedded_io::Write;
#[cfg(feature = "dhcp")]
use lastbyte::stack::LeaseError;
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::phy::Device;
use lastbyte::stack::smoltcp::wire::{IpCidr, IpEndpoint};
#[cfg(feature = "dns")]
use lastbyte::stack::smoltcp::{socket::dns::DnsQuery, wire::IpAddress};
use lastbyte::stack::{Config, ConnectionId, Error, SlotBuffers, Stack};
use lastbyte::{Clock, Instant, Ledger, Options, Report, Timeout, WriteError};

/// One connection.
const CONNECTIONS: usize = 1;

/// The connection, and the sockets of DHCP and of DNS.
const SOCKETS: usize = CONNECTIONS + 2;

/// What the stack borrows.
pub(crate) struct Storage<'a> {
    sockets: [SocketStorage<'a>; SOCKETS],
    #[cfg(feature = "dns")]
    queries: [Option<DnsQuery>; 1],
}

impl Storage<'_> {
    pub(crate) const EMPTY: Self = Self {
        sockets: [SocketStorage::EMPTY; SOCKETS],
        #[cfg(feature = "dns")]
        queries: [None],
    };
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It could not be opened.
    NotBegun(Error),
    /// With this report.
    Of(Report),
}

/// Why the application stops writing before its work is done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The connection accepts no more bytes.
    Refused,
    /// The peer responds, but has read nothing for too long.
    OutOfPatience,
}

/// The stack, and the data of the application.
pub(crate) struct Session<'a, D: Device, C: Clock> {
    stack: Stack<'a, D, C, CONNECTIONS>,
    look_at_link: fn(&mut D) -> Link,
    link: Link,
    remote: IpEndpoint,
    #[cfg(feature = "dhcp")]
    dhcp: bool,
    #[cfg(feature = "dns")]
    name: Option<&'a str>,
    options: Options,
    /// Zero: without limit.
    patience: Duration,
}

impl<'a, D: Device, C: Clock> Session<'a, D, C> {
    pub(crate) fn new(
        board: Board<D, C>,
        settings: &Settings<'a>,
        buffers: [SlotBuffers<'a>; CONNECTIONS],
        storage: &'a mut Storage<'a>,
    ) -> Result<Self, Error> {
        let config = Config::new(board.hardware_addr.into(), board.seed);
        let sockets = &mut storage.sockets;
        let mut stack = Stack::new(board.device, board.clock, config, buffers, sockets)?;
        #[cfg(feature = "dns")]
        if settings.name.is_some() {
            let server = settings.dns.map(IpAddress::Ipv4);
            stack.start_dns(&mut storage.queries, server.as_slice())?;
        }
        #[cfg(feature = "dhcp")]
        if settings.dhcp {
            stack.start_dhcp()?;
        } else {
            set_address(&mut stack, settings);
        }
        #[cfg(not(feature = "dhcp"))]
        set_address(&mut stack, settings);
        Ok(Self {
            stack,
            look_at_link: board.link,
            link: Link::Unknown,
            remote: (settings.host, settings.port).into(),
            #[cfg(feature = "dhcp")]
            dhcp: settings.dhcp,
            #[cfg(feature = "dns")]
            name: settings.name,
            options: settings.options,
            patience: settings.patience,
        })
    }

    /// Opens connection `number`, lets `work` write to it, finishes it, and returns how
    /// it ended.
    pub(crate) fn connect(
        &mut self,
        number: u32,
        work: impl FnOnce(&mut Connection<'_, 'a, D, C>) -> Result<(), Stop>,
    ) -> Ended {
        self.look();
        let opened = self.remote().and_then(|remote| {
            let opened = self.stack.connect(remote, self.options);
            opened.map_err(Error::from)
        });
        let id = match opened {
            Ok(id) => id,
            Err(error) => {
                defmt::warn!("attempt {}: not begun: {}", number, error);
                return Ended::NotBegun(error);
            }
        };
        let mut connection = Connection {
            session: self,
            id,
            number,
        };
        let stopped = connection.open().and_then(|()| work(&mut connection));
        let report = connection.end(stopped);
        Ended::Of(report)
    }

    /// The peer's address and port. With DHCP there is a lease then, and a name is resolved.
    /// Each of the two has the connect timeout.
    fn remote(&mut self) -> Result<IpEndpoint, Error> {
        #[cfg(feature = "dhcp")]
        if self.dhcp {
            self.wait_lease()?;
        }
        #[cfg(feature = "dns")]
        if let Some(name) = self.name {
            let address = self.resolve(name)?;
            return Ok(IpEndpoint::new(address, self.remote.port));
        }
        Ok(self.remote)
    }

    #[cfg(feature = "dhcp")]
    fn wait_lease(&mut self) -> Result<(), Error> {
        let until = self.time_in(self.options.connect_timeout());
        loop {
            self.look();
            let lease = self.stack.lease().map(drop);
            if lease != Err(LeaseError::NoLease) || self.is_reached(until) {
                return Ok(lease?);
            }
            self.serve(until);
        }
    }

    #[cfg(feature = "dns")]
    fn resolve(&mut self, name: &str) -> Result<IpAddress, Error> {
        let timeout = self.options.connect_timeout();
        let mut lookup = self.stack.begin_lookup(name, timeout)?;
        loop {
            self.look();
            if let Some(found) = self.stack.poll_lookup(&mut lookup) {
                return Ok(found?);
            }
            self.serve(lookup.poll_at());
        }
    }

    /// Serves the stack for `duration`, including periodic work, or until the link comes
    /// up: then the peer can probably be reached again.
    pub(crate) fn pause(&mut self, duration: Duration) {
        let until = self.time_in(duration);
        while !self.is_reached(until) {
            let before = self.link;
            self.look();
            if (before, self.link) == (Link::Down, Link::Up) {
                return;
            }
            self.serve(until);
        }
    }

    /// Serves the stack until something happens, until the periodic work is due, or until
    /// `until`.
    fn serve(&mut self, until: Instant) {
        let chores = self.time_in(self.options.call_timeout());
        self.stack.wait(until.min(chores));
    }

    fn time_in(&mut self, duration: Duration) -> Instant {
        self.stack.clock_mut().now() + duration
    }

    fn is_reached(&mut self, time: Instant) -> bool {
        self.stack.clock_mut().now() >= time
    }

    /// Checks the link. A watchdog would be fed here too.
    fn look(&mut self) {
        let link = (self.look_at_link)(self.stack.device_mut());
        if link == self.link {
            return;
        }
        self.link = link;
        match link {
            Link::Up => self.stack.set_link(true),
            Link::Down => self.stack.set_link(false),
            Link::Unknown => {}
        }
        defmt::info!("link={}", link);
    }
}

fn set_address<D: Device, C: Clock>(
    stack: &mut Stack<'_, D, C, CONNECTIONS>,
    settings: &Settings<'_>,
) {
    let interface = stack.interface_mut();
    interface.update_ip_addrs(|addresses| {
        // The list is empty and has room for one.
        let _ = addresses.push(IpCidr::Ipv4(settings.addr));
    });
    if let Some(gateway) = settings.gateway {
        // The same for the table of routes.
        let _ = interface.routes_mut().add_default_ipv4_route(gateway);
    }
}

/// The present connection.
pub(crate) struct Connection<'s, 'a, D: Device, C: Clock> {
    session: &'s mut Session<'a, D, C>,
    id: ConnectionId,
    number: u32,
}

impl<D: Device, C: Clock> Connection<'_, '_, D, C> {
    /// Waits until the handshake is done.
    fn open(&mut self) -> Result<(), Stop> {
        loop {
            self.chores();
            match self.session.stack.wait_open(self.id) {
                Ok(()) => break,
                // The connect timeout ends this, not the call timeout.
                Err(error) if is_alive(&error) => {}
                Err(_) => return Err(Stop::Refused),
            }
        }
        if let Ok(Some((local, remote))) = self.session.stack.endpoints(self.id) {
            defmt::info!("attempt {}: open, {} to {}", self.number, local, remote);
        }
        Ok(())
    }

    /// Writes at least one of `bytes`, and returns how many.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let patience = match self.session.patience {
            Duration::ZERO => Instant::NEVER,
            patience => self.session.time_in(patience),
        };
        loop {
            self.chores();
            let Ok(mut writer) = self.session.stack.writer(self.id) else {
                return Err(Stop::Refused);
            };
            match writer.write(bytes) {
                Ok(accepted) => return Ok(accepted),
                // If the peer is silent, or acknowledges nothing, the stack ends the
                // connection.
                Err(error) if is_not_reading(&error) && self.session.is_reached(patience) => {
                    return Err(Stop::OutOfPatience);
                }
                Err(error) if is_alive(&error) => {}
                Err(error) => {
                    defmt::warn!("attempt {}: write refused: {}", self.number, error);
                    return Err(Stop::Refused);
                }
            }
        }
    }

    /// Writes all of `bytes`. If it fails, part of them may have been accepted; the
    /// ledger counts them.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let accepted = self.write(bytes)?;
            bytes = bytes.get(accepted..).unwrap_or_default();
        }
        Ok(())
    }

    pub(crate) fn now(&mut self) -> Instant {
        self.session.stack.clock_mut().now()
    }

    /// Serves the connection until this time. If it ends meanwhile, the next write
    /// reports that.
    pub(crate) fn pause_until(&mut self, until: Instant) {
        while !self.session.is_reached(until) {
            self.chores();
            self.session.serve(until);
        }
    }

    /// The report so far.
    pub(crate) fn ledger(&mut self) -> Ledger {
        match self.session.stack.report(self.id) {
            Ok(report) => report.ledger,
            Err(_) => Ledger::ZERO,
        }
    }

    /// The end after the last write: accepted bytes drain, also after a FIN of the peer,
    /// and a FIN follows. On a connection that has ended this changes nothing.
    fn end(mut self, stopped: Result<(), Stop>) -> Report {
        match stopped {
            Ok(()) | Err(Stop::Refused) => self.finish(),
            Err(Stop::OutOfPatience) => {
                defmt::warn!("attempt {}: the peer does not read", self.number);
            }
        }
        self.chores();
        // Aborts the connection if it still lives, and frees the slot.
        let report = match self.session.stack.writer(self.id) {
            Ok(writer) => writer.abort().unwrap_or(EMPTY),
            Err(_) => EMPTY,
        };
        self.tell(&report);
        report
    }

    fn finish(&mut self) {
        let Ok(mut writer) = self.session.stack.writer(self.id) else {
            return;
        };
        writer.begin_finish();
        // The finish timeout ends this.
        loop {
            self.chores();
            let is_over = match self.session.stack.writer(self.id) {
                Ok(mut writer) => writer.finished().is_some(),
                Err(_) => true,
            };
            if is_over {
                return;
            }
            self.session.serve(Instant::NEVER);
        }
    }

    /// The periodic work between two calls.
    fn chores(&mut self) {
        self.session.look();
        while let Ok(Some(advice)) = self.session.stack.poll_advice(self.id) {
            defmt::warn!("attempt {}: advice={}", self.number, advice);
        }
    }

    /// Logs the report of the connection, for people and programs.
    fn tell(&self, report: &Report) {
        defmt::info!(
            "attempt {}: ended cause={=str} accepted={} acknowledged={} undelivered={} \
             discarded={} writes_accepted={} writes_refused={} link_was_down={} path_mtu={} \
             elapsed_ms={}",
            self.number,
            report.cause.map_or("none", lastbyte::Cause::name),
            report.ledger.accepted(),
            report.ledger.acknowledged(),
            report.ledger.undelivered(),
            report.discarded,
            report.writes_accepted,
            report.writes_refused,
            report.link_was_down,
            report.path_mtu.unwrap_or(0),
            u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX)
        );
    }
}

/// For a connection that the stack does not know, which cannot happen.
const EMPTY: Report = Report {
    cause: None,
    ledger: Ledger::ZERO,
    discarded: 0,
    writes_accepted: 0,
    writes_refused: 0,
    link_was_down: false,
    path_mtu: None,
    elapsed: Duration::ZERO,
};

/// Whether the call waited for a peer that keeps its window closed.
const fn is_not_reading(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::TimedOut {
            why: Timeout::NotReading,
            ..
        }
    )
}

/// Whether only the call has ended: the connection lives, and the call may be repeated.
const fn is_alive(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::TimedOut {
            why: Timeout::Call | Timeout::NotReading,
            ..
        }
    )
}
