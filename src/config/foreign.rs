//! Environment variables with the daemon's prefix that are not keys of its configuration.

use super::section::SECTIONS;

/// Returns true if the variable `HOLDFAST_` + `rest` has another purpose.
pub(super) fn is_foreign(rest: &str, value: Option<&str>) -> bool {
    rest == "CONFIG" || rest.starts_with("TEST_") || is_service_variable(rest, value)
}

/// Returns true if Kubernetes sets this variable in a container, for a Service named `holdfast` or `holdfast-...`:
/// `*_SERVICE_HOST`, `*_SERVICE_PORT`, `*_SERVICE_PORT_NAME`, `*_PORT` with an address, and `*_PORT_N_TCP` and the
/// like.
///
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_variable(rest: &str, value: Option<&str>) -> bool {
    if is_key(rest) {
        return false;
    }
    // An underscore follows the name of each service; for the service `holdfast` no name is left here.
    let forms = format!("_{rest}");
    let service = |at: usize| forms[..at].strip_prefix('_').unwrap_or_default();
    let mut places = forms
        .match_indices('_')
        .filter(|(at, _)| is_name(service(*at)));
    places.any(|(at, _)| is_form(&forms[at..], value))
}

/// Returns true if it has the form of a key in a section. Nothing is reserved there: a wrong key must be refused.
fn is_key(rest: &str) -> bool {
    rest.split_once("__")
        .is_some_and(|(section, _)| SECTIONS.contains(&section.to_ascii_lowercase().as_str()))
}

/// Returns true if a service may have this name, which is empty for the service `holdfast` itself. Names of services
/// end in a letter or a digit.
fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| is_letter(byte) || byte == b'_')
        && text.bytes().next().is_none_or(is_letter)
        && text.bytes().last().is_none_or(is_letter)
}

fn is_form(form: &str, value: Option<&str>) -> bool {
    match form {
        "_SERVICE_HOST" | "_SERVICE_PORT" => true,
        // A plain number is meant for a key.
        "_PORT" => value.is_some_and(|value| value.contains("://")),
        _ if form.starts_with("_SERVICE_PORT_") => true,
        _ => form.strip_prefix("_PORT_").is_some_and(is_port),
    }
}

/// Returns true for `N_TCP`, `N_UDP` or `N_SCTP`, alone or followed by `_PROTO`, `_PORT` or `_ADDR`.
fn is_port(text: &str) -> bool {
    let Some((number, rest)) = text.split_once('_') else {
        return false;
    };
    let (protocol, part) = rest.split_once('_').unwrap_or((rest, ""));
    number.parse::<u16>().is_ok()
        && ["TCP", "UDP", "SCTP"].contains(&protocol)
        && ["", "PROTO", "PORT", "ADDR"].contains(&part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_reserves_is_foreign_whatever_the_service_is_called() {
        for (rest, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "7450"),
            ("SERVICE_PORT_HTTP", "7450"),
            ("PORT", "tcp://10.0.0.1:7450"),
            ("PORT_7450_TCP", "tcp://10.0.0.1:7450"),
            ("PORT_7450_TCP_ADDR", "10.0.0.1"),
            ("POSTGRESQL_SERVICE_HOST", "10.0.0.1"),
            ("POSTGRESQL_SERVICE_PORT_TCP_POSTGRESQL", "5432"),
            ("POSTGRESQL_PORT", "tcp://10.96.13.7:5432"),
            ("POSTGRESQL_HL_PORT_5432_TCP_PROTO", "tcp"),
            ("ADMIN_PORT", "tcp://[fd00::1]:7451"),
            ("GAME_2_PORT_53_UDP_PORT", "53"),
            ("SERVER_PORT_9_SCTP", "sctp://10.0.0.1:9"),
            ("PORT_PORT", "tcp://10.0.0.1:1"),
            ("SERVICE_SERVICE_HOST", "10.0.0.1"),
            ("A__B_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert!(is_foreign(rest, Some(value)), "{rest}={value}");
        }
    }

    #[test]
    fn a_key_with_a_typo_is_not_foreign() {
        for (rest, value) in [
            ("SERVER__LISTEN", "127.0.0.1:1"),
            ("SERVER__PORT", "7450"),
            ("SERVER__PORT", "tcp://10.0.0.1:1"),
            ("SERVER_PORT", "7450"),
            ("PORT", "7450"),
            ("SERVER__SERVICE_PORT", "7450"),
            ("DATABASE__POSTGRESQL_SERVICE_HOST", "10.0.0.1"),
            ("KIND__TABLE__PORT_1_TCP", "1"),
            ("DATABASE_URL", "postgres://10.0.0.1"),
            ("SERVICE_HOSTS", "10.0.0.1"),
            ("PORT_7450", "7450"),
            ("PORT_X_TCP", "1"),
            ("PORT_7450_TLS", "1"),
            ("DATABASE_URL_", "x"),
        ] {
            assert!(!is_foreign(rest, Some(value)), "{rest}={value}");
        }
    }
}
