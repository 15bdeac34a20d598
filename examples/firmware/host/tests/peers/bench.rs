//! A board on the bench: its firmware, its log, its peer.

use crate::boards::Board;
use crate::network::{self, Place, Service};
use crate::peer::{LIMIT, Peer};
use lastbyte_firmware_host::{Boot, Level, Line, Machine, Monitor, Qemu, QemuEnd};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

/// Runs `test` at `place`, on a separate thread.
pub fn run(board: &Board, place: Place, test: fn(&mut Bench)) {
    let firmware = match place {
        Place::User | Place::Tap => board.firmware(),
        Place::Leased => board.leased().expect("a board with DHCP"),
    };
    let firmware = firmware.unwrap().to_owned();
    let done = thread::spawn(move || {
        let service = network::enter(place);
        test(&mut Bench {
            service,
            firmware,
            place,
            qemu: None,
            log: Vec::new(),
            time: 0.0,
        });
    });
    if let Err(panic) = done.join() {
        std::panic::resume_unwind(panic);
    }
}

pub struct Bench {
    /// What leases addresses.
    pub service: Option<Service>,
    firmware: PathBuf,
    place: Place,
    qemu: Option<Qemu>,
    /// The log lines read so far, which are shown if the test fails.
    log: Vec<Line>,
    /// The time of the last line that was read.
    time: f64,
}

/// The firmware's report of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub cause: String,
    pub accepted: u64,
    pub acknowledged: u64,
    pub undelivered: u64,
    pub writes_refused: u64,
    pub link_was_down: bool,
}

impl Ended {
    #[track_caller]
    fn of(line: &Line) -> Self {
        let value = |key| line.value(key).unwrap_or_else(|| panic!("{key} in {line}"));
        let count = |key| value(key).parse().unwrap();
        let ended = Self {
            cause: value("cause").to_owned(),
            accepted: count("accepted"),
            acknowledged: count("acknowledged"),
            undelivered: count("undelivered"),
            writes_refused: count("writes_refused"),
            link_was_down: value("link_was_down") == "true",
        };
        assert_eq!(
            ended.accepted,
            ended.acknowledged + ended.undelivered,
            "{line}"
        );
        ended
    }
}

impl Bench {
    /// A peer that listens where the firmware connects.
    #[track_caller]
    pub fn peer(&self) -> Peer {
        Peer::listen(self.place.listen_at(0))
    }

    /// Boots the firmware with the peer at `port`, and these settings.
    #[track_caller]
    pub fn boot(&mut self, port: u16, settings: &[&str]) {
        self.boot_to(None, port, settings);
    }

    /// Like [`boot`](Self::boot), with another host for the peer.
    #[track_caller]
    pub fn boot_to(&mut self, host: Option<Ipv4Addr>, port: u16, settings: &[&str]) {
        let boot = self.settings(host, port, settings);
        self.start(&boot);
    }

    /// Like [`boot`](Self::boot), with arguments for QEMU itself.
    #[track_caller]
    pub fn boot_in(&mut self, qemu: &[String], port: u16, settings: &[&str]) {
        let boot = self.settings(None, port, settings);
        self.start(&boot.qemu_arguments(qemu.iter().cloned()));
    }

    fn settings(&self, host: Option<Ipv4Addr>, port: u16, settings: &[&str]) -> Boot {
        Boot::new(&self.firmware)
            .network(self.place.network())
            .settings(self.place.settings(host))
            .settings([format!("port={port}")])
            .settings(settings.iter().copied())
    }

    #[track_caller]
    fn start(&mut self, boot: &Boot) {
        self.time = 0.0;
        self.qemu = Some(boot.start().unwrap());
    }

    /// Turns the power off.
    pub fn power_off(&mut self) {
        self.qemu = None;
    }

    fn qemu(&mut self) -> &mut Qemu {
        self.qemu.as_mut().expect("booted")
    }

    pub fn monitor(&mut self) -> &mut Monitor {
        self.qemu().monitor()
    }

    pub fn machine(&mut self) -> Machine {
        self.qemu().machine()
    }

    pub fn process_id(&mut self) -> u32 {
        self.qemu().process_id()
    }

    /// The next line of the log that contains `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> Line {
        let start = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(start.elapsed());
            let Some(line) = self.qemu().next_line(left) else {
                panic!("the firmware does not log: {text}");
            };
            self.log.push(line.clone());
            self.check_time(&line);
            if line.text.contains(text) {
                return line;
            }
        }
    }

    /// Checks that time never goes back, except when the board restarts. A reset may
    /// truncate a line, which then has no time; only a start may follow it.
    #[track_caller]
    fn check_time(&mut self, line: &Line) {
        let time = line.time.parse().unwrap_or(f64::INFINITY);
        let is_boot = line.text.starts_with("lastbyte: ");
        assert!(is_boot || time >= self.time, "time goes back: {line}");
        self.time = time;
    }

    /// The report of the next connection that ends.
    #[track_caller]
    pub fn wait_ended(&mut self) -> Ended {
        Ended::of(&self.wait_for(": ended "))
    }

    /// Waits until the firmware exits, which it must with this status.
    #[track_caller]
    pub fn wait_exit(&mut self, status: i32) {
        let end = self.qemu().wait_end(LIMIT).expect("the firmware exits");
        while let Some(line) = self.qemu().next_line(LIMIT) {
            self.log.push(line);
        }
        assert_eq!(end, QemuEnd::Status(status));
    }

    /// Reads the log to its end.
    #[track_caller]
    pub fn read_log_to_end(&mut self) {
        while let Some(line) = self.qemu().next_line(LIMIT) {
            self.check_time(&line);
            self.log.push(line);
        }
    }

    /// The log lines read so far.
    pub fn log(&self) -> &[Line] {
        &self.log
    }

    /// Whether a line of this level, or above, was read.
    pub fn has_said(&self, level: Level, text: &str) -> bool {
        let mut lines = self.log.iter();
        lines.any(|line| line.level >= level && line.text.contains(text))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        if let Some(qemu) = &mut self.qemu {
            while let Some(line) = qemu.next_line(std::time::Duration::ZERO) {
                self.log.push(line);
            }
        }
        eprintln!("the log of the firmware:");
        for line in &self.log {
            eprintln!("  {line}");
        }
    }
}
