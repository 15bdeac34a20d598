//! Sends frames from the kernel's end of the cable that are not the kernel's.

use crate::fixture::{FORGED, Lab};
use lastbyte_host::namespace::{OUR_HARDWARE_ADDR, TAP_NAME};
use lastbyte_sim::loopback::Segment;
use smoltcp::phy::Medium;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Sends its input out of the TAP, past the kernel's TCP, and reports the number of
/// frames. The cable drops frames if too many wait for our end; that error ends the
/// program.
const PROGRAM: &str = r"
import socket, struct, sys
cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
cable.bind((sys.argv[1], 0))
orders = sys.stdin.buffer
while head := orders.read(4):
    count, = struct.unpack('>I', head)
    for _ in range(count):
        size, = struct.unpack('>H', orders.read(2))
        cable.send(orders.read(size))
    print(count, flush=True)
";

/// The window field after Ethernet and IPv4 without options.
const WINDOW_AT: usize = 14 + 20 + 14;

/// Forges segments of the kernel's; killed and reaped when dropped.
#[derive(Debug)]
pub struct Injector {
    child: Child,
    orders: ChildStdin,
    done: BufReader<ChildStdout>,
    kernel: [u8; 6],
}

impl Injector {
    #[track_caller]
    pub fn new(lab: &mut Lab<'_, '_>) -> Self {
        let tap = lab.stack.device_mut().get_ref();
        let kernel = tap.kernel_hardware_addr().expect("the TAP is up");
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM, TAP_NAME])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let orders = child.stdin.take().expect("stdin is piped");
        let done = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self {
            child,
            orders,
            done,
            kernel,
        }
    }

    /// Sends these segments to our end. On return all of them wait there, or were
    /// processed.
    #[track_caller]
    pub fn send<'s>(&mut self, segments: impl IntoIterator<Item = &'s Segment>) {
        self.send_frames(segments.into_iter().map(|s| s.to_frame(Medium::Ethernet)));
    }

    /// Like [`send`](Self::send), with an IPv4 segment whose window was changed on the
    /// way, so that its checksum is wrong.
    #[track_caller]
    pub fn send_damaged(&mut self, segment: &Segment) {
        let mut frame = segment.to_frame(Medium::Ethernet);
        frame[WINDOW_AT] ^= 1;
        self.send_frames([frame]);
    }

    #[track_caller]
    fn send_frames(&mut self, all: impl IntoIterator<Item = Vec<u8>>) {
        let mut frames = Vec::new();
        let mut count: u32 = 0;
        for mut frame in all {
            frame[..6].copy_from_slice(&OUR_HARDWARE_ADDR);
            frame[6..12].copy_from_slice(&self.kernel);
            frame.extend_from_slice(FORGED);
            let len = u16::try_from(frame.len()).expect("an Ethernet frame is shorter");
            frames.extend_from_slice(&len.to_be_bytes());
            frames.extend_from_slice(&frame);
            count += 1;
        }
        let order = [&count.to_be_bytes()[..], &frames].concat();
        self.orders.write_all(&order).expect("the injector lives");
        self.orders.flush().expect("the injector lives");
        let mut line = String::new();
        self.done.read_line(&mut line).expect("the injector speaks");
        assert_eq!(line.trim(), count.to_string(), "every frame was sent");
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
