//! What both clients have in common, and how they are measured.

use crate::board::{self, Counter, Stack};
use core::hint::black_box;
use lastbyte::Instant;

/// How many connections there are.
pub const CONNECTIONS: usize = if cfg!(feature = "two") { 2 } else { 1 };
/// The size of a transmit buffer: two segments, so that the writer can continue with a
/// peer that acknowledges every second one.
pub const TX: usize = 2 * 1460;
/// Octets of a receive buffer.
pub const RX: usize = 512;
/// The peer's port.
pub const PORT: u16 = 5000;

/// The sizes of the writes, the last one a full segment.
const WRITES: [usize; 3] = [16, 64, 1460];
/// How many octets are counted for each size.
const OCTETS: u32 = 512 * 1460;
/// How many octets are written before, as a warm-up.
const AHEAD: u32 = 32 * 1460;

/// A value with a word-aligned address: the speed of copying depends on it, and must not
/// vary.
#[derive(Debug)]
#[repr(align(4))]
pub struct Aligned<T>(pub T);

/// A client that owns its device and writes to a peer.
pub trait Client {
    /// Opens the connections and waits until they are open.
    fn open(&mut self);

    /// Accepts at least one of `bytes`, and waits for room if necessary; `None` if the
    /// connection has ended.
    fn write(&mut self, connection: usize, bytes: &[u8]) -> Option<usize>;
}

/// A clock of milliseconds; each query and each wait takes one.
#[derive(Debug, Default)]
pub struct Ticks {
    millis: u32,
}

impl Ticks {
    /// A clock at its epoch.
    #[must_use]
    pub const fn new() -> Self {
        Self { millis: 0 }
    }

    /// A clock that shows this.
    #[must_use]
    pub const fn at(millis: u32) -> Self {
        Self { millis }
    }

    /// The present time.
    pub const fn tick(&mut self) -> u32 {
        self.millis = self.millis.wrapping_add(1);
        self.millis
    }
}

impl lastbyte::Clock for Ticks {
    fn now(&mut self) -> Instant {
        Instant::from_millis(u64::from(self.tick()))
    }

    fn wait(&mut self, _until: Option<Instant>) {
        self.tick();
    }
}

fn write(client: &mut impl Client, bytes: &[u8], octets: u32) -> u32 {
    let mut written = 0;
    let mut connection = 0;
    while written < octets {
        match client.write(connection, bytes) {
            Some(accepted) => written += accepted as u32,
            None => client.open(),
        }
        connection = if connection + 1 < CONNECTIONS {
            connection + 1
        } else {
            0
        };
    }
    written
}

/// Prints, in one line: the size of the writes, octets written, instructions
/// for them; and in the last, octets of stack.
pub fn measure(client: &mut impl Client, stack: &Stack) -> ! {
    let mut counter = Counter::new();
    let bytes = black_box(Aligned([0x5a; 1460]));
    for size in WRITES {
        let Some(bytes) = bytes.0.get(..size) else {
            board::fail();
        };
        // The buffer is emptied, so that its end does not split a segment.
        client.open();
        write(client, bytes, AHEAD);
        let (written, instructions) = counter.count(|| write(client, bytes, OCTETS));
        board::print(&[size as u32, written, instructions]);
    }
    board::print(&[stack.high_water()]);
    board::exit()
}
