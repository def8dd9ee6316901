//! What is announced on the local network: a service type per database, and nothing that names anybody.

use ditto_types::DatabaseId;

/// The DNS-SD service type of a database and sync group, `_ditto-xxxxxxxx._tcp.local.`.
///
/// The eight hex digits come from a hash of both, so that peers of one database and group find each other, and others
/// learn no id. Two databases may share a type; HELLO tells them apart. Groups keep devices from finding each other,
/// nothing more: peers of different groups that are told each other's address do connect (API-237).
pub fn discovery_service_type(db: &DatabaseId, sync_group: u32) -> String {
    let mut input = db.as_bytes().to_vec();
    input.extend_from_slice(&sync_group.to_be_bytes());
    let hash = blake3::derive_key("esync discovery service type v1", &input);
    let tag = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    format!("_ditto-{tag:08x}._tcp.local.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_fits_dns_sd_and_depends_on_database_and_group() {
        let a = discovery_service_type(&DatabaseId::DEFAULT, 0);
        let b = discovery_service_type(&"11111111-2222-3333-4444-555555555555".parse().unwrap(), 0);
        assert_ne!(a, b);
        assert_ne!(a, discovery_service_type(&DatabaseId::DEFAULT, 1));
        // RFC 6335: at most 15 characters after the underscore.
        assert!(a.split('.').next().unwrap().len() - 1 <= 15, "{a}");
        assert!(!b.contains("1111"));
    }
}
