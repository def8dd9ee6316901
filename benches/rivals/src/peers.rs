//! An iroh endpoint on loopback that speaks to nobody outside.

use iroh::endpoint::presets;
use iroh::{Endpoint, EndpointAddr, RelayMode};

use crate::Outcome;

pub(crate) async fn endpoint() -> Outcome<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    Ok(builder.clear_ip_transports().bind_addr("127.0.0.1:0")?.bind().await?)
}

pub(crate) fn address(endpoint: &Endpoint) -> EndpointAddr {
    endpoint.bound_sockets().into_iter().fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr)
}
