//! Checks whether the wire justifies a cause.

use std::time::Duration;

use lastbyte::{Cause, Instant};

use super::oracle::Oracle;
use super::truth::{Neighbour, Opening, Truth};

/// How long before the timeout an answer is in time.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

impl Oracle {
    /// Whether what happened on the wire justifies this cause.
    pub(super) fn judge(
        &self,
        cause: Cause,
        truth: &Truth,
        neighbour: Neighbour,
        // When the connection ended.
        now: Instant,
    ) -> Result<(), String> {
        let options = &self.options;
        let holds = |is_so: bool, why: &str| is_so.then_some(()).ok_or_else(|| why.to_owned());
        let lasted = |limit: Duration, since: Instant| now.since(since) >= limit;
        match cause {
            Cause::PeerFinished => holds(truth.may_have_fin(), "no FIN has arrived in order"),
            Cause::PeerReset => holds(truth.saw_rst.is_some(), "no RST has arrived at RCV.NXT"),
            Cause::Refused => holds(truth.opening == Opening::Refused, "nothing refused the SYN"),
            Cause::Unreachable if self.done.has_hard_error => Ok(()),
            Cause::Unreachable => {
                // An answer just before the timeout is too late for a SYN.
                let is_known = matches!(neighbour, Neighbour::Answered(at)
                    if at >= self.opened_at && at + BEFORE_THE_END <= now);
                let is_reported = self.done.has_soft_error;
                // The answer may have come while our end was not served.
                let is_unsent = truth.opening == Opening::Unsent;
                holds(
                    is_reported || !is_known || is_unsent,
                    "the neighbour has answered",
                )?;
                holds(
                    lasted(options.connect_timeout(), self.opened_at),
                    "it is early",
                )
            }
            Cause::ConnectTimeout => {
                let is_known = matches!(neighbour, Neighbour::Answered(_));
                holds(is_known, "the neighbour has never answered")?;
                // What a full device has received may have waited in it.
                let is_reported = self.done.has_soft_error && !self.done.device_is_full;
                holds(!is_reported, "a router has reported why")?;
                let is_hopeless = self.done.has_hard_error && !self.done.device_is_full;
                holds(!is_hopeless, "it will never get through")?;
                // The application may have been busy elsewhere when the timeout was reached.
                let limit_at = self.opened_at + options.connect_timeout();
                let is_answered =
                    truth.opening == Opening::Synchronised && truth.heard_at <= limit_at;
                holds(
                    !is_answered || self.done.device_is_full,
                    "the SYN was answered",
                )?;
                holds(
                    lasted(options.connect_timeout(), self.opened_at),
                    "it is early",
                )
            }
            Cause::Vanished => self.judge_vanished(truth, now),
            Cause::Unacknowledged => {
                let what = "something was acknowledged, or the window closed,";
                self.judge_silence(truth.progressed_at(), now, what)
            }
            Cause::FinishTimeout => {
                let begun = self.done.finished_writing_at.or(self.done.finish_at);
                holds(begun.is_some(), "our end did not finish")?;
                // A direction that is finished and acknowledged may stay so.
                let is_done = truth.is_surely_finished()
                    && truth.acknowledged() > self.accepted
                    && truth.heard_at <= now;
                holds(
                    !is_done || self.done.finish_at.is_some() || self.done.device_is_full,
                    "our FIN was acknowledged",
                )?;
                let since = begun.unwrap_or(now);
                holds(lasted(options.finish_timeout(), since), "it is early")
            }
            Cause::AddressLost => holds(self.done.address_lost, "the address is there"),
            Cause::Finished => {
                let both = self.done.finished_writing_at.is_some() && truth.may_have_fin();
                let is_begun = self.done.finish_at.is_some() || both;
                holds(is_begun, "our end did not finish")?;
                let acknowledged = truth.acknowledged();
                holds(acknowledged >= self.accepted, "not all was acknowledged")
            }
            Cause::Aborted => holds(self.done.aborted, "our end did not abort"),
        }
    }

    /// Whether the peer left a segment that demands an answer unanswered for the user timeout.
    fn judge_vanished(&self, truth: &Truth, now: Instant) -> Result<(), String> {
        // What arrived after the end is not an answer.
        let is_later = truth.heard_at > now;
        let has_asked = truth.has_asked() || is_later || self.done.device_is_full;
        if !has_asked {
            return Err("nothing demanded an answer".to_owned());
        }
        self.judge_silence(truth.heard_at, now, "the peer was heard")
    }

    /// Whether nothing of this kind has happened for the user timeout.
    fn judge_silence(&self, last: Instant, now: Instant, what: &str) -> Result<(), String> {
        let time = now.since(last);
        // What a full device has received may have waited in it.
        let is_sound =
            time >= self.options.user_timeout() || last > now || self.done.device_is_full;
        is_sound
            .then_some(())
            .ok_or_else(|| format!("{what} {time:?} ago"))
    }
}
