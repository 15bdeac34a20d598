//! The tests, by what they need.

use libtest_mimic::{Failed, Trial};

use crate::common;

mod addresses;
mod arguments;
mod beats;
mod doctor;
mod endings;
mod files;
mod inputs;
mod leftovers;
mod limits;
mod locales;
mod lwip;
mod networks;
mod peers;
mod signals;
mod sim;
mod taps;
mod terminals;
mod workflow;

/// A named test.
type Case = (&'static str, fn());

/// Makes a test from each function, with its name.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub const CASES: &[crate::cases::Case] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use cases;

/// Whether a group of tests runs over the async layer as well as over the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Async {
    /// Its tests transfer nothing, or by another program.
    Never,
    /// With `CI=true`.
    InCi,
    /// Always.
    Always,
}

/// All tests, as trials.
pub fn all() -> Vec<Trial> {
    use Async::{Always, InCi, Never};
    common::prepare_over_async();
    let network = missing_for_network();
    let tap = network.or_else(missing_for_tap);
    [
        ("addresses", addresses::CASES, Never, None),
        ("addresses", addresses::with_peer::CASES, InCi, network),
        ("addresses", addresses::on_tap::CASES, InCi, tap),
        ("arguments", arguments::CASES, Never, None),
        ("beats", beats::CASES, Always, network),
        ("beats", beats::refused::CASES, Never, None),
        ("doctor", doctor::CASES, Never, doctor::missing()),
        ("endings", endings::CASES, Always, network),
        ("files", files::CASES, InCi, network),
        ("files", files::refused::CASES, Never, None),
        ("inputs", inputs::CASES, Always, network),
        ("leftovers", leftovers::CASES, InCi, tap),
        ("limits", limits::CASES, InCi, network),
        ("locales", locales::CASES, Never, None),
        ("locales", locales::on_terminals::CASES, InCi, network),
        ("lwip", lwip::CASES, Always, lwip::missing()),
        ("networks", networks::CASES, InCi, network),
        (
            "networks",
            networks::with_dnsmasq::CASES,
            InCi,
            network.or_else(networks::missing),
        ),
        ("networks", networks::on_tap::CASES, InCi, tap),
        ("peers", peers::CASES, Always, network),
        ("signals", signals::CASES, Always, network),
        ("sim", sim::CASES, Never, None),
        ("taps", taps::CASES, Always, tap),
        ("terminals", terminals::CASES, InCi, network),
        ("workflow", workflow::CASES, InCi, tap),
    ]
    .into_iter()
    .flat_map(|(group, cases, over_async, missing)| {
        let is_over_async = match over_async {
            Never => false,
            InCi => is_ci(),
            Always => true,
        };
        let mut all = trials(group, false, cases, missing);
        if is_over_async {
            all.extend(trials(group, true, cases, missing));
        }
        all
    })
    .collect()
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// The tests of a group, over one of the layers.
fn trials(
    group: &str,
    is_async: bool,
    cases: &[Case],
    missing: Option<&'static str>,
) -> Vec<Trial> {
    let over = if is_async { " over async" } else { "" };
    if let Some(missing) = missing {
        eprintln!("SKIPPED: all of `{group}`{over}, since {missing} (see `lastbyte doctor`)");
    }
    cases
        .iter()
        .map(|&(name, case)| {
            let trial = Trial::test(format!("{group}::{name}{over}"), move || match missing {
                Some(missing) => Err(Failed::from(format!(
                    "in CI everything runs, but {missing}"
                ))),
                None => {
                    common::run_over(is_async, case);
                    Ok(())
                }
            });
            trial.with_ignored_flag(missing.is_some() && !is_ci())
        })
        .collect()
}

/// What is missing for tests with `--peer`.
fn missing_for_network() -> Option<&'static str> {
    let doctor = common::run(common::lastbyte(&["doctor", "--json"]));
    let findings: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap_or_default();
    let has_network = findings.as_array().is_some_and(|findings| {
        findings
            .iter()
            .any(|f| f["name"] == "private network" && f["ok"] == true)
    });
    if !has_network {
        return Some("no private network can be made here");
    }
    (!common::has_program("python3")).then_some("there is no python3 for the peers")
}

/// What is missing for tests with `--tap`.
fn missing_for_tap() -> Option<&'static str> {
    if !common::has_program("ip") || !common::has_program("unshare") {
        return Some("there is no `ip` or no `unshare` to make a TAP with");
    }
    let done = taps::with_tap("exit 0");
    (done.code != Some(0)).then_some("no TAP can be made in a user namespace here")
}
