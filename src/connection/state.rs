//! What a connection does with each command, in the order they come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use ractor::ActorRef;
use serde::Serialize;

use super::Context;
use super::channel::{Subscription, personal_channel};
use super::message::{ConnectionMessage, Served};
use super::meter::Pace;
use super::metric::{Resume, count_connect};
use super::server_side::{Unsubscribed, Wanted};
use crate::auth::{TokenKind, token_kind};
use crate::delivery::Outbound;
use crate::id::{ConnectionId, SessionToken, parse_name};
use crate::room::{Peer, Question};
use crate::session::{Attachment, Caller, SessionHandle};
use crate::supervisor::Alive;
use crate::wire::{
    Close, Command, CommandResult, ConnectRequest, ConnectResult, ErrorCode, Failure, GUEST_NAME,
    PingResult, Reason, Refusal, Request, SeatView, SessionView, UserView, raw_json, result,
};

/// Seconds of silence that a client may make up for at once.
const BURST: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

type Allowance = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

/// A connection with all that it owns.
pub(super) struct Connection {
    pub(super) context: Arc<Context>,
    pub(super) id: ConnectionId,
    /// The client's, as far as the proxies that are trusted tell it.
    pub(super) address: IpAddr,
    pub(super) outbound: Outbound,
    /// Left before the session is: drop order.
    pub(super) channels: HashMap<String, Subscription>,
    stage: Stage,
    /// What the client may still send. None: as much as it likes.
    allowance: Option<Allowance>,
    pongs: Pace,
    _link: Link,
    _alive: Alive,
}

enum Stage {
    New,
    Connected(Box<Established>),
    /// Connecting was refused; the client is expected to go.
    Refused,
}

/// What a connected client has.
pub(super) struct Established {
    pub(super) session: SessionHandle,
    pub(super) peer: Arc<Peer>,
    _attachment: Attachment,
}

/// Closes the socket if the actor fails, and takes the connection out of the directory.
struct Link {
    context: Arc<Context>,
    id: ConnectionId,
    outbound: Outbound,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.context.directory.leave(self.id);
        self.outbound.cut(Close::Internal);
    }
}

/// `conn_info` of a connection whose login says nothing more.
#[derive(Serialize)]
struct ConnectionInfo<'a> {
    name: &'a str,
}

/// `data` of a connect result.
#[derive(Serialize)]
struct Welcome<'a> {
    session: SessionView,
    user: &'a UserView,
    seats: Vec<SeatView>,
}

impl Connection {
    pub(super) fn new(
        context: Arc<Context>,
        id: ConnectionId,
        address: IpAddr,
        outbound: Outbound,
        me: ActorRef<ConnectionMessage>,
    ) -> Connection {
        context.directory.enter(id, outbound.clone(), me);
        if context.is_stopping.load(Ordering::SeqCst) {
            // It came as the others were told to go.
            outbound.close(Close::Shutdown);
        }
        Connection {
            channels: HashMap::new(),
            stage: Stage::New,
            allowance: allowance(context.client.messages_per_second),
            pongs: Pace::default(),
            _link: Link {
                context: Arc::clone(&context),
                id,
                outbound: outbound.clone(),
            },
            _alive: Alive::new("connection"),
            context,
            id,
            address,
            outbound,
        }
    }

    /// Carries out all commands of a frame, one after the other.
    pub(super) async fn serve(&mut self, payload: Bytes) -> Served {
        let mut served = Served::default();
        match self.outbound.encoding().decode(&payload) {
            Ok(commands) => {
                drop(payload);
                for command in commands {
                    if self.outbound.is_closed() {
                        break;
                    }
                    served.has_pong |= command.request == Request::Pong;
                    self.context.metrics.received(&command.request);
                    self.carry_out(command).await;
                }
            }
            Err(error) => {
                tracing::debug!(connection = %self.id, %error, "unreadable frame");
                self.context.metrics.unreadable.increment(1);
                self.outbound.close(Close::BadRequest);
            }
        }
        served.is_connected = matches!(self.stage, Stage::Connected(_));
        served
    }

