//! Networks of `lastbyte::asynch` on tokio's threads: two of them, each the peer of the other.
//!
//! No network of the host is used: their devices are the two ends of a pair of queues.

use embedded_io_async::{Read, Write};
use lastbyte::asynch::{Listener, Shared, Threads};
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use lastbyte::stack::smoltcp::time::Instant as SmoltcpInstant;
use lastbyte::stack::smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use lastbyte::stack::{Config, SlotBuffers};
use lastbyte::{Cause, OnReceive, Options};
use lastbyte_host::TokioTime;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

const CONNECTIONS: usize = 3;
const PORT: u16 = 5000;
const BYTES: usize = 300_000;
/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Frames in one direction, and who waits for them.
#[derive(Default)]
struct Wire {
    frames: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

struct End {
    to_us: Arc<Mutex<Wire>>,
    to_peer: Arc<Mutex<Wire>>,
}

impl End {
    fn pair() -> (Self, Self) {
        let (a, b) = (Arc::<Mutex<Wire>>::default(), Arc::<Mutex<Wire>>::default());
        let left = Self {
            to_us: Arc::clone(&a),
            to_peer: Arc::clone(&b),
        };
        let right = Self {
            to_us: b,
            to_peer: a,
        };
        (left, right)
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.to_us.lock().unwrap().waker = Some(waker.clone());
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Room(Arc<Mutex<Wire>>);

impl TxToken for Room {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        let mut wire = self.0.lock().unwrap();
        wire.frames.push_back(frame);
        if let Some(waker) = &wire.waker {
            waker.wake_by_ref();
        }
        result
    }
}

impl Device for End {
    type RxToken<'t> = Received;
    type TxToken<'t> = Room;

    fn receive(&mut self, _: SmoltcpInstant) -> Option<(Received, Room)> {
        let frame = self.to_us.lock().unwrap().frames.pop_front()?;
        Some((Received(frame), Room(Arc::clone(&self.to_peer))))
    }

    fn transmit(&mut self, _: SmoltcpInstant) -> Option<Room> {
        Some(Room(Arc::clone(&self.to_peer)))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

type Net = Shared<'static, End, TokioTime, CONNECTIONS, Threads>;

fn net(device: End, host: u8, time: TokioTime) -> &'static Net {
    let buffers = core::array::from_fn(|_| SlotBuffers {
        tx: vec![0; 8_192].leak(),
        rx: vec![0; 8_192].leak(),
    });
    let empty = [const { SocketStorage::EMPTY }; CONNECTIONS];
    let storage = Vec::from(empty).leak();
    let address = EthernetAddress([2, 0, 0, 0, 0, host]);
    let config = Config::new(address.into(), host.into());
    let net = Net::new(device, time, config, buffers, storage).unwrap();
    net.wake_by(End::set_waker).unwrap();
    net.with_network(|network| {
        network.interface.update_ip_addrs(|own| {
            own.push(IpCidr::new(IpAddress::v4(10, 0, 0, host), 24))
                .unwrap();
        });
    })
    .unwrap();
    Box::leak(Box::new(net))
}

fn keep() -> Options {
    Options::builder()
        .on_receive(OnReceive::Keep)
        .build()
        .unwrap()
}

/// Sends back what a caller sends, until it has finished.
async fn echo(mut listener: Listener<'static, Net>) {
    let mut connection = listener.accept().await.unwrap();
    drop(listener);
    let mut buffer = [0; 3_000];
    loop {
        match connection.read(&mut buffer).await.unwrap() {
            0 => break,
            read => connection.write_all(&buffer[..read]).await.unwrap(),
        }
    }
    connection.finish().await.unwrap();
}

/// Sends, and reads in another task what comes back.
async fn call(net: &'static Net, salt: u8) {
    let server = (IpAddress::v4(10, 0, 0, 1), PORT);
    let connection = net.connect(server, keep()).await.unwrap();
    let (mut writer, mut reader) = connection.into_split();
    let data: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8 ^ salt).collect();
    let expected = data.clone();
    let reading = tokio::spawn(async move {
        let mut received = Vec::new();
        let mut buffer = [0; 2_000];
        while received.len() < BYTES {
            let read = reader.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0);
            received.extend_from_slice(&buffer[..read]);
        }
        assert!(received == expected);
    });
    writer.write_all(&data).await.unwrap();
    writer.flush().await.unwrap();
    reading.await.unwrap();
    let report = writer.finish().await.unwrap();
    assert_eq!(report.cause, Some(Cause::Finished));
    assert_eq!(report.ledger.acknowledged(), BYTES as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_of_several_threads_share_a_network() {
    let (left, right) = End::pair();
    let time = TokioTime::new();
    let (server, client) = (net(left, 1, time), net(right, 2, time));
    let runners = [server, client].map(|net| tokio::spawn(net.run(time)));
    let all = async {
        let served: Vec<_> = (0..CONNECTIONS)
            .map(|_| server.listen(PORT, keep()).unwrap())
            .map(|listener| tokio::spawn(echo(listener)))
            .collect();
        let calls: Vec<_> = (0..CONNECTIONS)
            .map(|salt| tokio::spawn(call(client, salt as u8)))
            .collect();
        for task in calls.into_iter().chain(served) {
            task.await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, all).await.expect("in time");
    for runner in runners {
        runner.abort();
    }
}
