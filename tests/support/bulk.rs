//! Many rooms at once, past the daemon: what the API would take minutes for.

use super::database::Store;

/// A room with one seat that is copied.
struct Original<'a> {
    code: &'a str,
    count: i64,
    is_postgres: bool,
}

impl Original<'_> {
    fn id(&self, name: &str) -> String {
        match self.is_postgres {
            true => format!("md5('{name}' || i)::uuid"),
            false => format!("CAST(printf('{name}%012d', i) AS BLOB)"),
        }
    }

    fn hash(&self) -> &'static str {
        match self.is_postgres {
            true => "sha256(('token' || i)::bytea)",
            false => "CAST(printf('%032d', i) AS BLOB)",
        }
    }

    /// The code of the copy `i`.
    fn copied_code() -> String {
        let letters = (0..6).map(|place| {
            let shift = 4 * place;
            format!("substr('23456789ABCDEFGH', 1 + ((i >> {shift}) & 15), 1)")
        });
        letters.collect::<Vec<_>>().join(" || ")
    }

    /// Inserts, for each copy `i`, these values of a row of the original.
    fn insert(&self, table: &str, columns: &str, values: &str, from: &str) -> String {
        let (code, count) = (self.code, self.count);
        let row = match from {
            "r" => format!("(SELECT * FROM rooms WHERE code = '{code}') AS r"),
            rows => format!(
                "(SELECT o.* FROM {rows} o JOIN rooms ON rooms.id = o.room_id WHERE code = '{code}') AS o"
            ),
        };
        format!(
            "INSERT INTO {table} ({columns}) WITH RECURSIVE n(i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT {values} FROM n CROSS JOIN {row}"
        )
    }

    /// Makes the copies, each with a player, a session, a token and the history of its own.
    fn copies(&self) -> Vec<String> {
        let (room, session, hash) = (self.id("room"), self.id("sess"), self.hash());
        let copy = Original::copied_code();
        vec![
            self.insert(
                "users",
                "id, name, is_guest, is_active, credits, created_at",
                "'copy-' || i, 'Copy', true, true, 0, r.created_at",
                "r",
            ),
            self.insert(
                "rooms",
                "id, code, kind, status, settings, grace, current_game_id, stream_epoch, stream_top, \
                 owner_epoch, created_at, closed_at, stream_durable",
                &format!(
                    "{room}, {copy}, r.kind, r.status, r.settings, r.grace, r.current_game_id, r.stream_epoch, \
                     r.stream_top, r.owner_epoch, r.created_at, r.closed_at, r.stream_durable"
                ),
                "r",
            ),
            self.insert(
                "app_sessions",
                "id, user_id, created_at, last_seen_at, expires_at",
                &format!("{session}, 'copy-' || i, r.created_at, r.created_at, r.created_at + 600000000"),
                "r",
            ),
            self.insert(
                "session_tokens",
                "hash, session_id, created_at",
                &format!("{hash}, {session}, r.created_at"),
                "r",
            ),
            self.insert(
                "room_seats",
                "room_id, seat, team, session_id, user_id, status, last_heartbeat_at, away_since, \
                 hold_until, token_generation, tokens_ended",
                &format!(
                    "{room}, o.seat, o.team, {session}, 'copy-' || i, o.status, o.last_heartbeat_at, \
                     o.away_since, o.hold_until, o.token_generation, o.tokens_ended"
                ),
                "room_seats",
            ),
            self.insert(
                "room_publications",
                "room_id, epoch, \"offset\", data, info, tags, time",
                &format!("{room}, o.epoch, o.\"offset\", o.data, o.info, o.tags, o.time"),
                "room_publications",
            ),
        ]
    }
}

impl Store {
    /// Adds so many copies of a room with one seat.
    pub(crate) async fn multiply(&self, code: &str, count: i64) {
        let original = Original {
            code,
            count,
            is_postgres: matches!(self, Store::Postgres { .. }),
        };
        for sql in original.copies() {
            self.execute(&sql).await;
        }
    }
}
