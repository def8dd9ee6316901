//! zenoh: two peers over TCP without discovery, a key for either direction; reliable, never dropped, not encrypted.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use zenoh::handlers::FifoChannelHandler;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::{Config, Session, Wait};

use crate::Outcome;
use crate::line::Line;
use crate::messages::say;

const HELLO: &[u8] = b"hello";

pub(crate) struct ZenohLine {
    /// Leaves at once.
    express: Publisher<'static>,
    /// Travels with others.
    batched: Publisher<'static>,
    subscriber: Subscriber<FifoChannelHandler<Sample>>,
    _session: Session,
}

impl ZenohLine {
    pub(crate) fn listen() -> Outcome<Self> {
        // zenoh does not tell which port it was given.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("tcp/127.0.0.1:{port}");
        let mut line = Self::open("listen/endpoints", &address, "to/near", "to/far")?;
        say(&format!("ready {address}"))?;
        while line.receive()? != HELLO {}
        line.send(HELLO, true)?;
        Ok(line)
    }

    pub(crate) fn connect(address: &str) -> Outcome<Self> {
        let mut line = Self::open("connect/endpoints", address, "to/far", "to/near")?;
        // What is published before the other side is known goes nowhere.
        let end = Instant::now() + Duration::from_secs(20);
        while !line.express.matching_status().wait()?.matching() {
            if Instant::now() > end {
                return Err("the other side did not come".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        line.send(HELLO, true)?;
        while line.receive()? != HELLO {}
        Ok(line)
    }

    fn open(how: &str, address: &str, out: &'static str, into: &'static str) -> Outcome<Self> {
        let mut config = Config::default();
        config.insert_json5("mode", "\"peer\"")?;
        config.insert_json5("scouting/multicast/enabled", "false")?;
        config.insert_json5("scouting/gossip/enabled", "false")?;
        if how.starts_with("connect") {
            config.insert_json5("listen/endpoints", "[]")?;
        }
        config.insert_json5(how, &format!("[\"{address}\"]"))?;
        let session = zenoh::open(config).wait()?;
        let publisher = |express| {
            session
                .declare_publisher(out)
                .congestion_control(CongestionControl::Block)
                .express(express)
                .wait()
        };
        let (express, batched) = (publisher(true)?, publisher(false)?);
        let subscriber = session.declare_subscriber(into).wait()?;
        Ok(Self { express, batched, subscriber, _session: session })
    }
}

impl Line for ZenohLine {
    fn send(&mut self, message: &[u8], alone: bool) -> Outcome<()> {
        let publisher = if alone { &self.express } else { &self.batched };
        publisher.put(message).wait()
    }

    fn receive(&mut self) -> Outcome<Vec<u8>> {
        Ok(self.subscriber.recv()?.payload().to_bytes().into_owned())
    }
}
