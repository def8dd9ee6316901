//! Reconciliation: comparing the sender's view with what the receiver holds.

use ditto_types::{Digest, KeyHash};

use super::bulk::Job;
use super::receive::short;
use super::session::{Mark, Session};
use super::{Core, Fault};
use crate::limits::{MAX_KEYS, MAX_MISSING};
use crate::peer::Lane;
use crate::store::SyncStore;
use crate::wire::{KeyDigest, Keys, List, Message, Root};

/// Listing is the only mode of comparison so far.
const MODE_LIST: u8 = 0;

/// The receiver's side of a comparison.
pub(crate) struct Recon {
    token: u64,
    /// What this store holds in the view, ascending, and how far the listing has come in it.
    view: Vec<KeyDigest>,
    at: usize,
    /// The last key listed.
    last: Option<KeyHash>,
    listed: u64,
    /// Keys that only this store has, to be announced.
    extras: Vec<KeyDigest>,
    complete: bool,
}

/// Order-independent fingerprint of a view: the sum of keyed hashes of its entries.
pub(crate) fn fingerprint(salt: &[u8; 8], view: &[(KeyHash, Digest)]) -> u128 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(salt);
    view.iter().fold(0, |sum: u128, (k, d)| {
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&k.0.to_le_bytes());
        hasher.update(&d.0);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        sum.wrapping_add(u128::from_le_bytes(bytes))
    })
}

impl<S: SyncStore> Session<S> {
    /// Compares the sender's fingerprint with ours.
    pub(crate) fn on_root(&mut self, core: &mut Core<S>, m: &Root) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&m.sid) else { return Ok(()) };
        if sub.finished || sub.recon.is_some() {
            return Err(Fault::Unexpected("ROOT"));
        }
        let view = core.store.view(&sub.query)?;
        if m.count == view.len() as u64 && m.sum == fingerprint(&m.salt, &view) {
            self.put(core, Lane::Live, &Message::RecOk { sid: m.sid });
            self.finish_scan(m.sid, m.token);
            return self.try_live(core);
        }
        let count = view.len() as u64;
        sub.total = m.count;
        sub.recon = Some(Recon {
            token: m.token,
            view: view.iter().map(short).collect(),
            at: 0,
            last: None,
            listed: 0,
            extras: Vec::new(),
            complete: false,
        });
        self.put(core, Lane::Live, &Message::RecGo { sid: m.sid, mode: MODE_LIST, count });
        self.report(core, m.sid);
        Ok(())
    }

    /// Takes in a part of the sender's listing.
    pub(crate) fn on_list(&mut self, core: &mut Core<S>, m: List) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&m.sid) else { return Ok(()) };
        let Some(recon) = &mut sub.recon else { return Err(Fault::Unexpected("LIST")) };
        if recon.complete {
            return Err(Fault::Unexpected("LIST"));
        }
        recon.listed += m.keys.len() as u64;
        if recon.listed > MAX_MISSING as u64 {
            return Err(Fault::TooManyWants(MAX_MISSING));
        }
        for (key, digest) in m.keys {
            if recon.last.is_some_and(|last| key <= last) {
                return Err(Fault::ListOrder);
            }
            recon.last = Some(key);
            while let Some(mine) = recon.view.get(recon.at).filter(|mine| mine.0 < key) {
                recon.extras.push(*mine);
                recon.at += 1;
            }
            let same = match recon.view.get(recon.at).filter(|mine| mine.0 == key) {
                Some(mine) => {
                    recon.at += 1;
                    mine.1 == digest
                }
                None => false,
            };
            if !same {
                self.recv.wants.add(key)?;
            }
        }
        if m.last {
            recon.extras.extend_from_slice(&recon.view[recon.at..]);
            recon.view = Vec::new();
            recon.complete = true;
            self.next_extras(core, m.sid)?;
        }
        self.send_wants(core)
    }

    /// Announces what only this store has, one message at a time; then the comparison is over.
    fn next_extras(&mut self, core: &mut Core<S>, sid: u32) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&sid) else { return Ok(()) };
        let Some(recon) = &mut sub.recon else { return Ok(()) };
        let n = recon.extras.len().min(MAX_KEYS);
        if n > 0 {
            let keys = recon.extras.split_off(recon.extras.len() - n);
            let mark = self.new_mark(Mark::Extras(sid));
            self.put(core, Lane::Live, &Message::Have(Keys { mark: Some(mark), keys }));
            return Ok(());
        }
        let token = recon.token;
        sub.recon = None;
        self.put(core, Lane::Live, &Message::RecEnd { sid, ok: true });
        self.finish_scan(sid, token);
        self.try_live(core)
    }

    /// The sender has looked at a part of what only this store has.
    pub(crate) fn extras_confirmed(&mut self, core: &mut Core<S>, sid: u32) -> Result<(), Fault> {
        self.next_extras(core, sid)
    }

    /// The receiver's view differs: list ours.
    pub(crate) fn on_recgo(&mut self, sid: u32) -> Result<(), Fault> {
        let Some(sub) = self.send.subs.get_mut(&sid) else { return Ok(()) };
        if !std::mem::take(&mut sub.root_sent) {
            return Err(Fault::Unexpected("RECGO"));
        }
        self.send.jobs.push_back(Job::List { sid, entries: None, at: 0 });
        Ok(())
    }

    /// The receiver is done with a comparison.
    pub(crate) fn on_reconciled(&mut self, sid: u32) -> Result<(), Fault> {
        if let Some(sub) = self.send.subs.get_mut(&sid) {
            sub.root_sent = false;
        }
        Ok(())
    }
}
