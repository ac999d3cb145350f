//! Headers with a list as their value. It may be split over several lines, which mean the
//! same as one (RFC 9110, 5.3).

use axum::http::{HeaderMap, HeaderName};

/// Returns the members of a list, from all lines of the header, without white space around
/// them and without empty ones.
pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

/// Returns whether a list has this member, ignoring case.
pub(super) fn has(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    members(headers, name).any(|found| found.eq_ignore_ascii_case(member))
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONNECTION;

    use super::*;

    #[test]
    fn lines_are_one_list() {
        let mut headers = HeaderMap::new();
        assert!(!has(&headers, &CONNECTION, "upgrade"));
        for line in ["keep-alive", " ,te ,\t", "x-upgrade,UPGRADE"] {
            headers.append(CONNECTION, line.parse().unwrap());
        }
        let found: Vec<&str> = members(&headers, &CONNECTION).collect();
        assert_eq!(found, ["keep-alive", "te", "x-upgrade", "UPGRADE"]);
        assert!(has(&headers, &CONNECTION, "upgrade"));
        assert!(!has(&headers, &CONNECTION, "up"));
    }
}
