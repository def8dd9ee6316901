//! Identity, admission, secure links, frames, sessions and presence of the peer-to-peer mesh.

pub mod transport;
