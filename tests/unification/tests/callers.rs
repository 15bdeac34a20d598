//! Packets of a version that lastbyte was not built for, but smoltcp was, are dropped
//! when they arrive: the guard cannot read them.

use lastbyte::{Options, State};
use smoltcp::phy::Medium;
use smoltcp::wire::TcpControl;
use std::time::Duration;
use unification::{PORT, Version, made, numbers};

#[test]
fn a_caller_of_a_version_that_is_not_built_in_is_silently_dropped() {
    for is_listening in [true, false] {
        let (mut stack, wire) = made(Medium::Ip).expect("built for it");
        let id = is_listening.then(|| stack.listen(PORT, Options::default()).expect("a slot"));
        let other = Version::OTHER;
        for segment in [
            other.from_peer(TcpControl::Syn, 500, None),
            other.from_peer(TcpControl::None, 501, Some(77)),
            other.from_peer(TcpControl::Fin, 501, Some(77)),
            other.from_peer(TcpControl::Rst, 501, None),
        ] {
            wire.send(segment);
            stack.run_for(Duration::from_secs(2));
            assert_eq!(wire.recv(), None, "it was answered");
        }
        let Some(id) = id else { continue };
        assert_eq!(stack.state(id), Ok(State::Listening));
        assert_eq!(stack.endpoints(id), Ok(None), "it is pinned");
        // The listener serves the version that it can.
        let built = Version::BUILT;
        wire.send(built.from_peer(TcpControl::Syn, 500, None));
        stack.poll();
        let answer = wire.recv().expect("an answer");
        let (is_syn, is_rst, seq, ack) = numbers(&answer).expect("a segment");
        assert_eq!((is_syn, is_rst, ack), (true, false, 501));
        let next = seq.wrapping_add(1);
        wire.send(built.from_peer(TcpControl::None, 501, Some(next)));
        stack.poll();
        assert_eq!(stack.state(id), Ok(State::Open));
        // The other version does not affect its connection.
        wire.send(other.from_peer(TcpControl::Rst, 501, Some(next)));
        stack.poll();
        assert_eq!(stack.state(id), Ok(State::Open));
    }
}
