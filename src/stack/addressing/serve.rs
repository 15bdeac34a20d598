//! Carries out, in each poll, what follows for our addresses from the time and from frames.

#[cfg(feature = "address-conflicts")]
use super::AddressError;
#[cfg(feature = "address-conflicts")]
use super::claims::{Conflict, Due, Resolve, is_v6};
#[cfg(feature = "slaac")]
use super::routers::{Change, identifier, joined};
use crate::Instant;
#[cfg(feature = "slaac")]
use crate::guard::advert::{Advertisement, solicitation};
#[cfg(feature = "address-conflicts")]
use crate::guard::claim::Address;
#[cfg(feature = "address-conflicts")]
use crate::guard::claim::{Claim, announcement, answer, probe};
#[cfg(feature = "address-conflicts")]
use crate::guard::flow::Addresses;
#[cfg(any(feature = "address-conflicts", feature = "dns"))]
use crate::guard::notice::Notice;
#[cfg(feature = "address-conflicts")]
use crate::guard::wire::layout::Medium;
#[cfg(feature = "address-conflicts")]
use crate::stack::ends::between;
#[cfg(feature = "address-conflicts")]
use crate::stack::frames::send;
use crate::stack::tracker::{Net, Tracker};
#[cfg(feature = "address-conflicts")]
use smoltcp::config::IFACE_MAX_ADDR_COUNT;
use smoltcp::phy::Device;
#[cfg(feature = "address-conflicts")]
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
#[cfg(feature = "slaac")]
use smoltcp::wire::{Ipv6Address, Ipv6Cidr};

/// The prefix of addresses that hold on one link (RFC 4291, 2.5.6).
#[cfg(feature = "slaac")]
const LINK_LOCAL: [u8; 8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];

/// Between the guard's form of an address and smoltcp's.
#[cfg(feature = "address-conflicts")]
fn to_smoltcp(address: Address) -> IpAddress {
    match address {
        #[cfg(feature = "proto-ipv4")]
        Address::V4(octets) => IpAddress::Ipv4(octets.into()),
        #[cfg(feature = "proto-ipv6")]
        Address::V6(octets) => IpAddress::Ipv6(octets.into()),
    }
}

/// The same the other way; `None` if lastbyte was built without the version.
#[cfg(feature = "address-conflicts")]
fn to_guard(address: IpAddress) -> Option<Address> {
    Some(match between(address, address)? {
        #[cfg(feature = "proto-ipv4")]
        Addresses::V4([octets, _]) => Address::V4(octets),
        #[cfg(feature = "proto-ipv6")]
        Addresses::V6([octets, _]) => Address::V6(octets),
    })
}

/// Whether an address may be that of one host of ours.
#[cfg(feature = "address-conflicts")]
fn is_host(cidr: IpCidr) -> bool {
    let is_of_network = match cidr {
        #[cfg(feature = "proto-ipv4")]
        IpCidr::Ipv4(cidr) => {
            let is_network = cidr.prefix_len() < 31 && cidr.network().address() == cidr.address();
            is_network || cidr.broadcast() == Some(cidr.address())
        }
        #[allow(unreachable_patterns, reason = "there may be one version only")]
        _ => false,
    };
    let address = cidr.address();
    !is_of_network && between(address, address).is_some_and(|pair| pair.is_to_host())
}

#[cfg(feature = "address-conflicts")]
const fn is_link_local(address: IpAddress) -> bool {
    match address {
        #[cfg(feature = "proto-ipv6")]
        IpAddress::Ipv6(address) => address.is_unicast_link_local(),
        #[allow(unreachable_patterns, reason = "there may be one version only")]
        _ => false,
    }
}

impl<const N: usize> Tracker<N> {
    /// When something is due of our addresses by itself.
    pub(in crate::stack) const fn addresses_due(&self) -> Instant {
        #[cfg(feature = "address-conflicts")]
        return self.addressing.due;
        #[cfg(not(feature = "address-conflicts"))]
        Instant::NEVER
    }

