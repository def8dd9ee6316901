//! What we say in HELLO, and whether we accept what the other side says.

use super::secret_of;
use crate::api::PeerInfo;
use crate::config::{Limits, MeshConfig, display_name};
use crate::event::Refusal;
use crate::hello::{CAP_SERVER, Hello, PROTOCOL, Proof};
use crate::peer_key::PeerKey;
use crate::proof::{ProofKey, database_hash};
use crate::tls::{SecureChannel, TlsError};
use crate::transport::{LinkKind, Role};

/// Admission of one instance.
pub(crate) struct Greeter {
    key: Option<ProofKey>,
    /// Everything of our HELLO that does not depend on the link.
    own: Hello,
    max_sync_message: usize,
}

impl Greeter {
    pub(crate) fn new(config: &MeshConfig, limits: &Limits) -> Self {
        Self {
            key: secret_of(config).map(|s| ProofKey::derive(s, &config.database)),
            own: Hello {
                proto: PROTOCOL,
                db_id_hash: database_hash(&config.database),
                store_id: config.store_id,
                store_epoch: config.store_epoch,
                wall_ms: 0,
                boot_tag: [0; 8],
                caps: if config.is_server { CAP_SERVER } else { 0 },
                link_kind: 0,
                max_frame: limits.max_frame as u32,
                window: limits.window,
                device_name: display_name(&config.device_name).to_owned(),
                os: config.os.clone(),
                sdk: config.sdk_version.clone(),
                sync_group: config.sync_group,
                token: config.discovery_token.clone(),
                proof: Proof::Open,
                metadata: Vec::new(),
                revocation_head: Vec::new(),
                session: [0; 8],
                frames: 0,
            },
            max_sync_message: limits.max_sync_message,
        }
    }

    /// JSON of our metadata, for the apps that we ask to be let in.
    pub(super) fn set_metadata(&mut self, json: &[u8]) {
        self.own.metadata = json.to_vec();
    }

    /// What we say from now on.
    pub(super) fn set_sync_group(&mut self, group: u32) {
        self.own.sync_group = group;
    }

    pub(super) fn set_boot_tag(&mut self, tag: [u8; 8]) {
        self.own.boot_tag = tag;
    }

    /// Our HELLO for a link. `session` is what we have with this peer already.
    pub(super) fn hello(
        &self,
        channel: &SecureChannel,
        role: Role,
        kind: LinkKind,
        wall_ms: u64,
        session: ([u8; 8], u64),
    ) -> Result<Vec<u8>, TlsError> {
        let proof = match &self.key {
            None => Proof::Open,
            Some(key) => Proof::SharedKey(key.mac(channel, role)?),
        };
        let (session, frames) = session;
        let mut hello = Hello { wall_ms, link_kind: kind.code(), proof, session, frames, ..self.own.clone() };
        if role == Role::Acceptor || kind == LinkKind::WebSocket {
            hello.metadata.clear();
        }
        Ok(hello.encode())
    }

    /// Proof of the shared key for the end with `role` of a circuit's channel, where there is a shared key.
    pub(crate) fn prove(&self, channel: &SecureChannel, role: Role) -> Result<Option<[u8; 32]>, TlsError> {
        self.key.as_ref().map(|key| key.mac(channel, role)).transpose()
    }

    /// Whether the end with `role` of a circuit's channel has proven what this instance asks for.
    pub(crate) fn verify(
        &self,
        channel: &SecureChannel,
        role: Role,
        proof: Option<&[u8; 32]>,
    ) -> Result<bool, TlsError> {
        match (&self.key, proof) {
            (None, None) => Ok(true),
            (Some(key), Some(mac)) => key.verify(channel, role, mac),
            _ => Ok(false),
        }
    }

    /// Whether the side with `role` may connect.
    pub(super) fn check(&self, channel: &SecureChannel, role: Role, hello: &Hello) -> Result<(), Refusal> {
        if hello.db_id_hash != self.own.db_id_hash {
            return Err(Refusal::WrongDatabase);
        }
        match (&self.key, &hello.proof) {
            (None, Proof::Open) => {}
            (Some(key), Proof::SharedKey(mac)) => {
                if !key.verify(channel, role, mac).map_err(|e| Refusal::Tls(e.to_string()))? {
                    return Err(Refusal::WrongSharedKey);
                }
            }
            (None, Proof::SharedKey(_)) | (Some(_), Proof::Open) => return Err(Refusal::ModeMismatch),
            // Permits are for servers and their clients, which this release does not know.
            (_, Proof::Permit(_) | Proof::Unknown(_)) => return Err(Refusal::UnknownProof),
        }
        // Also what a reflected HELLO runs into where there is no secret. Two stores of one name would corrupt each
        // other's cursors.
        if hello.store_id == self.own.store_id {
            return Err(Refusal::SelfConnection);
        }
        Ok(())
    }

    /// What the app learns of a peer.
    pub(super) fn info(
        &self,
        peer: PeerKey,
        hello: &Hello,
        kind: LinkKind,
        remote: &str,
        wall_ms: u64,
    ) -> PeerInfo {
        PeerInfo {
            peer,
            store_id: hello.store_id,
            store_epoch: hello.store_epoch,
            device_name: display_name(&hello.device_name).to_owned(),
            os: hello.os.clone(),
            sdk_version: hello.sdk.clone(),
            sync_group: hello.sync_group,
            is_server: hello.caps & CAP_SERVER != 0,
            link_kind: kind,
            remote: remote.to_owned(),
            clock_offset_ms: (i128::from(hello.wall_ms) - i128::from(wall_ms))
                .clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
            max_message: self.max_sync_message,
        }
    }
}
