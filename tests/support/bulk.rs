//! Many rooms at once, past the daemon: what the API would take minutes for.

use super::database::Store;

/// Makes copies of a room with one seat, each with a player, a session, a token and the history of its own.
fn copies(is_postgres: bool, code: &str, count: i64) -> Vec<String> {
    let id = |name: &str| match is_postgres {
        true => format!("md5('{name}' || i)::uuid"),
        false => format!("CAST(printf('{name}%012d', i) AS BLOB)"),
    };
    let hash = match is_postgres {
        true => "sha256(('token' || i)::bytea)",
        false => "CAST(printf('%032d', i) AS BLOB)",
    };
    let letters: Vec<String> = (0..6)
        .map(|place| {
            let shift = 4 * place;
            format!("substr('23456789ABCDEFGH', 1 + ((i >> {shift}) & 15), 1)")
        })
        .collect();
    let copy = letters.join(" || ");
    let (room, session) = (id("room"), id("sess"));
    let insert = |table: &str, columns: &str, values: &str, from: &str| {
        format!(
            "INSERT INTO {table} ({columns}) WITH RECURSIVE n(i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT {values} FROM n CROSS JOIN {from}"
        )
    };
    let of_room = format!("(SELECT * FROM rooms WHERE code = '{code}') AS r");
    let of_seat = format!(
        "(SELECT s.* FROM room_seats s JOIN rooms ON rooms.id = s.room_id WHERE code = '{code}') AS s"
    );
    let of_history = format!(
        "(SELECT p.* FROM room_publications p JOIN rooms ON rooms.id = p.room_id WHERE code = '{code}') AS p"
    );
    vec![
        insert(
            "users",
            "id, name, is_guest, is_active, credits, created_at",
            "'copy-' || i, 'Copy', true, true, 0, r.created_at",
            &of_room,
        ),
        insert(
            "rooms",
            "id, code, kind, status, settings, grace, current_game_id, stream_epoch, stream_top, \
             owner_epoch, created_at, closed_at, stream_durable",
            &format!(
                "{room}, {copy}, r.kind, r.status, r.settings, r.grace, r.current_game_id, \
                 r.stream_epoch, r.stream_top, r.owner_epoch, r.created_at, r.closed_at, r.stream_durable"
            ),
            &of_room,
        ),
        insert(
            "app_sessions",
            "id, user_id, created_at, last_seen_at, expires_at",
            &format!(
                "{session}, 'copy-' || i, r.created_at, r.created_at, r.created_at + 600000000"
            ),
            &of_room,
        ),
        insert(
            "session_tokens",
            "hash, session_id, created_at",
            &format!("{hash}, {session}, r.created_at"),
            &of_room,
        ),
        insert(
            "room_seats",
            "room_id, seat, team, session_id, user_id, status, last_heartbeat_at, away_since, \
             hold_until, token_generation, tokens_ended",
            &format!(
                "{room}, s.seat, s.team, {session}, 'copy-' || i, s.status, s.last_heartbeat_at, \
                 s.away_since, s.hold_until, s.token_generation, s.tokens_ended"
            ),
            &of_seat,
        ),
        insert(
            "room_publications",
            "room_id, epoch, \"offset\", data, info, tags, time",
            &format!("{room}, p.epoch, p.\"offset\", p.data, p.info, p.tags, p.time"),
            &of_history,
        ),
    ]
}

impl Store {
    /// Adds so many copies of a room with one seat.
    pub(crate) async fn multiply(&self, code: &str, count: i64) {
        let is_postgres = matches!(self, Store::Postgres { .. });
        for sql in copies(is_postgres, code, count) {
            self.execute(&sql).await;
        }
    }
}
