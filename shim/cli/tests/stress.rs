//! Thousands of short runs of the command, one after another, with every kind of end.
//! Nothing may be left of them: no process, no namespace, no descriptor, no setting of a
//! TAP. Run it with `./ci.sh stress`; `STRESS_RUNS` is the number of runs.
//!
//! Everything runs in separate namespaces. Any remaining process in them was left by a
//! run. The number of namespaces is limited, so that the next runs start only if the
//! namespaces of earlier runs were removed.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("skipped: the command's network needs Linux");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    stress::main()
}

#[cfg(target_os = "linux")]
mod stress {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use lastbyte_host::tap;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, waitpid};
    use nix::unistd::Pid;

    const LASTBYTE: &str = env!("CARGO_BIN_EXE_lastbyte");
    const RUNS: u32 = 4_000;
    /// The maximum time of a run, on a busy machine.
    const RUN_LIMIT: Duration = Duration::from_secs(60);
    /// How long the remains of a killed run may last.
    const CLEANUP_LIMIT: Duration = Duration::from_secs(20);
    /// How many namespaces of each kind may exist at a time.
    const NAMESPACES: &str = "50";
    /// The command's message when that is reached.
    const NO_MORE: &str = "no more namespaces are allowed";
    /// How long the kernel may take until namespaces are available again.
    const NAMESPACE_LIMIT: Duration = Duration::from_secs(120);
    /// The variable with which the peer gets the usual number of descriptors.
    const DESCRIPTORS: &str = "STRESS_DESCRIPTORS";
    /// The size of a transfer in bytes.
    const LEN: usize = 20_000;

    /// The intended end of a run.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum End {
        Finished,
        PeerCloses,
        Interrupted,
        Killed,
    }

    const ENDS: [End; 4] = [
        End::Finished,
        End::PeerCloses,
        End::Interrupted,
        End::Killed,
    ];

    pub(super) fn main() -> ExitCode {
        let mut arguments = std::env::args().skip(1);
        match arguments.next().as_deref() {
            Some("inside") => inside(),
            Some("count") => ExitCode::from(u8::try_from(descriptors()).unwrap_or(u8::MAX)),
            Some("peer") => peer(&arguments.next().unwrap_or_default()),
            _ => outside(),
        }
    }

    /// Starts itself in separate namespaces.
    fn outside() -> ExitCode {
        let own = std::env::current_exe().expect("this program");
        let done = Command::new("unshare")
            .args("--user --map-root-user --net --pid --fork --kill-child --mount-proc".split(' '))
            .arg(own)
            .arg("inside")
            .stdin(Stdio::null())
            .status();
        match done {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            done => {
                eprintln!("FAILED: {done:?}");
                ExitCode::FAILURE
            }
        }
    }

    /// The peer of a run: its exit code shows whether it got any descriptor that a
    /// normally started program does not have.
    fn peer(mode: &str) -> ExitCode {
        let open = descriptors().to_string();
        let listener = TcpListener::bind("10.77.0.1:5000").expect("a free port");
        let (connection, _) = listener.accept().expect("a connection");
        serve(connection, mode);
        match std::env::var(DESCRIPTORS) {
            Ok(usual) if usual == open => ExitCode::SUCCESS,
            _ => ExitCode::from(9),
        }
    }

    fn serve(mut connection: TcpStream, mode: &str) {
        let mut bytes = [0; 65_536];
        // The peer does not notice that a run was killed.
        let _ = connection.set_read_timeout(Some(CLEANUP_LIMIT / 4));
        if mode == "close" {
            let _ = connection.read(&mut bytes);
            return;
        }
        while matches!(connection.read(&mut bytes), Ok(1..)) {}
    }

    /// The counts.
    #[derive(Debug, Default)]
    struct Counts {
        ends: BTreeMap<(&'static str, End), u32>,
        repaired: u32,
        waited_for_namespaces: u32,
        slowest: Duration,
    }

    fn inside() -> ExitCode {
        let runs = std::env::var("STRESS_RUNS").ok();
        let runs = runs.map_or(RUNS, |runs| runs.parse().expect("STRESS_RUNS is a number"));
        for kind in ["user", "net", "pid", "mnt"] {
            fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), NAMESPACES)
                .expect("root of these namespaces");
        }
        for command in [
            "link set lo up",
            "tuntap add dev tap0 mode tap",
            "addr add 10.0.0.1/24 dev tap0",
            "link set tap0 up",
        ] {
            let done = Command::new("ip").args(command.split(' ')).status();
            assert!(done.is_ok_and(|done| done.success()), "ip {command}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, vec![7; LEN]).expect("room");
        let file = file.to_str().expect("UTF-8");
        for (address, mode) in [("10.0.0.1:5000", "all"), ("10.0.0.1:5001", "close")] {
            let listener = TcpListener::bind(address).expect("a free port");
            thread::spawn(move || {
                while let Ok((connection, _)) = listener.accept() {
                    thread::spawn(move || serve(connection, mode));
                }
            });
        }
        let descriptors = descriptors();
        let own = std::env::current_exe().expect("this program");
        let usual = Command::new(&own).arg("count").status().expect("it runs");
        let usual = usual.code().expect("a number").to_string();
        let mut counts = Counts::default();
        let start = Instant::now();
        for run in 0..runs {
            let end = ENDS[run as usize / 2 % ENDS.len()];
            let network = if run % 2 == 0 { "--peer" } else { "--tap" };
            let waiting = Instant::now();
            let done = loop {
                let done = one(network, end, run, (file, &usual), &mut counts);
                // The kernel removes namespaces some time after their end.
                let is_full = matches!(&done, Err(problem) if problem.contains(NO_MORE));
                if !is_full || waiting.elapsed() >= NAMESPACE_LIMIT {
                    break done;
                }
                counts.waited_for_namespaces += 1;
                thread::sleep(Duration::from_millis(200));
            };
            if let Err(problem) = done {
                eprintln!("FAILED: run {run}, {network}, {end:?}: {problem}");
                return ExitCode::FAILURE;
            }
            if (run + 1) % 500 == 0 {
                println!("{} runs in {:.0?}", run + 1, start.elapsed());
            }
        }
        // The threads that served a connection end shortly after it.
        let is_back = || self::descriptors() <= descriptors;
        if !within(CLEANUP_LIMIT, is_back) {
            eprintln!(
                "FAILED: {} descriptors, not {descriptors}",
                self::descriptors()
            );
            return ExitCode::FAILURE;
        }
        println!(
            "{runs} runs in {:.0?}, the slowest {:.1?}; {} times offload of a killed run repaired, \
             {} times waited for the kernel to take namespaces down; nothing left: {:?}",
            start.elapsed(),
            counts.slowest,
            counts.repaired,
            counts.waited_for_namespaces,
            counts.ends
        );
        ExitCode::SUCCESS
    }

    fn one(
        network: &'static str,
        end: End,
        run: u32,
        (file, usual): (&str, &str),
        counts: &mut Counts,
    ) -> Result<(), String> {
        let own = std::env::current_exe().expect("this program");
        let mode = if end == End::PeerCloses {
            "close"
        } else {
            "all"
        };
        let peer = format!("exec '{}' peer {mode}", own.display());
        let mut command = Command::new(LASTBYTE);
        command.args(["send", "--json"]);
        match network {
            "--peer" => command.args(["--peer", &peer, "--listen-wait", "30s", "10.77.0.1:5000"]),
            _ => command.args("--tap tap0 --addr 10.0.0.2/24".split(' ')),
        };
        match (network, end) {
            ("--peer", _) => {}
            (_, End::PeerCloses) => drop(command.arg("10.0.0.1:5001")),
            _ => drop(command.arg("10.0.0.1:5000")),
        }
        command.arg(match end {
            End::Finished => file,
            End::PeerCloses | End::Interrupted | End::Killed => "/dev/zero",
        });
        let start = Instant::now();
        let mut child = command
            .env(DESCRIPTORS, usual)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let signal = match end {
            End::Finished | End::PeerCloses => None,
            End::Interrupted => Some(Signal::SIGTERM),
            End::Killed => Some(Signal::SIGKILL),
        };
        if let Some(signal) = signal {
            // The kill may come in every phase, from the first instruction on.
            thread::sleep(Duration::from_millis(u64::from(run % 97) * 2));
            let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
            kill(pid, signal).map_err(|error| error.to_string())?;
        }
        let (code, output) = finish(&mut child)?;
        counts.slowest = counts.slowest.max(start.elapsed());
        check(end, code, &output)?;
        let is_alone = || {
            // This is process 1: orphans become its children, and stay zombies until it
            // waits for them.
            while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(ended) if ended.pid().is_some())
            {
            }
            others().is_empty()
        };
        if !within(CLEANUP_LIMIT, is_alone) {
            return Err(format!("processes are left: {:?}", others()));
        }
        let repaired = tap::repair_all().len();
        if repaired > 0 && end != End::Killed {
            return Err("offload is left switched on".to_owned());
        }
        counts.repaired += u32::try_from(repaired).unwrap_or(0);
        *counts.ends.entry((network, end)).or_default() += 1;
        Ok(())
    }

    /// Whether this is the right end of such a run. A signal may arrive before it is caught.
    fn check(end: End, code: Option<i32>, output: &str) -> Result<(), String> {
        let is_right = match (end, code) {
            (End::Finished, Some(0)) => output.contains(&format!("\"acknowledged\":{LEN},")),
            (End::PeerCloses, Some(3 | 4)) | (End::Killed, None) => true,
            (End::Interrupted, Some(9)) => output.contains("\"cause\":\"aborted\""),
            (End::Interrupted, None) => output.is_empty(),
            _ => false,
        };
        let has_descriptors = output.contains("exit code 9");
        match is_right && !has_descriptors {
            true => Ok(()),
            false => Err(format!("exit code {code:?}: {output}")),
        }
    }

    /// Waits for the end of a run. Returns its exit code, and everything that it printed.
    fn finish(child: &mut Child) -> Result<(Option<i32>, String), String> {
        let mut output = String::new();
        let mut status = None;
        let has_ended = within(RUN_LIMIT, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if !has_ended {
            let _ = child.kill();
        }
        if let Some(mut pipe) = child.stdout.take() {
            let _ = pipe.read_to_string(&mut output);
        }
        if let Some(mut pipe) = child.stderr.take() {
            let _ = pipe.read_to_string(&mut output);
        }
        match status {
            Some(status) => Ok((status.code(), output)),
            None => Err(format!("no end within {RUN_LIMIT:?}: {output}")),
        }
    }

    /// The processes of this PID namespace, except this one.
    fn others() -> Vec<String> {
        let own = std::process::id().to_string();
        fs::read_dir("/proc")
            .expect("procfs")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
            .filter_map(|pid| {
                let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
                Some(format!("{pid}: {}", line.replace('\0', " ")))
            })
            .collect()
    }

    fn descriptors() -> usize {
        fs::read_dir("/proc/self/fd").expect("procfs").count()
    }

    fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        loop {
            if holds() {
                return true;
            }
            if start.elapsed() >= limit {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}
