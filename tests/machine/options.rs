//! The options, their defaults, and what is refused.

use crate::support::*;
use lastbyte::core::{Nagle, OptionsBuilder, OptionsError, Setting};
use lastbyte::{OnPeerFin, OnReceive, Options};
use std::time::Duration;

type Setter = fn(OptionsBuilder, Duration) -> OptionsBuilder;
type Getter = fn(&Options) -> Option<Duration>;

const SETTINGS: [(Setting, Setter, Getter); 6] = [
    (Setting::Connect, OptionsBuilder::connect_timeout, |o| {
        Some(o.connect_timeout())
    }),
    (Setting::User, OptionsBuilder::user_timeout, |o| {
        Some(o.user_timeout())
    }),
    (Setting::Call, OptionsBuilder::call_timeout, |o| {
        Some(o.call_timeout())
    }),
    (Setting::Finish, OptionsBuilder::finish_timeout, |o| {
        Some(o.finish_timeout())
    }),
    (
        Setting::StallAdvice,
        OptionsBuilder::stall_advice_after,
        |o| Some(o.stall_advice_after()),
    ),
    (
        Setting::KeepAlive,
        OptionsBuilder::keep_alive,
        Options::keep_alive,
    ),
];

#[test]
fn the_defaults_are_the_documented_ones() {
    let options = Options::default();
    let limits = SETTINGS.map(|(_, _, get)| get(&options).map(|limit| limit.as_secs()));
    assert_eq!(
        limits,
        [Some(30), Some(100), Some(60), Some(30), Some(10), None]
    );
    assert_eq!(options.on_peer_fin(), OnPeerFin::Refuse);
    assert_eq!(options.on_receive(), OnReceive::Discard);
    assert_eq!(options.nagle(), Nagle::On);
    assert_eq!(Options::builder().build(), Ok(options));
}

#[test]
fn each_timeout_is_set_alone_and_never_shorter_than_requested() {
    for (limit, set, get) in SETTINGS {
        let asked = Duration::from_secs(7) + MICROSECOND;
        let options = options(|builder| set(builder, asked));
        let given = get(&options).unwrap();
        assert_eq!(given, Duration::from_millis(7_001), "{limit:?}");
        let defaults = Options::default();
        for (other, _, get) in SETTINGS.iter().filter(|row| row.0 != limit) {
            assert_eq!(get(&options), get(&defaults), "{limit:?} set {other:?}");
        }
    }
    let options = options(|builder| {
        builder
            .on_peer_fin(OnPeerFin::HalfClose)
            .on_receive(OnReceive::Keep)
            .nagle(Nagle::Off)
    });
    assert_eq!(options.on_peer_fin(), OnPeerFin::HalfClose);
    assert_eq!(options.on_receive(), OnReceive::Keep);
    assert_eq!(options.nagle(), Nagle::Off);
}

#[test]
fn a_timeout_out_of_range_is_refused_by_name() {
    let longest = Duration::from_millis(u32::MAX.into());
    for (limit, set, get) in SETTINGS {
        let built = |duration| set(Options::builder(), duration).build();
        assert_eq!(built(Duration::ZERO), Err(OptionsError::Zero(limit)));
        assert_eq!(
            built(longest + MICROSECOND),
            Err(OptionsError::TooLong(limit))
        );
        assert_eq!(built(Duration::MAX), Err(OptionsError::TooLong(limit)));
        assert_eq!(get(&built(longest).unwrap()), Some(longest));
        let text = OptionsError::Zero(limit).to_string();
        assert!(text.contains(limit.name()), "{text}");
        let text = OptionsError::TooLong(limit).to_string();
        assert!(text.contains(limit.name()), "{text}");
    }
}

#[test]
fn the_first_error_is_reported_even_if_a_later_call_corrects_it() {
    let built = Options::builder()
        .call_timeout(Duration::ZERO)
        .finish_timeout(Duration::MAX)
        .call_timeout(Duration::from_secs(1))
        .build();
    assert_eq!(built, Err(OptionsError::Zero(Setting::Call)));
}

#[test]
fn the_user_timeout_must_exceed_one_retransmission_timeout() {
    let built = |millis| {
        let limit = Duration::from_millis(millis);
        Options::builder().user_timeout(limit).build().map(|_| ())
    };
    assert_eq!(
        built(1_000),
        Err(OptionsError::UserTimeoutWithinRetransmission)
    );
    assert_eq!(built(1_001), Ok(()));
    let text = OptionsError::UserTimeoutWithinRetransmission.to_string();
    assert!(text.contains("user timeout"), "{text}");
}

/// The TCP stack makes no smaller segments.
#[test]
fn the_largest_segment_has_at_least_48_octets() {
    assert_eq!(Options::default().max_segment(), None);
    let built = |octets| {
        let options = Options::builder().max_segment(octets).build();
        options.map(|options| options.max_segment())
    };
    for octets in [0, 1, 47] {
        assert_eq!(built(octets), Err(OptionsError::MaxSegmentTooSmall));
    }
    for octets in [48, 1_220, u16::MAX] {
        assert_eq!(built(octets), Ok(Some(octets)));
    }
    // The first error counts.
    let both = Options::builder()
        .max_segment(1)
        .call_timeout(Duration::ZERO)
        .build();
    assert_eq!(both, Err(OptionsError::MaxSegmentTooSmall));
}
