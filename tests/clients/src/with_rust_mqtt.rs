//! rust-mqtt 0.6 (MQTT 5) against mosquitto.

use crate::Case;
use crate::deaths::{Death, Publisher, check_publisher};
use crate::network::{Lab, Net, at, lab};
use crate::servers::Server;
use embedded_io_async::{Error as _, ErrorKind};
use lastbyte::Cause;
use lastbyte::asynch::Connection;
use rust_mqtt::Bytes;
use rust_mqtt::buffer::AllocBuffer;
use rust_mqtt::client::event::Event;
use rust_mqtt::client::options::{
    ConnectOptions, DisconnectOptions, PublicationOptions, SubscriptionOptions, TopicReference,
};
use rust_mqtt::client::{Client, MqttError};
use rust_mqtt::types::{MqttString, TopicFilter, TopicName};

pub const CASES: &[Case] = &[
    ("rust_mqtt_publishes_and_receives", publishes_and_receives),
    ("rust_mqtt_without_a_broker", without_a_broker),
    ("rust_mqtt_broker_killed", || dies(Death::Killed)),
    ("rust_mqtt_broker_resets", || dies(Death::Reset)),
    ("rust_mqtt_broker_stopped", || dies(Death::Stopped)),
    ("rust_mqtt_broker_vanished", || dies(Death::Vanished)),
    ("rust_mqtt_reset_while_it_waits", reset_while_it_waits),
    ("rust_mqtt_killed_while_it_waits", killed_while_it_waits),
];

const PORT: u16 = 1883;
const TOPIC: &str = "lastbyte/beat";

type Mqtt<'c, 'n, 'a> = Client<'c, 'c, Connection<'n, Net<'a>>, AllocBuffer, 1, 1, 1, 1, 16, 0, 1>;

fn topic() -> TopicName<'static> {
    TopicName::new(MqttString::from_str(TOPIC).expect("short")).expect("a topic")
}

/// A session over a new connection.
async fn connect<'c, 'n, 'a>(
    lab: &Lab<'n, 'a>,
    server: &Server,
    buffer: &'c mut AllocBuffer,
) -> Mqtt<'c, 'n, 'a> {
    let connection = lab.client().connect(server.address).await;
    let connection = connection.expect("the broker listens");
    let mut mqtt = Client::new(buffer);
    let options = ConnectOptions::new().clean_start();
    let name = MqttString::try_from("board").expect("short");
    let connected = mqtt.connect(connection, &options, Some(name)).await;
    connected.expect("the broker accepts");
    mqtt
}

fn kind<const N: usize>(error: MqttError<'_, N>) -> ErrorKind {
    match error {
        MqttError::Network(kind) => kind,
        MqttError::RecoveryRequired => ErrorKind::NotConnected,
        other => panic!("not of the network: {other:?}"),
    }
}

struct Board<'m, 'c, 'n, 'a>(&'m mut Mqtt<'c, 'n, 'a>);

impl Publisher for Board<'_, '_, '_, '_> {
    async fn settle(&mut self) {
        self.0.ping().await.expect("the broker lives");
        let event = self.0.poll().await.expect("the broker lives");
        assert!(matches!(event, Event::Pingresp), "{event:?}");
    }

    async fn publish(&mut self) -> Result<(), ErrorKind> {
        let options = PublicationOptions::new(TopicReference::Name(topic()));
        let message = Bytes::from(&[b'x'; 4_000][..]);
        let sent = self.0.publish(&options, message).await;
        sent.map(|_| ()).map_err(kind)
    }
}

fn publishes_and_receives() {
    lab(async |lab| {
        let broker = Server::mosquitto(lab, at(PORT));
        let mut buffer = AllocBuffer;
        let mut mqtt = connect(lab, &broker, &mut buffer).await;
        let filter = TopicFilter::new(MqttString::from_str(TOPIC).expect("short"));
        let filter = filter.expect("a filter");
        let options = SubscriptionOptions::new().exactly_once();
        mqtt.subscribe(filter, &options).await.expect("subscribed");
        let event = mqtt.poll().await.expect("an answer");
        assert!(matches!(event, Event::Suback(_)), "{event:?}");

        let options = PublicationOptions::new(TopicReference::Name(topic())).at_least_once();
        let sent = mqtt.publish(&options, "21 C".as_bytes().into()).await;
        sent.expect("published");
        let (mut is_acknowledged, mut received) = (false, None);
        while !is_acknowledged || received.is_none() {
            match mqtt.poll().await.expect("the broker lives") {
                Event::PublishAcknowledged(_) => is_acknowledged = true,
                Event::Publish(publish) => received = Some(publish.message.as_ref().to_vec()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received.as_deref(), Some(b"21 C".as_slice()));

        let connection = mqtt.disconnect(&DisconnectOptions::new()).await;
        let mut connection = connection.expect("the broker lives");
        let report = connection.finish().await.expect("every byte arrives");
        assert_eq!(report.ledger.undelivered(), 0);
    });
}

fn without_a_broker() {
    lab(async |lab| {
        let error = lab
            .client()
            .connect(at(PORT))
            .await
            .expect_err("no broker listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

fn dies(death: Death) {
    lab(async |lab| {
        let mut broker = Server::mosquitto(lab, at(PORT));
        let mut buffer = AllocBuffer;
        let mut mqtt = connect(lab, &broker, &mut buffer).await;
        check_publisher(lab, &mut broker, death, &mut Board(&mut mqtt)).await;

        // The connection comes back from the crate, with the account of every byte.
        let connection = mqtt.abort().await.expect("it has failed");
        let report = connection.report().expect("the network is not lent");
        let cause = match death {
            Death::Killed => Some(Cause::PeerFinished),
            Death::Reset => Some(Cause::PeerReset),
            // The call timed out: the kernel of the broker still answers.
            Death::Stopped => None,
            Death::Vanished => Some(Cause::Vanished),
        };
        match death {
            // A connection that the peer has finished drains until we finish, too.
            Death::Killed => assert_eq!(report.ledger.undelivered(), 0),
            _ => assert_eq!(report.cause, cause),
        }
        let lost = matches!(death, Death::Stopped | Death::Vanished);
        assert_eq!(report.ledger.undelivered() > 0, lost, "{report:?}");
    });
}

/// A client that waits for messages gets the end as well.
fn reset_while_it_waits() {
    assert_eq!(end_while_it_waits(Death::Reset), ErrorKind::ConnectionReset);
}

/// A FIN ends the data. It is the crate that makes an error of it, and chooses the kind.
fn killed_while_it_waits() {
    assert_eq!(end_while_it_waits(Death::Killed), ErrorKind::NotConnected);
}

fn end_while_it_waits(death: Death) -> ErrorKind {
    let ended = std::sync::Mutex::new(None);
    lab(async |lab| {
        let mut broker = Server::mosquitto(lab, at(PORT));
        let mut buffer = AllocBuffer;
        let mut mqtt = connect(lab, &broker, &mut buffer).await;
        Board(&mut mqtt).settle().await;
        if death == Death::Reset {
            broker.stop();
            let sent = Board(&mut mqtt).publish().await;
            sent.expect("the kernel of a stopped broker acknowledges");
        }
        let killed = async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            broker.kill();
        };
        let (event, ()) = futures_util::join!(mqtt.poll(), killed);
        let kind = kind(event.expect_err("the broker is dead"));
        *ended.lock().expect("not poisoned") = Some(kind);
    });
    let ended = ended.into_inner().expect("not poisoned");
    ended.expect("the test has run")
}
