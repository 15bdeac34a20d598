//! A call that waits: the future of every call but the runner's.
//!
//! It is no `async fn`, which panics if it is polled after its end. This makes another attempt.

use super::network::{AnyShared, Waiting};
use crate::stack::{ConnectionId, Error};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A call that waits: each poll is one attempt. If it is dropped before it has a result, its
/// waker is removed.
pub(super) struct Call<'s, S: AnyShared, F> {
    shared: &'s S,
    waiting: Waiting,
    attempt: F,
}

impl<'s, S, T, F> Call<'s, S, F>
where
    S: AnyShared,
    F: FnMut(&S, &mut Waiting, &mut Context<'_>) -> Poll<Result<T, Error>>,
{
    pub(super) const fn new(shared: &'s S, id: ConnectionId, attempt: F) -> Self {
        Self {
            shared,
            waiting: Waiting::new(id),
            attempt,
        }
    }
}

impl<S, T, F> Future for Call<'_, S, F>
where
    S: AnyShared,
    F: FnMut(&S, &mut Waiting, &mut Context<'_>) -> Poll<Result<T, Error>>,
{
    type Output = Result<T, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        (this.attempt)(this.shared, &mut this.waiting, cx)
    }
}

/// The attempt is called by a plain reference, so it may be moved between two polls.
impl<S: AnyShared, F> Unpin for Call<'_, S, F> {}

impl<S: AnyShared, F> Drop for Call<'_, S, F> {
    #[inline]
    fn drop(&mut self) {
        if self.waiting.registered.is_some() {
            self.shared.withdraw(&self.waiting);
        }
    }
}

impl<S: AnyShared, F> fmt::Debug for Call<'_, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
