//! The LM3S6965 from outside: its registers are written and read over QEMU's test protocol,
//! while the firmware runs.

use crate::Case;
use crate::bench::Bench;
use crate::network::Place;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[(
    "transmit_error_while_idle",
    Place::User,
    transmit_error_while_idle,
)];

/// Registers of the Ethernet MAC: its interrupt status, and the transmit FIFO.
const STATUS: u32 = 0x4004_8000;
const DATA: u32 = 0x4004_8010;
const TRANSMIT_ERROR: u32 = 1 << 1;
/// The length of a frame that does not fit into the FIFO, which QEMU reports as an error.
const TOO_LONG: u32 = 0xFFFF;

const LIMIT: Duration = Duration::from_secs(10);

struct Registers(BufReader<UnixStream>);

impl Registers {
    #[track_caller]
    fn connect(path: &Path) -> Self {
        let start = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(LIMIT)).unwrap();
                    return Self(BufReader::new(stream));
                }
                Err(error) => assert!(start.elapsed() < LIMIT, "QEMU's test protocol: {error}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn query(&mut self, request: &str) -> String {
        writeln!(self.0.get_mut(), "{request}").unwrap();
        loop {
            let mut answer = String::new();
            assert_ne!(self.0.read_line(&mut answer).unwrap(), 0, "QEMU has ended");
            // Other messages are about interrupts.
            if let Some(value) = answer.strip_prefix("OK") {
                return value.trim().to_owned();
            }
            assert!(!answer.starts_with("FAIL"), "{request}: {answer}");
        }
    }

    #[track_caller]
    fn write(&mut self, address: u32, value: u32) {
        self.query(&format!("writel {address:#x} {value:#x}"));
    }

    #[track_caller]
    fn read(&mut self, address: u32) -> u32 {
        let value = self.query(&format!("readl {address:#x}"));
        let digits = value.strip_prefix("0x").expect("a number");
        u32::try_from(u64::from_str_radix(digits, 16).unwrap()).unwrap()
    }
}

/// The error is acknowledged, the chip goes on sleeping, and the next beat is sent.
fn transmit_error_while_idle(bench: &mut Bench) {
    let peer = bench.peer();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("registers");
    let option = format!("unix:{},server=on,wait=off", socket.display());
    let qemu = ["-qtest", &option, "-qtest-log", "/dev/null"].map(str::to_owned);
    bench.boot_in(&qemu, peer.port(), &["every=6s", "call=1h", "count=2"]);
    let mut registers = Registers::connect(&socket);
    let mut connection = peer.accept();
    connection.read_exact(7);
    let execution = directory.path().join("execution");
    bench.monitor().log_execution(&execution).unwrap();
    registers.write(DATA, TOO_LONG);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(registers.read(STATUS) & TRANSMIT_ERROR, 0, "acknowledged");
    let len = || execution.metadata().unwrap().len();
    let before = len();
    assert!(before > 0, "the error wakes the chip");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(len(), before, "it sleeps on");
    assert_eq!(connection.read_to_end(), b"beat 2\n");
    bench.wait_exit(0);
}
