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

/// All tests, as trials.
pub fn all() -> Vec<Trial> {
    let network = missing_for_network();
    let tap = network.or_else(missing_for_tap);
    [
        ("addresses", addresses::CASES, None),
        ("addresses", addresses::with_peer::CASES, network),
        ("addresses", addresses::on_tap::CASES, tap),
        ("arguments", arguments::CASES, None),
        ("beats", beats::CASES, network),
        ("beats", beats::refused::CASES, None),
        ("doctor", doctor::CASES, doctor::missing()),
        ("endings", endings::CASES, network),
        ("files", files::CASES, network),
        ("files", files::refused::CASES, None),
        ("inputs", inputs::CASES, network),
        ("leftovers", leftovers::CASES, tap),
        ("limits", limits::CASES, network),
        ("locales", locales::CASES, None),
        ("locales", locales::on_terminals::CASES, network),
        ("lwip", lwip::CASES, lwip::missing()),
        ("networks", networks::CASES, network),
        (
            "networks",
            networks::with_dnsmasq::CASES,
            network.or_else(networks::missing),
        ),
        ("networks", networks::on_tap::CASES, tap),
        ("peers", peers::CASES, network),
        ("signals", signals::CASES, network),
        ("sim", sim::CASES, None),
        ("taps", taps::CASES, tap),
        ("terminals", terminals::CASES, network),
        ("workflow", workflow::CASES, tap),
    ]
    .into_iter()
    .flat_map(|(group, cases, missing)| trials(group, cases, missing))
    .collect()
}

fn trials(group: &str, cases: &[Case], missing: Option<&'static str>) -> Vec<Trial> {
    let must_run = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if let Some(missing) = missing {
        eprintln!("SKIPPED: all of `{group}`, since {missing} (see `lastbyte doctor`)");
    }
    cases
        .iter()
        .map(|&(name, case)| {
            let trial = Trial::test(format!("{group}::{name}"), move || match missing {
                Some(missing) => Err(Failed::from(format!(
                    "in CI everything runs, but {missing}"
                ))),
                None => {
                    case();
                    Ok(())
                }
            });
            trial.with_ignored_flag(missing.is_some() && !must_run)
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
