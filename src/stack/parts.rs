//! Interface, device, sockets and connections in one value, without a clock: it never sleeps.

use super::config::{Config, ConfigError, SlotBuffers};
use super::tracker::{Net, Tracker};
use crate::Instant;
use core::fmt;
use smoltcp::iface::{Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;

/// The pause while a frame is due and the device has no room for it.
pub(crate) const DEVICE_FULL_PAUSE_MS: u32 = 1;

/// Interface and sockets of a [`Stack`](super::Stack), lent by
/// [`Stack::network_mut`](super::Stack::network_mut).
pub struct Network<'n, 'a> {
    /// The interface: addresses, routes.
    pub interface: &'n mut Interface,
    /// The sockets. The TCP sockets of the connections are among them; do not use those.
    pub sockets: &'n mut SocketSet<'a>,
}

impl fmt::Debug for Network<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// A stack without a clock: each call is given the present time.
pub(crate) struct Parts<'a, D: Device, const N: usize> {
    pub(crate) tracker: Tracker<N>,
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'a>,
    pub(crate) device: D,
    /// Returns whether the link of the device is up, if the application supplied it.
    pub(crate) link_query: Option<fn(&mut D) -> bool>,
}

impl<'a, D: Device, const N: usize> Parts<'a, D, N> {
    pub(crate) fn new(
        mut device: D,
        now: Instant,
        config: Config,
        buffers: [SlotBuffers<'a>; N],
        storage: &'a mut [SocketStorage<'a>],
    ) -> Result<Self, ConfigError> {
        config.check(&device.capabilities())?;
        for (slot, buffers) in buffers.iter().enumerate() {
            buffers.check(slot)?;
        }
        let places = storage.len();
        if places < N {
            return Err(ConfigError::TooFewSockets {
                storage: places,
                needed: N,
            });
        }
        let mut sockets = SocketSet::new(storage);
        let handles: [SocketHandle; N] = buffers.map(|buffers| {
            let rx = tcp::SocketBuffer::new(buffers.rx);
            let tx = tcp::SocketBuffer::new(buffers.tx);
            sockets.add(tcp::Socket::new(rx, tx))
        });
        let mut tracker = Tracker::new(&config, &device, handles)?;
        tracker.is_owned = true;
        #[cfg(any(feature = "dhcpv4", feature = "dns"))]
        {
            tracker.addressing.socket_places = places;
        }
        let mut smoltcp_config = smoltcp::iface::Config::new(config.hardware_addr);
        smoltcp_config.random_seed = config.interface_seed();
        let now = super::time::to_smoltcp(now);
        let interface = Interface::new(
            smoltcp_config,
            &mut super::device::Checked(&mut device),
            now,
        );
        Ok(Self {
            tracker,
            interface,
            sockets,
            device,
            link_query: None,
        })
    }

    /// The parts, lent for one call at the present time.
    pub(crate) const fn lend(&mut self, now: Instant) -> (&mut Tracker<N>, Net<'_, 'a, D>) {
        let net = Net {
            now,
            interface: &mut self.interface,
            sockets: &mut self.sockets,
            device: &mut self.device,
        };
        (&mut self.tracker, net)
    }

    /// Interface and sockets, lent to the application: it may change them.
    pub(crate) const fn network_mut(&mut self) -> Network<'_, 'a> {
        self.tracker.disturb();
        Network {
            interface: &mut self.interface,
            sockets: &mut self.sockets,
        }
    }

    /// Records that the link went up or down.
    pub(crate) fn set_link(&mut self, up: bool, now: Instant) {
        let has_come_up = up && !self.tracker.link_is_up;
        let (tracker, mut net) = self.lend(now);
        tracker.set_link(up);
        if has_come_up {
            tracker.forget_neighbours(&mut net);
            #[cfg(feature = "slaac")]
            tracker.look_for_routers(now);
        }
    }

    /// Whether the link is up, if that has changed since it was last recorded.
    pub(crate) fn link_change(&mut self) -> Option<bool> {
        let is_up = self.link_query?;
        let up = is_up(&mut self.device);
        (up != self.tracker.link_is_up).then_some(up)
    }
}
