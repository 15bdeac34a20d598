//! UDP at the peer: datagrams, and code of the test that answers them.

use std::collections::BTreeMap;
use std::fmt;

use lastbyte::Instant;
use smoltcp::socket::udp;
use smoltcp::wire::IpEndpoint;

use super::service::Sockets;

/// The maximum number of datagrams of a port that wait to be sent.
const WAITING: usize = 64;

/// The maximum total length of these datagrams.
const OCTETS: usize = 64 * 1024;

/// Code of the test that answers.
pub(super) type Answerer = Box<dyn FnMut(&[u8], &mut Datagrams)>;

/// The reply of a server over UDP; see [`Peer::serve_udp`](super::Peer::serve_udp).
#[derive(Debug)]
pub struct Datagrams {
    from: IpEndpoint,
    now: Instant,
    out: Vec<(IpEndpoint, Vec<u8>)>,
}

impl Datagrams {
    /// Sends a datagram back to the sender of the received one.
    pub fn send(&mut self, bytes: &[u8]) {
        self.send_to(self.from, bytes);
    }

    /// Sends a datagram to this endpoint.
    pub fn send_to(&mut self, to: impl Into<IpEndpoint>, bytes: &[u8]) {
        self.out.push((to.into(), bytes.to_vec()));
    }

    /// The sender of the received datagram.
    #[must_use]
    pub fn from(&self) -> IpEndpoint {
        self.from
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }
}

/// A port with its code.
struct Port {
    handle: smoltcp::iface::SocketHandle,
    answer: Answerer,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Port")
    }
}

/// Every port of the peer that receives datagrams.
#[derive(Debug, Default)]
pub(super) struct DatagramPorts {
    ports: BTreeMap<u16, Port>,
}

impl DatagramPorts {
    pub(super) fn serve(&mut self, sockets: &mut Sockets, port: u16, answer: Answerer) {
        let buffer = || {
            let metadata = vec![udp::PacketMetadata::EMPTY; WAITING];
            udp::PacketBuffer::new(metadata, vec![0; OCTETS])
        };
        if let Some(served) = self.ports.get_mut(&port) {
            served.answer = answer;
            return;
        }
        let mut socket = udp::Socket::new(buffer(), buffer());
        // Cannot fail: it is not bound, the port is not zero.
        let _ = socket.bind(port);
        let handle = sockets.add(socket);
        self.ports.insert(port, Port { handle, answer });
    }

    /// Lets the code answer what has arrived. Returns whether there was something.
    pub(super) fn answer_all(&mut self, sockets: &mut Sockets, now: Instant) -> bool {
        let mut any = false;
        for port in self.ports.values_mut() {
            let socket = sockets.get_mut::<udp::Socket<'_>>(port.handle);
            while let Ok((bytes, from)) = socket.recv() {
                let mut reply = Datagrams {
                    from: from.endpoint,
                    now,
                    out: Vec::new(),
                };
                (port.answer)(bytes, &mut reply);
                any = true;
                for (to, bytes) in reply.out {
                    // If there is no room, it is lost, as with any UDP.
                    let _ = socket.send_slice(&bytes, to);
                }
            }
        }
        any
    }
}
