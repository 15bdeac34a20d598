//! The DHCP client of a tracker: its socket, and what its leases change.

use super::AddressError;
use super::lease::{Client, LONGEST_WAIT_MS, Lease, LeaseChange, LeaseError, SHORTEST_WAIT_MS};
use crate::Instant;
use crate::stack::tracker::{Net, Tracker};
use smoltcp::iface::SocketHandle;
use smoltcp::phy::{Device, Medium};
use smoltcp::socket::{Socket, dhcpv4};
use smoltcp::time::Duration;
use smoltcp::wire::{IpAddress, IpCidr, Ipv4Address};

impl<const N: usize> Tracker<N> {
    /// Obtains an address by DHCP (RFC 2131) over this socket, which the application has added
    /// to the set. From now on each poll carries out what the server says:
    ///
    /// - A lease becomes an address and the default route of IPv4; its DNS servers are asked
    ///   for names unless others were set.
    /// - Renewing it changes nothing, so connections live on. If it changes, only what differs
    ///   is replaced.
    /// - When it ends, its address is removed, and connections from it end with
    ///   [`Cause::AddressLost`](crate::Cause::AddressLost).
    ///
    /// A server that does not answer is asked again after 4 s, 8 s and so on, up to 64 s.
    ///
    /// # Errors
    ///
    /// [`AddressError::WrongSocket`], [`AddressError::NotEthernet`].
    pub fn use_dhcp<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        handle: SocketHandle,
    ) -> Result<(), AddressError> {
        // smoltcp panics about any other medium.
        if net.device.capabilities().medium != Medium::Ethernet {
            return Err(AddressError::NotEthernet);
        }
        let is_it = |(at, socket): (_, &_)| at == handle && matches!(socket, Socket::Dhcpv4(_));
        if !net.sockets.iter().any(is_it) {
            return Err(AddressError::WrongSocket);
        }
        self.addressing.dhcp = Some(Client {
            handle,
            lease: None,
            is_news: false,
            is_refused: false,
            since: net.now,
        });
        self.follow_lease(net);
        self.disturb();
        Ok(())
    }

    /// The same over a socket of its own, for the owner of the set.
    pub(crate) fn add_dhcp<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) -> Result<SocketHandle, AddressError> {
        if net.device.capabilities().medium != Medium::Ethernet {
            return Err(AddressError::NotEthernet);
        }
        if let Some(client) = &self.addressing.dhcp {
            return Ok(client.handle);
        }
        if net.sockets.iter().count() >= self.addressing.socket_places {
            return Err(AddressError::NoSocket);
        }
        let handle = net.sockets.add(dhcpv4::Socket::new());
        self.use_dhcp(net, handle)?;
        Ok(handle)
    }

    /// The lease that there is.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn lease(&self) -> Result<&Lease, LeaseError> {
        let client = self.addressing.dhcp.as_ref();
        let client = client.ok_or(LeaseError::NotStarted)?;
        match &client.lease {
            Some(lease) => Ok(lease),
            None if client.is_refused => Err(LeaseError::NoRoom),
            None => Err(LeaseError::NoLease),
        }
    }

    /// What has become of the lease since this was last called, if it changed.
    pub fn poll_lease(&mut self) -> Option<LeaseChange> {
        let client = self.addressing.dhcp.as_mut()?;
        let is_news = core::mem::replace(&mut client.is_news, false);
        is_news.then(|| match &client.lease {
            Some(lease) => LeaseChange::Configured(lease.clone()),
            None => LeaseChange::Lost,
        })
    }

    /// Takes in what has become of the lease: after each step.
    pub(in crate::stack) fn follow_lease<D: ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        let Some(client) = &mut self.addressing.dhcp else {
            return;
        };
        let socket = net.sockets.get_mut::<dhcpv4::Socket<'_>>(client.handle);
        if client.lease.is_none() {
            socket.set_retry_config(with_wait(socket.get_retry_config(), client.since, net.now));
        }
        let lease = match socket.poll() {
            None => return,
            Some(dhcpv4::Event::Configured(config)) => Some(Lease::of(&config)),
            Some(dhcpv4::Event::Deconfigured) => None,
        };
        let old = client.lease.take();
        if old == lease {
            client.lease = old;
            return;
        }
        client.is_refused = false;
        if lease.is_none() {
            client.since = net.now;
        }
        self.replace_lease(old, lease, net);
    }

    fn replace_lease<D: ?Sized>(
        &mut self,
        old: Option<Lease>,
        lease: Option<Lease>,
        net: &mut Net<'_, '_, D>,
    ) {
        let is_fitting = apply(net, old.as_ref(), lease.as_ref());
        if lease.is_none() {
            crate::core::fmt::log_event!(warn, "the lease has ended");
        }
        if let Some(lease) = &lease {
            crate::core::fmt::log_event!(info, "lease: {}", lease.address());
        }
        let lease = lease.filter(|_| is_fitting);
        #[cfg(feature = "address-conflicts")]
        self.claim_lease(old.as_ref(), lease.as_ref(), net.now);
        if let Some(client) = &mut self.addressing.dhcp {
            client.is_news = true;
            client.is_refused = !is_fitting;
            client.lease = lease;
        }
        self.disturb();
        self.before_steps(net.interface, net.sockets, net.now);
    }

    /// Probes a new address, which is used meanwhile.
    #[cfg(feature = "address-conflicts")]
    fn claim_lease(&mut self, old: Option<&Lease>, new: Option<&Lease>, now: Instant) {
        let [old, new] = [old, new].map(|lease| lease.map(Lease::address));
        let address = |cidr: smoltcp::wire::Ipv4Cidr| cidr.address();
        if old.map(address) == new.map(address) {
            return;
        }
        if let Some(old) = old {
            self.addressing.claims.release(old.address().into());
        }
        if let Some(new) = new {
            self.addressing.claims.begin(IpCidr::Ipv4(new), now);
        }
        self.note_due();
    }

    /// Declines the lease if another machine has its address (RFC 2131, 3.1, step 5), and requests
    /// another.
    #[cfg(feature = "address-conflicts")]
    pub(super) fn decline<D: Device + ?Sized>(
        &mut self,
        address: IpAddress,
        net: &mut Net<'_, '_, D>,
    ) {
        let (Some(mac), Some(client)) = (self.our_mac(net), &mut self.addressing.dhcp) else {
            return;
        };
        let leased = |lease: &Lease| IpAddress::Ipv4(lease.address().address()) == address;
        if let Some(lease) = client.lease.as_ref().filter(|lease| leased(lease)) {
            super::bootp::send_decline(net, mac, lease);
            net.sockets
                .get_mut::<dhcpv4::Socket<'_>>(client.handle)
                .reset();
            self.follow_lease(net);
        }
    }
}

