//! ZeroMQ (libzmq): a pair of sockets over TCP, not encrypted.

use crate::Outcome;
use crate::line::Line;
use crate::messages::say;

pub(crate) struct ZmqLine {
    socket: zmq::Socket,
}

impl ZmqLine {
    pub(crate) fn listen() -> Outcome<Self> {
        let socket = zmq::Context::new().socket(zmq::PAIR)?;
        socket.bind("tcp://127.0.0.1:*")?;
        let address = socket.get_last_endpoint()?.map_err(|_| "an address that is not text")?;
        say(&format!("ready {address}"))?;
        Ok(Self { socket })
    }

    pub(crate) fn connect(address: &str) -> Outcome<Self> {
        let socket = zmq::Context::new().socket(zmq::PAIR)?;
        socket.connect(address)?;
        Ok(Self { socket })
    }
}

impl Line for ZmqLine {
    fn send(&mut self, message: &[u8], _alone: bool) -> Outcome<()> {
        Ok(self.socket.send(message, 0)?)
    }

    fn receive(&mut self) -> Outcome<Vec<u8>> {
        Ok(self.socket.recv_bytes(0)?)
    }
}
