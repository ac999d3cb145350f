//! Seat events for a session that is about to retire.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::message::SessionMessage;
use super::registry::{SessionBrood, SessionSeed};
use super::{ConnectOrder, SeatEventRouter, SessionHandle, Sessions};
use crate::clock::{HubClock, HubTime};
use crate::config::Config;
use crate::delivery::{Outbound, QueueLimits};
use crate::id::{RoomCode, RoomId, SessionId, UserId};
use crate::matchmaking::Matchmaker;
use crate::persistence::{EndedSessions, Persistence, Store, StoredRoom, StoredSeat, StoredStream};
use crate::room::{AttachSeq, HeldSeat, RoomHandle, Rooms, SeatEvent, SeatListener};
use crate::supervisor::{ActorFactory, SHARDS, ShardMessage};
use crate::token::{Generations, Keyring, new_key};
use crate::wire::{Encoding, Reason, UserView};

/// Far longer than any step here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sessions and their dependencies, with no actor started: each request is answered with UNAVAILABLE.
pub(crate) struct Domain {
    pub(crate) config: Config,
    pub(crate) sessions: Sessions,
    pub(crate) rooms: Rooms,
    pub(crate) persistence: Persistence,
    pub(crate) matchmaker: Matchmaker,
}

pub(crate) async fn domain(folder: &Path) -> Domain {
    let url = format!("sqlite://{}", folder.join("test.db").display());
    let mut config = Config::default();
    config.database.url = url.into();
    let clock = HubClock::start();
    let store = Store::open(&config, clock).await.unwrap();
    let (persistence, matchmaker) = (store.persistence(), Matchmaker::vacant());
    let notices = SeatEventRouter::default();
    let listener = Arc::new(notices.clone());
    let rooms = Rooms::new(
        &config,
        clock,
        persistence.clone(),
        matchmaker.clone(),
        listener,
    );
    let keyring = Keyring::open(&config.seat_token, || {
        Ok((new_key(), "the test".to_owned()))
    });
    let sessions = Sessions::new(
        &config,
        clock,
        persistence.clone(),
        rooms.clone(),
        notices,
        Arc::new(keyring.unwrap()),
    );
    Domain {
        config,
        sessions,
        rooms,
        persistence,
        matchmaker,
    }
}

/// Returns an actor under which a test can start shards.
pub(crate) async fn supervisor() -> ActorCell {
    let desk = Desk(mpsc::channel(1).0);
    let (actor, _) = Actor::spawn(None, desk, ()).await.unwrap();
    actor.get_cell()
}

/// A stand-in for a shard. It only collects the messages, so a test decides how far the shard has come.
struct Desk(mpsc::Sender<ShardMessage<SessionBrood>>);

impl Actor for Desk {
    type Msg = ShardMessage<SessionBrood>;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<ShardMessage<SessionBrood>>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<ShardMessage<SessionBrood>>,
        message: ShardMessage<SessionBrood>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.0.send(message).await.map_err(|_| "the test is over")?;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<ShardMessage<SessionBrood>>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A session without a seat, and the messages to its shard.
struct Idler {
    sessions: Sessions,
    notices: Arc<dyn SeatListener>,
    session: SessionHandle,
    told: mpsc::Receiver<ShardMessage<SessionBrood>>,
    _folder: TempDir,
}

impl Idler {
    async fn start() -> Idler {
        Idler::start_after(|_, _| ()).await
    }

    /// Starts a session from a row that was read before `meanwhile`.
    async fn start_after(meanwhile: impl FnOnce(&Sessions, SessionId)) -> Idler {
        let folder = TempDir::new().unwrap();
        let sessions = domain(folder.path()).await.sessions;
        let seed = SessionSeed {
            id: SessionId::new(),
            user: UserView {
                id: UserId::guest(),
                name: "Ana".into(),
            },
            tokens: Vec::new(),
            expires_at: HubTime(i64::MAX),
            login_until: None,
            seats: Vec::new(),
            is_rebuilt: false,
        };
        let (id, (tell, told)) = (seed.id, mpsc::channel(8));
        let (desk, _) = Actor::spawn(None, Desk(tell), ()).await.unwrap();
        sessions.context().shards.of(&id).fill(desk.clone());
        let brood = sessions.brood();
        let (session, _) = brood.spawn(seed, desk.get_cell()).await.unwrap();
        meanwhile(&sessions, id);
        brood.enter(&id, &session);
        Idler {
            sessions: sessions.clone(),
            notices: sessions.context().listener(),
            session,
            told,
            _folder: folder,
        }
    }

    /// Delivers a new seat to the session, as a room does.
    fn gains(&self, hold_until: Option<HubTime>) {
        let (seat, epoch) = (Idler::seat(hold_until), AttachSeq(1));
        let news = SeatEvent::Gained { seat, epoch };
        self.notices.hear(self.session.id(), news);
    }

    fn seat(hold_until: Option<HubTime>) -> HeldSeat {
        HeldSeat {
            room: RoomId::new(),
            code: RoomCode::random(),
            channel: "table:x".into(),
            number: 3,
            team: None,
            grace: Duration::from_secs(1),
            hold_until,
            tokens: Generations::begin(HubTime(0)),
        }
    }

