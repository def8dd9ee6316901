//! Messages over a byte stream: a length of four bytes, then the bytes. What TLS, TCP and QUIC have in common here.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};

use crate::Outcome;
use crate::measure::{Stopwatch, Taken};

/// A task that a connection begins with: what to do, the size of a message, how many.
pub(super) const ECHO: u8 = 1;
pub(super) const FLOOD: u8 = 2;

/// What one TLS record holds: a flood of small messages fills records.
const RECORD: usize = 16 << 10;

const LARGEST: usize = 1 << 20;

pub(super) type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
pub(super) type Writer = BufWriter<Box<dyn AsyncWrite + Send + Unpin>>;

pub(super) struct Frames {
    reader: Reader,
    writer: Writer,
    buffer: Vec<u8>,
}

impl Frames {
    pub(super) fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, Box::new(reader)),
            writer: BufWriter::with_capacity(RECORD, Box::new(writer)),
            buffer: Vec::new(),
        }
    }

    async fn send(&mut self, data: &[u8]) -> Outcome<()> {
        self.writer.write_all(&(data.len() as u32).to_le_bytes()).await?;
        Ok(self.writer.write_all(data).await?)
    }

    /// The next message; `None` at the end.
    async fn receive(&mut self) -> Outcome<Option<&[u8]>> {
        let mut length = [0; 4];
        match self.reader.read_exact(&mut length).await {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > LARGEST {
            return Err("a message is too large".into());
        }
        self.buffer.resize(length, 0);
        self.reader.read_exact(&mut self.buffer).await?;
        Ok(Some(&self.buffer))
    }

    /// Half of each round trip, in microseconds.
    pub(super) async fn ping(&mut self, size: usize, n: usize) -> Outcome<Vec<f64>> {
        self.order(ECHO, n as u64).await?;
        let message = vec![7; size];
        let mut taken = Vec::with_capacity(n);
        for _ in 0..n {
            let start = std::time::Instant::now();
            self.send(&message).await?;
            self.writer.flush().await?;
            if self.receive().await?.is_none_or(|m| m.len() != size) {
                return Err("a wrong answer".into());
            }
            taken.push(start.elapsed().as_secs_f64() * 1e6 / 2.0);
        }
        Ok(taken)
    }

    /// Time until the last has arrived, and CPU of both processes.
    pub(super) async fn flood(&mut self, size: usize, n: u64) -> Outcome<Taken> {
        let message = vec![7; size];
        let watch = Stopwatch::start()?;
        self.order(FLOOD, n).await?;
        for _ in 0..n {
            self.send(&message).await?;
        }
        self.writer.flush().await?;
        let theirs = self.receive().await?.and_then(|m| m.try_into().ok()).map(f64::from_le_bytes);
        let mut taken = watch.stop()?;
        taken.cpu += theirs.ok_or("no report")?;
        Ok(taken)
    }

    async fn order(&mut self, what: u8, n: u64) -> Outcome<()> {
        let mut order = vec![what];
        order.extend_from_slice(&n.to_le_bytes());
        self.send(&order).await?;
        Ok(self.writer.flush().await?)
    }

    /// The other end: carries out orders until the end.
    pub(super) async fn serve(&mut self) -> Outcome<()> {
        while let Some(order) = self.receive().await? {
            let (what, n) = order.split_first().ok_or("an empty order")?;
            let (what, n) = (*what, u64::from_le_bytes(n.try_into()?));
            let watch = Stopwatch::start()?;
            for _ in 0..n {
                let Some(message) = self.receive().await? else { return Ok(()) };
                if what == ECHO {
                    let message = message.to_vec();
                    self.send(&message).await?;
                    self.writer.flush().await?;
                }
            }
            if what == FLOOD {
                self.send(&watch.stop()?.cpu.to_le_bytes()).await?;
                self.writer.flush().await?;
            }
        }
        Ok(())
    }
}
