//! Tests that a room encodes a frame once for all its members.

use std::cell::RefCell;
use std::sync::Arc;

use super::message::Initiator;
use super::rules::members::{AccessGrant, Member, Members};
use super::seat_event::AttachSeq;
use super::{Peer, SubscriptionGuard};
use crate::delivery::{Inbox, Outbound, QueueLimits};
use crate::id::{ConnectionId, SessionId, UserId};
use crate::wire::{Encoding, Overrides, Shared, UserView, raw_json};

/// A member of the room, and the other end of its queue.
fn member(encoding: Encoding) -> (Member, Inbox) {
    let limits = QueueLimits {
        bytes_max: 1024,
        count_max: 8,
    };
    let (outbound, inbox) = Outbound::open(limits, encoding);
    let peer = Arc::new(Peer {
        connection: ConnectionId::new(),
        session: SessionId::new(),
        user: UserView {
            id: UserId::guest(),
            name: "Ana".into(),
        },
        info: raw_json(&"Ana"),
        epoch: AttachSeq(1),
    });
    let right = AccessGrant {
        is_given: false,
        unseated_info: None,
        overrides: Overrides::default(),
        has_join_leave: true,
    };
    let asked = Initiator::ByClient { id: 1 };
    let member = Member::new(
        asked,
        peer,
        None,
        right,
        "lobby:a".into(),
        outbound,
        SubscriptionGuard::default(),
    );
    (member, inbox)
}

#[test]
fn what_is_said_is_encoded_once_for_all_in_each_encoding_that_somebody_listens_in() {
    use Encoding::{Json, Protobuf};
    for (listeners, expected) in [
        (vec![Json; 3], vec![Json]),
        (vec![Protobuf; 3], vec![Protobuf]),
        (vec![Json, Json, Protobuf, Protobuf], vec![Json, Protobuf]),
        (vec![], vec![]),
    ] {
        let mut members = Members::new();
        let mut inboxes = Vec::new();
        for encoding in &listeners {
            let (member, inbox) = member(*encoding);
            members.add(member);
            inboxes.push(inbox);
        }
        let encoded = RefCell::new(Vec::new());
        let encode = |encoding: Encoding| {
            encoded.borrow_mut().push(encoding);
            encoding.ping()
        };

        members.tell(Shared::new(encode), None, None);

        encoded
            .borrow_mut()
            .sort_by_key(|encoding| *encoding != Json);
        assert_eq!(encoded.take(), expected);
        members.tell_of(Shared::new(encode));
        encoded
            .borrow_mut()
            .sort_by_key(|encoding| *encoding != Json);
        assert_eq!(encoded.take(), expected);
    }
}