    async fn carry_out(&mut self, command: Command) {
        let Command { id, request } = command;
        match (&self.stage, request) {
            (Stage::Refused, _) => self.outbound.close(Close::BadRequest),
            (Stage::New, Request::Connect(request)) => self.connect(id, request).await,
            (Stage::New, _) | (Stage::Connected(_), Request::Connect(_)) => {
                self.outbound.close(Close::BadRequest);
            }
            // A pong has no answer and is asked for, so it counts for itself.
            (Stage::Connected(_), Request::Pong) => {
                if self.pongs.is_exceeded(Instant::now()) {
                    self.outbound.close(Close::PolicyViolation);
                }
            }
            (Stage::Connected(established), request) => {
                let (session, peer) = (established.session.clone(), Arc::clone(&established.peer));
                let outcome = if self.is_too_fast() {
                    Err(ErrorCode::TooManyRequests.into())
                } else {
                    self.request(id, request, session, peer).await
                };
                if let Err(failed) = outcome {
                    self.refuse(id, &failed);
                }
            }
        }
    }

    fn is_too_fast(&self) -> bool {
        let allowance = self.allowance.as_ref();
        allowance.is_some_and(|allowance| allowance.check().is_err())
    }

    async fn request(
        &mut self,
        id: u32,
        request: Request,
        session: SessionHandle,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        match request {
            Request::Subscribe(request) => self.subscribe(id, request, peer).await?,
            Request::Unsubscribe { channel } => self.unsubscribe(id, &channel).await,
            Request::Publish { channel, data } => self.publish(id, &channel, data, peer).await?,
            Request::Presence { channel } => {
                self.question(id, &channel, Question::Presence, peer)
                    .await?;
            }
            Request::PresenceStats { channel } => {
                self.question(id, &channel, Question::PresenceStats, peer)
                    .await?;
            }
            Request::History(request) => {
                let channel = request.channel.clone();
                self.question(id, &channel, Question::History(request), peer)
                    .await?;
            }
            Request::Rpc { method, data } => self.rpc(id, session, method, data).await?,
            Request::Ping => self.answer(id, &PingResult {}),
            Request::Send => self.outbound.close(Close::NotAvailable),
            // Sessions and subscriptions without an expiry have nothing to refresh.
            Request::Refresh { .. } | Request::SubRefresh { .. } => {
                return Err(ErrorCode::NotAvailable.into());
            }
            Request::Pong | Request::Connect(_) => {}
        }
        Ok(())
    }

    /// As the rooms know it; None before it has connected.
    pub(super) fn peer(&self) -> Option<Arc<Peer>> {
        match &self.stage {
            Stage::Connected(established) => Some(Arc::clone(&established.peer)),
            Stage::New | Stage::Refused => None,
        }
    }

    async fn connect(&mut self, id: u32, mut request: ConnectRequest) {
        let positions = std::mem::take(&mut request.subs);
        let outcome = match request.token.is_empty() {
            true => Resume::New,
            false => Resume::Resumed,
        };
        let connected = self.establish(request).await;
        let (established, view, seats) = match connected {
            Ok(connected) => connected,
            Err(refusal) => {
                count_connect(Resume::Refused(refusal.reason));
                return self.turn_away(id, refusal);
            }
        };
        count_connect(outcome);
        // What its rooms say meanwhile follows the reply.
        let held_back = self.outbound.hold_back();
        let wanted = self.wanted(&established.peer);
        let subs = match self.enter_all(&established.peer, wanted, positions).await {
            Ok(subs) => subs,
            Err(unsubscribed) => {
                drop(held_back);
                return self.cannot_subscribe(id, unsubscribed);
            }
        };
        let client = self.id.to_string();
        let ping = self.context.client.ping.as_secs();
        let reply = ConnectResult {
            client: &client,
            version: env!("CARGO_PKG_VERSION"),
            expires: false,
            ttl: 0,
            data: Welcome {
                session: view,
                user: established.session.user(),
                seats,
            },
            ping: u32::try_from(ping).unwrap_or(u32::MAX),
            subs,
            pong: true,
            time: self.context.actions.now().0,
        };
        held_back.release(result(self.outbound.encoding(), id, &reply));
        self.stage = Stage::Connected(Box::new(established));
    }

    /// What the client hears without asking.
    fn wanted(&self, peer: &Peer) -> Vec<Wanted> {
        let personal = match self.context.has_personal_channels {
            true => personal_channel(&peer.user.id),
            false => None,
        };
        personal.into_iter().map(Wanted::by_hub).collect()
    }

    fn cannot_subscribe(&mut self, id: u32, unsubscribed: Unsubscribed) {
        self.stage = Stage::Refused;
        self.channels.clear();
        match unsubscribed {
            Unsubscribed::TooMany => self.outbound.close(Close::ChannelLimit),
            Unsubscribed::Failed(failed) => self.refuse(id, &failed),
        }
    }

