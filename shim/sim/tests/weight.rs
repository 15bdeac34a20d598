//! What a project depends on with this crate among its `[dev-dependencies]`.

use std::collections::BTreeSet;
use std::process::Command;

/// This crate, lastbyte, smoltcp, and all of their dependencies.
const MOST_CRATES: usize = 15;

#[test]
fn a_project_depends_on_few_crates() {
    let listed = Command::new(env!("CARGO"))
        .args(
            "tree --locked --offline -p lastbyte-sim -e normal --prefix none --format {p}"
                .split(' '),
        )
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs the tests");
    let errors = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "{errors}");
    let listed = String::from_utf8(listed.stdout).expect("names and versions");
    let crates: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(crates.contains("smoltcp"), "{listed}");
    assert!(
        crates.len() <= MOST_CRATES,
        "{} crates: {crates:?}",
        crates.len()
    );
    println!("{} crates", crates.len());
}
