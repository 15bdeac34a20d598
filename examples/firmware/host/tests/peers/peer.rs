//! The peer: a listener, and its account of the stream.

use rustix::io::ioctl_fionread;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long an expected event may take, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How often it is checked.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a count must not change to be final.
const SETTLED: Duration = Duration::from_millis(700);

pub struct Peer {
    listener: TcpListener,
}

impl Peer {
    /// Listens at `addr`; for port 0 the kernel chooses one.
    #[track_caller]
    pub fn listen(addr: SocketAddrV4) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Gives connections a small window.
    #[track_caller]
    pub fn take_little(&self) {
        set_socket_recv_buffer_size(&self.listener, 4096).unwrap();
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Connection {
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(LIMIT)).unwrap();
                    return Connection { stream, read: 0 };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("accepting: {error}"),
            }
            assert!(start.elapsed() < LIMIT, "the firmware does not connect");
            thread::sleep(LOOK_EVERY);
        }
    }
}

pub struct Connection {
    stream: TcpStream,
    read: u64,
}

impl Connection {
    /// The octets read so far.
    pub fn read(&self) -> u64 {
        self.read
    }

    #[track_caller]
    pub fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        self.stream.read_exact(&mut octets).unwrap();
        self.count(len);
        octets
    }

    /// Reads up to the FIN.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        self.stream.read_to_end(&mut octets).unwrap();
        self.count(octets.len());
        octets
    }

    /// Reads what is available.
    #[track_caller]
    pub fn read_available(&mut self) -> Vec<u8> {
        self.read_exact(usize::try_from(self.unread()).unwrap())
    }

    fn count(&mut self, len: usize) {
        self.read += u64::try_from(len).unwrap();
    }

    /// How many octets the kernel has received and acknowledged, but were not read.
    #[track_caller]
    pub fn unread(&self) -> u64 {
        ioctl_fionread(&self.stream).unwrap()
    }

    /// Waits until there is something to read.
    #[track_caller]
    pub fn wait_some(&self) {
        let start = Instant::now();
        while self.unread() == 0 {
            assert!(start.elapsed() < LIMIT, "nothing arrives any more");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits, without reading, until no more arrives, and returns how many octets are unread.
    #[track_caller]
    pub fn wait_full(&self) -> u64 {
        let start = Instant::now();
        let mut unread = self.unread();
        let mut since = Instant::now();
        while unread == 0 || since.elapsed() < SETTLED {
            assert!(start.elapsed() < LIMIT, "{unread} octets, and no end");
            thread::sleep(LOOK_EVERY);
            let now = self.unread();
            if now != unread {
                unread = now;
                since = Instant::now();
            }
        }
        unread
    }

    /// Sends an octet, which the firmware discards.
    #[track_caller]
    pub fn send_octet(&mut self) {
        self.stream.write_all(&[0]).unwrap();
    }

    /// Sends a FIN.
    #[track_caller]
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection.
    #[track_caller]
    pub fn reset(self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }

    /// Whether the connection still lives in the kernel: nothing to read, and no end.
    #[track_caller]
    pub fn is_alive(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut octet = [0];
        let result = self.stream.peek(&mut octet);
        self.stream.set_nonblocking(false).unwrap();
        matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// The peer's own account of the bulk writer's stream, made from its description.
#[derive(Debug, Default)]
pub struct Stream {
    /// Everything up to this offset was received, in any of the connections.
    have: u64,
}

impl Stream {
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Processes what a connection has delivered, from its first octet, and returns where
    /// it resumed.
    #[track_caller]
    pub fn take(&mut self, octets: &[u8]) -> u64 {
        let (header, content) = octets.split_at(8);
        let from = u64::from_be_bytes(header.try_into().unwrap());
        assert!(
            from <= self.have,
            "octets {} to {from} are missing",
            self.have
        );
        let mut at = from;
        for &octet in content {
            assert_eq!(octet, expected(at), "the octet at {at}");
            at += 1;
        }
        self.have = self.have.max(at);
        from
    }
}

/// The octet at `offset`: the top eight of 32 bits of offset * 2654435761.
fn expected(offset: u64) -> u8 {
    let product = (offset & 0xFFFF_FFFF) * 2_654_435_761;
    u8::try_from(product % (1 << 32) / (1 << 24)).unwrap()
}
