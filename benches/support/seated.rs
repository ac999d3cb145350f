//! A database full of seated players, made by a few statements: through the API it would take minutes.

use sea_orm::DbBackend;

/// Hold of a seat and lifetime of a session: longer than any measurement.
const HOLD_MS: u64 = 3_600_000;

/// Returns the statements that fill migrated, empty tables, as a planned stop leaves them.
pub(crate) fn fixtures(
    backend: DbBackend,
    seats: u64,
    per_room: u64,
    publications: u64,
) -> Vec<String> {
    let sql = Sql { backend };
    let rooms = seats.div_ceil(per_room);
    let said = publications / rooms;
    let room = sql.id("room", &format!("i / {per_room}"));
    let session = sql.id("sess", "i");
    vec![
        sql.insert(
            seats,
            "users (id, name, is_guest, is_active, credits, created_at)",
            "'player-' || i, 'Player', true, true, 0, 0",
        ),
        sql.insert(
            rooms,
            "rooms (id, code, kind, status, settings, grace, stream_epoch, stream_top, owner_epoch, \
             created_at, stream_durable)",
            &format!(
                "{}, {}, 'table', 'open', '{{}}', {HOLD_MS}, 'benchmark', {said}, 0, 0, false",
                sql.id("room", "i"),
                code()
            ),
        ),
        sql.insert(
            seats,
            "app_sessions (id, user_id, created_at, last_seen_at, expires_at)",
            &format!("{session}, 'player-' || i, 0, 0, {}", sql.now(HOLD_MS)),
        ),
        sql.insert(
            seats,
            "session_tokens (hash, session_id, created_at)",
            &format!("{}, {session}, 0", sql.hash()),
        ),
        sql.insert(
            seats,
            "room_seats (room_id, seat, session_id, user_id, status, last_heartbeat_at, \
             token_generation, tokens_ended)",
            &format!("{room}, i % {per_room}, {session}, 'player-' || i, 'held', 0, 0, 0"),
        ),
        sql.insert(
            rooms * said,
            "room_publications (room_id, epoch, \"offset\", data, time)",
            &format!(
                "{}, 'benchmark', 1 + i % {}, {}, {}",
                sql.id("room", &format!("i / {}", said.max(1))),
                said.max(1),
                sql.data(),
                sql.now(0)
            ),
        ),
        format!(
            "INSERT INTO hub_clock (node, last_heartbeat_at, clean_stop) VALUES ('main', {}, true)",
            sql.now(0)
        ),
    ]
}

/// Returns SQL for six characters per number, from sixteen of those that a code may have.
fn code() -> String {
    let character = |place: u32| {
        let shift = 4 * place;
        format!("substr('23456789ABCDEFGH', 1 + ((i >> {shift}) & 15), 1)")
    };
    (0..6).map(character).collect::<Vec<_>>().join(" || ")
}

/// The SQL that differs between the two databases.
struct Sql {
    backend: DbBackend,
}

impl Sql {
    fn is_postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }

    /// Inserts a row for each `i` from 0.
    fn insert(&self, count: u64, into: &str, values: &str) -> String {
        let last = count.saturating_sub(1);
        let rows = match self.is_postgres() {
            true => format!("SELECT generate_series(0, {last})::int"),
            false => format!("SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}"),
        };
        format!(
            "INSERT INTO {into} WITH RECURSIVE n(i) AS ({rows}) \
             SELECT {values} FROM n WHERE i < {count}"
        )
    }

    /// Returns SQL for 16 bytes made from a number.
    fn id(&self, name: &str, number: &str) -> String {
        match self.is_postgres() {
            true => format!("md5('{name}' || ({number}))::uuid"),
            false => format!("CAST(printf('{name}%012d', {number}) AS BLOB)"),
        }
    }

    fn hash(&self) -> &'static str {
        match self.is_postgres() {
            true => "sha256(('token' || i)::bytea)",
            false => "CAST(printf('%032d', i) AS BLOB)",
        }
    }

    fn data(&self) -> &'static str {
        match self.is_postgres() {
            true => "('\"' || lpad(i::text, 58, '0') || '\"')::bytea",
            false => "CAST(printf('\"%058d\"', i) AS BLOB)",
        }
    }

    /// Returns SQL for the time in `later` milliseconds.
    fn now(&self, later: u64) -> String {
        match self.is_postgres() {
            true => format!("(extract(epoch FROM now()) * 1000)::int8 + {later}"),
            false => format!("CAST(unixepoch('subsec') * 1000 AS INTEGER) + {later}"),
        }
    }
}
