//! What a WebSocket URL says about the connection.

use url::{Host, Url};

/// Where to connect to, and what to ask for there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port` for the connection.
    pub(super) address: String,
    /// The name that the certificate must have: a domain, or an address without brackets.
    pub(super) name: String,
    pub(super) secure: bool,
    /// The URL without fragment, for the request.
    pub(super) request: String,
    /// Scheme, host and port: a path or query may hold a secret, which is not for logs.
    pub(super) shown: String,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|e| e.to_string())?;
        let secure = match url.scheme() {
            "ws" => false,
            "wss" => true,
            other => return Err(format!("the scheme is {other}, not ws or wss")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user name or password, which would not be sent".to_owned());
        }
        url.set_fragment(None);
        let name = match url.host() {
            Some(Host::Domain(domain)) if !domain.is_empty() => domain.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            _ => return Err("it has no host".to_owned()),
        };
        let port = url.port_or_known_default().filter(|p| *p != 0).ok_or("its port is 0")?;
        let host = if name.contains(':') { format!("[{name}]") } else { name.clone() };
        let address = format!("{host}:{port}");
        Ok(Self {
            shown: format!("{}://{address}", url.scheme()),
            address,
            name,
            secure,
            request: url.into(),
        })
    }
}

/// Says what is wrong with a text that should be a `ws://` or `wss://` URL to dial.
///
/// # Errors
/// In words, without the URL.
pub fn check_websocket_url(text: &str) -> Result<(), String> {
    Target::parse(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_somewhere_or_say_why_not() {
        let target = Target::parse("wss://Example.com/a?token=s#f").unwrap();
        assert_eq!(target.address, "example.com:443");
        assert_eq!(target.name, "example.com");
        assert_eq!(target.request, "wss://example.com/a?token=s");
        assert_eq!(target.shown, "wss://example.com:443");
        assert!(target.secure);
        let target = Target::parse("ws://[::1]:8080").unwrap();
        assert_eq!((target.address.as_str(), target.name.as_str()), ("[::1]:8080", "::1"));
        assert!(!target.secure);
        assert_eq!(Target::parse("ws://127.0.0.1").unwrap().address, "127.0.0.1:80");
        for bad in [
            "",
            "x",
            "ws://",
            "http://a",
            "wss://u@a",
            "wss://u:p@a",
            "ws://a:0",
            "ws://a:65536",
            "ws://a b",
            "ws://[::1",
            "tcp://a:1",
            "//a",
        ] {
            assert!(check_websocket_url(bad).is_err(), "{bad:?}");
        }
    }
}
