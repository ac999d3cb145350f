//! Which web pages may speak to the hub.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what it was allowed.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// The configured origins.
#[derive(Debug, Clone)]
pub(super) enum OriginRule {
    /// None is configured: a page may speak to the host it came from.
    SameHost,
    Listed(Arc<[Origin]>),
    Any,
}

/// Scheme, host and port of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl OriginRule {
    pub(super) fn new(allowed: &[String]) -> OriginRule {
        if allowed.is_empty() {
            return OriginRule::SameHost;
        }
        if allowed.iter().any(|origin| origin == "*") {
            return OriginRule::Any;
        }
        OriginRule::Listed(
            allowed
                .iter()
                .filter_map(|text| Origin::parse(text))
                .collect(),
        )
    }

    /// Whether a page may open a socket. Games that are no web page send no origin, and pass: what
    /// they may do is decided by their token, never by a cookie.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        if origins.next().is_some() {
            return false;
        }
        match self {
            OriginRule::Any => true,
            OriginRule::SameHost => is_host(origin, headers.get(HOST)),
            OriginRule::Listed(allowed) => is_listed(origin, allowed),
        }
    }

    /// What browsers are told about calls from other origins; nothing where there are none to allow.
    pub(super) fn cors(&self) -> CorsLayer {
        let layer = CorsLayer::new();
        let layer = match self {
            OriginRule::SameHost => return layer,
            OriginRule::Any => layer.allow_origin(AllowOrigin::any()),
            OriginRule::Listed(allowed) => {
                let allowed = Arc::clone(allowed);
                layer.allow_origin(AllowOrigin::predicate(move |origin, _| {
                    is_listed(origin, &allowed)
                }))
            }
        };
        layer
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                HeaderName::from_static("x-api-key"),
                HeaderName::from_static("idempotency-key"),
            ])
            .expose_headers([HeaderName::from_static("x-request-id"), RETRY_AFTER])
            .max_age(REMEMBERED_FOR)
    }
}

impl Origin {
    /// Reads `scheme://host[:port]`, and nothing behind it.
    fn parse(text: &str) -> Option<Origin> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let host = uri.host()?.to_ascii_lowercase();
        let has_more = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        if has_more || uri.authority()?.as_str().contains('@') {
            return None;
        }
        let usual = match scheme.as_str() {
            "https" | "wss" => 443,
            _ => 80,
        };
        let port = uri.port_u16().unwrap_or(usual);
        Some(Origin { scheme, host, port })
    }
}

/// Whether a page of the host that is asked sent this, as its browser says.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next().filter(|_| origins.next().is_none());
    origin.is_some_and(|origin| is_host(origin, headers.get(HOST)))
}

fn is_listed(origin: &HeaderValue, allowed: &[Origin]) -> bool {
    let origin = origin.to_str().ok().and_then(Origin::parse);
    origin.is_some_and(|origin| allowed.contains(&origin))
}

fn is_host(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    let Some((scheme, _)) = origin.split_once("://") else {
        return false;
    };
    // The host may leave out the usual port of the page's scheme, so it is read as if it had it.
    let host = Origin::parse(&format!("{scheme}://{host}"));
    host.is_some() && Origin::parse(origin) == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(allowed: &[&str], host: &str, origin: &str, admitted: bool) {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        headers.insert(ORIGIN, origin.parse().unwrap());
        assert_eq!(
            OriginRule::new(&allowed).admits(&headers),
            admitted,
            "{origin}"
        );
    }

    #[test]
    fn without_a_list_a_page_speaks_to_its_own_host() {
        check(&[], "example.com", "https://example.com", true);
        check(&[], "example.com", "https://EXAMPLE.com", true);
        check(&[], "example.com:443", "https://example.com", true);
        check(&[], "localhost:7450", "http://localhost:7450", true);
        check(&[], "[::1]:7450", "http://[::1]:7450", true);
        check(&[], "example.com", "https://evil-example.com", false);
        check(&[], "example.com", "https://example.com.evil", false);
        check(&[], "example.com", "https://example.com@evil.com", false);
        check(&[], "example.com", "https://example.com:8443", false);
        check(&[], "example.com", "null", false);
        check(&[], "example.com", "", false);
    }

    #[test]
    fn with_a_list_scheme_host_and_port_must_match() {
        let allowed = ["https://game.example"];
        check(&allowed, "hub.example", "https://game.example", true);
        check(&allowed, "hub.example", "https://GAME.example:443", true);
        check(&allowed, "hub.example", "http://game.example", false);
        check(&allowed, "hub.example", "https://game.example:444", false);
        check(&allowed, "hub.example", "https://hub.example", false);
        check(&allowed, "hub.example", "https://x.game.example", false);
        check(&allowed, "hub.example", "null", false);
        check(&["*"], "hub.example", "https://anywhere.example", true);
    }

    #[test]
    fn a_game_that_is_no_page_passes_and_two_origins_never_do() {
        let rule = OriginRule::new(&["https://game.example".to_owned()]);
        let mut headers = HeaderMap::new();
        assert!(rule.admits(&headers));
        headers.append(ORIGIN, HeaderValue::from_static("https://game.example"));
        headers.append(ORIGIN, HeaderValue::from_static("https://game.example"));
        assert!(!rule.admits(&headers));
    }
}
