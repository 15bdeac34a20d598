//! Two tasks and a schedule, which chooses the woken task that is polled next, or the call
//! that is cancelled. It counts polls and wakes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts the wakes of one task.
#[derive(Debug, Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The next step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Poll(usize),
    /// Drops the future of the call in which this task waits.
    Cancel(usize),
}

/// What a task and the executor share about the task's present call.
#[derive(Debug, Default)]
pub struct Desk {
    /// The present call waits.
    is_waiting: Cell<bool>,
    is_cancelled: Cell<bool>,
    polls: Cell<u32>,
}

impl Desk {
    /// Makes a call; `None` if it was cancelled.
    pub async fn call<F: Future>(&self, future: F) -> Option<F::Output> {
        self.polls.set(0);
        let outcome = Cancellable {
            desk: self,
            future: Box::pin(future),
        };
        outcome.await
    }
}

struct Cancellable<'d, F> {
    desk: &'d Desk,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Cancellable<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let desk = self.desk;
        let outcome = match desk.is_cancelled.take() {
            true => Poll::Ready(None),
            false => {
                desk.polls.set(desk.polls.get() + 1);
                self.future.as_mut().poll(context).map(Some)
            }
        };
        desk.is_waiting.set(outcome.is_pending());
        outcome
    }
}

/// A task, and its expected wakes and polls.
pub struct Task<'t> {
    future: Option<Pin<Box<dyn Future<Output = ()> + 't>>>,
    desk: &'t Desk,
    wakes: Arc<Wakes>,
    /// How many of the wakes were followed by a poll.
    answered: u32,
    has_begun: bool,
}

impl<'t> Task<'t> {
    pub fn new(desk: &'t Desk, future: impl Future<Output = ()> + 't) -> Self {
        Self {
            future: Some(Box::pin(future)),
            desk,
            wakes: Arc::default(),
            answered: 0,
            has_begun: false,
        }
    }

    fn is_done(&self) -> bool {
        self.future.is_none()
    }

    pub fn is_waiting(&self) -> bool {
        !self.is_done() && self.desk.is_waiting.get()
    }

    pub fn is_woken(&self) -> bool {
        self.wakes.0.load(Ordering::Relaxed) > self.answered
    }

    /// Whether an executor would poll it.
    fn is_runnable(&self) -> bool {
        !self.is_done() && (self.is_woken() || !self.has_begun)
    }

    fn poll(&mut self) {
        let was_waiting = self.is_waiting();
        let waker = Waker::from(self.wakes.clone());
        let mut context = Context::from_waker(&waker);
        let woken = self.wakes.0.load(Ordering::Relaxed);
        assert!(woken <= self.answered + 1, "woken twice for one wish");
        self.answered = woken;
        self.has_begun = true;
        let Some(future) = &mut self.future else {
            return;
        };
        let polls = self.desk.polls.get();
        if future.as_mut().poll(&mut context).is_ready() {
            self.future = None;
            return;
        }
        // Either another call is under way, or this was the first poll of the call.
        let is_same_call = was_waiting && self.desk.polls.get() > polls;
        assert!(!is_same_call, "woken without effect");
    }
}

/// Runs two tasks by a schedule: `choose` gets the possible steps, and picks one; `check` is
/// called after each step. Ends when no step is possible.
pub fn run<'t>(
    tasks: &mut [Task<'t>; 2],
    can_cancel: bool,
    mut choose: impl FnMut(&[Step]) -> usize,
    mut check: impl FnMut(&[Task<'t>; 2]),
) {
    loop {
        let mut steps = Vec::new();
        for (number, task) in tasks.iter().enumerate() {
            if task.is_runnable() {
                steps.push(Step::Poll(number));
            }
            if can_cancel && task.is_waiting() {
                steps.push(Step::Cancel(number));
            }
        }
        if steps.is_empty() {
            return;
        }
        match steps[choose(&steps)] {
            Step::Poll(number) => tasks[number].poll(),
            Step::Cancel(number) => {
                tasks[number].desk.is_cancelled.set(true);
                tasks[number].poll();
            }
        }
        check(tasks);
    }
}

/// Every schedule, one after another: the choices are the digits of a number that counts up.
#[derive(Debug, Default)]
pub struct Schedules {
    /// The choice at each step, and the number of possible choices.
    digits: RefCell<Vec<(usize, usize)>>,
    at: Cell<usize>,
}

impl Schedules {
    pub fn choose(&self, steps: &[Step]) -> usize {
        let mut digits = self.digits.borrow_mut();
        let at = self.at.replace(self.at.get() + 1);
        if at == digits.len() {
            digits.push((0, steps.len()));
        }
        assert_eq!(
            digits[at].1,
            steps.len(),
            "the same steps lead to the same choices"
        );
        digits[at].0
    }

    /// Goes on to the next schedule; false after the last.
    pub fn advance(&self) -> bool {
        self.at.set(0);
        let mut digits = self.digits.borrow_mut();
        while let Some((digit, of)) = digits.pop() {
            if digit + 1 < of {
                digits.push((digit + 1, of));
                return true;
            }
        }
        false
    }
}
