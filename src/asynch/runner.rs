//! The task that serves a network.

use super::inner::Inner;
use super::lock::Lock;
use super::shared::Shared;
use super::time::{Alarm, Now};
use crate::stack::Taken;
use crate::stack::smoltcp::phy::Device;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

/// Removes the waker of the runner when the runner is dropped.
struct Runner<'s, 'a, D: Device, C: Now, const N: usize, K: Lock>(&'s Shared<'a, D, C, N, K>);

impl<D: Device, C: Now, const N: usize, K: Lock> Drop for Runner<'_, '_, D, C, N, K> {
    fn drop(&mut self) {
        let _ = self.0.enter(Inner::forget_runner);
    }
}

impl<D: Device, C: Now, const N: usize, K: Lock> Shared<'_, D, C, N, K> {
    /// Serves the device and the timers, without end: run it in a task of its own, which
    /// sleeps with `alarm` while there is nothing to do. Until it runs, no connection can be
    /// opened and no timeout expires.
    ///
    /// It may be dropped and run again. Only the last one that was started is woken.
    pub async fn run(&self, mut alarm: impl Alarm) -> ! {
        let _runner = Runner(self);
        loop {
            let served = poll_fn(|cx| {
                self.enter_or_retry(cx, |inner, cx| Poll::Ready(inner.serve(cx.waker())))
            })
            .await;
            let mut alarm = pin!(alarm.wait(served.sleeps_until()));
            let mut is_asleep = false;
            // Whatever wakes the task ends the sleep: the alarm, the device, or a call after
            // which something is due earlier. In between, the other tasks have their turn.
            poll_fn(|cx| {
                if is_asleep {
                    return Poll::Ready(());
                }
                is_asleep = true;
                // There may be more in the device, or the alarm is early.
                if served.taken == Taken::More || alarm.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            })
            .await;
        }
    }
}