    /// Starts the room of a seat, which believes the session away.
    async fn room_of(&self, seat: &HeldSeat) -> RoomHandle {
        let rooms = &self.sessions.context().rooms;
        let hub = supervisor().await;
        for shard in 0..SHARDS {
            rooms.start_shard(shard, hub.clone()).await.unwrap();
        }
        let kind = Arc::clone(rooms.kinds().for_room(None).unwrap());
        let stored = StoredSeat {
            room: seat.room,
            code: seat.code,
            kind: Arc::clone(&kind.name),
            number: seat.number,
            team: None,
            session: self.session.id(),
            user: self.session.user().id.clone(),
            user_name: "Ana".into(),
            grace: seat.grace,
            hold_until: seat.hold_until,
            tokens: seat.tokens,
        };
        let room = StoredRoom {
            id: seat.room,
            code: seat.code,
            kind: Arc::clone(&kind.name),
            settings: "{}".into(),
            grace: seat.grace,
            current_game_id: None,
            stream: StoredStream::default(),
            is_closed: false,
            seats: vec![stored],
        };
        let started = rooms.start_opened(&kind, room, AttachSeq(0)).await;
        started.unwrap()
    }

    async fn shard_hears(&mut self) -> ShardMessage<SessionBrood> {
        let next = timeout(PATIENCE, self.told.recv()).await;
        next.expect("the shard receives a message").unwrap()
    }
}

/// The answer of persistence to the end of all sessions of a user.
fn all_ended(id: SessionId) -> EndedSessions {
    EndedSessions {
        sessions: vec![id],
        ..EndedSessions::default()
    }
}

#[tokio::test]
async fn a_session_that_ended_with_the_others_of_its_user_begins_no_claim() {
    let mut idler = Idler::start().await;
    let claim = idler.session.begin_claim(None).await.unwrap().unwrap();

    idler.sessions.all_ended(all_ended(idler.session.id()));

    let refused = idler.session.begin_claim(None).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::SessionEnded);
    drop(claim);
    let goes = idler.shard_hears().await;
    assert!(matches!(goes, ShardMessage::Goes { .. }));
}

#[tokio::test]
async fn a_session_that_is_started_from_a_row_older_than_its_end_ends_as_well() {
    let mut idler = Idler::start_after(|sessions, id| {
        sessions.all_ended(all_ended(id));
    })
    .await;

    let goes = idler.shard_hears().await;
    assert!(matches!(goes, ShardMessage::Goes { .. }));
    let refused = idler.session.begin_claim(None).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::SessionEnded);
}

#[tokio::test]
async fn a_seat_that_comes_while_a_session_is_asked_whether_it_can_go_is_its_own() {
    let mut idler = Idler::start().await;
    let claim = idler.session.begin_claim(None).await.unwrap().unwrap();

    idler.session.tell(SessionMessage::Retire);
    idler.gains(Some(HubTime(i64::MAX)));
    drop(claim);

    let stays = idler.shard_hears().await;
    assert!(matches!(stays, ShardMessage::Stays { .. }));
    let seats = idler.session.report().await.unwrap().seats;
    assert_eq!(seats[0].number, 3);
}

#[tokio::test]
async fn a_seat_that_comes_after_a_session_has_said_that_it_goes_is_told_to_its_shard() {
    let mut idler = Idler::start().await;

    idler.session.tell(SessionMessage::Retire);
    idler.gains(Some(HubTime(i64::MAX)));
    idler.gains(None);

    let goes = idler.shard_hears().await;
    assert!(matches!(goes, ShardMessage::Goes { .. }));
    let missed = idler.shard_hears().await;
    assert!(matches!(missed, ShardMessage::Missed { .. }));
    // Its room believes the session attached: it must restart, or it would never be marked away.
    let rebuild = idler.shard_hears().await;
    assert!(matches!(rebuild, ShardMessage::Rebuild { .. }));
}

#[tokio::test]
async fn a_seat_of_a_rebuilt_room_is_held_again_when_the_end_of_its_session_is_refused() {
    let idler = Idler::start().await;
    let limits = QueueLimits {
        bytes_max: 1 << 16,
        count_max: 8,
    };
    let (outbound, _inbox) = Outbound::open(limits, Encoding::Json);
    let attached = idler.session.attach(outbound, ConnectOrder::next()).await;
    let attached = attached.unwrap().unwrap();
    let seat = Idler::seat(Some(HubTime(i64::MAX)));
    let room = idler.room_of(&seat).await;
    let status = async || room.view().await.unwrap().seats[3].status;
    let before = format!("{:?}", status().await);

    // No writer has been started, so the end is refused; the room's message comes in between.
    let (reply, ended) = ractor::concurrency::oneshot();
    idler.session.tell(SessionMessage::End {
        last_words: None,
        once: None,
        reply: reply.into(),
    });
    assert!(idler.session.hear(SeatEvent::Restored { seat }).is_none());

    let refused = ended.await.unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::Unavailable);
    assert!(idler.session.report().await.unwrap().is_attached);
    let after = format!("{:?}", status().await);
    assert_eq!((&*before, &*after), ("Away", "Held"));
    drop(attached);
}
