//! Messages of a stream that travel together. Small ones are many, and what each costs on its own is far more than its
//! bytes: so from the app to the wire and from the wire to the app they are handed on in numbers.
//!
//! A batch forms only of what waits already. A message that finds nothing waiting leaves alone, as it is.

use ditto_types::wire::{Reader, WireError, put_bytes, varint_len};

/// Largest message that is copied into a batch; a larger one travels alone, and its bytes are not moved.
pub const MAX_BATCHED: usize = 2 << 10;

/// Most bytes of a batch of several, lengths included, so that it fits one frame inside a circuit.
pub(crate) const MAX_BATCH: usize = 8_128;

/// Messages of one stream in their order, at least one until [`Batch::pop`] has taken the last.
///
/// Several take no more memory than their bytes and lengths, so a flood of tiny messages is bounded as bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// All were taken.
    Empty,
    One(Vec<u8>),
    /// `(length varint | data)*` from `at` on: so many messages with so many bytes. Checked when it was made or read.
    Many {
        bytes: Vec<u8>,
        at: usize,
        messages: usize,
        payload: usize,
    },
}

impl From<Vec<u8>> for Batch {
    fn from(data: Vec<u8>) -> Self {
        Self(Form::One(data))
    }
}

impl Batch {
    /// Adds a message behind the others. Gives it back when the batch is full or one of them is too large for company.
    pub fn push(&mut self, data: Vec<u8>) -> Result<(), Vec<u8>> {
        if data.len() > MAX_BATCHED {
            return Err(data);
        }
        let more = varint_len(data.len() as u64) + data.len();
        match &mut self.0 {
            Form::Empty => self.0 = Form::One(data),
            Form::One(first) if first.len() > MAX_BATCHED => return Err(data),
            Form::One(first) => {
                // Where two wait, more will: room for a dozen of their size, with lengths of at most two bytes, and the kind.
                let room = 6 * (first.len() + data.len() + 4);
                let mut bytes = Vec::with_capacity(room.clamp(first.len() + data.len() + 4, MAX_BATCH) + 1);
                put_bytes(&mut bytes, first);
                put_bytes(&mut bytes, &data);
                let payload = first.len() + data.len();
                self.0 = Form::Many { bytes, at: 0, messages: 2, payload };
            }
            Form::Many { bytes, .. } if bytes.len() + more > MAX_BATCH => return Err(data),
            Form::Many { bytes, messages, payload, .. } => {
                put_bytes(bytes, &data);
                *messages += 1;
                *payload += data.len();
            }
        }
        Ok(())
    }

