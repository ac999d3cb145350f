//! Dispatches a client's commands in the order in which they arrive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use ractor::ActorRef;

use super::subscriptions::Channels;
use crate::actions::Actions;
use crate::connection::Context;
use crate::connection::command_rate::{Allowance, Verdict};
use crate::connection::message::{ConnectionMessage, Served};
use crate::connection::socket::frame_limits::FrameWindow;
use crate::delivery::Outbound;
use crate::id::ConnectionId;
use crate::limits::Asker;
use crate::room::{Peer, Question};
use crate::session::{Attachment, SessionHandle};
use crate::supervisor::LiveGauge;
use crate::wire::{Close, Command, CommandResult, ErrorCode, Failure, PingResult, Request};

/// The state of a connection actor.
pub(crate) struct Connection {
    pub(crate) context: Arc<Context>,
    pub(crate) id: ConnectionId,
    /// The address for which the client's requests count, as reported by the trusted proxies.
    pub(crate) asker: Asker,
    pub(crate) outbound: Outbound,
    /// Dropped before the session: the order of the fields matters.
    pub(crate) channels: Channels,
    pub(crate) stage: Stage,
    /// The time at which the connection's login expires. None: never.
    pub(crate) expires: Option<Instant>,
    /// The time of the next wake-up for an expiry. None: there is none.
    pub(crate) wakes: Option<Instant>,
    pub(crate) allowance: Allowance,
    pongs: FrameWindow,
    _link: Link,
    _alive: LiveGauge,
}

pub(crate) enum Stage {
    New,
    Connected(Box<Established>),
    /// The connect was refused; the client is expected to disconnect.
    Refused,
}

/// The state of a connected client.
pub(crate) struct Established {
    pub(crate) session: SessionHandle,
    pub(crate) peer: Arc<Peer>,
    pub(crate) _attachment: Attachment,
}

/// A drop guard: takes the connection out of the directory, and closes the socket if the actor has failed.
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

impl Connection {
    pub(crate) fn new(
        context: Arc<Context>,
        id: ConnectionId,
        asker: Asker,
        outbound: Outbound,
        me: ActorRef<ConnectionMessage>,
    ) -> Connection {
        context.directory.enter(id, outbound.clone(), me);
        if context.is_stopping.load(Ordering::SeqCst) {
            // The connection opened while the hub was closing all others.
            outbound.close(Close::Shutdown);
        }
        Connection {
            channels: Channels::default(),
            stage: Stage::New,
            expires: None,
            wakes: None,
            allowance: Allowance::new(&context.client, Instant::now()),
            pongs: FrameWindow::default(),
            _link: Link {
                context: Arc::clone(&context),
                id,
                outbound: outbound.clone(),
            },
            _alive: LiveGauge::new("connection"),
            context,
            id,
            asker,
            outbound,
        }
    }

