//! The settings as words, on the host.

use core::net::Ipv4Addr;
use core::time::Duration;
use lastbyte::core::{Nagle, OptionsError};
use lastbyte_firmware_app::{LARGEST_WRITE, LostBeat, Mode, Settings, Why, octet};

/// `defmt` needs one to link; nothing here logs.
#[defmt::global_logger]
struct Nowhere;

// SAFETY: it has no state, so there is nothing that two threads could use at once.
unsafe impl defmt::Logger for Nowhere {
    fn acquire() {}
    unsafe fn flush() {}
    unsafe fn release() {}
    unsafe fn write(_: &[u8]) {}
}

defmt::timestamp!("");

#[test]
fn without_words_the_defaults_apply() {
    let settings = Settings::parse([]).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.options.call_timeout(), Duration::from_millis(250));
    assert_eq!(settings.options.user_timeout(), Duration::from_secs(100));
}

#[test]
fn every_setting_is_read() {
    let words = "mode=bulk host=10.77.0.1 port=6000 addr=10.77.0.2/24 gateway=none seed=7 \
                 message=tick every=1500ms count=3 lost=again bytes=12 write=64 connections=5 backoff=50ms \
                 backoff-most=2m patience=0 connect=1s silence=3s finish=4s call=5ms stall=6s \
                 keep-alive=7s max-segment=536 nagle=off";
    let settings = Settings::parse(words.split_whitespace()).unwrap();
    assert_eq!(settings.mode, Mode::Bulk);
    assert_eq!(settings.host, Ipv4Addr::new(10, 77, 0, 1));
    assert_eq!(settings.port, 6000);
    assert_eq!(settings.addr.address(), Ipv4Addr::new(10, 77, 0, 2));
    assert_eq!(settings.addr.prefix_len(), 24);
    assert_eq!(settings.gateway, None);
    assert_eq!(settings.seed, Some(7));
    assert_eq!(settings.message, "tick");
    assert_eq!(settings.every, Duration::from_millis(1500));
    assert_eq!(
        (settings.count, settings.bytes, settings.write),
        (3, 12, 64)
    );
    assert_eq!(settings.lost, LostBeat::SayAgain);
    assert_eq!(settings.connections, 5);
    assert_eq!(settings.backoff, Duration::from_millis(50));
    assert_eq!(settings.backoff_most, Duration::from_secs(120));
    assert_eq!(settings.patience, Duration::ZERO);
    let options = settings.options;
    assert_eq!(options.connect_timeout(), Duration::from_secs(1));
    assert_eq!(options.user_timeout(), Duration::from_secs(3));
    assert_eq!(options.finish_timeout(), Duration::from_secs(4));
    assert_eq!(options.call_timeout(), Duration::from_millis(5));
    assert_eq!(options.stall_advice_after(), Duration::from_secs(6));
    assert_eq!(options.keep_alive(), Some(Duration::from_secs(7)));
    assert_eq!(options.max_segment(), Some(536));
    assert_eq!(options.nagle(), Nagle::Off);
}

#[test]
fn the_wrong_word_is_named() {
    let long = format!("message={}", "x".repeat(65));
    let cases = [
        ("bulk", Why::NoValue),
        ("mood=bulk", Why::UnknownKey),
        ("mode=Bulk", Why::NoMode),
        ("host=nowhere", Why::NoAddress),
        ("host=255.255.255.255", Why::NoAddress),
        ("host=224.0.0.1", Why::NoAddress),
        ("host=0.0.0.0", Why::NoAddress),
        ("gateway=", Why::NoAddress),
        ("addr=10.0.2.15", Why::NoCidr),
        ("addr=10.0.2.15/33", Why::NoCidr),
        ("addr=10.0.2/24", Why::NoCidr),
        ("port=0", Why::NoNumber),
        ("port=65536", Why::NoNumber),
        ("port=", Why::NoNumber),
        ("write=0", Why::NoNumber),
        ("write=1461", Why::NoNumber),
        ("bytes=0", Why::NoNumber),
        ("count=-1", Why::NoNumber),
        ("every=1", Why::NoTime),
        ("every=s", Why::NoTime),
        ("every=1.5s", Why::NoTime),
        ("every=99999999999s", Why::NoTime),
        ("every=1day", Why::NoTime),
        ("nagle=yes", Why::NoSwitch),
        ("lost=yes", Why::NoLostBeat),
        ("backoff=0", Why::NoPause),
        ("backoff=0ms", Why::NoPause),
        ("backoff-most=0", Why::NoPause),
        (&long, Why::MessageTooLong),
        (
            "silence=1s",
            Why::Limit(OptionsError::UserTimeoutWithinRetransmission),
        ),
    ];
    for (word, why) in cases {
        let error = Settings::parse(["port=5000", word, "mode=bulk"]).unwrap_err();
        assert_eq!((error.word, error.why), (word, why));
        assert!(error.to_string().starts_with(word), "{error}");
    }
    let zero = Settings::parse(["call=0"]).unwrap_err();
    assert!(matches!(zero.why, Why::Limit(OptionsError::Zero(_))));
    let long = Settings::parse(["connect=1200h"]).unwrap_err();
    assert!(matches!(long.why, Why::Limit(OptionsError::TooLong(_))));
}

#[test]
fn the_stream_differs_wherever_it_is_shifted() {
    let part = |from: u64| (from..from + 1460).map(octet).collect::<Vec<_>>();
    let first = part(0);
    for shift in 1..20_000 {
        assert_ne!(part(shift), first, "shifted by {shift}");
    }
    assert_eq!(octet(1), 0x9E);
    assert_eq!(LARGEST_WRITE, 1460);
}

#[test]
fn the_settings_that_the_error_lists_exist() {
    let message = Settings::parse(["?="]).unwrap_err().to_string();
    let (_, names) = message.split_once("there are ").unwrap();
    assert_eq!(names.split_whitespace().count(), 24);
    for name in names.split_whitespace() {
        let word = format!("{name}=\u{1}");
        if let Err(error) = Settings::parse([word.as_str()]) {
            assert_ne!(error.why, Why::UnknownKey, "{name}");
        }
    }
}
