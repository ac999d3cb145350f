//! The first command, `connect`: finds or opens the client's session, attaches the connection and makes the hub's own
//! subscriptions.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::dispatch::{Connection, Established, Stage};
use super::server_subscriptions::{Unsubscribed, Wanted};
use super::subscription::personal_channel;
use crate::actions::{Caller, LoggedIn};
use crate::auth::{self, Login, TokenKind, token_kind};
use crate::clock::WallTime;
use crate::connection::admission::Pass;
use crate::connection::metric::{Resume, count_connect};
use crate::id::{RoomCode, SessionToken, parse_name};
use crate::room::{Grant, Peer};
use crate::session::{ConnectOrder, SessionHandle};
use crate::wire::{
    Close, ConnectRequest, ConnectResult, Fields, GUEST_NAME, Reason, Refusal, SeatView,
    SessionView, UserView, raw_json, result,
};

/// `conn_info` of a connection whose login contains none.
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

/// The session of a connect, and how it was found.
struct Found {
    session: SessionHandle,
    /// Set where the session was made for this connect, or has passed to another user by it.
    token: Option<SessionToken>,
    /// Set where the client presented a login token of the game.
    login: Option<Login>,
    /// Held until the session is attached.
    pass: Pass,
    /// The room of the seat token, if the client presented one.
    seat: Option<RoomCode>,
    /// Resumed if the session existed before.
    outcome: Resume,
}

/// A client whose connect has succeeded, before the reply.
struct Arrived {
    established: Established,
    view: SessionView,
    seats: Vec<SeatView>,
    login: Option<Login>,
    outcome: Resume,
}

impl Connection {
    pub(crate) async fn connect(&mut self, id: u32, mut request: ConnectRequest) {
        let order = ConnectOrder::next();
        let positions = std::mem::take(&mut request.subs);
        let Arrived {
            established,
            view,
            seats,
            login,
            outcome,
        } = match self.establish(request, order).await {
            Ok(arrived) => arrived,
            Err(refusal) => {
                count_connect(Resume::Refused(refusal.reason));
                return self.turn_away(id, refusal);
            }
        };
        count_connect(outcome);
        // Publications from the client's rooms follow the reply.
        let held_back = self.outbound.hold_back();
        let wanted = self.wanted(&established.peer, login.as_ref());
        let subs = match self.enter_all(&established.peer, wanted, positions).await {
            Ok(subs) => subs,
            Err(unsubscribed) => {
                drop(held_back);
                return self.cannot_subscribe(id, unsubscribed);
            }
        };
        let ttl = match login {
            Some(login) => login.ttl,
            None => self.context.actions.login_ttl(&established.session),
        };
        self.lasts(ttl).await;
        let client = self.id.to_string();
        let ping = self.context.client.ping.as_secs();
        let reply = ConnectResult {
            client: &client,
            version: env!("CARGO_PKG_VERSION"),
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
            data: Welcome {
                session: view,
                user: established.session.user(),
                seats,
            },
            ping: u32::try_from(ping).unwrap_or(u32::MAX),
            subs,
            pong: true,
            time: WallTime::now().0,
        };
        // The directory lists the client before it receives the reply.
        let (user, session) = (established.peer.user.id.clone(), established.peer.session);
        self.context.directory.connected(self.id, user, session);
        held_back.release(result(self.outbound.encoding(), id, &reply));
        self.stage = Stage::Connected(Box::new(established));
    }

    /// Returns the channels to which the hub subscribes the client at connect.
    fn wanted(&self, peer: &Peer, login: Option<&Login>) -> Vec<Wanted> {
        let personal = match self.context.has_personal_channels {
            true => personal_channel(&peer.user.id),
            false => None,
        };
        let mut wanted: Vec<Wanted> = login
            .into_iter()
            .flat_map(|login| &login.channels)
            .map(|(channel, grant)| Wanted {
                channel: channel.to_string(),
                grant: granted(grant),
            })
            .collect();
        if let Some(personal) = personal
            && wanted.iter().all(|wanted| wanted.channel != personal)
        {
            wanted.push(Wanted::by_hub(personal));
        }
        wanted
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
        order: ConnectOrder,
    ) -> Result<Arrived, Refusal> {
        let Found {
            session,
            token,
            login,
            pass: _pass,
            seat,
            outcome,
        } = self.find(&request).await?;
        let attached = self
            .context
            .actions
            .attach(&session, &self.outbound, order)
            .await?;
        let is_there = |code| attached.report.seats.iter().any(|seat| seat.code == code);
        if seat.is_some_and(|code| !is_there(code)) {
            // A later client with the same seat token has the seat.
            self.outbound.cut(Close::Replaced);
            return Err(Refusal::new(Reason::NotSeated, "the seat was taken over"));
        }
        let peer = Arc::new(Peer {
            connection: self.id,
            session: session.id(),
            user: session.user().clone(),
            info: shown(login.as_ref(), session.user()),
            epoch: attached.attachment.epoch,
        });
        let seats = &attached.report.seats;
        let seats = self.context.actions.show_all(&session, seats).await;
        let view = SessionView {
            id: session.id(),
            token,
            expires_at: attached.report.expires_at,
        };
        Ok(Arrived {
            established: Established {
                session,
                peer,
                _attachment: attached.attachment,
            },
            view,
            seats,
            login,
            outcome,
        })
    }

