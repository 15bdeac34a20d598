//! Boots a firmware in QEMU and shows its log: the runner of `cargo run` in a
//! board's directory.

use anstyle::{AnsiColor, Style};
use clap::Parser;
use lastbyte_firmware_host::{Boot, BootError, Level, Line, Network, QemuEnd};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The status that a shell reports for an interrupted program.
const INTERRUPTED: i32 = 130;

/// How long QEMU may take to end after the log has ended.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Boot a firmware in QEMU and show its log.
#[derive(Debug, Parser)]
#[command(name = "cargo run --")]
struct Arguments {
    /// The firmware, an ELF file
    #[arg(hide = true)]
    firmware: PathBuf,

    /// Settings of the firmware, each key=value, such as mode=bulk port=6000; if one is
    /// wrong, the firmware lists those that exist
    settings: Vec<String>,

    /// Connect the board to this TAP device, not to QEMU's own network
    #[arg(long, value_name = "NAME")]
    tap: Option<String>,

    /// The hardware address of the board
    #[arg(long, value_name = "ADDR", default_value = "52:54:00:69:65:01")]
    hardware_addr: String,

    /// An additional argument for QEMU; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    qemu: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(QemuEnd::Status(status)) => {
            u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Ok(QemuEnd::Signal) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be closed; the exit status reports the same.
            let _ = writeln!(anstream::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a firmware does not run, or does not reach its end.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("QEMU does not end with its log: {0}")]
    End(std::io::Error),
    #[error("showing the log: {0}")]
    Show(std::io::Error),
}

fn run(arguments: &Arguments) -> Result<QemuEnd, RunError> {
    let network = arguments.tap.clone().map_or(Network::User, Network::Tap);
    // QEMU ends with this process, so it is enough to end the process.
    ctrlc::set_handler(|| std::process::exit(INTERRUPTED))
        .map_err(|error| BootError::Io(std::io::Error::other(error)))?;
    let mut qemu = Boot::new(&arguments.firmware)
        .settings(arguments.settings.clone())
        .network(network)
        .hardware_addr(&arguments.hardware_addr)
        .qemu_arguments(arguments.qemu.clone())
        .start()?;
    while let Some(line) = qemu.wait_line() {
        // Without a reader, as after `| head`, there is no reason to continue.
        show(&line).map_err(RunError::Show)?;
    }
    qemu.wait_end(END_LIMIT).map_err(RunError::End)
}

fn show(line: &Line) -> std::io::Result<()> {
    let style = match line.level {
        Level::Trace | Level::Debug => Style::new().dimmed(),
        Level::Info | Level::Print => Style::new(),
        Level::Warn => AnsiColor::Yellow.on_default(),
        Level::Error => AnsiColor::Red.on_default().bold(),
    };
    writeln!(anstream::stdout(), "{style}{line}{style:#}")
}
