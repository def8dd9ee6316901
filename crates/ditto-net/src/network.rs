//! Notices that the device is on another network.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ditto_mesh::transport::NetEvent;
use tokio::time::{MissedTickBehavior, interval};

use crate::interfaces::usable_interfaces;
use crate::sink::EventSink;

/// How often the interfaces are looked at. Asking costs a few system calls; there is no portable way to be told.
const CHECK: Duration = Duration::from_secs(5);

/// The addresses at which this machine is on a network, with the names of their interfaces.
type Addresses = BTreeSet<(String, IpAddr)>;

/// Tells `sink` when the usable addresses of this machine change, until it stops.
pub(crate) async fn watch(sink: EventSink) {
    follow(sink, CHECK, || usable_interfaces().into_iter().map(|i| (i.name.clone(), i.ip())).collect()).await;
}

async fn follow(sink: EventSink, every: Duration, mut look: impl FnMut() -> Addresses) {
    let mut known = look();
    let mut check = interval(every);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = sink.stopped() => return,
            _ = check.tick() => {}
        }
        let now = look();
        // A machine without a network has nothing to try again, and may come back with the addresses that it had.
        let changed = now != known && !now.is_empty();
        known = now;
        if changed {
            tracing::info!(addresses = known.len(), "the network has changed");
            if !sink.emit(NetEvent::NetworkChanged).await {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn each_new_set_of_addresses_is_told_once_and_the_loss_of_all_is_not() {
        let wifi = |host: u8| ("wlan0".to_owned(), IpAddr::from([192, 0, 2, host]));
        let mut seen = vec![
            Addresses::from([wifi(7)]),
            Addresses::from([wifi(7)]),
            Addresses::from([wifi(8)]),
            Addresses::from([wifi(8)]),
            Addresses::new(),
            Addresses::new(),
            Addresses::from([wifi(8)]),
            Addresses::from([wifi(8)]),
        ]
        .into_iter();
        let (events, mut told) = mpsc::channel(16);
        let (sink, stopper) = EventSink::new(events);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let mut end = Some(end);
        let watching = tokio::spawn(follow(sink, Duration::from_millis(1), move || {
            let last = || {
                drop(end.take());
                Addresses::from([wifi(8)])
            };
            seen.next().unwrap_or_else(last)
        }));
        // The list is at its end: everything before it was told.
        assert!(ended.await.is_err());
        stopper.send_replace(true);
        watching.await.unwrap();
        let mut count = 0;
        while let Ok(event) = told.try_recv() {
            assert_eq!(event, NetEvent::NetworkChanged);
            count += 1;
        }
        assert_eq!(count, 2, "another address, and a network after none");
    }
}
