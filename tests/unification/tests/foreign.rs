//! A medium or version that lastbyte was not built for, but smoltcp was, is refused.

use lastbyte::Options;
use lastbyte::stack::ConfigError;
use std::time::Duration;
use unification::{BUILT_MEDIUM, OTHER_MEDIUM, PORT, Version, made};

#[test]
fn a_device_of_a_medium_that_is_not_built_in_is_refused() {
    let refused = made(OTHER_MEDIUM).map(|_| ());
    assert_eq!(refused, Err(ConfigError::HardwareAddressMismatch));
    assert!(made(BUILT_MEDIUM).is_ok());
}

#[test]
fn connecting_over_a_version_that_is_not_built_in_is_refused() {
    let (mut stack, wire) = made(BUILT_MEDIUM).expect("built for it");
    let refused = stack.connect((Version::OTHER.peers(), PORT), Options::default());
    assert!(refused.is_err(), "{refused:?}");
    stack.run_for(Duration::from_secs(2));
    assert_eq!(wire.recv(), None);
    // Nothing was opened, and what is built in works.
    let opened = stack.connect((Version::BUILT.peers(), PORT), Options::default());
    assert!(opened.is_ok(), "{opened:?}");
}

#[test]
fn listening_at_an_address_of_a_version_that_is_not_built_in_is_refused() {
    let (mut stack, _) = made(BUILT_MEDIUM).expect("built for it");
    let refused = stack.listen((Version::OTHER.ours(), PORT), Options::default());
    assert!(refused.is_err(), "{refused:?}");
    let opened = stack.listen((Version::BUILT.ours(), PORT), Options::default());
    assert!(opened.is_ok(), "{opened:?}");
}
