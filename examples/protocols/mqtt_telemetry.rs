//! Sends a reading each second to an MQTT broker, with rust-mqtt over `lastbyte::asynch`.
//!
//! A publication with QoS 0 has no answer. Over an ordinary TCP socket, those after the broker's
//! death are `Ok` until the first RST has come back. Here the first one is an error, and the
//! account shows how many bytes of the readings are not known to have arrived.
//!
//! Against a broker of this machine, in a private network, which needs no root and no TAP:
//!
//! ```text
//! printf 'listener 1883 10.77.0.1\nallow_anonymous true\nuser root\n' > /tmp/telemetry.conf
//! cargo run --manifest-path examples/protocols/Cargo.toml --bin mqtt_telemetry -- \
//!     --peer '/usr/sbin/mosquitto -c /tmp/telemetry.conf' 10.77.0.1:1883
//! ```
//!
//! Against any other one: `-- --tap tap0 --addr 10.0.0.2/24 10.0.0.1:1883`.

use lastbyte::asynch::Connection;
use lastbyte::{OnReceive, Options};
use lastbyte_protocols::{Failure, Net};
use rust_mqtt::Bytes;
use rust_mqtt::buffer::AllocBuffer;
use rust_mqtt::client::event::Event;
use rust_mqtt::client::options::{
    ConnectOptions, DisconnectOptions, PublicationOptions, TopicReference,
};
use rust_mqtt::client::{Client, MqttError};
use rust_mqtt::types::{MqttString, TopicName};
use std::net::SocketAddr;
use std::time::Duration;

const READINGS: u32 = 5;

/// The session reads what the broker sends. A call timeout below the broker's patience is our
/// own: the board publishes each second, so that a wait of ten is a fault.
const OPTIONS: Options = match Options::builder()
    .on_receive(OnReceive::Keep)
    .call_timeout(Duration::from_secs(10))
    .build()
{
    Ok(options) => options,
    Err(_) => panic!("these do not contradict each other"),
};

/// A session of a client with these limits: one subscription, one message in flight in each
/// direction.
type Mqtt<'b, 'n, 'a> = Client<'b, 'b, Connection<'n, Net<'a>>, AllocBuffer, 1, 1, 1, 1, 16, 0, 1>;

fn main() -> Result<(), Failure> {
    lastbyte_protocols::main(telemetry)
}

async fn telemetry(net: &Net<'_>, broker: SocketAddr) -> Result<(), Failure> {
    let connection = net.connect(broker, OPTIONS).await?;
    let mut buffer = AllocBuffer;
    let mut mqtt: Mqtt<'_, '_, '_> = Client::new(&mut buffer);
    let name = MqttString::try_from("board").expect("shorter than 64 KiB");
    let options = ConnectOptions::new().clean_start();
    mqtt.connect(connection, &options, Some(name))
        .await
        .map_err(text)?;

    for number in 1..=READINGS {
        if let Err(error) = publish(&mut mqtt, number).await {
            println!("reading {number}: {error:?}");
            // The connection comes back, with the account of every byte.
            let connection = mqtt.abort().await.map_err(|error| format!("{error:?}"))?;
            println!("{}", connection.report()?);
            return Err("the broker does not answer".into());
        }
        println!("reading {number}: published");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    // The broker has read everything once it has answered.
    mqtt.ping().await.map_err(text)?;
    while !matches!(mqtt.poll().await.map_err(text)?, Event::Pingresp) {}
    let mut connection = mqtt
        .disconnect(&DisconnectOptions::new())
        .await
        .map_err(text)?;
    println!("{}", connection.finish().await?);
    Ok(())
}

async fn publish<'b>(mqtt: &mut Mqtt<'b, '_, '_>, number: u32) -> Result<(), MqttError<'b, 0>> {
    let topic = MqttString::from_str("board/temperature").expect("shorter than 64 KiB");
    let topic = TopicName::new(topic).expect("a topic without wildcards");
    let options = PublicationOptions::new(TopicReference::Name(topic));
    let reading = format!("{number}: 21.5 C");
    mqtt.publish(&options, Bytes::from(reading.as_bytes()))
        .await?;
    Ok(())
}

fn text<const N: usize>(error: MqttError<'_, N>) -> String {
    format!("MQTT: {error:?}")
}
