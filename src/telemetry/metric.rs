//! Every metric of the daemon: its name, its labels and its help.
//!
//! Labels come from closed sets, all of them listed here except the routes: never a room, a user, an address or a
//! token. All series exist from the start, with 0.

use metrics::gauge;

use super::family::{Family, counts, label, shows, spreads};
use super::series::{
    ACTORS, CLOSE_REASONS, COMMANDS, JWTS, LIMITED, PARTS, RESTARTED, RESUMES, SERVER_METHODS,
    SWEPT, TOKEN_FAULTS,
};

/// All metrics, in the order of the operations manual.
pub const FAMILIES: &[Family] = &[
    shows(
        "holdfast_build_info",
        &[label("version", &[env!("CARGO_PKG_VERSION")])],
        "always 1",
    ),
    shows(
        "holdfast_part_up",
        &[label("part", PARTS)],
        "1 while this part of the health answer is ok",
    ),
    shows("holdfast_connections", &[], "sockets open"),
    counts("holdfast_connections_opened_total", &[], "sockets opened"),
    counts(
        "holdfast_connections_closed_total",
        &[label("reason", CLOSE_REASONS)],
        "sockets closed, by reason",
    ),
    counts(
        "holdfast_take_overs_total",
        &[],
        "connections replaced by a newer one of their session",
    ),
    shows("holdfast_rooms", &[], "rooms live, open channels included"),
    shows(
        "holdfast_rooms_dormant",
        &[],
        "live rooms that are still rows: after a start they become actors one after another",
    ),
    shows(
        "holdfast_sessions",
        &[label("phase", &["attached", "away"])],
        "sessions live, with a connection or without",
    ),
    shows(
        "holdfast_seats",
        &[label("status", &["held", "away"])],
        "seats with a holder",
    ),
    counts(
        "holdfast_seats_released_total",
        &[label("reason", &["left", "hold_over", "session_ended"])],
        "seats that became empty",
    ),
    counts(
        "holdfast_seats_corrected_total",
        &[],
        "seats that differed between the database and their room, and were corrected; should stay 0",
    ),
    counts(
        "holdfast_standstill_milliseconds_total",
        &[],
        "time for which the process stood still, and which counts against no hold",
    ),
    counts(
        "holdfast_seat_tokens_signed_total",
        &[],
        "seat tokens signed for their holders",
    ),
    counts(
        "holdfast_seat_tokens_confirmed_total",
        &[],
        "seat tokens used for the first time, which makes older ones invalid",
    ),
    counts(
        "holdfast_seat_tokens_refused_total",
        &[label("reason", TOKEN_FAULTS)],
        "seat tokens refused; reused means a theft, or a client that keeps old ones",
    ),
    counts(
        "holdfast_sessions_restored_total",
        &[],
        "sessions with seats found at the start",
    ),
    counts(
        "holdfast_resumes_total",
        &[label("outcome", RESUMES)],
        "connects, by outcome",
    ),
    counts(
        "holdfast_jwts_total",
        &[label("outcome", JWTS)],
        "tokens of the game's login that were checked, by outcome",
    ),
    counts(
        "holdfast_key_set_fetches_total",
        &[label("outcome", &["fetched", "failed"])],
        "fetches of `auth.jwks_url`",
    ),
    shows(
        "holdfast_key_set_keys",
        &[],
        "keys in the last set that was fetched",
    ),
    counts(
        "holdfast_admissions_delayed_total",
        &[
            label("who", &["seated", "new"]),
            label("outcome", &["waited", "turned_away"]),
        ],
        "connects, and HTTP requests of newcomers, that were not admitted at once",
    ),
    spreads(
        "holdfast_admission_wait_seconds",
        "wait of the connects and requests that were admitted later",
    ),
    counts(
        "holdfast_recoveries_total",
        &[label("outcome", &["recovered", "not_recovered"])],
        "subscriptions that asked for missed publications",
    ),
    counts(
        "holdfast_messages_received_total",
        &[label("kind", COMMANDS)],
        "commands of clients, and frames that could not be read",
    ),
    counts(
        "holdfast_messages_sent_total",
        &[],
        "replies and pushes written to sockets",
    ),
    counts(
        "holdfast_bytes_received_total",
        &[],
        "payload of frames from clients",
    ),
    counts(
        "holdfast_bytes_sent_total",
        &[],
        "payload of replies and pushes written to sockets",
    ),
    counts(
        "holdfast_publications_total",
        &[],
        "publications in rooms, room events included",
    ),
    counts(
        "holdfast_deliveries_total",
        &[],
        "publications queued, counted once for each member",
    ),
    spreads(
        "holdfast_delivery_duration_seconds",
        "from a publish command to the write to each member's socket, for one publication in 64 of each room",
    ),
    counts(
        "holdfast_durable_batches_total",
        &[label("outcome", &["committed", "refused"])],
        "batches of publications of durable rooms, by outcome",
    ),
    spreads(
        "holdfast_durable_batch_size",
        "publications in one of these batches",
    ),
    spreads(
        "holdfast_durable_batch_duration_seconds",
        "time from handing a batch over to its commit",
    ),
    counts(
        "holdfast_durable_publications_refused_total",
        &[],
        "publications refused because too many of their room were already waiting",
    ),
    shows(
        "holdfast_outgoing_queue_messages",
        &[],
        "messages queued for all sockets together",
    ),
    shows("holdfast_outgoing_queue_bytes", &[], "payload queued"),
    shows(
        "holdfast_outgoing_queue_deepest_messages",
        &[],
        "messages in the longest queue of a socket",
    ),
    shows("holdfast_actors", &[label("kind", ACTORS)], "actors alive"),
    counts(
        "holdfast_actor_restarts_total",
        &[label("kind", RESTARTED)],
        "actors that failed; should stay 0",
    ),
    counts(
        "holdfast_actors_rested_total",
        &[label("kind", &["room", "session"])],
        "actors that failed more than 10 times in a minute and rest for a minute",
    ),
    shows(
        "holdfast_directory_entries",
        &[label(
            "kind",
            &["room", "session", "token", "user", "connection", "online"],
        )],
        "entries of the directories; they end with their actors",
    ),
    counts(
        "holdfast_server_api_calls_total",
        &[
            label("method", SERVER_METHODS),
            label("outcome", &["done", "refused", "failed"]),
        ],
        "calls of the server API, those within a batch included",
    ),
    shows(
        "holdfast_history_bytes",
        &[],
        "memory of the histories of all open channels",
    ),
    counts(
        "holdfast_history_forgotten_total",
        &[],
        "publications of open channels dropped because of history.memory_max",
    ),
    counts(
        "holdfast_admin_refused_total",
        &[label("reason", &["wrong_token", "limited", "foreign_page"])],
        "requests to the admin listener refused for their token, or for the page that sent them",
    ),
    counts(
        "holdfast_limited_total",
        &[label("limit", LIMITED)],
        "requests refused because of a rate limit by address or session, or because their user had too many seats",
    ),
    counts(
        "holdfast_commands_limited_total",
        &[label(
            "limit",
            &["messages_per_second", "bytes_per_second", "message_max"],
        )],
        "commands of clients refused because of their rate or their size",
    ),
    counts(
        "holdfast_wrong_tokens_limited_total",
        &[],
        "unknown session tokens looked up only once because their address had sent too many",
    ),
    counts(
        "holdfast_secret_guesses_limited_total",
        &[label("secret", &["api_key"])],
        "requests refused because their address had sent too many wrong secrets",
    ),
    counts(
        "holdfast_commits_total",
        &[],
        "transactions, those of the daemon's own heartbeat (every 2 s) included",
    ),
    spreads(
        "holdfast_commit_duration_seconds",
        "time of each transaction, failed ones included",
    ),
    spreads(
        "holdfast_commit_group_size",
        "commands in one transaction; 0 for a heartbeat alone",
    ),
    counts(
        "holdfast_commit_rollbacks_total",
        &[],
        "transactions that failed",
    ),
    counts(
        "holdfast_commit_retries_total",
        &[],
        "waits before a write was tried again",
    ),
    counts(
        "holdfast_commit_unknown_total",
        &[],
        "COMMITs without an answer, looked up afterwards",
    ),
    counts(
        "holdfast_connection_cuts_total",
        &[],
        "writers' connections closed because the database did not answer",
    ),
    shows(
        "holdfast_write_queue_depth",
        &[],
        "commands that wait for their transaction",
    ),
    counts(
        "holdfast_writes_refused_total",
        &[label("reason", &["queue_full", "deadline"])],
        "commands answered UNAVAILABLE",
    ),
    counts(
        "holdfast_commands_repeated_total",
        &[],
        "requests answered with the stored response of their idempotency key",
    ),
    counts(
        "holdfast_swept_rows_total",
        &[label("table", SWEPT)],
        "expired rows that were removed",
    ),
    spreads(
        "holdfast_sweep_duration_seconds",
        "time of each round of the sweeper, pauses included",
    ),
    counts(
        "holdfast_sweeps_failed_total",
        &[],
        "rounds that failed because of the database",
    ),
    counts(
        "holdfast_soft_writes_dropped_total",
        &[],
        "coalesced writes (last seen, away) that were lost",
    ),
    counts(
        "holdfast_reads_failed_total",
        &[label("reason", &["late", "failed", "panicked"])],
        "reads that the database did not answer",
    ),
    counts(
        "holdfast_token_lookups_total",
        &[
            label("attempt", &["1", "2", "3"]),
            label("outcome", &["found", "missing", "unavailable"]),
        ],
        "session tokens looked up in the database",
    ),
    shows(
        "holdfast_database_connections",
        &[label("state", &["in_use", "idle"])],
        "connections for reading",
    ),
    counts(
        "holdfast_http_requests_total",
        &[
            label("route", &[]),
            label("status", &["1xx", "2xx", "3xx", "4xx", "5xx"]),
        ],
        "requests on both ports; upgrades count as 1xx, unknown paths as route none",
    ),
    counts(
        "holdfast_http_connections_displaced_total",
        &[],
        "sockets that had sent nothing, closed to make room for another",
    ),
    counts(
        "holdfast_http_connections_refused_total",
        &[label("reason", &["full", "address_full", "too_often"])],
        "sockets refused before anything was read",
    ),
];

