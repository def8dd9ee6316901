//! The conformance kit against the loopback radio, and against radios that break the contract.

use std::sync::Arc;
use std::time::Duration;

use ditto_net::platform::conformance::{Able, Outcome, Rig, cases};
use ditto_net::platform::loopback::{LoopbackAir, LoopbackConfig};
use ditto_net::platform::{RadioConfig, RadioError, RadioKind, RadioShim, RadioSink, ScanMode, SendResult};

/// Runs every case on the air that `config` makes; returns how many were skipped.
fn keeps_the_contract(config: LoopbackConfig) -> usize {
    let mut skipped = 0;
    for case in cases() {
        match case.run(&LoopbackAir::new(config)) {
            Outcome::Passed => {}
            Outcome::Skipped(_) => skipped += 1,
            Outcome::Failed(what) => panic!("{} with {config:?}: {what}", case.name),
        }
    }
    skipped
}

#[test]
fn a_plain_stream_radio_keeps_the_contract() {
    assert!(cases().count() >= 25);
    assert_eq!(keeps_the_contract(LoopbackConfig::plain(RadioKind::L2cap)), 0);
}

#[test]
fn a_plain_packet_radio_keeps_the_contract() {
    // Its last words may be lost.
    assert_eq!(keeps_the_contract(LoopbackConfig::plain(RadioKind::Gatt)), 1);
}