    /// The first message, where it lies.
    pub fn first(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Empty => None,
            Form::One(data) => Some(data),
            Form::Many { bytes, at, .. } => {
                let mut r = Reader::new(bytes.get(*at..)?);
                let length = r.len(MAX_BATCH).ok()?;
                r.take(length).ok()
            }
        }
    }

    /// Takes the first message, and says for how many bytes of the circuit it stands: what [`crate::Input::Taken`]
    /// wants to know.
    pub fn pop(&mut self) -> Option<(Vec<u8>, usize)> {
        match &mut self.0 {
            Form::Empty => None,
            Form::One(data) => {
                let data = std::mem::take(data);
                let cost = data.len() + 1;
                self.0 = Form::Empty;
                Some((data, cost))
            }
            Form::Many { bytes, at, messages, payload } => {
                let mut r = Reader::new(bytes.get(*at..)?);
                let length = r.len(MAX_BATCH).ok()?;
                let data = r.take(length).ok()?.to_vec();
                let mut cost = r.offset();
                *at += cost;
                *messages -= 1;
                *payload -= length;
                if *messages == 0 {
                    // The kind.
                    cost += 1;
                    self.0 = Form::Empty;
                }
                Some((data, cost))
            }
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Empty => 0,
            Form::One(_) => 1,
            Form::Many { messages, .. } => *messages,
        }
    }

    /// Whether all were taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Empty => 0,
            Form::One(data) => data.len(),
            Form::Many { payload, .. } => *payload,
        }
    }

    /// Size of the largest.
    pub(crate) fn largest(&self) -> usize {
        match &self.0 {
            Form::One(data) => data.len(),
            // No batch of several has a message that any stream would refuse.
            Form::Empty | Form::Many { .. } => self.bytes().min(MAX_BATCH),
        }
    }

    /// Bytes of the circuit that all of them stand for.
    pub(crate) fn cost(&self) -> usize {
        match &self.0 {
            Form::Empty => 0,
            Form::One(data) => data.len() + 1,
            Form::Many { bytes, at, .. } => bytes.len() - at + 1,
        }
    }

    /// The bytes as they travel before their kind, and whether they are of several. Only of a batch that is whole.
    pub(crate) fn into_wire(self) -> (Vec<u8>, bool) {
        match self.0 {
            Form::Empty => (Vec::new(), false),
            Form::One(data) => (data, false),
            Form::Many { bytes, .. } => (bytes, true),
        }
    }

    /// Several messages, as they have arrived.
    pub(crate) fn read_many(bytes: Vec<u8>) -> Result<Self, WireError> {
        if bytes.len() > MAX_BATCH {
            return Err(WireError::TooLong { at: 0, len: bytes.len() as u64, limit: MAX_BATCH as u64 });
        }
        let mut r = Reader::new(&bytes);
        let (mut messages, mut payload) = (0, 0);
        while !r.is_empty() {
            let length = r.len(MAX_BATCH)?;
            r.take(length)?;
            messages += 1;
            payload += length;
        }
        if messages < 2 {
            return Err(WireError::Invalid { at: 0, what: "batch of fewer than two messages" });
        }
        Ok(Self(Form::Many { bytes, at: 0, messages, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batches(messages: &[Vec<u8>]) -> Vec<Batch> {
        let mut out: Vec<Batch> = Vec::new();
        for m in messages {
            let rest = match out.last_mut() {
                Some(last) => last.push(m.clone()),
                None => Err(m.clone()),
            };
            if let Err(m) = rest {
                out.push(Batch::from(m));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            sizes in proptest::collection::vec(
                prop_oneof![9 => 0usize..300, 2 => 300usize..3_000, 1 => 3_000usize..70_000], 1..200),
        ) {
            let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n]).collect();
            let mut got = Vec::new();
            let all = batches(&sent);
            for (i, batch) in all.iter().enumerate() {
                let (len, bytes, cost) = (batch.len(), batch.bytes(), batch.cost());
                let (wire, many) = batch.clone().into_wire();
                prop_assert_eq!(many, len > 1);
                prop_assert_eq!(wire.len() + 1, cost);
                let mut read = if many { Batch::read_many(wire).unwrap() } else { Batch::from(wire) };
                prop_assert_eq!(&read, batch);
                prop_assert_eq!((read.len(), read.bytes()), (len, bytes));
                prop_assert!(!many || cost <= MAX_BATCH + 1);
                let (mut taken, before) = (0, got.len());
                while let Some((data, n)) = read.pop() {
                    taken += n;
                    got.push(data);
                    prop_assert_eq!(read.cost(), if read.is_empty() { 0 } else { cost - taken });
                }
                prop_assert_eq!((taken, got.len() - before), (cost, len));
                prop_assert!(read.is_empty() && read.bytes() == 0 && read.pop().is_none());
                // Small ones do not travel alone while there is room.
                if let [a, b] = &all[i..all.len().min(i + 2)] {
                    prop_assert!(a.largest() > MAX_BATCHED || b.largest() > MAX_BATCHED || a.cost() + b.cost() > MAX_BATCHED);
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn hostile_batches_are_refused_or_whole(bytes in proptest::collection::vec(0u8..6, 0..40)) {
            let length = bytes.len();
            if let Ok(mut batch) = Batch::read_many(bytes) {
                let mut total = 0;
                while let Some((_, n)) = batch.pop() {
                    total += n;
                }
                prop_assert_eq!(total, length + 1);
            }
        }
    }

    #[test]
    fn broken_ones_are_refused() {
        let whole = vec![1, 7, 0];
        assert_eq!(Batch::read_many(whole).map(|b| (b.len(), b.bytes())), Ok((2, 1)));
        let too_long = vec![0; MAX_BATCH + 1];
        let one = vec![2, 7, 7];
        for bad in [vec![], one, vec![1, 7, 1], vec![1, 7, 0xff, 0xff, 0xff, 0x7f], too_long] {
            assert!(Batch::read_many(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
