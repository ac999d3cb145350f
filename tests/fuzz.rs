//! One fuzz target for each decoder of what strangers send. Whatever comes, it answers, and keeps within its limits;
//! payloads, codes and tokens that it lets through are the same when they are written and read again.
//!
//! `cargo test` tries each for a moment, with valid input that is cut and changed at random; `HOLDFAST_FUZZ_SECONDS`
//! says for how long. The same targets run under a fuzzer that is led by coverage:
//! `cargo bolero test --test fuzz json_frames`.

use std::time::Duration;

use bolero::{TypeGenerator, check};
use holdfast::id::{RoomCode, SessionToken};
use holdfast::wire::protobuf::{self as proto, frame};
use holdfast::wire::{
    COMMANDS_PER_FRAME_MAX, Encoding, Fields, JoinRequest, OpenRoomRequest, QuickMatchRequest,
    one_line,
};

/// Some valid input, and what is done to it.
#[derive(Debug, Clone, TypeGenerator)]
struct Damaged {
    seed: u8,
    repeats: u8,
    changes: Vec<(u16, u8)>,
    inserts: Vec<(u16, u8)>,
    cut_to: Option<u16>,
    after: Vec<u8>,
}

impl Damaged {
    fn bytes(&self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let seed = &seeds[usize::from(self.seed) % seeds.len()];
        let mut bytes = seed.repeat(1 + usize::from(self.repeats % 4));
        for (at, byte) in &self.changes {
            let at = usize::from(*at) % bytes.len();
            bytes[at] = *byte;
        }
        for (at, byte) in &self.inserts {
            bytes.insert(usize::from(*at) % (bytes.len() + 1), *byte);
        }
        if let Some(length) = self.cut_to {
            bytes.truncate(usize::from(length));
        }
        bytes.extend_from_slice(&self.after);
        bytes
    }
}

fn test_time() -> Duration {
    let seconds = std::env::var("HOLDFAST_FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds)
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

#[test]
fn json_frames() {
    let seeds = texts([
        r#"{"id":1,"connect":{"token":"hfs_x","data":{"name":"Ana"},"subs":{"a:b":{"recover":true,"offset":7}}}}"#,
        r#"{"id":2,"subscribe":{"channel":"table:K7QX2P","recover":true,"epoch":"e","offset":9,"flag":3}}"#,
        r#"{"id":3,"publish":{"channel":"a","data":{"x":[1,2.5e9,null,"\u00e9\ud83d\ude00"]}}}"#,
        "{}\n{\"id\":4,\"history\":{\"channel\":\"a\",\"limit\":-1,\"since\":{\"offset\":1},\"reverse\":true}}",
        r#"{"id":5,"rpc":{"method":"room.get","data":{"room":"K7QX2P"}}}"#,
        r#"{"send":{"data":1}}"#,
    ]);
    check!()
        .with_type::<Damaged>()
        .with_test_time(test_time())
        .for_each(|damaged| decodes(Encoding::Json, &damaged.bytes(&seeds)));
}

#[test]
fn protobuf_frames() {
    let commands = [
        proto::Command {
            id: 1,
            connect: Some(proto::ConnectRequest {
                token: "hfs_x".into(),
                data: b"{}".as_slice().into(),
                subs: [("a:b".into(), proto::SubscribeRequest::default())].into(),
            }),
            ..proto::Command::default()
        },
        proto::Command {
            id: 3,
            publish: Some(proto::PublishRequest {
                channel: "a".into(),
                data: b"[1,2]".as_slice().into(),
            }),
            ..proto::Command::default()
        },
        proto::Command {
            id: u32::MAX,
            history: Some(proto::HistoryRequest {
                channel: "a".into(),
                limit: -1,
                since: Some(proto::StreamPosition {
                    offset: u64::MAX,
                    epoch: "e".into(),
                }),
                reverse: true,
            }),
            ..proto::Command::default()
        },
        proto::Command::default(),
    ];
    let seeds: Vec<Vec<u8>> = commands.iter().map(|one| frame(one).to_vec()).collect();
    check!()
        .with_type::<Damaged>()
        .with_test_time(test_time())
        .for_each(|damaged| decodes(Encoding::Protobuf, &damaged.bytes(&seeds)));
}

/// A frame is refused, or it is some commands that keep within the limits.
fn decodes(encoding: Encoding, bytes: &[u8]) {
    if let Ok(commands) = encoding.decode(bytes) {
        assert!((1..=COMMANDS_PER_FRAME_MAX).contains(&commands.len()));
    }
}

#[test]
fn request_bodies() {
    let seeds = texts([
        r#"{"kind":"table","guest":{"name":"Ana"},"seat":1,"team":"red","settings":{"a":[{}]},"grace":60}"#,
        r#"{"user":{"id":"u1","name":"Ana"},"spectate":true,"room":"K7QX2P","key":"k"}"#,
        r#"{"seat":65535,"team":null}"#,
        "",
    ]);
    check!()
        .with_type::<Damaged>()
        .with_test_time(test_time())
        .for_each(|damaged| {
            let seeds = &seeds[..seeds.len() - 1];
            let body = damaged.bytes(seeds);
            // Each says what is wrong, or reads it; none of them fails in another way.
            let _ = OpenRoomRequest::parse(&body);
            let _ = JoinRequest::parse(&body);
            let _ = QuickMatchRequest::parse(&body);
            if let Ok(fields) = Fields::parse(&body) {
                let _ = fields.account();
                let _ = fields.guest_name();
                let _ = fields.room();
            }
        });
}

#[test]
fn payloads() {
    let seeds = texts(["{\"a\":\n[1,\n2]}", "\"text\"", "[[[[[]]]]]", "-0.1e-9"]);
    check!()
        .with_type::<Damaged>()
        .with_test_time(test_time())
        .for_each(|damaged| {
            let bytes = damaged.bytes(&seeds);
            let Ok(line) = one_line(bytes.clone().into()) else {
                return;
            };
            assert!(!line.contains(&b'\n'));
            let before: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let after: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(before, after);
        });
}

#[test]
fn names_and_tokens() {
    let token = SessionToken::random();
    let seeds = vec![token.reveal().as_bytes().to_vec(), b"K7QX2P".to_vec()];
    check!()
        .with_type::<Damaged>()
        .with_test_time(test_time())
        .for_each(|damaged| {
            let bytes = damaged.bytes(&seeds);
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(code) = text.parse::<RoomCode>() {
                assert_eq!(code.to_string().parse::<RoomCode>().as_ref(), Ok(&code));
            }
            if let Ok(token) = SessionToken::parse(&text) {
                assert_eq!(token.reveal(), text);
            }
        });
}
