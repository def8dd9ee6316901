//! What is announced on the local network: a service type per database, and nothing that names anybody.

use ditto_types::DatabaseId;

/// The DNS-SD service type of a database, `_ditto-xxxxxxxx._tcp.local.`.
///
/// The eight hex digits come from a hash of the database id, so that peers of one database find each other and others
/// learn no id. Two databases may share a type; HELLO tells them apart.
pub fn discovery_service_type(db: &DatabaseId) -> String {
    let hash = blake3::derive_key("esync discovery service type v1", db.as_bytes());
    let tag = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    format!("_ditto-{tag:08x}._tcp.local.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_fits_dns_sd_and_depends_on_the_database() {
        let a = discovery_service_type(&DatabaseId::DEFAULT);
        let b = discovery_service_type(&"11111111-2222-3333-4444-555555555555".parse().unwrap());
        assert_ne!(a, b);
        // RFC 6335: at most 15 characters after the underscore.
        assert!(a.split('.').next().unwrap().len() - 1 <= 15, "{a}");
        assert!(!b.contains("1111"));
    }
}
