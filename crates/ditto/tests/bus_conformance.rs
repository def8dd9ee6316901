//! The conformance list of the Bus between real instances over sockets on loopback: its items that `bus.rs` does not have.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use ditto::{BusStream, Ditto, ErrorKind, IncomingStreams, Reliability, StreamEnd};
use fixture::{Peer, connect, listen, peer, sees, until};

/// Two instances that are connected.
async fn pair() -> (Peer, Peer) {
    let (a, b) = (peer().await, peer().await);
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    until("they have met", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
    (a, b)
}

async fn close(peers: [Peer; 2]) {
    for p in peers {
        p.ditto.close().await.unwrap();
    }
}

/// A stream from `a` to who takes them at `b`: both ends.
async fn stream(a: &Ditto, b: &Ditto, streams: &IncomingStreams, how: Reliability) -> (BusStream, BusStream) {
    let here = a.bus().open_stream(&b.peer_key(), how, "").await.unwrap();
    (here, streams.next().await.unwrap())
}

/// Item 2: an unreliable sender is never held up by a reader that does not read. What arrives comes in order, whole and at
/// most once, and when the reader is back so are the messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_stream_drops_and_does_not_stall() {
    const COUNT: u32 = 3_000;
    let (a, b) = pair().await;
    let streams = b.ditto.bus().incoming_streams();
    let (here, there) = stream(&a.ditto, &b.ditto, &streams, Reliability::Unreliable).await;
    // 48 MB: more than any window or queue on the way holds.
    for i in 0..COUNT {
        let mut message = vec![7; 16 << 10];
        message[..4].copy_from_slice(&i.to_le_bytes());
        here.send(message).await.unwrap();
    }
    let reader = tokio::spawn(async move {
        let mut last = None;
        let mut count = 0;
        while let Some(message) = there.recv().await {
            if message == b"over" {
                return (count, there);
            }
            assert_eq!(message.len(), 16 << 10);
            let i = u32::from_le_bytes(message[..4].try_into().unwrap());
            assert!(last.is_none_or(|l| l < i), "{i} after {last:?}");
            (last, count) = (Some(i), count + 1);
        }
        panic!("the stream ended");
    });
    while !reader.is_finished() {
        here.send("over").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (count, there) = reader.await.unwrap();
    assert!(count < COUNT, "all of them arrived: nothing was dropped");
    drop((here, there));
    close([a, b]).await;
}

/// Item 6: both sides close at once. Each has one end, and it says by whom.
#[tokio::test(flavor = "multi_thread")]
async fn both_ends_may_close_at_once() {
    let (a, b) = pair().await;
    let streams = b.ditto.bus().incoming_streams();
    for _ in 0..20 {
        let (here, there) = stream(&a.ditto, &b.ditto, &streams, Reliability::Reliable).await;
        here.send("from here").await.unwrap();
        there.send("from there").await.unwrap();
        here.wait_acked(1).await.unwrap();
        there.wait_acked(1).await.unwrap();
        let (first, second) = tokio::join!(here.close(), there.close());
        for (stream, said) in [(&here, first), (&there, second)] {
            let end = stream.closed().await;
            assert!(matches!(end, Some(StreamEnd::ClosedByLocal | StreamEnd::ClosedByRemote)), "{end:?}");
            assert_eq!((said, stream.close_reason()), (end, end), "the reason does not change");
            assert!(stream.send("late").await.is_err());
        }
        // What had arrived is there, and after it the end.
        assert_eq!(
            (here.recv().await, there.recv().await),
            (Some(b"from there".to_vec()), Some(b"from here".to_vec()))
        );
        assert_eq!((here.recv().await, there.recv().await), (None, None));
    }
    close([a, b]).await;
}

/// Item 9: a hundred streams beside one that nobody reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_holds_up_no_other() {
    let (a, b) = pair().await;
    let streams = b.ditto.bus().incoming_streams();
    let (stuck, unread) = stream(&a.ditto, &b.ditto, &streams, Reliability::Reliable).await;
    let filler = tokio::spawn({
        let stuck = stuck.clone();
        async move { while stuck.send(vec![0; 64 << 10]).await.is_ok() {} }
    });
    until("a send waits", || !stuck.is_ready()).await;
    let mut both = Vec::new();
    for _ in 0..100 {
        both.push(stream(&a.ditto, &b.ditto, &streams, Reliability::Reliable).await);
    }
    for round in 0..20u32 {
        for (here, there) in &both {
            here.send(round.to_le_bytes()).await.unwrap();
            there.send((round + 1).to_le_bytes()).await.unwrap();
        }
        // The last opened comes first.
        for (here, there) in both.iter().rev() {
            assert_eq!(there.recv().await.unwrap(), round.to_le_bytes());
            assert_eq!(here.recv().await.unwrap(), (round + 1).to_le_bytes());
        }
    }
    assert!(!stuck.is_ready(), "it waits as before");
    unread.abort();
    filler.await.unwrap();
    drop(both);
    close([a, b]).await;
}

/// Item 11: acknowledgements are cumulative and never go back.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_only_grow() {
    const COUNT: u64 = 2_000;
    let (a, b) = pair().await;
    let streams = b.ditto.bus().incoming_streams();
    let (here, there) = stream(&a.ditto, &b.ditto, &streams, Reliability::Reliable).await;
    let reader = tokio::spawn(async move {
        for _ in 0..COUNT {
            there.recv().await.unwrap();
        }
        there
    });
    let mut acked = 0;
    for i in 1..=COUNT {
        assert_eq!(here.send(vec![0; 200]).await.unwrap(), i, "sequence numbers count from one");
        let now = here.acked();
        assert!(acked <= now && now <= i, "{acked}, then {now}, after {i} messages");
        acked = now;
    }
    here.wait_acked(COUNT).await.unwrap();
    assert_eq!(here.acked(), COUNT);
    reader.await.unwrap().abort();
    assert!(here.wait_acked(COUNT + 1).await.is_err(), "nobody will acknowledge that");
    close([a, b]).await;
}

/// Whoever asks for a stream with a peer that is not in the mesh hears it at once, whichever of both would open it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_peer_that_is_not_there() {
    let (a, b) = pair().await;
    // Whether `a` would open the stream or wait for it is up to the keys, which chance makes.
    for _ in 0..4 {
        let stranger = peer().await;
        let e =
            a.ditto.bus().open_or_join(&stranger.ditto.peer_key(), Reliability::Reliable, "game").await.err();
        let e = e.unwrap();
        assert_eq!(e.kind(), ErrorKind::PeerNotFound, "{e}");
        stranger.ditto.close().await.unwrap();
    }
    close([a, b]).await;
}
