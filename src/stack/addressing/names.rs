//! The DNS client of a tracker.

use super::AddressError;
use super::lookup::{Kind, Lookup, Names, Query, ResolveError, SERVERS, check};
use crate::Instant;
use crate::stack::isn;
use crate::stack::tracker::{Net, Tracker};
use core::time::Duration;
use heapless::Vec;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::{Socket, dns};
use smoltcp::wire::IpAddress;
#[cfg(feature = "proto-ipv4")]
use smoltcp::wire::Ipv4Address;
#[cfg(feature = "proto-ipv6")]
use smoltcp::wire::Ipv6Address;

/// The response codes of success and of a name that does not exist (RFC 1035, 4.1.1).
const SUCCESS: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// An address that is written as one; of a version that lastbyte was built for.
fn literal(name: &str) -> Option<IpAddress> {
    #[cfg(feature = "proto-ipv4")]
    if let Ok(address) = name.parse::<Ipv4Address>() {
        return Some(IpAddress::Ipv4(address));
    }
    #[cfg(feature = "proto-ipv6")]
    if let Ok(address) = name.parse::<Ipv6Address>() {
        return Some(IpAddress::Ipv6(address));
    }
    None
}

/// Whether we have an address of this version that reaches beyond the link.
fn has_kind(interface: &Interface, kind: Kind) -> bool {
    let is_usable = |address: &IpAddress| match address {
        #[cfg(feature = "proto-ipv6")]
        IpAddress::Ipv6(v6) => kind.is_of(address) && !v6.is_unicast_link_local(),
        #[allow(unreachable_patterns, reason = "there may be one version only")]
        _ => kind.is_of(address),
    };
    let mut own = interface.ip_addrs().iter();
    own.any(|cidr| is_usable(&cidr.address()))
}

/// The kinds of addresses to query, in this order: few networks have only the second.
const KINDS: &[Kind] = &[
    #[cfg(feature = "proto-ipv4")]
    Kind::V4,
    #[cfg(feature = "proto-ipv6")]
    Kind::V6,
];

impl<const N: usize> Tracker<N> {
    /// Resolves names over this socket, which the application has added to the set, by querying
    /// these DNS servers, four at most. If there are none, those of the lease and of routers
    /// are asked.
    ///
    /// # Errors
    ///
    /// [`AddressError::WrongSocket`].
    pub fn use_dns(
        &mut self,
        sockets: &SocketSet<'_>,
        handle: SocketHandle,
        servers: &[IpAddress],
    ) -> Result<(), AddressError> {
        let mut all = sockets.iter();
        if !all.any(|(at, socket)| at == handle && matches!(socket, Socket::Dns(_))) {
            return Err(AddressError::WrongSocket);
        }
        let mut names = Names::new(handle);
        names.configured = servers.iter().take(SERVERS).copied().collect();
        self.addressing.names = Some(names);
        Ok(())
    }

