//! The example for CI: it passes for a good server, and fails for others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cases::cases;
use crate::common::{Done, program, run};

cases![
    a_good_server_passes,
    a_server_that_closes_early_or_never_starts_fails,
    the_workflow_runs_existing_commands,
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ci")
}

fn protocol_test(args: &[&str]) -> Done {
    let mut command = Command::new(folder().join("protocol-test.sh"));
    command
        .args(args)
        .env("LASTBYTE", program())
        .stdin(Stdio::null());
    run(command)
}

fn a_good_server_passes() {
    let done = protocol_test(&[]).ended_with(0, &["line 10: beat"]);
    assert!(done.stdout.ends_with("passed\n"), "{done:#?}");
}

fn a_server_that_closes_early_or_never_starts_fails() {
    let early = format!("python3 {} 4", folder().join("server.py").display());
    protocol_test(&[&early]).ended_with(1, &["FAILED", "ended with 3 in place of 0"]);
    protocol_test(&["false"]).ended_with(1, &["FAILED", "does not start"]);
}

fn the_workflow_runs_existing_commands() {
    let workflow = fs::read_to_string(folder().join("workflow.yml")).expect("it is there");
    let runs = workflow.lines().filter_map(|line| line.split_once("run: "));
    let scripts: Vec<&str> = runs
        .map(|(_, command)| command)
        .filter(|command| command.starts_with("examples/"))
        .collect();
    assert_eq!(scripts, ["examples/ci/protocol-test.sh"]);
}
