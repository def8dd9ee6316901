//! What is announced on the local network: a service type per database, and nothing that names anybody.

use ditto_types::DatabaseId;

/// The DNS-SD service type of a database and sync group, `_ditto-xxxxxxxx._tcp.local.`.
///
/// The eight hex digits come from a hash of both, so that peers of one database and group find each other, and others
/// learn no id. Two databases may share a type; HELLO tells them apart. Groups keep devices from finding each other,
/// nothing more: peers of different groups that are told each other's address do connect (API-237).
pub fn discovery_service_type(db: &DatabaseId, sync_group: u32) -> String {
    let hash = derived("esync discovery service type v1", db, sync_group);
    let tag = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    format!("_ditto-{tag:08x}._tcp.local.")
}

/// The key of multicast announcements of a database and sync group. Whoever knows the id of the database can make it, as
/// with the service type; a listener who does not cannot tell which announcements belong together.
pub fn discovery_scope(db: &DatabaseId, sync_group: u32) -> [u8; 32] {
    derived("esync multicast discovery scope v1", db, sync_group)
}

/// The service that radios of a database and sync group advertise, as a lower-case UUID of version 8.
pub fn discovery_service_uuid(db: &DatabaseId, sync_group: u32) -> String {
    let hash = derived("esync radio service uuid v1", db, sync_group);
    let mut text = String::with_capacity(36);
    for (i, mut byte) in hash.into_iter().take(16).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Version and variant of RFC 9562.
        match i {
            6 => byte = 0x80 | byte & 0x0f,
            8 => byte = 0x80 | byte & 0x3f,
            _ => {}
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

fn derived(context: &str, db: &DatabaseId, sync_group: u32) -> [u8; 32] {
    let mut input = db.as_bytes().to_vec();
    input.extend_from_slice(&sync_group.to_be_bytes());
    blake3::derive_key(context, &input)
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

    #[test]
    fn scopes_and_services_depend_on_database_and_group() {
        let other: DatabaseId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let scopes = [(&DatabaseId::DEFAULT, 0), (&DatabaseId::DEFAULT, 1), (&other, 0)];
        let keys: std::collections::BTreeSet<_> =
            scopes.iter().map(|(d, g)| discovery_scope(d, *g)).collect();
        assert_eq!(keys.len(), 3);
        let uuids: std::collections::BTreeSet<_> =
            scopes.iter().map(|(d, g)| discovery_service_uuid(d, *g)).collect();
        assert_eq!(uuids.len(), 3);
        for uuid in uuids {
            let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(uuid.as_bytes()[14], b'8');
            assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        }
    }
}
