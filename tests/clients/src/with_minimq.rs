//! minimq 0.13 (MQTT 5) against mosquitto.

use crate::Case;
use crate::deaths::{Death, Publisher, check_publisher};
use crate::network::{Lab, Net, at, lab};
use crate::servers::Server;
use embedded_io_async::{Error as _, ErrorKind};
use lastbyte::asynch::Connection;
use minimq::{Buffers, ConfigBuilder, Error, PubError, Publication, QoS, Session, TopicFilter};

pub const CASES: &[Case] = &[
    ("minimq_publishes_and_receives", publishes_and_receives),
    ("minimq_broker_killed", || dies(Death::Killed)),
    ("minimq_broker_resets", || dies(Death::Reset)),
    ("minimq_broker_stopped", || dies(Death::Stopped)),
    ("minimq_broker_vanished", || dies(Death::Vanished)),
    ("minimq_reconnects", reconnects),
];

const PORT: u16 = 1883;
const TOPIC: &str = "lastbyte/beat";

type Board<'m, 'b, 'n, 'a> = minimq::Connection<'m, 'b, Connection<'n, Net<'a>>>;

/// The memory of a session.
struct Memory([u8; 1_024], [u8; 8_192]);

impl Memory {
    const fn new() -> Self {
        Self([0; 1_024], [0; 8_192])
    }

    fn session(&mut self) -> Session<'_> {
        let config = ConfigBuilder::new(Buffers::new(&mut self.0, &mut self.1));
        Session::new(config.client_id("board").expect("short"))
    }
}

/// A session over a new connection.
async fn connect<'m, 'b, 'n, 'a>(
    lab: &Lab<'n, 'a>,
    session: &'m mut Session<'b>,
) -> Board<'m, 'b, 'n, 'a> {
    let connection = lab.client().connect(at(PORT)).await;
    let connected = session.connect(connection.expect("the broker listens"));
    connected.await.expect("the broker accepts")
}

fn kind(error: &Error<lastbyte::Error>) -> ErrorKind {
    match error {
        Error::Transport(error) => error.kind(),
        Error::Disconnected => ErrorKind::NotConnected,
        other => panic!("not of the network: {other:?}"),
    }
}

impl Publisher for Board<'_, '_, '_, '_> {
    async fn settle(&mut self) {
        let message = Publication::text(TOPIC, "is anybody there?").qos(QoS::AtLeastOnce);
        let sent = self.publish(message).await.expect("the broker lives");
        let sent = sent.expect("QoS 1 is acknowledged");
        while !self.is_complete(&sent) {
            self.poll().await.expect("the broker lives");
        }
    }

    async fn publish(&mut self) -> Result<(), ErrorKind> {
        let message = Publication::bytes(TOPIC, &[b'x'; 4_000]);
        match self.publish(message).await {
            Ok(_) => Ok(()),
            Err(PubError::Session(error)) => Err(kind(&error)),
            Err(PubError::Payload(error)) => panic!("bytes need no serializer: {error:?}"),
        }
    }
}

fn publishes_and_receives() {
    lab(async |lab| {
        let _broker = Server::mosquitto(lab, at(PORT));
        let mut memory = Memory::new();
        let mut session = memory.session();
        let mut board = connect(lab, &mut session).await;
        let subscribed = board.subscribe(&[TopicFilter::new(TOPIC)], &[]).await;
        let subscribed = subscribed.expect("the broker lives");
        while !board.is_complete(&subscribed) {
            board.poll().await.expect("the broker lives");
        }
        let sent = board.publish(Publication::text(TOPIC, "21 C")).await;
        sent.expect("published");
        let message = board.recv().await.expect("the broker lives");
        assert_eq!((message.topic(), message.payload()), (TOPIC, &b"21 C"[..]));
        board.disconnect().await.expect("the broker lives");
    });
}

fn dies(death: Death) {
    lab(async |lab| {
        let mut broker = Server::mosquitto(lab, at(PORT));
        let mut memory = Memory::new();
        let mut session = memory.session();
        let mut board = connect(lab, &mut session).await;
        check_publisher(lab, &mut broker, death, &mut board).await;
    });
}

/// The same session works over the next connection, once the broker is back.
fn reconnects() {
    lab(async |lab| {
        let mut broker = Server::mosquitto(lab, at(PORT));
        let mut memory = Memory::new();
        let mut session = memory.session();
        {
            let mut board = connect(lab, &mut session).await;
            broker.kill();
            std::thread::sleep(std::time::Duration::from_millis(100));
            let message = Publication::text(TOPIC, "kept").qos(QoS::AtLeastOnce);
            let error = board
                .publish(message)
                .await
                .expect_err("the broker is dead");
            assert!(
                matches!(error, PubError::Session(Error::Transport(_))),
                "{error:?}"
            );
        }
        let connection = lab.client().connect(at(PORT)).await;
        let error = connection.expect_err("no broker listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        drop(broker);
        let _broker = Server::mosquitto(lab, at(PORT));
        let mut board = connect(lab, &mut session).await;
        Publisher::settle(&mut board).await;
    });
}
