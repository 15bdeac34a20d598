//! The three locks, and what happens to a call that finds the network lent.

use crate::common::{PORT, options, pattern, storage};
use crate::rig::{Count, Rig, Task, poll_once};
use core::cell::RefCell;
use core::pin::pin;
use embedded_io_async::{Error as _, ErrorKind, Write};
use lastbyte::asynch::{Alarm, CriticalSection, Local, Lock, Now, Shared, Threads};
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use lastbyte::stack::smoltcp::time::Instant as SmoltcpInstant;
use lastbyte::stack::smoltcp::wire::EthernetAddress;
use lastbyte::stack::{Config, SlotBuffers};
use lastbyte::{Cause, Error, Instant, OnReceive, Options};
use lastbyte_sim::loopback::{Behaviour, PEER_V4, WorldConfig};

/// A transfer in both directions, over any lock.
fn transfer<K: Lock + 'static>() -> Vec<Count> {
    let rig = Rig::<K>::over(WorldConfig::default(), 2_000);
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let behaviour = Behaviour::sink().sending(pattern(7, 9_000));
    let (mut writer, mut reader) = rig.open(behaviour, keep).into_split();
    let data = pattern(0, 20_000);
    let received = RefCell::new(Vec::new());
    let tasks: Vec<Task<'_>> = vec![
        Box::pin(async {
            writer.write_all(&data).await.unwrap();
            writer.flush().await.unwrap();
        }),
        Box::pin(async {
            let mut into = [0; 700];
            while received.borrow().len() < 9_000 {
                let read = reader.read(&mut into).await.unwrap();
                received.borrow_mut().extend_from_slice(&into[..read]);
            }
        }),
    ];
    let counts = rig.run(tasks);
    let report = rig.block_on(writer.finish()).unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    assert!(rig.world.peer().received(PORT) == data);
    counts
}

#[test]
fn a_network_behaves_alike_under_each_lock() {
    let local = transfer::<Local>();
    assert_eq!(transfer::<CriticalSection>(), local);
    assert_eq!(transfer::<Threads>(), local);
}

fn lent<K: Lock + 'static>() {
    let rig = Rig::<K>::over(WorldConfig::default(), 2_000);
    let keep = options(|o| o.on_receive(OnReceive::Keep));
    let mut connection = rig.open(Behaviour::sink().sending(*b"hello"), keep);
    let id = connection.id();
    let (writer, reader) = connection.split();
    let net = rig.net;
    let busy = |error: Error| assert_eq!(error, Error::Busy);
    {
        let mut write = pin!(writer.write(b"hello"));
        let mut connect = pin!(net.connect((PEER_V4, PORT), Options::default()));
        net.with_network(|_| {
            busy(net.report(id).unwrap_err());
            busy(net.abort(id).unwrap_err());
            busy(net.listen(9, Options::default()).unwrap_err());
            busy(net.set_link(false).unwrap_err());
            busy(net.with_device(|_| ()).unwrap_err());
            busy(net.with_network(|_| ()).unwrap_err());
            busy(reader.read_ready().unwrap_err());
            assert_eq!(Error::Busy.kind(), ErrorKind::Other);
            // What waits is polled again, and works then.
            assert!(poll_once(&mut write).is_pending());
            assert!(poll_once(&mut connect).is_pending());
        })
        .unwrap();
        assert_eq!(rig.block_on(write), Ok(5));
    }
    assert_eq!(rig.block_on(reader.read(&mut [0; 5])), Ok(5));
    // A closure of `write_with` is lent the network as well.
    let filled = rig.block_on(writer.write_with(|_| {
        busy(net.report(id).unwrap_err());
        0
    }));
    assert_eq!(filled, Ok(0));
}

#[test]
fn a_call_that_finds_the_network_lent_is_made_again_or_fails() {
    lent::<Local>();
    lent::<CriticalSection>();
    lent::<Threads>();
}

#[test]
fn a_thread_that_panics_in_a_closure_leaves_the_network_usable() {
    let rig = Rig::<Threads>::over(WorldConfig::default(), 2_000);
    let mut connection = rig.open(Behaviour::sink(), Options::default());
    let panicked = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
        let _ = rig.net.with_network(|_| panic!("in a closure"));
    }));
    assert!(panicked.is_err());
    rig.block_on(async {
        connection.write_all(b"hello").await.unwrap();
        connection.finish().await.unwrap();
    });
}

/// A device that may go to another thread; it has no frames.
struct Mac;

struct Token;

impl RxToken for Token {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&[])
    }
}

impl TxToken for Token {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut vec![0; len])
    }
}

impl Device for Mac {
    type RxToken<'t> = Token;
    type TxToken<'t> = Token;

    fn receive(&mut self, _: SmoltcpInstant) -> Option<(Token, Token)> {
        None
    }

    fn transmit(&mut self, _: SmoltcpInstant) -> Option<Token> {
        Some(Token)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

struct Time;

impl Now for Time {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

const fn is_sync<T: Sync + Send>() {}

const _: () = is_sync::<Shared<'static, Mac, Time, 2, CriticalSection>>();
const _: () = is_sync::<Shared<'static, Mac, Time, 2, Threads>>();

struct Never;

impl Alarm for Never {
    async fn wait(&mut self, _: Option<Instant>) {
        core::future::pending::<()>().await;
    }
}

fn is_send<T: Send>(_: &T) {}

#[test]
fn the_futures_of_a_network_for_threads_may_go_to_other_threads() {
    let (tx, rx) = (vec![0; 512].leak(), vec![0; 512].leak());
    let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into(), 42);
    let buffers = [SlotBuffers { tx, rx }];
    let net = Shared::<_, _, 1, Threads>::new(Mac, Time, config, buffers, storage(1)).unwrap();
    is_send(&net.connect((PEER_V4, PORT), Options::default()));
    is_send(&net.run(Never));
    let mut listener = net.listen(7, Options::default()).unwrap();
    let accepted = async {
        let mut connection = listener.accept().await?;
        connection.write_all(b"hello").await?;
        connection.finish().await
    };
    is_send(&accepted);
}

/// A connection of one network is dropped in a closure that another is lent to. It is released
/// at once: no later call comes.
#[test]
fn a_connection_dropped_while_another_network_is_lent_is_released() {
    let [ours, other] = [(); 2].map(|()| Rig::<Threads>::over(WorldConfig::default(), 2_000));
    let connection = ours.open(Behaviour::sink(), Options::default());
    other.net.with_network(|_| drop(connection)).unwrap();
    ours.world.run_for(core::time::Duration::from_secs(1));
    assert_ne!(ours.world.peer().saw_rst(PORT), None);
}
