//! Real servers as peers, in the namespace of the test.

use crate::network::{Lab, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A program, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("mosquitto", "mosquitto"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("curl", "curl"),
];

/// What is missing on this machine; `None` if there are all.
pub fn missing() -> Option<String> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|&(_, package)| package)
        .collect();
    (!missing.is_empty()).then(|| {
        let packages = missing.join(" ");
        format!("missing: {packages}; as root on Debian: apt-get install {packages}")
    })
}

/// The path of a program. Debian keeps servers in folders that only root's PATH has.
fn find(program: &str) -> Option<std::path::PathBuf> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

pub fn command(program: &str) -> Command {
    let path = find(program);
    Command::new(path.unwrap_or_else(|| panic!("{program} was there when the tests began")))
}

/// A running program that is killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Its files, for as long as it runs.
    _folder: TempDir,
}

impl Server {
    fn start(
        lab: &Lab<'_, '_>,
        address: SocketAddr,
        folder: TempDir,
        mut command: Command,
    ) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("the server starts");
        let mut server = Self {
            child,
            address,
            _folder: folder,
        };
        lab.namespace
            .wait_listening(address, Some(&mut server.child), PATIENCE)
            .expect("the server listens");
        server
    }

    /// An MQTT broker.
    pub fn mosquitto(lab: &Lab<'_, '_>, address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (ip, port) = (address.ip(), address.port());
        // It begins as root, and would have to read the folder as another user.
        let text = format!(
            "listener {port} {ip}\nallow_anonymous true\npersistence false\nuser root\nlog_type error\n"
        );
        let file = write(folder.path(), "mosquitto.conf", &text);
        let mut command = command("mosquitto");
        command.arg("-c").arg(file);
        Self::start(lab, address, folder, command)
    }

    /// An HTTP server with these files: names and contents. With `tls`, an HTTPS server.
    pub fn nginx(
        lab: &Lab<'_, '_>,
        address: SocketAddr,
        tls: bool,
        files: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make_site(folder.path(), address, tls, files);
        let mut command = command("nginx");
        command.args(["-c", "nginx.conf", "-e", "stderr", "-p"]);
        command.arg(folder.path());
        Self::start(lab, address, folder, command)
    }

    /// A TLS 1.3 server that returns each line reversed.
    pub fn openssl(lab: &Lab<'_, '_>, address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certify(folder.path());
        let mut command = command("openssl");
        command.current_dir(folder.path());
        command.args(["s_server", "-rev", "-quiet", "-tls1_3"]);
        command.args(["-cert", "cert.pem", "-key", "key.pem"]);
        command.arg("-accept").arg(address.to_string());
        command.stderr(Stdio::null());
        Self::start(lab, address, folder, command)
    }

    /// Ends it at once, whatever it does. Its kernel closes its connections meanwhile: with a
    /// FIN, or with a RST if it has not read everything.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// It does nothing any more. Its kernel still acknowledges, as long as it has room.
    pub fn stop(&self) {
        signal(&self.child, Signal::SIGSTOP);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).expect("a process id");
    kill(Pid::from_raw(id), signal).expect("it runs");
}

fn write(folder: &Path, name: &str, content: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("room in the folder");
    path
}

/// Puts a key and a certificate for the kernel's address into `folder`.
fn certify(folder: &Path) {
    let mut command = command("openssl");
    command.current_dir(folder).args(["req", "-x509", "-nodes"]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-days", "2", "-subj", "/CN=server.test"]);
    command.args(["-keyout", "key.pem", "-out", "cert.pem"]);
    let made = command.stderr(Stdio::null()).status();
    assert!(made.expect("openssl starts").success(), "a certificate");
}

/// Makes `folder` what nginx serves, with its configuration.
pub fn make_site(folder: &Path, address: SocketAddr, tls: bool, files: &[(&str, &str)]) {
    for (name, content) in files {
        write(folder, name, content);
    }
    let (ssl, secure) = match tls {
        true => {
            certify(folder);
            (
                " ssl",
                "ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.3;",
            )
        }
        false => ("", ""),
    };
    let text = format!(
        "user root; daemon off; master_process off; pid nginx.pid; error_log stderr crit; events {{}}\n\
         http {{ access_log off; {secure}\n\
         client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; \
         uwsgi_temp_path u; scgi_temp_path s;\n\
         # A client that does not read for this time is reset (SO_LINGER 0).\n\
         send_timeout 1s; reset_timedout_connection on;\n\
         server {{ listen {address}{ssl}; root .; }} }}\n"
    );
    write(folder, "nginx.conf", &text);
}