    /// Carries out what is due of our addresses by itself: before the steps of a poll.
    pub(in crate::stack) fn serve_addresses<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) {
        #[cfg(feature = "address-conflicts")]
        if self.addressing.due <= net.now {
            self.follow_claims(net);
            #[cfg(feature = "slaac")]
            {
                self.follow_routers(net);
                self.follow_claims(net);
            }
            self.note_due();
        }
        #[cfg(feature = "dhcpv4")]
        self.follow_lease(net);
        let _ = net;
    }

    /// Takes in what the newest frame says of addresses and names: after a step that took it
    /// in.
    pub(in crate::stack) fn heed_frame<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        #[cfg(any(feature = "address-conflicts", feature = "dns"))]
        match self.wire.guard.take_notice() {
            None => {}
            #[cfg(feature = "address-conflicts")]
            Some(Notice::Claim(claim)) => self.heed_claim(&claim, net),
            #[cfg(feature = "slaac")]
            Some(Notice::Router(advertisement)) => self.heed_router(&advertisement, net),
            #[cfg(feature = "dns")]
            Some(Notice::Reply(reply)) => {
                if let Some(names) = &mut self.addressing.names {
                    names.heed(reply);
                }
            }
        }
        #[cfg(feature = "dhcpv4")]
        self.follow_lease(net);
        let _ = net;
    }

    #[cfg(feature = "address-conflicts")]
    pub(super) fn note_due(&mut self) {
        let due = self.addressing.claims.poll_at();
        #[cfg(feature = "slaac")]
        let due = due.min(self.addressing.routers.poll_at());
        self.addressing.due = due;
    }
}

/// Duplicate address detection.
#[cfg(feature = "address-conflicts")]
impl<const N: usize> Tracker<N> {
    /// Our hardware address, if the device has any.
    pub(super) fn our_mac<D: ?Sized>(&self, net: &Net<'_, '_, D>) -> Option<[u8; 6]> {
        // smoltcp panics if it is asked for the address of another medium.
        if self.wire.guard.medium() != Medium::Ethernet {
            return None;
        }
        #[allow(irrefutable_let_patterns, reason = "there may be one medium only")]
        let HardwareAddress::Ethernet(ours) = net.interface.hardware_addr() else {
            return None;
        };
        Some(ours.0)
    }

