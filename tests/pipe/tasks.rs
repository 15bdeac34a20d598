//! Async tasks under every schedule, cancelled at every point where they wait: each call gets the
//! answer that the model gives, each wake is for a wish that has come true, and none is lost.

use crate::executor::{Desk, Schedules, Task, run};
use crate::model::{Model, refusal};
use embedded_io_async::{Read, Write};
use lastbyte::ReadError;
use lastbyte::pipe::{Pipe, PipeReader, PipeWriter};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};

/// A call of the writer's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Write(usize),
    Message(usize),
    Flush,
    Finish,
    WaitEnd,
}

/// A call of the reader's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Read(usize),
    Close,
}

const WRITING: [Writing; 6] = [
    Writing::Write(1),
    Writing::Write(3),
    Writing::Message(2),
    Writing::Flush,
    Writing::Finish,
    Writing::WaitEnd,
];

const READING: [Reading; 3] = [Reading::Read(1), Reading::Read(3), Reading::Close];

/// What both tasks and the check share.
struct Table {
    model: RefCell<Model>,
    writing: Cell<Option<Writing>>,
    reading: Cell<Option<Reading>>,
}

impl Table {
    /// Whether the present call of the writer has what it waits for.
    fn is_writer_served(&self) -> bool {
        let model = self.model.borrow();
        match self.writing.get().expect("a call is under way") {
            Writing::Write(_) => model.has_room(1),
            Writing::Message(len) => model.has_room(len),
            Writing::Flush => model.flushed().is_some(),
            Writing::Finish => model.finished().is_some(),
            Writing::WaitEnd => model.cause().is_some(),
        }
    }

    fn is_reader_served(&self) -> bool {
        self.model.borrow().readable().is_some()
    }

    /// After each step: a task that waits was woken if and only if it has what it waits for.
    fn check(&self, tasks: &[Task<'_>; 2]) {
        let [writer, reader] = tasks;
        if writer.is_waiting() {
            let call = self.writing.get();
            assert_eq!(writer.is_woken(), self.is_writer_served(), "{call:?}");
        }
        if reader.is_waiting() {
            let call = self.reading.get();
            assert_eq!(reader.is_woken(), self.is_reader_served(), "{call:?}");
        }
    }
}

/// Makes these calls, then drops the half.
async fn write<const N: usize>(
    mut writer: PipeWriter<'_, N>,
    calls: &[Writing],
    desk: &Desk,
    table: &Table,
) {
    for &call in calls {
        table.writing.set(Some(call));
        match call {
            Writing::Write(len) => {
                let bytes = table.model.borrow().bytes(len);
                if let Some(got) = desk.call(writer.write(&bytes)).await {
                    let expected = table.model.borrow_mut().write(len);
                    assert_eq!(got.map_err(refusal), expected);
                }
            }
            Writing::Message(len) => {
                let bytes = table.model.borrow().bytes(len);
                if let Some(got) = desk.call(writer.write_message(&bytes)).await {
                    let expected = table.model.borrow_mut().message(len);
                    assert_eq!(got.map_err(refusal), expected);
                }
            }
            Writing::Flush => {
                if let Some(got) = desk.call(writer.flush()).await {
                    let expected = table.model.borrow().flushed();
                    assert_eq!(Some(got.map_err(refusal)), expected);
                }
            }
            Writing::Finish => {
                // It takes effect with the first poll, and goes on if it is cancelled.
                table.model.borrow_mut().finish();
                if let Some(got) = desk.call(writer.finish()).await {
                    let expected = table.model.borrow().finished();
                    let got = got.map(|report| table.model.borrow().compare_report(&report));
                    assert_eq!(Some(got.map_err(refusal)), expected);
                }
            }
            Writing::WaitEnd => {
                if let Some(got) = desk.call(writer.wait_end()).await {
                    assert_eq!(Some(got), table.model.borrow().cause());
                }
            }
        }
        table.model.borrow().compare_report(&writer.report());
    }
    drop(writer);
    table.model.borrow_mut().drop_writer();
}

async fn read<const N: usize>(
    mut reader: PipeReader<'_, N>,
    calls: &[Reading],
    desk: &Desk,
    table: &Table,
) {
    for &call in calls {
        table.reading.set(Some(call));
        match call {
            Reading::Read(len) => {
                let mut bytes = vec![0; len];
                if let Some(got) = desk.call(reader.read(&mut bytes)).await {
                    let expected = table.model.borrow_mut().read(len);
                    let got = got.map(|count| Some(bytes[..count].to_vec()));
                    let got = got.map_err(|error| match error {
                        ReadError::Ended(error) => refusal(error),
                        other => panic!("no pipe has this: {other:?}"),
                    });
                    assert_eq!(got, expected);
                }
            }
            Reading::Close => {
                reader.close();
                table.model.borrow_mut().close();
            }
        }
    }
    drop(reader);
    table.model.borrow_mut().drop_reader();
}

/// Runs two programs under every schedule, and returns how many there are.
fn run_all(writing: &[Writing], reading: &[Reading], can_cancel: bool) -> u64 {
    let schedules = Schedules::default();
    let pipe = Pipe::<2>::new();
    let mut runs = 0;
    loop {
        let table = Table {
            model: RefCell::new(Model::new(2)),
            writing: Cell::new(None),
            reading: Cell::new(None),
        };
        let desks = [Desk::default(), Desk::default()];
        let (writer, reader) = pipe.split().expect("the run before has dropped its halves");
        let mut tasks = [
            Task::new(&desks[0], write(writer, writing, &desks[0], &table)),
            Task::new(&desks[1], read(reader, reading, &desks[1], &table)),
        ];
        let choose = |steps: &[_]| schedules.choose(steps);
        run(&mut tasks, can_cancel, choose, |tasks| table.check(tasks));
        // Who still waits, waits for the other, who waits as well: the check has seen to that.
        table.check(&tasks);
        runs += 1;
        if !schedules.advance() {
            return runs;
        }
    }
}

/// Every sequence of so many of these, or fewer.
fn programs<T: Copy>(calls: &[T], most: usize) -> Vec<Vec<T>> {
    let mut programs = vec![Vec::new()];
    let mut longest = programs.clone();
    for _ in 0..most {
        let longer = longest.iter().flat_map(|program| {
            calls.iter().map(move |&call| {
                let mut program = program.clone();
                program.push(call);
                program
            })
        });
        longest = longer.collect();
        programs.extend(longest.clone());
    }
    programs
}

#[test]
fn every_task_gets_its_answers_under_every_schedule() {
    struct Named<'n>(&'n [Writing], &'n [Reading], bool);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "writer {:?}, reader {:?}, cancels: {}",
                    self.0, self.1, self.2
                );
            }
        }
    }
    let most = crate::size("PIPE_CALLS", 3, 1) as usize;
    let mut runs = 0;
    for writing in programs(&WRITING, most) {
        for reading in programs(&READING, most) {
            for can_cancel in [false, true] {
                let _named = Named(&writing, &reading, can_cancel);
                runs += run_all(&writing, &reading, can_cancel);
            }
        }
    }
    println!("{runs} schedules of tasks with up to {most} calls");
}

