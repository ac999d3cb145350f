//! The origin of a web page, as its browser states it in the header `Origin`: parsed in one way for the configuration
//! and for requests.

/// The origin of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PageOrigin {
    /// `null`: a frame in a sandbox, or a page from a file.
    Opaque,
    /// Scheme, host and port. The host is empty for pages from files (`file://`).
    Place {
        scheme: String,
        host: String,
        /// The default port of the scheme if none is written; `None` if the scheme has no default.
        port: Option<u16>,
    },
}

/// The default ports, which browsers leave out.
const USUAL_PORTS: [(&str, u16); 4] = [("http", 80), ("ws", 80), ("https", 443), ("wss", 443)];

impl PageOrigin {
    /// Parses `null` or `scheme://host[:port]` in any case; a final slash is ignored.
    pub(crate) fn parse(text: &str) -> Option<PageOrigin> {
        if text == "null" {
            return Some(PageOrigin::Opaque);
        }
        let (scheme, authority) = text.split_once("://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        is_scheme(scheme).then_some(())?;
        let scheme = scheme.to_ascii_lowercase();
        let usual = USUAL_PORTS.iter().find(|(name, _)| *name == scheme);
        let (host, written) = split_port(authority)?;
        // An address on the network has a host; a page from a file has none.
        if host.is_empty() && (usual.is_some() || written.is_some()) {
            return None;
        }
        Some(PageOrigin::Place {
            host: host.to_ascii_lowercase(),
            port: written.or(usual.map(|(_, port)| *port)),
            scheme,
        })
    }

    /// Returns the host without a port, if the origin has one.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            PageOrigin::Opaque => None,
            PageOrigin::Place { host, .. } => Some(host.as_str()).filter(|host| !host.is_empty()),
        }
    }

    /// Returns the scheme, if the origin has one.
    pub(crate) fn scheme(&self) -> Option<&str> {
        match self {
            PageOrigin::Opaque => None,
            PageOrigin::Place { scheme, .. } => Some(scheme),
        }
    }
}

/// Checks a scheme as in [RFC 3986, 3.1](https://www.rfc-editor.org/rfc/rfc3986#section-3.1).
fn is_scheme(text: &str) -> bool {
    let is_further = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.bytes().all(is_further) && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
}

/// Splits `host[:port]`. A host is in ASCII, as browsers send it: other letters are written as `xn--..`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // After the bracket that ends an IPv6 address, if there is one.
    let from = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[from..].rfind(':') {
        Some(at) => (
            &authority[..from + at],
            Some(port(&authority[from + at + 1..])?),
        ),
        None => (authority, None),
    };
    is_host(host).then_some((host, port))
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn is_host(text: &str) -> bool {
    if let Some(inside) = text.strip_prefix('[') {
        let address = inside.strip_suffix(']');
        return address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    }
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_to_write_an_origin_are_one() {
        for (left, right) in [
            ("https://game.example", "HTTPS://GAME.example:443"),
            ("http://game.example/", "http://game.example:80"),
            ("wss://game.example", "wss://game.example:443"),
            ("http://[::1]:7450", "http://[::1]:7450/"),
        ] {
            assert!(PageOrigin::parse(left).is_some(), "{left}");
            assert_eq!(PageOrigin::parse(left), PageOrigin::parse(right));
        }
    }

    #[test]
    fn any_scheme_is_read_and_none_is_taken_for_another() {
        let origins = [
            "chrome-extension://abc",
            "moz-extension://0a1b-2c",
            "capacitor://localhost",
            "capacitor://localhost:80",
            "ionic+x.y://localhost",
            "app://.",
            "file://",
            "null",
            "http://localhost",
            "http://localhost:81",
            "http://[::1]",
        ];
        for (at, origin) in origins.iter().enumerate() {
            let read = PageOrigin::parse(origin);
            assert!(read.is_some(), "{origin}");
            for other in &origins[at + 1..] {
                assert_ne!(read, PageOrigin::parse(other), "{origin} {other}");
            }
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "*",
            "NULL",
            "game.example",
            "://game.example",
            "1a://game.example",
            "ht_tp://game.example",
            "https://",
            "https:///",
            "https://game.example/path",
            "https://game.example?x",
            "https://game.example#x",
            "https://ana@game.example",
            "https://game.example:",
            "https://game.example:x",
            "https://game.example:+1",
            "https://game.example:65536",
            "https://*.game.example",
            "https://a b",
            "https://bücher.example",
            "http://[::1",
            "http://::1",
            "http://[game.example]",
            "file://:80",
        ] {
            assert_eq!(PageOrigin::parse(text), None, "{text}");
        }
    }
}
