//! Carries out the steps of a schedule.

use ditto_types::{Object, Value};

use crate::adapter::Fault;
use crate::process::{Process, ToSync};
use crate::schedule::{COLLECTIONS, IDS, QUERIES, What};
use crate::world::{Broken, Event, World};

fn id_of(id: u8) -> Value {
    Value::from(format!("k{id}"))
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Object {
    fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

fn document(id: Value, value: i64) -> Value {
    Value::Object(object([("_id", id), ("v", Value::from(value)), ("a", Value::from(value % 3))]))
}

impl World {
    /// Carries out one step. What a peer that is switched off should do, it does not do.
    pub(crate) fn act(&mut self, what: &What) -> Result<(), Broken> {
        match what.clone() {
            What::Put { node, coll, id, value } => {
                let args = object([("d", document(id_of(id), value))]);
                self.run(node, coll, "INSERT INTO @ DOCUMENTS (:d) ON ID CONFLICT DO UPDATE", &args)?;
                self.reads_back(node, coll, id, "v", value)
            }
            What::Set { node, coll, id, field, value } => {
                let args = object([("id", id_of(id)), ("x", Value::from(value))]);
                let text = format!("UPDATE @ SET {field} = :x WHERE _id = :id");
                if self.run(node, coll, &text, &args)? > 0 {
                    self.reads_back(node, coll, id, field, value)?;
                }
                Ok(())
            }
            What::Unset { node, coll, id, field } => {
                let args = object([("id", id_of(id))]);
                self.run(node, coll, &format!("UPDATE @ UNSET {field} WHERE _id = :id"), &args).map(drop)
            }
            What::Delete { node, coll, id } => {
                let args = object([("id", id_of(id))]);
                self.run(node, coll, "DELETE FROM @ WHERE _id = :id", &args).map(drop)
            }
            What::Initial { node, coll, id, value } => {
                let args = object([("d", document(id_of(id), value))]);
                self.run(node, coll, "INSERT INTO @ INITIAL DOCUMENTS (:d)", &args).map(drop)
            }
            What::Count { node, coll, id, pn } => {
                let args = object([("id", id_of(id))]);
                let text = if pn {
                    "UPDATE @ APPLY m PN_INCREMENT BY 1.0 WHERE _id = :id"
                } else {
                    "UPDATE COLLECTION @ (n COUNTER) APPLY n INCREMENT BY 1 WHERE _id = :id"
                };
                self.run(node, coll, text, &args).map(drop)
            }
            What::RestartCounter { node, coll, id } => {
                let args = object([("id", id_of(id))]);
                let text = "UPDATE COLLECTION @ (n COUNTER) APPLY n RESTART WITH 2 WHERE _id = :id";
                self.run(node, coll, text, &args).map(drop)
            }
            What::PutMany { node, coll, value } => {
                let docs = (0..IDS).map(|id| document(id_of(id), value)).collect();
                let args = object([("docs", Value::Array(docs))]);
                self.run(node, coll, "INSERT INTO @ DOCUMENTS (:docs) ON ID CONFLICT DO UPDATE", &args)
                    .map(drop)
            }
            What::Pair { node, value } => self.pair(node, value),
            What::Evict { node, coll, ids } => {
                let ids = (0..IDS).filter(|id| ids & (1 << id) != 0).map(id_of).collect();
                let args = object([("ids", Value::Array(ids))]);
                self.run(node, coll, "EVICT FROM @ WHERE array_contains(:ids, _id)", &args).map(drop)
            }
            What::Subscribe { node, query } => {
                if self.nodes[node].subs.insert(query) {
                    self.tell(node, ToSync::Subscribe { id: query as u64, query: QUERIES[query] });
                }
                Ok(())
            }
            What::Unsubscribe { node, query } => {
                if self.nodes[node].subs.remove(&query) {
                    self.tell(node, ToSync::Unsubscribe { id: query as u64 });
                }
                Ok(())
            }
            What::Reach { a, b, on, silent } => {
                self.set_reach(a, b, on, silent);
                Ok(())
            }
            What::Break { a, b } => {
                self.break_links(a, b);
                Ok(())
            }
            What::Rate { a, b, rate } => {
                self.network.set_rate(a, b, rate);
                Ok(())
            }
            What::Partition { group } => {
                for (a, b) in self.network.pairs() {
                    if (group >> a ^ group >> b) & 1 == 1 {
                        self.set_reach(a, b, false, false);
                    }
                }
                Ok(())
            }
            What::Heal => {
                for (a, b) in self.network.pairs() {
                    self.set_reach(a, b, true, false);
                }
                Ok(())
            }
            What::Crash { node, down_ms } => self.crash(node, down_ms),
            What::PowerLoss { node, keep, down_ms } => self.power_loss(node, keep, down_ms),
            What::Reopen { node } => {
                self.close_store(node);
                self.boot(node)
            }
            What::Backup { node } => {
                if let Some(disk) = &self.nodes[node].disk {
                    self.nodes[node].backup = Some(disk.image()?);
                }
                Ok(())
            }
            What::Restore { node } => {
                let Some(image) = self.nodes[node].backup.clone() else { return Ok(()) };
                self.close_store(node);
                if let Some(disk) = &self.nodes[node].disk {
                    disk.replace(&image)?;
                }
                self.boot(node)
            }
            What::Clone { from, to } => {
                if from == to {
                    return Ok(());
                }
                let Some(image) = self.nodes[from].disk.as_ref().map(|d| d.image()).transpose()? else {
                    return Ok(());
                };
                self.close_store(to);
                if let Some(disk) = &self.nodes[to].disk {
                    disk.replace(&image)?;
                }
                self.boot(to)
            }
            What::Clock { node, skew_ms } => {
                self.nodes[node].clock.set_skew(skew_ms);
                Ok(())
            }
            What::StopStart { node, down_ms } => {
                self.stop(node);
                let life = self.nodes[node].life;
                self.at(self.now + down_ms * 1000, Event::Start { node, life });
                Ok(())
            }
            What::Bus { from, to, len } => {
                let to = self.nodes[to].key;
                self.with(from, |p, now, out| p.bus_send(to, vec![7; len], now, out));
                Ok(())
            }
            What::Rest => self.rest(),
        }
    }

    /// Runs a statement of the app; `@` is the collection. Returns how many documents it changed.
    fn run(&mut self, node: usize, coll: usize, text: &str, args: &Object) -> Result<usize, Broken> {
        let text = text.replace('@', COLLECTIONS[coll]);
        let Some(data) = self.nodes[node].process.as_ref().and_then(|p| p.data.as_ref()) else {
            return Ok(0);
        };
        let outcome = data.store.execute(&text, args).map_err(|e| format!("peer {node}: {text}: {e}"))?;
        self.sync_soon(node);
        Ok(outcome.mutated_document_ids().len())
    }

    /// The clock only goes forward: who writes reads what was written, whatever was known before and whatever the wall shows.
    fn reads_back(&self, node: usize, coll: usize, id: u8, field: &str, value: i64) -> Result<(), Broken> {
        let Some(data) = self.nodes[node].process.as_ref().and_then(|p| p.data.as_ref()) else {
            return Ok(());
        };
        let text = format!("SELECT {field} AS x FROM {} WHERE _id = :id", COLLECTIONS[coll]);
        let rows =
            data.store.execute(&text, &object([("id", id_of(id))])).map_err(|e| format!("{text}: {e}"))?;
        let found = rows.iter().next().and_then(|row| row.get("x").and_then(Value::as_i64));
        if found == Some(value) {
            return Ok(());
        }
        Err(format!("peer {node} wrote {field} = {value} to k{id} and reads {found:?}"))
    }

    pub(crate) fn pair(&mut self, node: usize, value: i64) -> Result<(), Broken> {
        let Some(data) = self.nodes[node].process.as_ref().and_then(|p| p.data.as_ref()) else {
            return Ok(());
        };
        let failed = |e: ditto_store::StoreError| format!("peer {node}: transaction: {e}");
        let transaction = data.store.begin(ditto_store::TransactionOptions::default()).map_err(failed)?;
        for id in ["left", "right"] {
            let args = object([("d", document(Value::from(id), value))]);
            let text = "INSERT INTO p DOCUMENTS (:d) ON ID CONFLICT DO UPDATE";
            transaction.execute(text, &args).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.sync_soon(node);
        Ok(())
    }

    fn tell(&mut self, node: usize, message: ToSync) {
        if let Some(p) = self.nodes[node].process.as_mut() {
            p.inbox.push_back(message);
            self.sync_soon(node);
        }
    }

    /// Ends a process in an orderly way.
    pub(crate) fn close_store(&mut self, node: usize) {
        self.stop(node);
        if let Some(p) = self.kill(node, true) {
            end(p);
        }
    }

    fn crash(&mut self, node: usize, down_ms: u64) -> Result<(), Broken> {
        let image = self.nodes[node].disk.as_ref().map(|d| d.image()).transpose()?;
        let Some(process) = self.kill(node, true) else { return Ok(()) };
        end(process);
        if let (Some(disk), Some(image)) = (&self.nodes[node].disk, image) {
            disk.put_back(&image)?;
        }
        self.boot_later(node, down_ms)
    }

    fn power_loss(&mut self, node: usize, keep: u16, down_ms: u64) -> Result<(), Broken> {
        let image = self.nodes[node].disk.as_ref().map(|d| d.image()).transpose()?;
        let Some(process) = self.kill(node, false) else { return Ok(()) };
        end(process);
        if let (Some(disk), Some(image)) = (&self.nodes[node].disk, image) {
            let (left, lost) = disk.cut(&image, keep);
            disk.put_back(&left)?;
            self.stats.frames_lost += lost;
            self.trace.note(self.now, || format!("{node} loses {lost} frames"));
        }
        if !self.is_faulty(Fault::Boot) {
            self.nodes[node].clock.reboot();
        }
        self.boot_later(node, down_ms)
    }

    fn boot_later(&mut self, node: usize, down_ms: u64) -> Result<(), Broken> {
        if down_ms == 0 {
            return self.boot(node);
        }
        let life = self.nodes[node].life;
        self.at(self.now + down_ms * 1000, Event::Boot { node, life });
        Ok(())
    }
}

/// Closes the store of a process that is over.
pub(crate) fn end(process: Process) {
    if let Some(data) = &process.data {
        data.store.close();
    }
}
