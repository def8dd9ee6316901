//! A slow link that is full of bulk data: messages of the app and presence must get through in time (T2.8).

use ditto_mesh::{Input, Lane};
use ditto_types::Value;

use crate::schedule::LinkClass;
use crate::world::{Broken, World};

/// Bulk messages that wait at the beginning, and the size of each: more than the link carries in the time measured.
const BULK: (usize, usize) = (40, 100_000);

/// Messages of the app that are measured.
const MESSAGES: u64 = 400;

/// What was measured, in virtual milliseconds.
#[derive(Clone, Debug)]
pub struct SlowReport {
    /// From send to delivery of a small Bus message, half of them.
    pub p50_ms: u64,
    /// 99 of 100 of them.
    pub p99_ms: u64,
    /// From a change of metadata until the other side shows it, the longest of several.
    pub presence_ms: u64,
    /// Bulk bytes per second that got through meanwhile, frames and encryption included.
    pub bulk_rate: u64,
}

/// Fills a Bluetooth link of 20 kB/s with bulk data and measures what else has to pass.
pub fn slow_link(seed: u64) -> Result<SlowReport, Broken> {
    let mut world = World::new(seed, false);
    world.add(None);
    world.add(None);
    world.network.connect(0, 1, LinkClass::BLUETOOTH);
    world.boot(0)?;
    world.boot(1)?;
    if !world.run_until(20_000, 50, |w| w.connected(0, 1))? {
        return Err("the two do not connect".into());
    }
    let peer = world.nodes[1].key;
    for _ in 0..BULK.0 {
        world
            .mesh_input(0, Input::Send { peer, lane: Lane::SyncBulk, bytes: vec![1; BULK.1].into(), tag: 0 });
    }
    world.run_for(2_000)?;
    let (begun, bytes) = (world.now, world.stats.link_bytes);
    let mut sent = Vec::new();
    let mut presence_ms = 0;
    for i in 0..MESSAGES {
        if i % 80 == 10 {
            presence_ms = presence_ms.max(presence(&mut world, i as i64)?);
        }
        let pause = 100 + world.rng.below(300);
        world.run_for(pause)?;
        sent.push(world.now);
        let data = i.to_le_bytes().repeat(8);
        world.with(0, |p, now, out| p.bus_send(peer, data, now, out));
    }
    world.run_for(5_000)?;
    let bulk_rate = (world.stats.link_bytes - bytes) * 1_000_000 / (world.now - begun);
    let mut times = Vec::new();
    for (at, _, _, data) in &world.bus {
        let number = data.first_chunk::<8>().map_or(u64::MAX, |b| u64::from_le_bytes(*b));
        let Some(sent) = sent.get(usize::try_from(number).unwrap_or(usize::MAX)) else { continue };
        times.push((at - sent) / 1000);
    }
    if times.len() as u64 != MESSAGES {
        return Err(format!("{} of {MESSAGES} messages arrived", times.len()));
    }
    times.sort_unstable();
    let p = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    Ok(SlowReport { p50_ms: p(50), p99_ms: p(99), presence_ms, bulk_rate })
}

/// Time until the second peer shows a change of the first.
fn presence(world: &mut World, value: i64) -> Result<u64, Broken> {
    let metadata = Value::Object([("n".into(), Value::from(value))].into());
    let begun = world.now;
    world.mesh_input(0, Input::SetPeerMetadata(metadata.clone()));
    let key = world.nodes[0].key;
    let shown = world.run_until(60_000, 10, |w| {
        let Some(process) = &w.nodes[1].process else { return false };
        process.mesh.graph().remote_peers.iter().any(|p| p.peer_key == key && p.peer_metadata == metadata)
    })?;
    if !shown {
        return Err("presence is starved: a change was not shown within 60 s".into());
    }
    Ok((world.now - begun) / 1000)
}