    async fn establish(
        &self,
        request: ConnectRequest,
    ) -> Result<(Established, SessionView, Vec<SeatView>), Refusal> {
        let (session, token) = self.session(&request).await?;
        let attached = self
            .context
            .actions
            .attach(&session, &self.outbound)
            .await?;
        let peer = Arc::new(Peer {
            connection: self.id,
            session: session.id(),
            user: session.user().clone(),
            info: raw_json(&ConnectionInfo {
                name: &session.user().name,
            }),
            epoch: attached.attachment.epoch,
        });
        let view = SessionView {
            id: session.id(),
            token,
            expires_at: attached.report.expires_at,
        };
        let established = Established {
            session,
            peer,
            _attachment: attached.attachment,
        };
        Ok((established, view, attached.report.seats))
    }

    /// The session that a connect is for: its token's, or a new guest's.
    async fn session(
        &self,
        request: &ConnectRequest,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        if !request.token.is_empty() {
            return self.by_token(&request.token).await;
        }
        if !self.context.are_guests_welcome {
            let detail = "a token is needed: guests are not admitted";
            return Err(Refusal::new(Reason::PermissionDenied, detail));
        }
        let caller = Caller::Guest {
            name: guest_name(request.data.as_deref())?,
        };
        let actions = self.context.actions.clone();
        self.context
            .change(async move { actions.open_live_session(caller).await })
            .await
    }

    async fn by_token(
        &self,
        token: &str,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        match token_kind(token) {
            TokenKind::Login => {
                let login = self.context.verifier.login(token).await?;
                let actions = self.context.actions.clone();
                let opening = async move { actions.open_login(login.user, login.name).await };
                self.context.change(opening).await
            }
            TokenKind::Session | TokenKind::Seat => {
                let token = SessionToken::parse(token)
                    .map_err(|error| Refusal::new(Reason::TokenInvalid, error.to_string()))?;
                Ok((self.context.actions.identify(&token).await?, None))
            }
        }
    }

    /// A connect that fails for good is told by a close; one that may succeed later, by an error.
    fn turn_away(&mut self, id: u32, refusal: Refusal) {
        tracing::debug!(connection = %self.id, %refusal, "connect refused");
        self.stage = Stage::Refused;
        match refusal.reason {
            Reason::TokenInvalid => self.outbound.close(Close::InvalidToken),
            Reason::SessionEnded => self.outbound.close(Close::SessionEnded),
            Reason::PermissionDenied => self.outbound.close(Close::BadRequest),
            Reason::RoomNotFound
            | Reason::RoomFull
            | Reason::RoomClosed
            | Reason::SeatTaken
            | Reason::SeatNotFound
            | Reason::AlreadySeated
            | Reason::NotSeated
            | Reason::InvalidUserReference
            | Reason::InsufficientCredits
            | Reason::KeyReused
            | Reason::UnknownKind
            | Reason::BadRequest
            | Reason::TokenExpired
            | Reason::RateLimited
            | Reason::Unavailable => self.refuse(id, &refusal.into()),
        }
    }

    pub(super) fn answer<R: CommandResult>(&self, id: u32, answer: &R) {
        // Full or closed: the connection is ending, and the client asks again on its next one.
        let _ = self.outbound.answer(id, answer);
    }

    fn refuse(&self, id: u32, refused: &Failure) {
        // As above.
        let _ = self.outbound.refuse(id, refused);
    }
}

/// A bucket of twice the rate: whoever was silent may say a little more at once.
fn allowance(per_second: u32) -> Option<Allowance> {
    let rate = NonZeroU32::new(per_second)?;
    let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST));
    Some(RateLimiter::direct_with_clock(quota, MonotonicClock))
}

/// The name that a guest gives in the data of its connect.
fn guest_name(data: Option<&[u8]>) -> Result<Arc<str>, Refusal> {
    #[derive(serde::Deserialize)]
    struct Guest {
        name: Option<String>,
    }
    let guest: Option<Guest> = match data {
        None => None,
        Some(data) => serde_json::from_slice(data)
            .map_err(|error| Refusal::bad_request(format!("connect data: {error}")))?,
    };
    match guest.and_then(|guest| guest.name) {
        None => Ok(GUEST_NAME.into()),
        Some(name) => parse_name(&name).map_err(|error| Refusal::bad_request(error.to_string())),
    }
}
