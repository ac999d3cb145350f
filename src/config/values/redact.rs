//! Shows a database URL without its secrets.

use secrecy::{ExposeSecret, SecretString};

/// The text in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Returns the URL of the database without its password, for people and logs.
pub fn shown_database_url(url: &SecretString) -> String {
    let url = url.expose_secret();
    let Some((scheme, rest)) = url.split_once("://") else {
        return REDACTED.to_owned();
    };
    // The last `@` of all: a password may contain any character, and hiding too much does no harm.
    let rest = match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:{REDACTED}@{place}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    match rest.split_once('?') {
        Some((place, query)) => {
            let query: Vec<String> = query.split('&').map(parameter).collect();
            format!("{scheme}://{place}?{}", query.join("&"))
        }
        None => format!("{scheme}://{rest}"),
    }
}

fn parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
            format!("{name}={REDACTED}")
        }
        Some(_) | None => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, shown: &str) {
        assert_eq!(shown_database_url(&SecretString::from(url)), shown);
    }

    #[test]
    fn a_password_is_never_shown() {
        check("sqlite://data/holdfast.db", "sqlite://data/holdfast.db");
        check("postgres://ana@db/hub", "postgres://ana@db/hub");
        check("postgres://db:5432/hub", "postgres://db:5432/hub");
        check(
            "postgres://ana:s3cret@db:5432/hub?sslmode=require",
            "postgres://ana:[redacted]@db:5432/hub?sslmode=require",
        );
        check(
            "postgres://ana:p@s/s?w@db/hub",
            "postgres://ana:[redacted]@db/hub",
        );
        check(
            "postgres://db/hub?user=ana&password=s3cret",
            "postgres://db/hub?user=ana&password=[redacted]",
        );
        check("s3cret", "[redacted]");
    }
}
