//! The examples of `examples/protocols`, as their headers start them.

use crate::Case;
use crate::network::at;
use crate::servers::{command, make_site};
use std::process::Command;

pub const CASES: &[Case] = &[
    ("example_mqtt_telemetry", mqtt_telemetry),
    ("example_https_get", https_get),
];

/// Runs an example against `peer`, and returns what it prints.
fn run(name: &str, peer: &str, server: &str) -> String {
    // Above `debug/deps`, where this program is.
    let program = std::env::current_exe().expect("Linux");
    let target = program.ancestors().nth(3).expect("a directory of builds");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    // The whole workspace, as for this program: nothing else is built again.
    cargo.args(["build", "--quiet", "--locked", "--workspace", "--bins"]);
    cargo
        .args(["--manifest-path", manifest, "--target-dir"])
        .arg(target);
    assert!(cargo.status().expect("cargo starts").success());

    let mut example = Command::new(target.join("debug").join(name));
    let ended = example.args(["--peer", peer, server]).output();
    let ended = ended.expect("it was built");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}\n{text}\n{errors}", ended.status);
    text
}

/// A program as a shell starts it.
fn path(program: &str) -> String {
    command(program).get_program().display().to_string()
}

fn mqtt_telemetry() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("telemetry.conf");
    let text = "listener 1883 10.77.0.1\nallow_anonymous true\nuser root\n";
    std::fs::write(&file, text).expect("room in the folder");
    let peer = format!("{} -c {}", path("mosquitto"), file.display());
    let printed = run("mqtt_telemetry", &peer, "10.77.0.1:1883");
    assert_eq!(printed.matches("published").count(), 5, "{printed}");
}

fn https_get() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = [("index.html", "It is 21 C.")];
    make_site(folder.path(), at(8443), true, &page);
    let nginx = path("nginx");
    let peer = format!("{nginx} -p {} -c nginx.conf", folder.path().display());
    let printed = run("https_get", &peer, "10.77.0.1:8443");
    assert!(printed.contains("It is 21 C."), "{printed}");
}
