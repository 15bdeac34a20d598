//! `lastbyte doctor`: what this machine permits.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::args::DoctorArgs;
use super::exit::Failure;
use super::locale;
use lastbyte_host::namespace::probe::{self, Probe};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Yellow.on_default().bold();

/// The targets the firmware examples are built for.
const TARGETS: [&str; 4] = [
    "thumbv6m-none-eabi",
    "thumbv7m-none-eabi",
    "thumbv7em-none-eabihf",
    "riscv32imc-unknown-none-elf",
];

/// A check: what it is needed for, and its probe.
type Question = (&'static str, fn() -> Probe);

#[derive(Serialize)]
struct Finding {
    name: String,
    needed_for: &'static str,
    ok: bool,
    found: String,
    remedy: Option<String>,
}

/// Runs the checks, and prints the results.
///
/// # Errors
///
/// stdout cannot be written. A missing thing is not an error.
pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let findings: Vec<Finding> = look().collect();
    let printed = if args.json {
        print_json(&findings)
    } else {
        print(&findings)
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("printing: {error}")))
        }
        _ => Ok(0),
    }
}

fn look() -> impl Iterator<Item = Finding> {
    let probes: [Question; 11] = [
        ("send and heartbeat", probe::tun_device),
        ("sending at tens of Gbit/s", probe::tap_offload),
        ("the next program at a TAP", probe::tap_leftovers),
        ("--peer", probe::network_namespace),
        ("--peer without root", probe::user_namespace),
        ("making a TAP for --tap", || {
            probe::program("ip", "iproute2")
        }),
        ("peers in the examples of --help", || {
            probe::program("nc", "netcat-openbsd")
        }),
        ("--dhcp and names with --peer", || {
            probe::program("dnsmasq", "dnsmasq-base")
        }),
        ("firmware on an emulated Cortex-M", || {
            probe::program("qemu-system-arm", "qemu-system-arm")
        }),
        ("firmware on an emulated RISC-V", || {
            probe::program("qemu-system-riscv32", "qemu-system-misc")
        }),
        ("building firmware", || probe::rust_targets(&TARGETS)),
    ];
    probes.into_iter().map(|(needed_for, probe)| {
        let probe = probe();
        Finding {
            name: probe.name,
            needed_for,
            ok: probe.ok,
            found: probe.found,
            remedy: probe.remedy,
        }
    })
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let mut text = String::new();
    for finding in findings {
        add(&mut text, finding);
    }
    text.push_str("\nThe demonstration and the tests in virtual time need none of these.\n");
    locale::print(&text)
}

fn add(text: &mut String, finding: &Finding) {
    let (style, word) = if finding.ok {
        (GOOD, "ok     ")
    } else {
        (BAD, "missing")
    };
    let (name, purpose) = (&finding.name, finding.needed_for);
    let indented = |text: &str| text.replace('\n', "\n          ");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{style}{word}{style:#} {name}, for {purpose}");
    let _ = writeln!(text, "          {}", indented(&finding.found));
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(text, "          to do: {}", indented(remedy));
    }
}

fn print_json(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, findings)?;
    writeln!(out)?;
    out.flush()
}