/// Registers every series, so that it appears with 0.
pub(super) fn register() {
    for family in FAMILIES {
        family.describe();
        let mut series = vec![Vec::new()];
        for label in family.labels {
            series = series
                .iter()
                .flat_map(|labels: &Vec<metrics::Label>| {
                    label.values.iter().map(|value| {
                        let mut labels = labels.clone();
                        labels.push(metrics::Label::from_static_parts(label.name, value));
                        labels
                    })
                })
                .collect();
        }
        for labels in series {
            family.touch(labels);
        }
    }
    gauge!("holdfast_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Measure;

    #[test]
    fn names_say_what_they_count_and_in_which_unit() {
        for family in FAMILIES {
            let is_total = family.name.ends_with("_total");
            assert_eq!(is_total, family.measure == Measure::Counter, "{family:?}");
            assert!(family.name.starts_with("holdfast_"), "{family:?}");
            let is_unknown_unit = ["_ms", "_millis", "_kb", "_percent"]
                .iter()
                .any(|unit| family.name.ends_with(unit));
            assert!(!is_unknown_unit, "{family:?}");
        }
    }

    #[test]
    fn every_metric_shows_before_anything_has_happened() {
        let recorder = crate::telemetry::metrics_builder().build_recorder();
        let handle = recorder.handle();

        metrics::with_local_recorder(&recorder, register);

        let text = handle.render();
        for family in FAMILIES
            .iter()
            .filter(|family| family.labels.iter().all(|label| !label.values.is_empty()))
        {
            assert!(
                text.contains(&format!("# HELP {} ", family.name)),
                "no help for {} in {text}",
                family.name
            );
            assert!(
                text.contains(&format!("\n{}", family.name)),
                "no series of {} in {text}",
                family.name
            );
        }
    }
}