    /// Adds an address of ours, after checking that no other machine on the link has it.
    ///
    /// - IPv6 (RFC 4862, 5.4): it is probed, and used a second later if no other machine has it.
    ///   If there is no link-local address yet, one is added too (RFC 4291, 2.8), provided
    ///   that there is room.
    /// - IPv4 (RFC 5227): it is used at once, and probed three times and announced twice in
    ///   the next six seconds. Probing first would delay the first connection by as much.
    ///
    /// Probes of others for an address of ours are answered. If another machine says that it
    /// has one, the address is defended once in 10 s and given up the second time (RFC 5227,
    /// 2.4 b); while it is probed, at once. What is given up is removed: connections from it
    /// end with [`Cause::AddressLost`](crate::Cause::AddressLost), and
    /// [`conflict`](Self::conflict) names the other machine. The same holds for addresses that
    /// were given to the interface in another way.
    ///
    /// Without Ethernet there is no such check, and the address is used at once.
    ///
    /// # Errors
    ///
    /// [`AddressError::NotUsable`], [`AddressError::NoRoom`].
    pub fn claim_address<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        cidr: IpCidr,
    ) -> Result<(), AddressError> {
        self.claim(net, cidr)?;
        self.serve_addresses_now(net);
        Ok(())
    }

    /// The same, without the first step of it.
    fn claim<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
        cidr: IpCidr,
    ) -> Result<(), AddressError> {
        if !is_host(cidr) {
            return Err(AddressError::NotUsable);
        }
        let is_ethernet = self.wire.guard.medium() == Medium::Ethernet;
        let is_v6 = is_v6(cidr.address());
        let is_fitting = match is_v6 && is_ethernet {
            true => self.has_place_for(net, cidr),
            false => self.give_interface(net, cidr),
        };
        if !is_fitting {
            return Err(AddressError::NoRoom);
        }
        if is_ethernet {
            self.addressing.claims.begin(cidr, net.now);
            #[cfg(feature = "slaac")]
            if is_v6 {
                // Where there is no room for it, it is done without.
                let _ = self.claim_link_local(net);
            }
        }
        Ok(())
    }

    /// Whether an address is one of ours that may be used.
    #[must_use]
    pub fn has_address<D: ?Sized>(&self, net: &Net<'_, '_, D>, address: IpAddress) -> bool {
        net.interface.has_ip_addr(address) && !self.addressing.claims.is_tentative(address)
    }

    /// The newest conflict about an address of ours, until that address is claimed again.
    #[must_use]
    pub const fn conflict(&self) -> Option<Conflict> {
        self.addressing.claims.conflict()
    }

    pub(super) fn serve_addresses_now<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        self.addressing.due = Instant::ZERO;
        self.serve_addresses(net);
        self.disturb();
    }

    /// Whether there is room for one more address, besides those that are being probed.
    fn has_place_for<D: ?Sized>(&self, net: &Net<'_, '_, D>, cidr: IpCidr) -> bool {
        let claims = &self.addressing.claims;
        let used = net.interface.ip_addrs().len();
        let is_known = net.interface.has_ip_addr(cidr.address());
        is_known || used.saturating_add(claims.tentative()) < IFACE_MAX_ADDR_COUNT
    }

    /// Puts an address into the interface. False if there is no room for it.
    fn give_interface<D: ?Sized>(&mut self, net: &mut Net<'_, '_, D>, cidr: IpCidr) -> bool {
        let mut is_fitting = true;
        let address = cidr.address();
        net.interface.update_ip_addrs(|own| {
            own.retain(|known| known.address() != address);
            is_fitting = own.push(cidr).is_ok();
        });
        self.disturb();
        is_fitting
    }

    /// Removes an address from the interface, and ends the connections from it.
    pub(super) fn withdraw<D: ?Sized>(&mut self, net: &mut Net<'_, '_, D>, address: IpAddress) {
        net.interface
            .update_ip_addrs(|own| own.retain(|known| known.address() != address));
        self.disturb();
        self.before_steps(net.interface, net.sockets, net.now);
    }

    fn follow_claims<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        let Some(mac) = self.our_mac(net) else {
            return;
        };
        while let Some((cidr, due)) = self.addressing.claims.due(net.now) {
            let address = cidr.address();
            let Some(octets) = to_guard(address) else {
                return;
            };
            let is_done = match due {
                Due::Probe => send(net, &probe(mac, octets)),
                #[cfg(feature = "proto-ipv4")]
                Due::Announce => send(net, &announcement(mac, octets)),
                #[cfg(feature = "proto-ipv6")]
                Due::Assign => {
                    self.give_interface(net, cidr);
                    true
                }
            };
            if !is_done {
                // The device is full: again with the next poll.
                return;
            }
            self.addressing.claims.advance(address, net.now);
        }
    }

    fn heed_claim<D: Device + ?Sized>(&mut self, claim: &Claim, net: &mut Net<'_, '_, D>) {
        let Some(mac) = self.our_mac(net).filter(|mac| *mac != claim.mac) else {
            return;
        };
        let address = to_smoltcp(claim.address);
        let is_ours = net.interface.has_ip_addr(address);
        let claims = &mut self.addressing.claims;
        let frame = match claims.heed(address, claim.kind, is_ours, net.now) {
            Resolve::Nothing => None,
            // smoltcp answers from a link-local address, if it has one.
            Resolve::Answer if has_link_local(net) && !claim.is_probe() => None,
            Resolve::Answer => answer(mac, claim),
            Resolve::Defend => Some(announcement(mac, claim.address)),
            Resolve::GiveUp => {
                let hardware = EthernetAddress(claim.mac);
                self.give_up(Conflict { address, hardware }, net);
                None
            }
        };
        if let Some(frame) = frame {
            // If the device is full, the other machine repeats its request.
            send(net, &frame);
        }
        self.note_due();
    }

    /// Another machine has an address of ours.
    fn give_up<D: Device + ?Sized>(&mut self, conflict: Conflict, net: &mut Net<'_, '_, D>) {
        crate::core::fmt::log_event!(warn, "address given up: {}", conflict.hardware);
        self.addressing.claims.lose(conflict);
        #[cfg(feature = "slaac")]
        self.addressing.routers.refuse(conflict.address);
        #[cfg(feature = "dhcpv4")]
        self.decline(conflict.address, net);
        self.withdraw(net, conflict.address);
    }
}

#[cfg(feature = "address-conflicts")]
fn has_link_local<D: ?Sized>(net: &Net<'_, '_, D>) -> bool {
    let mut own = net.interface.ip_addrs().iter();
    own.any(|cidr| is_link_local(cidr.address()))
}