    /// Finds the session of a connect: its token's, its user's, or a new guest's.
    async fn find(&self, request: &ConnectRequest) -> Result<Found, Refusal> {
        if !request.token.is_empty() {
            return self.by_token(&request.token, request.data.as_deref()).await;
        }
        if !self.context.are_guests_welcome {
            let detail = "a token is needed: guests are not admitted";
            return Err(Refusal::new(Reason::PermissionDenied, detail));
        }
        let caller = Caller::Guest {
            name: guest_name(request.data.as_deref())?,
        };
        let actions = self.actions();
        actions.count_newcomer()?;
        let pass = self.context.admission.admit(None).await?;
        let opening = async move { actions.open_live_session(caller).await };
        let (session, token) = self.context.change(opening).await?;
        Ok(Found {
            session,
            token,
            login: None,
            pass,
            seat: None,
            outcome: Resume::New,
        })
    }

    async fn by_token(&self, token: &str, data: Option<&[u8]>) -> Result<Found, Refusal> {
        match token_kind(token) {
            TokenKind::Login => {
                let login = self.context.verifier.login(token).await?;
                let actions = self.actions();
                let returning = actions.returning_user(&login.user);
                let pass = self.context.admission.admit(returning.as_ref()).await?;
                let (user, name, ttl) = (login.user.clone(), login.name.clone(), login.ttl);
                let opening = async move { actions.open_login(user, name, ttl).await };
                let (session, token) = self.context.change(opening).await?;
                Ok(Found {
                    outcome: match token {
                        Some(_) => Resume::New,
                        None => Resume::Resumed,
                    },
                    session,
                    token,
                    login: Some(login),
                    pass,
                    seat: None,
                })
            }
            TokenKind::Seat => {
                let actions = self.context.actions.clone();
                let proof = actions.prove_seat(token)?;
                let returning = actions.returning_to_seat(&proof);
                let pass = self.context.admission.admit(returning.as_ref()).await?;
                let resuming = async move { actions.resume_seat(proof).await };
                let resumed = self.context.change(resuming).await?;
                Ok(Found {
                    session: resumed.session,
                    token: resumed.view.token,
                    login: None,
                    pass,
                    seat: Some(resumed.seat.room),
                    outcome: Resume::Resumed,
                })
            }
            TokenKind::Session => {
                let token = SessionToken::parse(token)
                    .map_err(|error| Refusal::new(Reason::TokenInvalid, error.to_string()))?;
                if let Some(login) = guest_login(data)? {
                    return self.as_account(token, &login).await;
                }
                let returning = self.context.actions.returning(&token);
                let pass = self.context.admission.admit(returning.as_ref()).await?;
                let retries = self.context.wrong_tokens.retries_of(self.asker);
                Ok(Found {
                    session: self.context.actions.identify(&token, &retries).await?,
                    token: None,
                    login: None,
                    pass,
                    seat: None,
                    outcome: Resume::Resumed,
                })
            }
        }
    }

    /// Logs a guest in: the session passes to the user.
    async fn as_account(&self, token: SessionToken, login: &str) -> Result<Found, Refusal> {
        let login = self.context.verifier.login(login).await?;
        // An earlier attempt may have passed the session to the user, whose seat then waits.
        let returning = self.context.actions.returning(&token);
        let returning = returning.or_else(|| self.context.actions.returning_user(&login.user));
        let pass = self.context.admission.admit(returning.as_ref()).await?;
        let logged_in = LoggedIn {
            user: login.user.clone(),
            name: login.name.clone(),
            ttl: login.ttl,
        };
        let (actions, retries) = (
            self.actions(),
            self.context.wrong_tokens.retries_of(self.asker),
        );
        let opening = async move { actions.open_guest_login(&token, logged_in, &retries).await };
        let (session, token) = self.context.change(opening).await?;
        Ok(Found {
            session,
            token,
            login: Some(login),
            pass,
            seat: None,
            outcome: Resume::Resumed,
        })
    }

    /// Refuses a connect: with a close if no retry can succeed, else with an error.
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
            | Reason::UserNotFound
            | Reason::TooManySeats
            | Reason::BadRequest
            | Reason::TokenExpired
            | Reason::RateLimited
            | Reason::Unavailable
            | Reason::Internal => self.refuse(id, &refusal.into()),
        }
    }
}

/// Returns the `info` of a connection that others see: its login's, else its user's name.
pub(crate) fn shown(login: Option<&Login>, user: &UserView) -> Arc<RawValue> {
    let info = login.and_then(|login| raw(login.info.as_deref()));
    info.unwrap_or_else(|| raw_json(&ConnectionInfo { name: &user.name }))
}

/// Converts a token's grant of a channel to a room's.
pub(crate) fn granted(grant: &auth::Grant) -> Grant {
    Grant {
        is_given: true,
        info: raw(grant.info.as_deref()),
        data: raw(grant.data.as_deref()),
        overrides: grant.overrides,
        ttl: grant.ttl,
    }
}

/// Converts text that is known to be JSON: it was checked with its token.
fn raw(text: Option<&str>) -> Option<Arc<RawValue>> {
    let value = RawValue::from_string(text?.to_owned()).ok()?;
    Some(value.into())
}

/// Returns the login token in the data of a guest's connect. Data that is no JSON object is the game's own.
fn guest_login(data: Option<&[u8]>) -> Result<Option<String>, Refusal> {
    Fields::parse(data.unwrap_or_default())
        .unwrap_or_default()
        .login()
}

/// Returns the name that a guest gives in the data of its connect.
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