/// Counts its wakes; as long as the pipe holds a waker of it, there are two.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls a future once, which has to wait, and drops it. Returns what it would wake.
#[track_caller]
fn cancelled<F: Future>(future: F) -> Arc<Wakes> {
    let wakes = Arc::<Wakes>::default();
    let waker = wakes.clone().into();
    let mut future = pin!(future);
    let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    wakes
}

#[test]
fn a_cancelled_call_leaves_no_waker() {
    let pipe = Pipe::<2>::new();
    let (mut writer, mut reader) = pipe.split().unwrap();
    let no_waker = |wakes: Arc<Wakes>| assert_eq!(Arc::strong_count(&wakes), 1);
    no_waker(cancelled(reader.read(&mut [0; 1])));
    no_waker(cancelled(writer.wait_end()));
    writer.try_write(b"ab").unwrap();
    no_waker(cancelled(writer.write(b"c")));
    no_waker(cancelled(writer.write_message(b"c")));
    no_waker(cancelled(writer.flush()));
    no_waker(cancelled(writer.finish()));
    // What was begun goes on.
    assert_eq!(reader.try_read(&mut [0; 2]), Ok(Some(2)));
    assert_eq!(reader.try_read(&mut [0; 2]), Ok(Some(0)));
}

/// Not under Miri: what is forgotten leaks, which it reports.
#[cfg(not(miri))]
#[test]
fn a_forgotten_future_wakes_nothing_that_is_dropped() {
    let pipe = Pipe::<2>::new();
    let (writer, mut reader) = pipe.split().unwrap();
    let mut bytes = [0; 2];
    let mut future = Box::pin(reader.read(&mut bytes));
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    std::mem::forget(future);
    drop(reader);
    drop(writer);
    assert!(pipe.split().is_ok());
}

#[test]
fn the_futures_may_be_sent_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}

    let pipe = Pipe::<2>::new();
    let (mut writer, mut reader) = pipe.split().unwrap();
    is_send(&writer.write(b"a"));
    is_send(&writer.flush());
    is_send(&writer.finish());
    is_send(&writer.wait_end());
    is_send(&writer.write_message(b"a"));
    is_send(&reader.read(&mut [0; 1]));
}
