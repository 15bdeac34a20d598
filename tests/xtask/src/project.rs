//! The names that a stage needs: packages, features, tests, targets. If a package or a test
//! moves, only this file changes. The tests below compare it with `cargo metadata`.

/// The crate that firmware uses.
pub const LIBRARY: &str = "lastbyte";

/// Libraries whose documentation must be free of warnings, besides [`LIBRARY`].
pub const OTHER_LIBRARIES: &[&str] = &["lastbyte-sim", "lastbyte-host", "lastbyte-cli"];

/// Libraries that must also be free of warnings without their default features.
pub const SMALLEST: &[&str] = &[LIBRARY, "lastbyte-sim"];

/// The package of the command, and its program.
pub const COMMAND: (&str, &str) = ("lastbyte-cli", "lastbyte");

/// The package of the examples; their sources are in `examples/`.
pub const EXAMPLES: &str = "lastbyte-examples";

/// The benchmarks, by package.
pub const BENCHES: &[(&str, &str)] = &[
    ("lastbyte-host", "throughput"),
    ("lastbyte-host", "slow_lines"),
    ("lastbyte-host", "pipe"),
];
/// Those that only print.
pub const BENCHES_WITHOUT_PICTURE: &[&str] = &["pipe"];
pub const INSTRUCTIONS: (&str, &str) = ("lastbyte-host", "instructions");
/// The folder of the baseline of the instructions and the charts of the benchmarks.
pub const BENCHES_DIRECTORY: &str = "shim/host/benches";

/// The test of thousands of runs of the command.
pub const STRESS: (&str, &str) = ("lastbyte-cli", "stress");

/// The tests of the pipe, how large the stage `pipe` makes them, and those that run under loom.
pub const PIPE_TEST: &str = "pipe";
pub const PIPE_SIZES: &[(&str, &str)] = &[
    ("PIPE_DEPTH", "7"),
    ("PIPE_CASES", "1000000"),
    ("PIPE_CALLS", "4"),
    ("PIPE_BYTES", "1000000"),
    ("PIPE_ROUNDS", "500"),
];
pub const PIPE_LOOM: &str = "tests/pipe-loom/Cargo.toml";

/// The tests of protocol crates over the async layer.
pub const CLIENTS: &str = "tests/clients/Cargo.toml";

/// How a rule is broken on purpose: by compiler flags. All of it is built in a separate directory,
/// so that other builds are kept.
pub const SABOTAGE_FEATURES: &[&str] = &[];
pub const SABOTAGE_FLAGS: &str = "--cfg lastbyte_sabotage";

/// The tests that break rules, by package.
pub const TEETH: &[(&str, &[&str])] = &[
    ("lastbyte-sim", &["teeth", "guest_teeth"]),
    ("lastbyte", &["fuzz_teeth", "asynch"]),
];

/// Tests that judge a mutant, the fast and strict ones first. A later judge only gets what no
/// earlier one caught.
pub struct Judge {
    pub package: &'static str,
    pub library: bool,
    pub tests: &'static [&'static str],
    pub examples: &'static [&'static str],
}

pub const JUDGES: &[Judge] = &[
    Judge {
        package: "lastbyte",
        library: true,
        tests: &["machine", "conformance"],
        examples: &[],
    },
    Judge {
        package: "lastbyte",
        library: false,
        tests: &["contract", "asynch", PIPE_TEST],
        examples: &[],
    },
    Judge {
        package: "lastbyte-sim",
        library: true,
        tests: &[],
        examples: &[],
    },
    Judge {
        package: "lastbyte-examples",
        library: false,
        tests: &[],
        examples: &["simulate_my_firmware"],
    },
];

/// The bare-metal targets for which the core and the stack must build.
pub const TARGETS: &[&str] = &[CORTEX_M0, CORTEX_M3, "thumbv7em-none-eabihf", RISCV32];
const CORTEX_M0: &str = "thumbv6m-none-eabi";
pub const CORTEX_M3: &str = "thumbv7m-none-eabi";
pub const RISCV32: &str = "riscv32imc-unknown-none-elf";