    /// Carries out all commands of a frame, one after the other.
    pub(crate) async fn serve(&mut self, payload: Bytes) -> Served {
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
                    let is_first = matches!(self.stage, Stage::New);
                    self.carry_out(command).await;
                    // The client sent the rest on the assumption that the connect succeeds: this is not the client's
                    // fault.
                    if is_first && matches!(self.stage, Stage::Refused) {
                        break;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(connection = %self.id, %error, "unreadable frame");
                self.context.metrics.unreadable.increment(1);
                self.outbound.close(Close::unreadable(&error));
            }
        }
        served.is_connected = matches!(self.stage, Stage::Connected(_));
        served
    }

    async fn carry_out(&mut self, command: Command) {
        let Command { id, request } = command;
        match (&self.stage, request) {
            (Stage::Refused, _) => self.outbound.close(Close::BadRequest),
            (Stage::New, Request::Connect(request)) => {
                Box::pin(self.connect(id, request)).await;
            }
            (Stage::New, _) | (Stage::Connected(_), Request::Connect(_)) => {
                self.outbound.close(Close::BadRequest);
            }
            // The hub requests pongs and does not answer them, so they have a limit of their own.
            (Stage::Connected(_), Request::Pong) => {
                if self.pongs.is_exceeded(Instant::now()) {
                    self.outbound.close(Close::PolicyViolation);
                }
            }
            // `send` has no answer either, not even an error for too many commands.
            (Stage::Connected(_), Request::Send) => self.outbound.close(Close::NotAvailable),
            (Stage::Connected(established), request) => {
                let (session, peer) = (established.session.clone(), Arc::clone(&established.peer));
                let is_subscription = matches!(request, Request::Subscribe(_));
                let outcome = match self.allowance.take(Instant::now()) {
                    Verdict::Allowed => self.request(id, request, session, peer).await,
                    Verdict::TooFast => {
                        self.context.metrics.too_fast.increment(1);
                        Err(ErrorCode::TooManyRequests.into())
                    }
                    Verdict::Flood => return self.outbound.close(Close::TooManyRequests),
                };
                self.pay(is_subscription);
                if let Err(failed) = outcome {
                    self.refuse(id, &failed);
                }
            }
        }
    }

    /// Charges the client's rate limit for the answers queued since the last charge.
    fn pay(&mut self, is_subscription: bool) {
        let answered = self.outbound.take_answered();
        if Allowance::is_free(answered) {
            return;
        }
        let now = Instant::now();
        match is_subscription {
            true => self.allowance.recovered(answered, now),
            false => self.allowance.answered(answered, now),
        }
    }

    /// Carries out one request of a connected client. Rare requests are boxed: the future is as large as its largest
    /// branch, and publish is the hot one.
    async fn request(
        &mut self,
        id: u32,
        request: Request,
        session: SessionHandle,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        match request {
            Request::Publish { channel, data } => self.publish(id, &channel, data, peer).await,
            Request::Subscribe(request) => Box::pin(self.subscribe(id, request, peer)).await,
            Request::Unsubscribe { channel } => {
                Box::pin(self.unsubscribe(id, &channel)).await;
                Ok(())
            }
            Request::Presence { channel } => {
                Box::pin(self.question(id, &channel, Question::Presence, peer)).await
            }
            Request::PresenceStats { channel } => {
                Box::pin(self.question(id, &channel, Question::PresenceStats, peer)).await
            }
            Request::History(request) => {
                let channel = request.channel.clone();
                Box::pin(self.question(id, &channel, Question::History(request), peer)).await
            }
            Request::Rpc { method, data } => Box::pin(self.rpc(id, session, method, data)).await,
            Request::Refresh { token } => Box::pin(self.refresh(id, &token, peer)).await,
            Request::SubRefresh { channel, token } => {
                Box::pin(self.sub_refresh(id, &channel, &token, peer)).await
            }
            Request::Ping => {
                self.answer(id, &PingResult {});
                Ok(())
            }
            Request::Send | Request::Pong | Request::Connect(_) => Ok(()),
        }
    }

    /// Returns the actions of the client.
    pub(crate) fn actions(&self) -> Actions {
        self.context.actions.asked_from(self.asker)
    }

    /// Returns the session of the client; None before it has connected.
    pub(crate) fn session(&self) -> Option<&SessionHandle> {
        match &self.stage {
            Stage::Connected(established) => Some(&established.session),
            Stage::New | Stage::Refused => None,
        }
    }

    /// Returns the client as the rooms know it; None before it has connected.
    pub(crate) fn peer(&self) -> Option<Arc<Peer>> {
        match &self.stage {
            Stage::Connected(established) => Some(Arc::clone(&established.peer)),
            Stage::New | Stage::Refused => None,
        }
    }

    /// Replaces the client's description in the connection's later requests to rooms.
    pub(crate) fn become_peer(&mut self, peer: Arc<Peer>) {
        if let Stage::Connected(established) = &mut self.stage {
            established.peer = peer;
        }
    }

    pub(crate) fn answer<R: CommandResult>(&self, id: u32, answer: &R) {
        // Full or closed: the connection is ending, and the client repeats the command on its next one.
        let _ = self.outbound.answer(id, answer);
    }

    pub(crate) fn refuse(&self, id: u32, refused: &Failure) {
        // Full or closed: as in `answer`.
        let _ = self.outbound.refuse(id, refused);
    }
}
