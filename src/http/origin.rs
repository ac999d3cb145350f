//! The rule for web pages of other origins (CORS and the `Origin` of changes).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::refused_origin::RefusedOrigins;
use crate::config::PageOrigin;
use crate::listener::{Problem, is_of_host};
use crate::wire::{Reason, Refusal};

/// The time for which a browser may cache the permission.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// The configured origins, in addition to those that are always admitted: pages of the host that serves the request,
/// and with `--dev` pages of this machine.
#[derive(Debug, Clone)]
pub(super) struct OriginRule {
    listed: Arc<[PageOrigin]>,
    is_any_allowed: bool,
    is_dev: bool,
    refused: Arc<RefusedOrigins>,
}

impl OriginRule {
    pub(super) fn new(allowed: &[String], is_dev: bool) -> OriginRule {
        OriginRule {
            listed: allowed
                .iter()
                .filter_map(|text| PageOrigin::parse(text))
                .collect(),
            is_any_allowed: allowed.iter().any(|origin| origin == "*"),
            is_dev,
            refused: Arc::default(),
        }
    }

    /// Returns whether a page may make its request, and logs an origin that may not. Games that are not web pages
    /// send no origin and pass: their rights depend on their token, never on a cookie.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        let host = headers.get(HOST);
        let is_admitted = origins.next().is_none() && self.is_admitted(origin, host);
        if !is_admitted {
            self.refused.log(origin, host, Instant::now());
        }
        is_admitted
    }

    /// Returns the layer that answers browsers about calls from other origins.
    pub(super) fn cors(&self) -> CorsLayer {
        let allow = match self.is_any_allowed {
            true => AllowOrigin::any(),
            false => {
                let rule = self.clone();
                AllowOrigin::predicate(move |_, request| rule.admits(&request.headers))
            }
        };
        CorsLayer::new()
            .allow_origin(allow)
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

    fn is_admitted(&self, origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
        if self.is_any_allowed {
            return true;
        }
        let Some(origin) = origin.to_str().ok().and_then(PageOrigin::parse) else {
            return false;
        };
        is_of_host(&origin, host)
            || self.listed.contains(&origin)
            || (self.is_dev && is_of_this_machine(&origin))
    }
}

/// Refuses changes that a page of a foreign origin asks for, as the upgrade to a socket does.
pub(super) async fn check_origin(
    State(rule): State<OriginRule>,
    request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() || rule.admits(request.headers()) {
        return next.run(request).await;
    }
    let detail =
        "this origin may not ask for changes; server.allowed_origins says which origins may";
    Problem::from(Refusal::new(Reason::PermissionDenied, detail)).into_response()
}

/// Returns whether the page comes from a server on the loopback interface, as in development.
fn is_of_this_machine(origin: &PageOrigin) -> bool {
    let Some(host) = origin.host() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allowed: &[&str], is_dev: bool) -> OriginRule {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        OriginRule::new(&allowed, is_dev)
    }

    #[track_caller]
    fn check_rule(rule: &OriginRule, host: &str, origin: &str, admitted: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        headers.insert(ORIGIN, origin.parse().unwrap());
        assert_eq!(rule.admits(&headers), admitted, "{origin}");
    }

    #[track_caller]
    fn check(allowed: &[&str], host: &str, origin: &str, admitted: bool) {
        check_rule(&rule(allowed, false), host, origin, admitted);
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
        check(&[], "", "file://", false);
        check(&[], "localhost:7450", "http://localhost:5173", false);
    }

    #[test]
    fn with_a_list_scheme_host_and_port_must_match_and_own_pages_stay_admitted() {
        let allowed = ["https://game.example"];
        check(&allowed, "hub.example", "https://game.example", true);
        check(&allowed, "hub.example", "https://GAME.example:443", true);
        check(&allowed, "hub.example", "https://hub.example", true);
        check(&allowed, "hub.example", "http://game.example", false);
        check(&allowed, "hub.example", "https://game.example:444", false);
        check(&allowed, "hub.example", "https://x.game.example", false);
        check(&allowed, "hub.example", "null", false);
        check(&["*"], "hub.example", "https://anywhere.example", true);
        check(&["*"], "hub.example", "null", true);
    }

    #[test]
    fn a_page_that_is_no_site_can_be_named() {
        for origin in [
            "null",
            "file://",
            "chrome-extension://abc",
            "capacitor://localhost",
            "ionic+game.x-y://localhost",
        ] {
            check(&[origin], "hub.example", origin, true);
            check(&["https://game.example"], "hub.example", origin, false);
        }
    }

    #[test]
    fn a_developers_page_is_admitted_with_dev_alone_and_from_this_machine_alone() {
        for origin in [
            "http://localhost:5173",
            "https://localhost",
            "http://game.localhost:3000",
            "http://127.0.0.1:7520",
            "http://127.1.2.3",
            "http://[::1]:8080",
        ] {
            check_rule(&rule(&[], true), "127.0.0.1:7450", origin, true);
            check_rule(&rule(&[], false), "127.0.0.1:7450", origin, false);
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evillocalhost",
            "http://10.0.0.1",
            "null",
            "file://",
        ] {
            check_rule(&rule(&[], true), "127.0.0.1:7450", origin, false);
        }
    }

    #[test]
    fn a_game_that_is_no_page_passes_and_two_origins_never_do() {
        let rule = rule(&["https://game.example"], false);
        let mut headers = HeaderMap::new();
        assert!(rule.admits(&headers));
        headers.append(ORIGIN, HeaderValue::from_static("https://game.example"));
        headers.append(ORIGIN, HeaderValue::from_static("https://game.example"));
        assert!(!rule.admits(&headers));
    }
}
