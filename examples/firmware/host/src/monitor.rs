//! QEMU's monitor: resets the machine, unplugs its cable.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long QEMU may take to listen, and to answer.
const LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why the monitor failed.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// There is no connection to it.
    #[error("QEMU's monitor: {0}")]
    Io(#[from] io::Error),
    /// Its answer is not understood.
    #[error("QEMU's monitor: {0}")]
    Json(#[from] serde_json::Error),
    /// It refuses the command.
    #[error("QEMU's monitor: {0}")]
    Refused(String),
}

/// A connection to the monitor (QMP: one JSON object in a line).
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    pub(crate) fn connect(path: &Path) -> Result<Self, MonitorError> {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() >= LIMIT => return Err(error.into()),
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        };
        stream.set_read_timeout(Some(LIMIT))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        // It sends a greeting, and does nothing before it gets one.
        monitor.read()?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Starts the machine, which waits for this at first.
    pub(crate) fn resume(&mut self) -> Result<(), MonitorError> {
        self.execute("cont", &json!({}))
    }

    /// Resets the machine, as its reset button does.
    ///
    /// # Errors
    ///
    /// [`MonitorError`].
    pub fn reset(&mut self) -> Result<(), MonitorError> {
        self.execute("system_reset", &json!({}))
    }

    /// Plugs the cable in, or unplugs it.
    ///
    /// # Errors
    ///
    /// [`MonitorError`].
    pub fn set_link(&mut self, up: bool) -> Result<(), MonitorError> {
        self.execute(
            "set_link",
            &json!({"name": crate::qemu::NETWORK_ID, "up": up}),
        )
    }

    /// Writes a line to `file` for each piece of code that the machine runs from now on: a
    /// machine that sleeps writes none.
    ///
    /// # Errors
    ///
    /// [`MonitorError`].
    pub fn log_execution(&mut self, file: &Path) -> Result<(), MonitorError> {
        self.ask_human_monitor(&format!("logfile {}", file.display()))?;
        self.ask_human_monitor("log exec,nochain")
    }

    /// Runs a command that only QEMU's monitor for people has.
    fn ask_human_monitor(&mut self, line: &str) -> Result<(), MonitorError> {
        self.execute("human-monitor-command", &json!({"command-line": line}))
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<(), MonitorError> {
        let request = json!({"execute": command, "arguments": arguments});
        let stream = self.stream.get_mut();
        writeln!(stream, "{request}")?;
        loop {
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                return Err(MonitorError::Refused(format!("{command}: {error}")));
            }
            // Other messages are events.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<Value, MonitorError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}
