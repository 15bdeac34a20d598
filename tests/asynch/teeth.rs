//! Whatever wakes a task, or the runner, is missed if it does not: each is broken on purpose,
//! and some test of this program must fail.
//!
//! Built with `RUSTFLAGS="--cfg lastbyte_sabotage"` only: `./ci.sh teeth`.

use lastbyte::sabotage::{Sabotage, set};
use std::env;
use std::process::Command;

/// Names what is broken, to the process that runs the tests.
const BROKEN: &str = "LASTBYTE_BROKEN";

/// Breaks what the environment names.
pub fn break_what_is_named() {
    if let Ok(name) = env::var(BROKEN) {
        let named = |broken: &Sabotage| format!("{broken:?}") == name;
        let broken = all().find(named);
        set(broken.expect("the name of a sabotage"));
    }
}

/// What wakes, and what each write does first: to process what the device has received, and to
/// accept nothing while the device has no room.
fn all() -> impl Iterator<Item = Sabotage> {
    let writes = [Sabotage::FirstWrite, Sabotage::FullDevice];
    Sabotage::WAKES.into_iter().chain(writes)
}

/// Runs the other tests of this program; returns the names of those that fail.
fn failures(broken: Option<Sabotage>) -> Vec<String> {
    let mut tests = Command::new(env::current_exe().expect("a program"));
    tests.args(["--skip", "teeth::"]).env_remove(BROKEN);
    if let Some(broken) = broken {
        tests.env(BROKEN, format!("{broken:?}"));
    }
    let output = tests.output().expect("the tests run");
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect();
    assert_eq!(output.status.success(), failed.is_empty(), "{text}");
    failed
}

#[test]
fn each_place_that_wakes_is_missed() {
    assert_eq!(failures(None), Vec::<String>::new());
    for broken in all() {
        let failed = failures(Some(broken));
        println!("{broken:?}: {} tests, {:?}", failed.len(), failed.first());
        assert!(!failed.is_empty(), "no test misses {broken:?}");
    }
}
