//! DHCP, DNS and router advertisements of dnsmasq, in real time over a TAP in a private network:
//! what takes longer than a run of the command, or cannot be seen from outside of it.
//!
//! They need a private network and dnsmasq. If one of these is missing, they count as ignored
//! and report it; with `CI=true` they fail.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("skipped: TAP devices need Linux");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    tests::main()
}

#[cfg(target_os = "linux")]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use embedded_io::Write;
    use lastbyte::stack::{ConnectionId, LeaseChange, LeaseError, ResolveError, Stack};
    use lastbyte::{Cause, Options};
    use lastbyte_host::host_clock::HostClock;
    use lastbyte_host::namespace::{self, KERNEL_V4, KERNEL_V6, Namespace, NamespaceError};
    use lastbyte_host::tap::Tap;
    use lastbyte_sim::setup::Setup;
    use libtest_mimic::{Arguments, Failed, Trial};
    use smoltcp::socket::dhcpv4;
    use smoltcp::time::Duration as LeaseTime;
    use smoltcp::wire::{EthernetAddress, IpAddress};

    type TapStack<'a> = Stack<'a, Tap, HostClock, 1>;
    type Case = (&'static str, fn());

    const PORT: u16 = 5000;

    /// How long what must happen may take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Shorter than dnsmasq leases: so long a lease counts for us. It is renewed after half
    /// of that.
    const LEASE: LeaseTime = LeaseTime::from_secs(8);

    pub(super) fn main() -> ExitCode {
        let arguments = Arguments::from_args();
        let missing = missing();
        if let Some(missing) = &missing {
            eprintln!("dnsmasq: CANNOT RUN HERE: {missing}");
        }
        let cases: [Case; 4] = [
            ("renewing_loses_nothing", renewing_loses_nothing),
            (
                "a_lost_lease_ends_connections",
                a_lost_lease_ends_connections,
            ),
            ("names_become_addresses", names_become_addresses),
            ("a_prefix_becomes_an_address", a_prefix_becomes_an_address),
        ];
        let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        let trials = cases.map(|(name, test)| {
            let missing = missing.clone();
            let is_ignored = missing.is_some() && !must_run;
            let trial = Trial::test(name, move || match missing {
                Some(missing) => Err(Failed::from(missing)),
                None => {
                    test();
                    Ok(())
                }
            });
            trial.with_ignored_flag(is_ignored)
        });
        libtest_mimic::run(&arguments, trials.into()).exit_code()
    }

    fn missing() -> Option<String> {
        let tried = match namespace::run(|_, _| ()) {
            Err(NamespaceError::MultiThreaded) => {
                Namespace::enter_empty().and_then(|_| namespace::run(|_, _| ()))
            }
            other => other,
        };
        let network = tried.err().map(|error| error.to_string());
        network.or_else(|| {
            program()
                .is_none()
                .then(|| "there is no dnsmasq".to_owned())
        })
    }

    fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let mut files = directories.into_iter().map(|path| path.join("dnsmasq"));
        files.find(|file| file.exists())
    }

    /// dnsmasq, until this is dropped.
    struct Dnsmasq {
        process: Child,
        log: tempfile::NamedTempFile,
    }

    impl Dnsmasq {
        /// Starts it in the namespace of this thread.
        fn start() -> Self {
            let log = tempfile::NamedTempFile::new().expect("a file");
            let program = program().expect("it was there a moment ago");
            let process = Command::new(program)
                .args(["-k", "--user=root", "--conf-file=/dev/null", "--no-resolv"])
                .args(["--no-hosts", "--pid-file", "--bind-interfaces", "--no-ping"])
                .args(["--leasefile-ro", "--log-facility=-", "--interface"])
                .arg(namespace::TAP_NAME)
                .arg("--dhcp-range=10.77.0.50,10.77.0.60,2m")
                .args(["--enable-ra", "--dhcp-range=fd77::,ra-only,64,10m"])
                .args(["--local=/test/", "--address=/host.test/10.77.0.1"])
                .arg("--address=/six.test/fd77::1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(log.path()).expect("a file"))
                .spawn()
                .expect("it starts");
            Self { process, log }
        }

        fn log(&self) -> String {
            std::fs::read_to_string(self.log.path()).expect("text")
        }

        fn count(&self, what: &str) -> usize {
            self.log().matches(what).count()
        }
    }

    impl Drop for Dnsmasq {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// Our end without an address, in a network of its own.
    fn network(test: impl FnOnce(&mut TapStack<'_>) + Send) {
        let done = namespace::run(|_, tap| {
            let clock = HostClock::watching(&tap).expect("descriptors are left");
            let hardware = EthernetAddress(namespace::OUR_HARDWARE_ADDR).into();
            let mut setup = Setup::new(hardware, &[], Setup::random_seed());
            setup.own_sockets = 2;
            setup.run(tap, clock, test).expect("the setup is valid");
        });
        done.expect("the namespace was there a moment ago");
    }

    /// Takes one connection and reads it to its end.
    fn peer(address: IpAddress) -> JoinHandle<Vec<u8>> {
        let listener = TcpListener::bind((std::net::IpAddr::from(address), PORT));
        let listener = listener.expect("a free port");
        thread::spawn(move || {
            let mut all = Vec::new();
            let (mut connection, _) = listener.accept().expect("a connection");
            // What breaks off is as long as it is.
            let _ = connection.read_to_end(&mut all);
            all
        })
    }

    fn connect(stack: &mut TapStack<'_>, to: IpAddress) -> ConnectionId {
        let id = stack.connect((to, PORT), Options::default());
        let id = id.expect("a slot, a port and a route");
        stack.wait_open(id).expect("the peer listens");
        id
    }

    /// Obtains a lease that counts for [`LEASE`].
    fn lease(stack: &mut TapStack<'_>) {
        let handle = stack.start_dhcp().expect("room for a socket");
        let socket = stack.sockets_mut().get_mut::<dhcpv4::Socket<'_>>(handle);
        socket.set_max_lease_duration(Some(LEASE));
        let lease = stack.wait_lease(PATIENCE).expect("dnsmasq leases");
        assert_eq!(lease.router(), Some(KERNEL_V4));
        assert_eq!(lease.dns_servers(), [KERNEL_V4.into()]);
        assert!(matches!(
            stack.poll_lease(),
            Some(LeaseChange::Configured(_))
        ));
    }

    fn renewing_loses_nothing() {
        network(|stack| {
            let dnsmasq = Dnsmasq::start();
            lease(stack);
            let peer = peer(KERNEL_V4.into());
            let id = connect(stack, KERNEL_V4.into());
            let mut sent = Vec::new();
            for number in 0..130_u8 {
                let bytes = [number; 1_000];
                let written = stack.writer(id).expect("ours").write_all(&bytes);
                written.expect("the connection lives");
                sent.extend(bytes);
                stack.run_for(Duration::from_millis(100));
            }
            let acknowledged = dnsmasq.count("DHCPACK");
            assert!(acknowledged >= 3, "{}", dnsmasq.log());
            assert_eq!(stack.poll_lease(), None, "nothing has changed");
            let report = stack.writer(id).expect("ours").finish();
            let report = report.expect("all is acknowledged");
            assert_eq!(report.ledger.acknowledged(), 130_000);
            assert!(peer.join().expect("no panic") == sent, "other bytes");
        });
    }

    fn a_lost_lease_ends_connections() {
        network(|stack| {
            let dnsmasq = Dnsmasq::start();
            lease(stack);
            let _peer = peer(KERNEL_V4.into());
            let id = connect(stack, KERNEL_V4.into());
            stack
                .writer(id)
                .expect("ours")
                .write_all(b"before")
                .unwrap();
            drop(dnsmasq);
            let error = loop {
                stack.run_for(Duration::from_millis(200));
                let written = stack.writer(id).expect("ours").write_all(b"x");
                if let Err(error) = written {
                    break error;
                }
                assert!(stack.report(id).expect("ours").elapsed < PATIENCE);
            };
            assert_eq!(error.cause(), Some(Cause::AddressLost));
            assert_eq!(stack.lease(), Err(LeaseError::NoLease));
            assert_eq!(stack.poll_lease(), Some(LeaseChange::Lost));
            // It is back: so is the lease.
            stack.release(id).expect("ours");
            let _dnsmasq = Dnsmasq::start();
            stack.wait_lease(PATIENCE).expect("dnsmasq leases");
        });
    }

    fn names_become_addresses() {
        network(|stack| {
            let dnsmasq = Dnsmasq::start();
            lease(stack);
            let ours = smoltcp::wire::IpCidr::new(namespace::OUR_V6.into(), 64);
            stack.claim_address(ours).expect("room");
            stack
                .wait_address(namespace::OUR_V6.into(), PATIENCE)
                .expect("free");
            stack.start_dns(vec![None].leak(), &[]).expect("room");
            let found = stack.resolve("host.test", PATIENCE);
            assert_eq!(found, Ok(KERNEL_V4.into()), "{}", dnsmasq.log());
            assert_eq!(stack.resolve("HOST.test", PATIENCE), Ok(KERNEL_V4.into()));
            let found = stack.resolve("six.test", PATIENCE);
            assert_eq!(found, Ok(KERNEL_V6.into()), "{}", dnsmasq.log());
            let found = stack.resolve("nowhere.test", PATIENCE);
            assert_eq!(found, Err(ResolveError::NoSuchName));
            // It has no server to forward to.
            let found = stack.resolve("host.example", PATIENCE);
            assert_eq!(found, Err(ResolveError::ServerFailed { code: 5 }));
            drop(dnsmasq);
            let found = stack.resolve("host.test", Duration::from_secs(2));
            assert_eq!(found, Err(ResolveError::NoAnswer));
        });
    }

    fn a_prefix_becomes_an_address() {
        network(|stack| {
            let dnsmasq = Dnsmasq::start();
            stack.start_slaac().expect("room");
            let cidr = stack.wait_slaac(PATIENCE);
            let cidr = cidr.unwrap_or_else(|error| panic!("{error}: {}", dnsmasq.log()));
            let expected = "fd77::ff:fe77:2".parse().expect("an address");
            assert_eq!((cidr.address(), cidr.prefix_len()), (expected, 64));
            assert!(stack.router().is_some_and(|it| it.is_unicast_link_local()));
            let peer = peer(KERNEL_V6.into());
            let id = connect(stack, KERNEL_V6.into());
            let mut writer = stack.writer(id).expect("ours");
            writer.write_all(b"by a prefix").unwrap();
            writer.finish().expect("all is acknowledged");
            assert_eq!(peer.join().expect("no panic"), b"by a prefix");
        });
    }
}
