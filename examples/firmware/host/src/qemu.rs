//! A running QEMU, which ends when the value is dropped.

use crate::log::{Format, Line, LogError};
use crate::machine::{Machine, MachineError, is_installed};
use crate::monitor::{Monitor, MonitorError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The name of the cable, for the monitor.
pub(crate) const NETWORK_ID: &str = "cable";

/// The first word of the firmware's command line: the name of the program.
const PROGRAM_NAME: &str = "lastbyte";

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The maximum number of log lines that wait to be read. More lines wait in QEMU's pipe;
/// if that is full, the firmware drops lines and counts them.
const LINES_WAITING: usize = 1024;

/// The network that the board is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// QEMU's own network: the board is 10.0.2.15, the host's loopback is
    /// 10.0.2.2. Needs no privileges.
    User,
    /// A TAP device of this name.
    Tap(String),
}

/// Why the firmware cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The firmware cannot be read.
    #[error("{}: {source}", path.display())]
    Firmware {
        /// Its path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// It is for none of the machines here.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Its log cannot be decoded.
    #[error(transparent)]
    Log(#[from] LogError),
    /// QEMU is missing.
    #[error("{program} is missing; on Debian and Ubuntu: sudo apt-get install {package}")]
    NoQemu {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// A setting cannot be passed on.
    #[error("{0}: a setting must not have spaces or quotation marks")]
    Setting(String),
    /// The monitor does not answer.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// QEMU cannot be started.
    #[error("starting QEMU: {0}")]
    Io(#[from] io::Error),
}

/// How QEMU ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QemuEnd {
    /// With the exit status of the firmware.
    Status(i32),
    /// By a signal.
    Signal,
}

/// The firmware to boot, and its options.
#[derive(Debug, Clone)]
pub struct Boot {
    firmware: PathBuf,
    settings: Vec<String>,
    network: Network,
    hardware_addr: String,
    extra: Vec<String>,
}

impl Boot {
    /// The firmware in the file `firmware`, with default options.
    #[must_use]
    pub fn new(firmware: &Path) -> Self {
        Self {
            firmware: firmware.to_owned(),
            settings: Vec::new(),
            network: Network::User,
            hardware_addr: "52:54:00:69:65:01".to_owned(),
            extra: Vec::new(),
        }
    }

    /// Adds settings, each a word `key=value`.
    #[must_use]
    pub fn settings<S: Into<String>>(mut self, settings: impl IntoIterator<Item = S>) -> Self {
        self.settings.extend(settings.into_iter().map(Into::into));
        self
    }

    /// Connects the board to another network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Sets the hardware address of the board.
    #[must_use]
    pub fn hardware_addr(mut self, addr: &str) -> Self {
        addr.clone_into(&mut self.hardware_addr);
        self
    }

    /// Adds arguments for QEMU itself.
    #[must_use]
    pub fn qemu_arguments(mut self, arguments: impl IntoIterator<Item = String>) -> Self {
        self.extra.extend(arguments);
        self
    }

    /// Starts QEMU. It ends when the value is dropped, and with the calling thread.
    ///
    /// # Errors
    ///
    /// [`BootError`] contains what is missing.
    pub fn start(&self) -> Result<Qemu, BootError> {
        let elf = std::fs::read(&self.firmware).map_err(|source| BootError::Firmware {
            path: self.firmware.clone(),
            source,
        })?;
        let machine = Machine::of(&elf)?;
        let format = Format::of(&elf)?;
        let (program, package) = (machine.program(), machine.package());
        if !is_installed(program) {
            return Err(BootError::NoQemu { program, package });
        }
        let directory = tempfile::tempdir()?;
        let mut child = self.command(machine, directory.path())?.spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let stderr = child.stderr.take();
        thread::spawn(|| stderr.map(pass_on));
        let (sender, lines) = mpsc::sync_channel(LINES_WAITING);
        let reader = thread::spawn(move || format.decode(stdout, |line| sender.send(line).is_ok()));
        let mut qemu = Qemu {
            child,
            machine,
            lines,
            reader: Some(reader),
            monitor: None,
            directory,
        };
        qemu.monitor = Some(Monitor::connect(&qemu.monitor_path())?);
        match qemu.monitor().resume() {
            // The firmware ended before QEMU could answer.
            Err(MonitorError::Io(_)) | Ok(()) => Ok(qemu),
            Err(error) => Err(error.into()),
        }
    }

    fn command(&self, machine: Machine, directory: &Path) -> Result<Command, BootError> {
        let mut semihosting = "enable=on,target=native,chardev=log".to_owned();
        for word in std::iter::once(PROGRAM_NAME).chain(self.settings.iter().map(String::as_str)) {
            if word.contains(|letter: char| letter.is_whitespace() || "\"'".contains(letter)) {
                return Err(BootError::Setting(word.to_owned()));
            }
            semihosting.push_str(",arg=");
            // QEMU's own option ends at a comma, unless it is doubled.
            semihosting.push_str(&word.replace(',', ",,"));
        }
        let network = match &self.network {
            Network::User => format!("user,id={NETWORK_ID}"),
            Network::Tap(name) => {
                format!("tap,id={NETWORK_ID},ifname={name},script=no,downscript=no")
            }
        };
        let monitor = directory.join("monitor");
        let mut command = Command::new(machine.program());
        command
            .args(machine.arguments(NETWORK_ID, &self.hardware_addr))
            .args(["-netdev", &network])
            // No output of QEMU may mix with the log.
            .args(["-display", "none", "-serial", "none", "-monitor", "none"])
            .args(["-chardev", "stdio,id=log,signal=off"])
            .args(["-semihosting-config", &semihosting])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            // QEMU waits for the monitor, so that no part of the log is missed.
            .arg("-S")
            .args(&self.extra)
            .arg("-kernel")
            .arg(&self.firmware)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_parent(&mut command);
        Ok(command)
    }
}

/// A message of QEMU about its own model of the LM3S6965, before the first instruction.
/// It does not concern the firmware.
const NOISE: &str = "Timer with period zero, disabling";

/// Passes on the messages of QEMU.
fn pass_on(stderr: ChildStderr) {
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    for line in lines.filter(|line| line != NOISE) {
        // Standard error may be closed or full. The reading must continue, or QEMU would
        // block.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Makes QEMU end with this process, however it ends.
fn end_with_parent(command: &mut Command) {
    use nix::sys::{prctl, signal::Signal};
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only a system call is made, which
    // allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
}

/// A running QEMU. It ends when this is dropped.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    machine: Machine,
    lines: Receiver<Line>,
    reader: Option<JoinHandle<io::Result<()>>>,
    monitor: Option<Monitor>,
    directory: TempDir,
}

impl Qemu {
    /// The machine it emulates.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Its process ID.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of the log; `None` if there is none within `limit`, or the log has
    /// ended.
    pub fn next_line(&mut self, limit: Duration) -> Option<Line> {
        self.lines.recv_timeout(limit).ok()
    }

    /// The next line of the log; `None` at its end.
    pub fn wait_line(&mut self) -> Option<Line> {
        self.lines.recv().ok()
    }

    /// The monitor.
    ///
    /// # Panics
    ///
    /// Never: a QEMU that was started has one.
    pub fn monitor(&mut self) -> &mut Monitor {
        self.monitor.as_mut().expect("made with QEMU")
    }

    /// Waits for its end, at most for `limit`. Unread lines of the log stay readable
    /// afterwards, as far as the queue has them.
    ///
    /// # Errors
    ///
    /// It still runs (`TimedOut`), or waiting is impossible.
    pub fn wait_end(&mut self, limit: Duration) -> io::Result<QemuEnd> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(end(status));
            }
            if start.elapsed() >= limit {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn monitor_path(&self) -> PathBuf {
        self.directory.path().join("monitor")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Without a receiver, a reader ends that waits for room in the queue.
        let (_, nothing) = mpsc::sync_channel(0);
        drop(std::mem::replace(&mut self.lines, nothing));
        if let Some(reader) = self.reader.take() {
            // Its source ended with QEMU.
            let _ = reader.join();
        }
    }
}

fn end(status: ExitStatus) -> QemuEnd {
    status.code().map_or(QemuEnd::Signal, QemuEnd::Status)
}