    /// The same over a socket of its own, for the owner of the set.
    pub(crate) fn add_dns<'a>(
        &mut self,
        sockets: &mut SocketSet<'a>,
        queries: &'a mut [Option<dns::DnsQuery>],
        servers: &[IpAddress],
    ) -> Result<SocketHandle, AddressError> {
        if let Some(names) = &mut self.addressing.names {
            names.configured = servers.iter().take(SERVERS).copied().collect();
            return Ok(names.handle);
        }
        if sockets.iter().count() >= self.addressing.socket_places {
            return Err(AddressError::NoSocket);
        }
        let handle = sockets.add(dns::Socket::new(&[], queries));
        self.use_dns(sockets, handle, servers)?;
        Ok(handle)
    }

    /// The DNS servers that are asked: those that the application named; else those of the
    /// lease, and then those of routers.
    pub fn dns_servers(&self, now: Instant) -> impl Iterator<Item = IpAddress> {
        self.servers(now).into_iter()
    }

    fn servers(&self, now: Instant) -> Vec<IpAddress, SERVERS> {
        let configured = self
            .addressing
            .names
            .as_ref()
            .map(|names| &names.configured);
        if let Some(configured) = configured.filter(|servers| !servers.is_empty()) {
            return configured.clone();
        }
        #[allow(unused_mut, reason = "there may be neither leases nor routers")]
        let mut servers = Vec::new();
        #[cfg(feature = "dhcpv4")]
        if let Ok(lease) = self.lease() {
            servers.extend(lease.dns_servers().iter().copied().take(SERVERS));
        }
        #[cfg(feature = "slaac")]
        for server in self.addressing.routers.servers(now) {
            // Those that are too many are not asked.
            let _ = servers.push(IpAddress::Ipv6(server));
        }
        let _ = now;
        servers
    }

    /// Those of them that can be asked from our addresses.
    fn askable<D: ?Sized>(&self, net: &Net<'_, '_, D>) -> Vec<IpAddress, SERVERS> {
        let is_askable = |server: &IpAddress| {
            let mut own = net.interface.ip_addrs().iter();
            own.any(|cidr| cidr.address().version() == server.version()) && server.is_unicast()
        };
        self.servers(net.now)
            .into_iter()
            .filter(is_askable)
            .collect()
    }

    /// Begins to resolve a name into an address. An address that is written as one is its own
    /// result. IPv4 is asked for first, IPv6 if there is no such address, each if we have an
    /// address of that version.
    ///
    /// The result comes from [`poll_lookup`](Self::poll_lookup). A lookup that is given up
    /// before is handed to [`end_lookup`](Self::end_lookup): its query takes a place.
    ///
    /// # Errors
    ///
    /// [`ResolveError`]: this is not a name, or there is no server to query.
    pub fn begin_lookup<'n, D: ?Sized>(
        &self,
        net: &Net<'_, '_, D>,
        name: &'n str,
        timeout: Duration,
    ) -> Result<Lookup<'n>, ResolveError> {
        let name = check(name)?;
        if self.addressing.names.is_none() {
            return Err(ResolveError::NotStarted);
        }
        let mut kinds = KINDS.iter().copied();
        let kind = kinds.find(|kind| has_kind(net.interface, *kind));
        Ok(Lookup {
            name,
            kind: kind
                .or(KINDS.first().copied())
                .ok_or(ResolveError::NoServer)?,
            query: None,
            until: net.now + timeout,
            failed: 0,
            code: None,
        })
    }

    /// Goes on with a lookup: whether there is a result, as of the frames that were processed.
    /// To be called after each poll, and at [`Lookup::poll_at`] at the latest.
    pub fn poll_lookup<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        lookup: &mut Lookup<'_>,
    ) -> Option<Result<IpAddress, ResolveError>> {
        loop {
            let Some(query) = &lookup.query else {
                if let Some(address) = literal(lookup.name) {
                    return Some(Ok(address));
                }
                if net.now >= lookup.until {
                    return Some(Err(without_address(lookup)));
                }
                return self.send_query(net, lookup).err().map(Err);
            };
            let Some(names) = &mut self.addressing.names else {
                return Some(Err(ResolveError::NotStarted));
            };
            let socket = net.sockets.get_mut::<dns::Socket<'_>>(names.handle);
            match socket.get_query_result(query.handle) {
                Ok(addresses) => {
                    lookup.query = None;
                    let mut addresses = addresses.into_iter();
                    let found = addresses.find(|it| lookup.kind.is_of(it) && it.is_unicast());
                    return Some(found.ok_or(ResolveError::NoSuchName));
                }
                Err(dns::GetQueryResultError::Pending) => {
                    if net.now < lookup.poll_at() {
                        return None;
                    }
                    socket.cancel_query(query.handle);
                    names.turn = names.turn.wrapping_add(1);
                }
                Err(dns::GetQueryResultError::Failed) => {
                    let code = names.code(lookup);
                    if let Some(error) = self.note_failure(net, lookup, code) {
                        lookup.query = None;
                        return Some(Err(error));
                    }
                }
            }
            lookup.query = None;
        }
    }

    /// Gives up a lookup: its query is cancelled, and its place is free.
    pub fn end_lookup(&mut self, sockets: &mut SocketSet<'_>, lookup: Lookup<'_>) {
        if let (Some(names), Some(query)) = (&self.addressing.names, lookup.query) {
            let socket = sockets.get_mut::<dns::Socket<'_>>(names.handle);
            // One that has ended by itself is free with its result.
            if socket.get_query_result(query.handle) == Err(dns::GetQueryResultError::Pending) {
                socket.cancel_query(query.handle);
            }
        }
    }

    /// Queries the server whose turn it is.
    fn send_query<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        lookup: &mut Lookup<'_>,
    ) -> Result<(), ResolveError> {
        let servers = self.askable(net);
        let names = self.addressing.names.as_mut();
        let names = names.ok_or(ResolveError::NotStarted)?;
        let turn = names.turn.checked_rem(servers.len());
        let server = turn.and_then(|turn| servers.get(turn));
        let server = server.ok_or(ResolveError::NoServer)?;
        let socket = net.sockets.get_mut::<dns::Socket<'_>>(names.handle);
        socket.update_servers(core::slice::from_ref(server));
        names.count = names.count.wrapping_add(1);
        // The numbers of a query are drawn from a generator of its own: they cannot be computed
        // from those that the interface shows (RFC 5452, 9.2).
        let seed = self.secret.query_seed(names.count);
        let handle = isn::with_generator(seed, |context| {
            socket.start_query(context, lookup.name, lookup.kind.wanted())
        });
        let handle = handle.map_err(|error| match error {
            dns::StartQueryError::NoFreeSlot => ResolveError::Busy,
            dns::StartQueryError::InvalidName => ResolveError::NotAName,
            dns::StartQueryError::NameTooLong => ResolveError::NameTooLong,
        })?;
        let until = Names::try_until(servers.len(), net.now);
        lookup.query = Some(Query { handle, until });
        self.disturb();
        Ok(())
    }

    /// A query has failed: whether that is the result. Else another server, or another kind
    /// of address, is asked for.
    fn note_failure<D: ?Sized>(
        &mut self,
        net: &Net<'_, '_, D>,
        lookup: &mut Lookup<'_>,
        code: Option<u8>,
    ) -> Option<ResolveError> {
        match code {
            // Some servers say that there is no such name where it only has no address of this
            // kind (RFC 4074, 4.2).
            Some(SUCCESS | NO_SUCH_NAME) => {
                let mut later = KINDS
                    .iter()
                    .skip_while(|kind| **kind != lookup.kind)
                    .skip(1);
                let next = later.find(|kind| has_kind(net.interface, **kind));
                match next {
                    Some(kind) => {
                        lookup.kind = *kind;
                        None
                    }
                    None => Some(ResolveError::NoSuchName),
                }
            }
            code => {
                lookup.failed = lookup.failed.saturating_add(1);
                lookup.code = code.or(lookup.code);
                if let Some(names) = &mut self.addressing.names {
                    names.turn = names.turn.wrapping_add(1);
                }
                let is_over = usize::from(lookup.failed) >= self.askable(net).len();
                is_over.then(|| without_address(lookup))
            }
        }
    }
}

/// The result of a lookup to which no server knew an answer.
fn without_address(lookup: &Lookup<'_>) -> ResolveError {
    match lookup.code {
        Some(code) => ResolveError::ServerFailed { code },
        None => ResolveError::NoAnswer,
    }
}