/// The features that a firmware may enable, each as an argument of `cargo --features`.
pub const COMBINATIONS: &[&str] = &[
    "",
    "log",
    "defmt",
    "defmt,log",
    "smoltcp,medium-ethernet,proto-ipv4",
    "smoltcp,medium-ethernet,proto-ipv6",
    "smoltcp,medium-ethernet,proto-ipv4,proto-ipv6",
    "smoltcp,medium-ip,proto-ipv4",
    "smoltcp,medium-ip,proto-ipv4,proto-ipv6",
    "smoltcp,medium-ethernet,medium-ip,proto-ipv4,proto-ipv6,defmt",
    "dhcpv4",
    "dns,medium-ip,proto-ipv6",
    "address-conflicts,proto-ipv4",
    "slaac,defmt",
    "dhcpv4,dns,slaac",
    "pipe",
    "pipe,async,defmt",
    "medium-ethernet,proto-ipv4,embassy-net-driver-v0.2",
    "medium-ip,proto-ipv6,embassy-net-driver-v0.2,defmt",
    "async",
    "smoltcp,medium-ethernet,proto-ipv4,async,defmt",
    "smoltcp,medium-ip,proto-ipv6,async,critical-section,embassy-time-v0.5,embedded-hal-async-v1,rtic-time-v3,embedded-nal-async-v0.9,edge-nal-v0.7",
];

/// The feature sets with which `tests/unification` builds lastbyte; smoltcp has all features.
pub const UNIFICATIONS: &[&str] = &["ipv4,ip", "ipv6,ip", "ipv4,ethernet", "ipv6,ethernet"];

/// The targets on which budgets are measured, each on an emulated board, and its name in
/// documents.
pub const BUDGET_TARGETS: &[(&str, &str)] = &[(CORTEX_M3, "Cortex-M3"), (RISCV32, "riscv32imc")];

/// A page of the documentation, and a text that it must contain: a row of the transition table.
pub const TRANSITIONS_PAGE: (&str, &str) = ("doc/lastbyte/core/transition/index.html", "T153");

/// The number of simulated networks in a run of `sim`.
pub const SIM_SEEDS: u64 = 300_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Each package, and each target of one as "kind package name".
    fn known() -> HashSet<String> {
        let output = Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version=1", "--locked"])
            .current_dir(root())
            .output()
            .unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut known = HashSet::new();
        for package in metadata["packages"].as_array().unwrap() {
            let name = package["name"].as_str().unwrap();
            known.insert(name.to_owned());
            for target in package["targets"].as_array().unwrap() {
                let kind = target["kind"][0].as_str().unwrap();
                known.insert(format!(
                    "{kind} {name} {}",
                    target["name"].as_str().unwrap()
                ));
            }
            for feature in package["features"].as_object().unwrap().keys() {
                known.insert(format!("feature {name} {feature}"));
            }
        }
        known
    }

    #[test]
    fn every_package_target_and_feature_that_a_stage_names_exists() {
        let mut wanted: Vec<String> = vec![LIBRARY.to_owned()];
        wanted.extend(OTHER_LIBRARIES.iter().map(|&name| name.to_owned()));
        wanted.push(format!("bin {} {}", COMMAND.0, COMMAND.1));
        for (package, bench) in BENCHES.iter().chain([&INSTRUCTIONS]) {
            wanted.push(format!("bench {package} {bench}"));
        }
        wanted.push(format!("test {} {}", STRESS.0, STRESS.1));
        for (package, tests) in TEETH {
            wanted.extend(tests.iter().map(|test| format!("test {package} {test}")));
            let features = SABOTAGE_FEATURES.iter();
            wanted.extend(features.map(|feature| format!("feature {package} {feature}")));
        }
        wanted.push(EXAMPLES.to_owned());
        wanted.push(format!("test {LIBRARY} {PIPE_TEST}"));
        wanted.extend(SMALLEST.iter().map(|&name| name.to_owned()));
        for judge in JUDGES {
            let package = judge.package;
            wanted.push(package.to_owned());
            wanted.extend(
                judge
                    .tests
                    .iter()
                    .map(|test| format!("test {package} {test}")),
            );
            wanted.extend(
                judge
                    .examples
                    .iter()
                    .map(|name| format!("example {package} {name}")),
            );
        }
        for combination in COMBINATIONS {
            let features = combination.split(',').filter(|feature| !feature.is_empty());
            wanted.extend(features.map(|feature| format!("feature {LIBRARY} {feature}")));
        }
        let known = known();
        wanted.retain(|name| !known.contains(name));
        assert_eq!(wanted, Vec::<String>::new(), "not in this workspace");
    }
}
