//! The Bus between real instances over sockets on loopback: neighbours, and three in a line.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ditto::radio::RadioKind;
use ditto::radio::loopback::{LoopbackAir, LoopbackConfig};
use ditto::{
    Bus, BusDelegate, BusMessage, BusStream, BusStreamDelegate, Delivery, Ditto, ErrorKind, PeerKey,
    RadioTransport, Reliability, StreamEnd, StreamFailure,
};
use fixture::{Peer, connect, listen, peer, sees, until};
use tokio::sync::mpsc;

/// Instances of which each is connected to the next only.
async fn line(count: usize) -> Vec<Peer> {
    let mut peers = vec![peer().await];
    while peers.len() < count {
        let last = &peers[peers.len() - 1].ditto;
        let address = listen(last).await;
        let next = peer().await;
        connect(&next.ditto, &[&address]).await;
        peers.push(next);
    }
    let (first, last) = (&peers[0].ditto, &peers[count - 1].ditto);
    until("the ends see each other", || sees(first, last) && sees(last, first)).await;
    peers
}

async fn close(peers: Vec<Peer>) {
    for p in peers {
        p.ditto.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_single_messages_cross_a_relay_that_knows_neither_end_app() {
    let peers = line(3).await;
    let (a, c) = (&peers[0].ditto, &peers[2].ditto);
    let (inbox, streams) = (c.bus().incoming_messages(), c.experimental().bus().incoming_streams());

    let sent = a.bus().send_single_message(&c.peer_key(), "over there", Reliability::Reliable).await.unwrap();
    assert_eq!(sent, Delivery::Acknowledged);
    let message = inbox.next().await.unwrap();
    assert_eq!((message.sender, &message.data[..]), (a.peer_key(), &b"over there"[..]));

    let here = a.bus().open_stream(&c.peer_key(), Reliability::Reliable, "chat").await.unwrap();
    let there = streams.next().await.unwrap();
    assert_eq!(
        (there.peer(), there.label(), there.reliability()),
        (a.peer_key(), "chat", Reliability::Reliable)
    );
    for i in 1..=200u64 {
        assert_eq!(here.send(vec![i as u8; 3_000]).await.unwrap(), i);
        assert_eq!(there.recv().await.unwrap(), vec![i as u8; 3_000]);
    }
    there.send("answer").await.unwrap();
    assert_eq!(here.recv().await.unwrap(), b"answer");
    here.wait_acked(200).await.unwrap();
    let stats = here.stats().await.unwrap();
    assert_eq!((stats.messages_sent, stats.bytes_sent, stats.messages_received), (200, 600_000, 1));

    // What was accepted before the end arrives.
    here.send("last").await.unwrap();
    assert_eq!(here.close().await, Some(StreamEnd::ClosedByLocal));
    assert_eq!(there.recv().await.unwrap(), b"last");
    assert_eq!(there.recv().await, None);
    assert_eq!(there.close_reason(), Some(StreamEnd::ClosedByRemote));
    assert_eq!(there.send("late").await.unwrap_err().kind(), ErrorKind::BusStreamClosed);
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_its_sender_up() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let streams = b.bus().incoming_streams();
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let sender = tokio::spawn({
        let (here, accepted) = (here.clone(), accepted.clone());
        async move {
            for _ in 0..200 {
                here.send(vec![1; 16 << 10]).await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    until("the sender waits", || !here.is_ready() && accepted.load(Ordering::SeqCst) >= 32).await;
    // 512 KiB on the way, 128 KiB and a message held there.
    assert!(accepted.load(Ordering::SeqCst) <= 42);
    assert_eq!(here.try_send("x").await.unwrap_err().kind(), ErrorKind::BusSendBeforeCompletion);
    for _ in 0..200 {
        assert_eq!(there.recv().await.unwrap().len(), 16 << 10);
    }
    sender.await.unwrap();
    close(peers).await;
}

/// What a message costs beside its bytes has to be given back as well, however small it is.
#[tokio::test(flavor = "multi_thread")]
async fn tiny_messages_that_travel_alone_do_not_use_the_window_up() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let streams = b.bus().incoming_streams();
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    for i in 0..6_000u32 {
        here.send([i as u8]).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(20), there.recv()).await;
        assert_eq!(next.unwrap_or_else(|_| panic!("message {i} does not come")), Some(vec![i as u8]));
    }
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_to_open_are_typed() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let open =
        async |to: &PeerKey| a.bus().open_stream(to, Reliability::Reliable, "").await.err().map(|e| e.kind());
    assert_eq!(open(&b.peer_key()).await, Some(ErrorKind::BusOpenStreamFailed), "nobody takes streams");
    let streams = b.bus().incoming_streams();
    assert_eq!(open(&b.peer_key()).await, None);
    assert!(streams.next().await.is_some());
    drop(streams);
    assert_eq!(open(&b.peer_key()).await, Some(ErrorKind::BusOpenStreamFailed));
    assert_eq!(open(&a.peer_key()).await, Some(ErrorKind::PeerNotFound), "itself");
    a.sync().stop().await.unwrap();
    assert_eq!(open(&b.peer_key()).await, Some(ErrorKind::SyncNotActive));
    a.close().await.unwrap();
    assert_eq!(open(&b.peer_key()).await, Some(ErrorKind::Closed));
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_ask_for_a_stream_and_get_one() {
    let peers = line(3).await;
    let (a, c) = (&peers[0].ditto, &peers[2].ditto);
    // Streams that both ask for are not for whoever takes streams.
    let others = c.bus().incoming_streams();
    let ask = async |on: &Ditto, with: &Ditto| {
        on.bus().open_or_join(&with.peer_key(), Reliability::Reliable, "game").await.unwrap()
    };
    let (here, there) = tokio::join!(ask(a, c), ask(c, a));
    assert_eq!((here.peer(), there.peer()), (c.peer_key(), a.peer_key()));
    assert_eq!((here.label(), there.label()), ("game", "game"));
    for i in 0..1_000u32 {
        here.send(i.to_le_bytes()).await.unwrap();
        there.send((i + 1).to_le_bytes()).await.unwrap();
    }
    for i in 0..1_000u32 {
        assert_eq!(there.recv().await.unwrap(), i.to_le_bytes());
        assert_eq!(here.recv().await.unwrap(), (i + 1).to_le_bytes());
    }
    let one = a.bus().open_stream(&c.peer_key(), Reliability::Reliable, "game").await.unwrap();
    assert_eq!(others.next().await.unwrap().label(), "game");
    one.close().await;
    assert_eq!(here.close().await, Some(StreamEnd::ClosedByLocal));
    assert_eq!(there.closed().await, Some(StreamEnd::ClosedByRemote));
    close(peers).await;
}

/// Every message once and in order, also when sends wait for each other, are given up, or find others waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages_from_several_tasks_arrives_whole() {
    const TASKS: u32 = 4;
    const EACH: u32 = 20_000;
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let streams = b.bus().incoming_streams();
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    let senders: Vec<_> = (0..TASKS)
        .map(|task| {
            let here = here.clone();
            tokio::spawn(async move {
                for i in 0..EACH {
                    let mut message = [task.to_le_bytes(), i.to_le_bytes()].concat();
                    // Some are too large for company.
                    message.resize(8 + (i as usize * 7 % 90) + if i % 1_000 == 999 { 5_000 } else { 0 }, 1);
                    here.send(message).await.unwrap();
                }
            })
        })
        .collect();
    // Two readers share the messages.
    let (seen, mut all) = mpsc::unbounded_channel();
    for _ in 0..2 {
        let (there, seen) = (there.clone(), seen.clone());
        tokio::spawn(async move {
            while let Some(m) = there.recv().await {
                seen.send(m).unwrap();
            }
        });
    }
    drop(seen);
    for s in senders {
        s.await.unwrap();
    }
    here.wait_acked(u64::from(TASKS * EACH)).await.unwrap();
    assert_eq!(here.close().await, Some(StreamEnd::ClosedByLocal));
    let mut got = std::collections::BTreeSet::new();
    while let Some(m) = all.recv().await {
        let i = u32::from_le_bytes(m[4..8].try_into().unwrap());
        assert_eq!(m.len(), 8 + (i as usize * 7 % 90) + if i % 1_000 == 999 { 5_000 } else { 0 });
        assert!(got.insert((u32::from_le_bytes(m[..4].try_into().unwrap()), i)), "twice");
    }
    assert_eq!(got.len(), (TASKS * EACH) as usize);
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_sync_ends_streams_with_a_reason() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let streams = b.bus().incoming_streams();
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    there.send("before").await.unwrap();
    until("it is there", || there.acked() == 1).await;
    a.sync().stop().await.unwrap();
    assert_eq!(here.closed().await, Some(StreamEnd::Failed(StreamFailure::Stopped)));
    assert_eq!(here.recv().await.unwrap(), b"before", "what has arrived is not lost");
    assert_eq!(here.recv().await, None);
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_over_another_relay_when_its_own_goes_away() {
    let peers = line(3).await;
    let (a, first, c) = (&peers[0].ditto, &peers[1].ditto, &peers[2].ditto);
    let streams = c.bus().incoming_streams();
    let here = a.bus().open_stream(&c.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    here.send(0u32.to_le_bytes()).await.unwrap();
    assert_eq!(there.recv().await.unwrap(), 0u32.to_le_bytes());
    // Only now there is a second way.
    let second = peer().await;
    let address = listen(&second.ditto).await;
    for end in [a, c] {
        end.update_transport_config(|config| {
            config.add_tcp_server(&address);
        })
        .await
        .unwrap();
    }
    until("the second relay is known", || sees(a, &second.ditto) && sees(c, &second.ditto)).await;
    let sender = tokio::spawn(async move {
        for i in 1..5_000u32 {
            here.send(i.to_le_bytes()).await.unwrap();
        }
        here
    });
    for i in 1..100u32 {
        assert_eq!(there.recv().await.unwrap(), i.to_le_bytes());
    }
    first.close().await.unwrap();
    for i in 100..5_000u32 {
        assert_eq!(there.recv().await.unwrap(), i.to_le_bytes(), "lost, doubled or swapped");
    }
    let here = sender.await.unwrap();
    here.wait_acked(5_000).await.unwrap();
    assert_eq!(here.close().await, Some(StreamEnd::ClosedByLocal));
    second.ditto.close().await.unwrap();
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_instance_fails_what_waits_with_a_reason() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let streams = b.bus().incoming_streams();
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    // Nobody reads, so a send waits in the end.
    let _there = streams.next().await.unwrap();
    let waiting = tokio::spawn({
        let here = here.clone();
        async move {
            loop {
                if let Err(e) = here.send(vec![0; 64 << 10]).await {
                    return e.kind();
                }
            }
        }
    });
    until("a send waits", || !here.is_ready()).await;
    a.close().await.unwrap();
    assert_eq!(waiting.await.unwrap(), ErrorKind::BusStreamClosed);
    assert_eq!(here.closed().await, Some(StreamEnd::Failed(StreamFailure::Stopped)));
    let late = a.bus().send_reliable(&b.peer_key(), "late").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
    assert!(here.send("late").await.is_err());
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_before_a_delegate_is_set_is_not_lost() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let streams = b.bus().incoming_streams();
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    for n in 1..=20usize {
        here.send(vec![0; n]).await.unwrap();
    }
    here.wait_acked(20).await.unwrap();
    here.close().await;
    there.closed().await;
    let (heard, mut news) = mpsc::unbounded_channel();
    let listener = listener(b, heard);
    there.set_delegate(&b.bus(), listener.clone()).unwrap();
    for n in 1..=20 {
        assert_eq!(news.recv().await.unwrap(), format!("message {n}"));
    }
    assert_eq!(news.recv().await.unwrap(), "closed the stream was closed by the other device");
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_order_over_a_radio_that_loses_every_fifth_packet() {
    const COUNT: u32 = 2_000;
    let config = LoopbackConfig { drop: 200, seed: 3, ..LoopbackConfig::plain(RadioKind::Gatt) };
    let air = LoopbackAir::new(config);
    let (a, b) = (peer().await, peer().await);
    for p in [&a, &b] {
        p.ditto.update_transport_config(|c| c.peer_to_peer.bluetooth_le.enabled = true).await.unwrap();
        p.ditto.attach_radio(RadioTransport::BluetoothLe, air.radio()).await.unwrap();
        p.ditto.sync().start().await.unwrap();
    }
    let both = || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto);
    until("they have met", both).await;
    let streams = b.ditto.bus().incoming_streams();
    let here = a.ditto.bus().open_stream(&b.ditto.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    let sender = tokio::spawn({
        let here = here.clone();
        async move {
            for i in 0..COUNT {
                here.send(i.to_le_bytes()).await.unwrap();
            }
        }
    });
    for i in 0..COUNT {
        assert_eq!(there.recv().await.unwrap(), i.to_le_bytes());
    }
    sender.await.unwrap();
    here.wait_acked(u64::from(COUNT)).await.unwrap();
    close(vec![a, b]).await;
}

/// Counts calls that overlap, and passes what it hears on.
struct Listener {
    bus: Bus,
    inside: AtomicUsize,
    overlaps: AtomicUsize,
    streams: Mutex<Vec<BusStream>>,
    heard: mpsc::UnboundedSender<String>,
    me: std::sync::Weak<Listener>,
}

fn listener(on: &Ditto, heard: mpsc::UnboundedSender<String>) -> Arc<Listener> {
    Arc::new_cyclic(|me| Listener {
        bus: on.bus(),
        inside: AtomicUsize::new(0),
        overlaps: AtomicUsize::new(0),
        streams: Mutex::default(),
        heard,
        me: me.clone(),
    })
}

impl Listener {
    fn hear(&self, what: String) {
        if self.inside.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        std::thread::yield_now();
        self.heard.send(what).unwrap();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BusDelegate for Listener {
    fn on_single_message(&self, message: BusMessage) {
        self.hear(format!("single {}", message.data.len()));
    }

    fn on_incoming_stream(&self, stream: BusStream, from: PeerKey) {
        assert_eq!(stream.peer(), from);
        stream.set_delegate(&self.bus, self.me.upgrade().unwrap()).unwrap();
        self.hear(format!("stream {}", stream.label()));
        self.streams.lock().unwrap().push(stream);
    }
}

impl BusStreamDelegate for Listener {
    fn on_message(&self, data: Vec<u8>) {
        self.hear(format!("message {}", data.len()));
    }

    fn on_acknowledged(&self, sequence: u64) {
        self.hear(format!("acknowledged {sequence}"));
    }

    fn on_close(&self, reason: StreamEnd) {
        self.hear(format!("closed {reason}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delegates_hear_everything_once_and_one_call_after_the_other() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let (heard, mut news) = mpsc::unbounded_channel();
    let listener = listener(b, heard);
    b.bus().set_delegate(Some(listener.clone())).unwrap();
    let one = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "one").await.unwrap();
    let two = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "two").await.unwrap();
    for i in 0..50 {
        one.send(vec![0; i]).await.unwrap();
        two.send(vec![0; i]).await.unwrap();
        a.bus().send_reliable(&b.peer_key(), vec![0; i]).await.unwrap();
    }
    one.close().await;
    two.close().await;
    let mut lines = Vec::new();
    while lines.iter().filter(|l: &&String| l.starts_with("closed")).count() < 2
        || lines.iter().filter(|l| l.starts_with("single")).count() < 50
    {
        lines.push(news.recv().await.unwrap());
    }
    assert_eq!(lines.iter().filter(|l| l.starts_with("message")).count(), 100);
    assert_eq!(lines.iter().filter(|l| l.starts_with("stream")).count(), 2);
    assert_eq!(listener.overlaps.load(Ordering::SeqCst), 0);
    b.bus().set_delegate(None).unwrap();
    close(peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreliable_streams_carry_what_fits() {
    let peers = line(3).await;
    let (a, c) = (&peers[0].ditto, &peers[2].ditto);
    let streams = c.bus().incoming_streams();
    let here = a.bus().open_stream(&c.peer_key(), Reliability::Unreliable, "voice").await.unwrap();
    let there = streams.next().await.unwrap();
    assert_eq!(there.reliability(), Reliability::Unreliable);
    let receiver = tokio::spawn(async move { there.recv().await });
    // None is promised to arrive, so it is said again until one does.
    while !receiver.is_finished() {
        here.send(vec![5; 160]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.await.unwrap(), Some(vec![5; 160]));
    let e = here.send(vec![0; 131_073]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::BusPayloadTooLarge);
    close(peers).await;
}

/// In a runtime without workers the network has a thread of its own.
#[tokio::test]
async fn an_app_on_one_thread_has_its_messages_answered() {
    let peers = line(2).await;
    let (a, b) = (&peers[0].ditto, &peers[1].ditto);
    let (inbox, streams) = (b.bus().incoming_messages(), b.bus().incoming_streams());
    let here = a.bus().open_stream(&b.peer_key(), Reliability::Reliable, "").await.unwrap();
    let there = streams.next().await.unwrap();
    for size in [1, 64, 3_000, 100_000].into_iter().cycle().take(200) {
        here.send(vec![3; size]).await.unwrap();
        there.send(there.recv().await.unwrap()).await.unwrap();
        assert_eq!(here.recv().await.unwrap(), vec![3; size]);
    }
    a.bus().send_reliable(&b.peer_key(), "one").await.unwrap();
    assert_eq!(inbox.next().await.unwrap().data, b"one");
    close(peers).await;
}

#[test]
fn a_runtime_that_ends_before_the_instance_stops_sync_which_can_be_started_again() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (a, address) = first.block_on(async {
        let a = peer().await;
        let address = listen(&a.ditto).await;
        (a, address)
    });
    let (b, here) = second.block_on(async {
        let b = peer().await;
        connect(&b.ditto, &[&address]).await;
        until("they see each other", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
        let streams = a.ditto.bus().incoming_streams();
        let opened = b.ditto.bus().open_stream(&a.ditto.peer_key(), Reliability::Reliable, "").await.unwrap();
        drop(opened);
        (b, streams.next().await.unwrap())
    });
    drop(first);
    second.block_on(async {
        until("sync has stopped", || !a.ditto.sync().is_active()).await;
        assert!(here.closed().await.is_some(), "no stream is left without an end");
        until("the other one notices", || !sees(&b.ditto, &a.ditto)).await;
        let address = listen(&a.ditto).await;
        connect(&b.ditto, &[&address]).await;
        until("they see each other again", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
        let inbox = a.ditto.bus().incoming_messages();
        b.ditto.bus().send_reliable(&a.ditto.peer_key(), "again").await.unwrap();
        assert_eq!(inbox.next().await.unwrap().data, b"again");
        close(vec![a, b]).await;
    });
}