/// Stateless address autoconfiguration.
#[cfg(feature = "slaac")]
impl<const N: usize> Tracker<N> {
    /// Begins to follow the routers of the link (RFC 4862): a link-local address is claimed,
    /// routers are asked, and each prefix that one advertises becomes an address of ours, for
    /// as long as it is valid. The router becomes the default route. When a prefix expires,
    /// connections from its address end with [`Cause::AddressLost`](crate::Cause::AddressLost).
    ///
    /// This takes the place of smoltcp's own `Config::slaac`, which probes no address and
    /// panics without a link-local one. The interface needs room for three addresses, more
    /// than smoltcp's two: set `SMOLTCP_IFACE_MAX_ADDR_COUNT` for the build.
    ///
    /// # Errors
    ///
    /// [`AddressError::NotEthernet`], [`AddressError::NoRoom`].
    pub fn start_slaac<D: Device + ?Sized>(
        &mut self,
        net: &mut Net<'_, '_, D>,
    ) -> Result<(), AddressError> {
        if self.our_mac(net).is_none() {
            return Err(AddressError::NotEthernet);
        }
        if !self.claim_link_local(net) {
            return Err(AddressError::NoRoom);
        }
        self.addressing.routers.begin(net.now);
        self.serve_addresses_now(net);
        Ok(())
    }

    /// The default router that was found, while it is one.
    #[must_use]
    pub const fn router(&self) -> Option<Ipv6Address> {
        self.addressing.routers.router()
    }

    /// An address with a prefix of a router that can be used.
    #[must_use]
    pub fn prefix_address<D: ?Sized>(&self, net: &Net<'_, '_, D>) -> Option<Ipv6Cidr> {
        let mut addresses = self.addressing.routers.addresses();
        addresses.find(|cidr| self.has_address(net, cidr.address().into()))
    }

    /// Claims a link-local address, unless there is one or is about to be. False if there is no
    /// room for it.
    fn claim_link_local<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) -> bool {
        let Some(mac) = self.our_mac(net) else {
            return false;
        };
        let address = joined(LINK_LOCAL, identifier(mac));
        let cidr = IpCidr::Ipv6(Ipv6Cidr::new(address, 64));
        if has_link_local(net) || self.addressing.claims.is_tentative(address.into()) {
            return true;
        }
        self.has_place_for(net, cidr) && self.addressing.claims.begin(cidr, net.now)
    }

    /// A link has come up: it may be another.
    pub(in crate::stack) fn look_for_routers(&mut self, now: Instant) {
        if self.addressing.routers.is_on() {
            self.addressing.routers.begin(now);
            self.addressing.due = now;
        }
    }

    fn heed_router<D: Device + ?Sized>(
        &mut self,
        advertisement: &Advertisement,
        net: &mut Net<'_, '_, D>,
    ) {
        if let Some(mac) = self.our_mac(net) {
            self.addressing.routers.heed(advertisement, mac, net.now);
            self.serve_addresses_now(net);
        }
    }

    fn follow_routers<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        while let Some(change) = self.addressing.routers.poll(net.now) {
            match change {
                Change::Claim(cidr) => {
                    let is_begun = self.claim(net, IpCidr::Ipv6(cidr)).is_ok();
                    if !is_begun {
                        self.addressing.routers.refuse(cidr.address().into());
                    }
                }
                Change::Drop(cidr) => {
                    let address = cidr.address().into();
                    self.addressing.claims.release(address);
                    self.withdraw(net, address);
                }
                Change::Route(from, to) => set_route(net, from, to),
            }
        }
        if self.addressing.routers.is_solicitation_due(net.now) {
            self.solicit(net);
        }
    }

    fn solicit<D: Device + ?Sized>(&mut self, net: &mut Net<'_, '_, D>) {
        let mut own = net.interface.ip_addrs().iter().map(IpCidr::address);
        let source = own.find(|address| is_link_local(*address));
        let has_left = match (source, self.our_mac(net)) {
            (Some(IpAddress::Ipv6(source)), Some(mac)) => {
                send(net, &solicitation(mac, source.octets()))
            }
            _ => false,
        };
        self.addressing.routers.note_solicited(net.now, has_left);
    }
}

/// Changes the default route of IPv6.
#[cfg(feature = "slaac")]
fn set_route<D: ?Sized>(
    net: &mut Net<'_, '_, D>,
    from: Option<Ipv6Address>,
    to: Option<Ipv6Address>,
) {
    let routes = net.interface.routes_mut();
    routes.update(|routes| {
        routes.retain(|route| {
            let is_old = from.is_some_and(|from| route.via_router == IpAddress::Ipv6(from));
            route.cidr.prefix_len() > 0 || !is_old
        });
    });
    let added = to.map(|to| routes.add_default_ipv6_route(to).map(drop));
    if added.is_some_and(|added| added.is_err()) {
        crate::core::fmt::log_event!(warn, "no room for the route to the router");
    }
}