#[test]
fn awkward_radios_keep_the_contract() {
    // Most of the time they wait, so they wait side by side.
    let threads = [1, 2, 3].map(|seed| {
        std::thread::spawn(move || {
            keeps_the_contract(LoopbackConfig::awkward(RadioKind::WifiAware, seed));
            keeps_the_contract(LoopbackConfig::awkward(RadioKind::Gatt, seed));
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

/// How a radio breaks the contract.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Packets or bytes are accepted and lost, on a stream.
    Loses,
    /// The end is reported twice.
    DoubleEnd,
    /// Incoming handles are even.
    EvenHandles,
    /// A connect is not answered.
    NoAnswer,
    /// Nothing says that there is room again.
    NoWritable,
    /// `stop` leaves the links alone.
    StopsNothing,
    /// Busy, but it has taken the bytes.
    LyingBusy,
    /// Discovered payloads are cut.
    CutPayload,
}

/// A loopback radio with a fault between it and whoever uses it.
struct Faulty {
    inner: Arc<dyn RadioShim>,
    fault: Fault,
    sends: std::sync::atomic::AtomicU32,
}

impl Faulty {
    fn nth(&self) -> u32 {
        self.sends.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

impl RadioShim for Faulty {
    fn start(&self, config: RadioConfig, sink: Arc<RadioSink>) -> Result<(), RadioError> {
        use ditto_net::platform::RadioEvent as E;
        let fault = self.fault;
        let faulty = RadioSink::new(move |event| match (fault, event) {
            (Fault::DoubleEnd, E::LinkDown { handle, code }) => {
                sink.link_down(handle, code);
                sink.link_down(handle, code);
            }
            (Fault::EvenHandles, E::Incoming { handle, kind, max_write }) => {
                sink.incoming(handle + 1, kind, max_write);
            }
            (Fault::NoAnswer, E::LinkFailed { .. }) | (Fault::NoWritable, E::Writable { .. }) => {}
            (Fault::CutPayload, E::Discovered { id, payload, rssi }) => {
                sink.discovered(id, payload[..payload.len() / 2].to_vec(), rssi);
            }
            (_, E::Discovered { id, payload, rssi }) => sink.discovered(id, payload, rssi),
            (_, E::Lost { id }) => sink.lost(id),
            (_, E::Incoming { handle, kind, max_write }) => sink.incoming(handle, kind, max_write),
            (_, E::LinkUp { handle, kind, max_write }) => sink.link_up(handle, kind, max_write),
            (_, E::LinkFailed { handle, code }) => sink.link_failed(handle, code),
            (_, E::Received { handle, bytes }) => sink.received(handle, bytes),
            (_, E::Writable { handle }) => sink.writable(handle),
            (_, E::LinkDown { handle, code }) => sink.link_down(handle, code),
            (_, E::Condition { code, text }) => sink.condition(code, text),
        });
        self.inner.start(config, Arc::new(faulty))
    }

    fn set_advertising(&self, payload: Option<Vec<u8>>) {
        self.inner.set_advertising(payload);
    }

    fn set_scanning(&self, mode: ScanMode) {
        self.inner.set_scanning(mode);
    }

    fn connect(&self, handle: u64, discovered: u64) {
        self.inner.connect(handle, discovered);
    }

    fn send(&self, handle: u64, bytes: Vec<u8>) -> SendResult {
        let len = bytes.len() as u32;
        match self.fault {
            Fault::Loses if self.nth() % 3 == 2 => SendResult::Accepted { bytes: len },
            Fault::LyingBusy if self.nth() % 3 == 2 => {
                self.inner.send(handle, bytes);
                SendResult::Busy
            }
            _ => self.inner.send(handle, bytes),
        }
    }

    fn close(&self, handle: u64) {
        self.inner.close(handle);
    }

    fn stop(&self) {
        if !matches!(self.fault, Fault::StopsNothing) {
            self.inner.stop();
        }
    }
}

struct FaultyRig(LoopbackAir, Fault);

impl Rig for FaultyRig {
    fn radios(&self) -> [Arc<dyn RadioShim>; 2] {
        Rig::radios(&self.0)
            .map(|inner| Arc::new(Faulty { inner, fault: self.1, sends: 0.into() }) as Arc<dyn RadioShim>)
    }

    fn set_in_range(&self, _: bool) -> Able {
        Able::No
    }

    fn set_power(&self, _: usize, _: bool) -> Able {
        Able::No
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// The kit is worth something only if it catches these.
#[test]
fn broken_radios_are_caught() {
    let caught = [
        (Fault::Loses, "bytes_arrive_in_order"),
        (Fault::DoubleEnd, "close_ends_both_ends_once"),
        (Fault::EvenHandles, "a_connect_opens_one_link_with_two_ends"),
        (Fault::NoAnswer, "a_connect_to_an_unknown_device_fails"),
        (Fault::NoWritable, "busy_is_followed_by_writable"),
        (Fault::StopsNothing, "stop_ends_everything"),
        (Fault::LyingBusy, "bytes_arrive_in_order"),
        (Fault::CutPayload, "advertised_payloads_are_discovered"),
    ];
    // Those that are caught by waiting wait side by side.
    let mut config = LoopbackConfig::plain(RadioKind::L2cap);
    config.busy = 100;
    let threads = caught.map(|(fault, name)| {
        std::thread::spawn(move || {
            let case = cases().find(|case| case.name == name).unwrap();
            let outcome = case.run(&FaultyRig(LoopbackAir::new(config), fault));
            assert!(matches!(outcome, Outcome::Failed(_)), "{fault:?} passed {name}: {outcome:?}");
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn what_a_rig_cannot_do_is_skipped_and_says_so() {
    let case = cases().find(|case| case.name == "a_lost_link_goes_down").unwrap();
    struct Fixed(LoopbackAir);
    impl Rig for Fixed {
        fn radios(&self) -> [Arc<dyn RadioShim>; 2] {
            Rig::radios(&self.0)
        }
        fn set_in_range(&self, _: bool) -> Able {
            Able::No
        }
        fn set_power(&self, _: usize, _: bool) -> Able {
            Able::No
        }
    }
    let fixed = Fixed(LoopbackAir::new(LoopbackConfig::plain(RadioKind::Tcp)));
    assert!(matches!(case.run(&fixed), Outcome::Skipped(why) if !why.is_empty()));
}
