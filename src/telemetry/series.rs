//! The values of labels: closed sets, so that more players do not mean more series.

pub(super) const CLOSE_REASONS: &[&str] = &[
    "client_closed",
    "line_lost",
    "protocol_error",
    "not_utf8",
    "message_too_big",
    "policy_violation",
    "shutdown",
    "internal",
    "expired",
    "subscription_expired",
    "slow",
    "insufficient_state",
    "force_reconnect",
    "no_pong",
    "too_many_requests",
    "invalid_token",
    "bad_request",
    "stale",
    "channel_limit",
    "not_available",
    "session_ended",
    "replaced",
    "dismissed",
];

pub(super) const COMMANDS: &[&str] = &[
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "ping",
    "send",
    "rpc",
    "refresh",
    "sub_refresh",
    "pong",
    "unreadable",
];

pub(super) const RESUMES: &[&str] = &[
    "resumed",
    "new",
    "token_invalid",
    "token_expired",
    "session_ended",
    "guests_not_admitted",
    "bad_request",
    "rate_limited",
    "unavailable",
    "not_seated",
    "refused",
];

pub(super) const JWTS: &[&str] = &[
    "accepted",
    "expired",
    "early",
    "malformed",
    "no_keys",
    "algorithm",
    "unknown_key",
    "signature",
    "audience",
    "issuer",
    "claim",
    "unavailable",
];

pub(super) const SERVER_METHODS: &[&str] = &[
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "session_end",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "rpc",
    "batch",
];

pub(super) const TOKEN_FAULTS: &[&str] = &[
    "malformed",
    "algorithm",
    "unknown_key",
    "signature",
    "expired",
    "foreign",
    "released",
    "ended",
    "reused",
];

pub(super) const ACTORS: &[&str] = &["room", "session", "connection", "shard", "sweeper"];

pub(super) const RESTARTED: &[&str] = &[
    "room",
    "session",
    "connection",
    "room_supervisor",
    "session_supervisor",
    "connection_supervisor",
    "matchmaker",
    "persistence",
    "sweeper",
];

pub(super) const SWEPT: &[&str] = &[
    "app_sessions",
    "session_tokens",
    "commands",
    "users",
    "rooms",
    "event_participants",
    "room_publications",
    "commit_groups",
];

pub(super) const PARTS: &[&str] = &[
    "database",
    "writes",
    "write_queue",
    "persistence",
    "matchmaker",
    "rooms",
    "sessions",
    "connections",
];

pub(super) const LIMITED: &[&str] = &["newcomers", "changes", "seats", "wrong_codes", "lookups"];