/// How long the next answer of a server is waited for: as long as was waited so far.
fn with_wait(config: dhcpv4::RetryConfig, since: Instant, now: Instant) -> dhcpv4::RetryConfig {
    let mut config = config;
    let [shortest, longest] =
        [SHORTEST_WAIT_MS, LONGEST_WAIT_MS].map(|ms| Duration::from_millis(ms.into()));
    let waited = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
    // Whole seconds: the next message may be a little late.
    let waited = Duration::from_secs(waited.saturating_add(500) / 1_000);
    config.discover_timeout = waited.clamp(shortest, longest);
    config
}

/// Replaces what differs. False if it does not fit; then nothing of the lease is left.
fn apply<D: ?Sized>(net: &mut Net<'_, '_, D>, old: Option<&Lease>, new: Option<&Lease>) -> bool {
    let [old_router, new_router] = [old, new].map(|lease| lease.and_then(Lease::router));
    let mut is_fitting = true;
    if old_router != new_router {
        is_fitting = set_route(net, old_router, new_router);
    }
    let [old, new] = [old, new].map(|lease| lease.map(|lease| IpCidr::Ipv4(lease.address())));
    if old != new {
        net.interface.update_ip_addrs(|own| {
            own.retain(|known| Some(known) != old.as_ref());
            if let Some(new) = new.filter(|_| is_fitting) {
                own.retain(|known| known.address() != new.address());
                is_fitting = own.push(new).is_ok();
            }
        });
    }
    if !is_fitting {
        set_route(net, new_router, None);
    }
    is_fitting
}

/// Changes the default route of IPv4. False if there is no room for it.
fn set_route<D: ?Sized>(
    net: &mut Net<'_, '_, D>,
    from: Option<Ipv4Address>,
    to: Option<Ipv4Address>,
) -> bool {
    let routes = net.interface.routes_mut();
    routes.update(|routes| {
        routes.retain(|route| {
            let is_old = from.is_some_and(|from| route.via_router == IpAddress::Ipv4(from));
            route.cidr.prefix_len() > 0 || !is_old
        });
    });
    to.is_none_or(|to| routes.add_default_ipv4_route(to).is_ok())
}
