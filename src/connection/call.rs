//! The rpc methods: what a player may do, over the socket.

use bytes::Bytes;
use serde::Serialize;

use super::state::Connection;
use crate::session::{Caller, Entered, SessionHandle};
use crate::wire::{
    Empty, ErrorCode, Failure, Fields, JoinRequest, OpenRoomRequest, QuickMatchRequest, RoomView,
    RpcResult, SeatView, result,
};

#[derive(Serialize)]
struct EnteredReply {
    room: RoomView,
    seat: Option<SeatView>,
}

impl From<Entered> for EnteredReply {
    fn from(entered: Entered) -> EnteredReply {
        EnteredReply {
            room: entered.room,
            seat: entered.seat,
        }
    }
}

#[derive(Serialize)]
struct RoomReply {
    room: RoomView,
}

#[derive(Serialize)]
struct SeatReply {
    seat: SeatView,
}

#[derive(Serialize)]
struct SeatsReply {
    seats: Vec<SeatView>,
}

impl Connection {
    pub(super) async fn rpc(
        &mut self,
        id: u32,
        session: SessionHandle,
        method: String,
        data: Option<Bytes>,
    ) -> Result<(), Failure> {
        let data = data.unwrap_or_default();
        let fields = Fields::parse(&data)?;
        match method.as_str() {
            "room.open" => self.room_open(id, session, &fields).await,
            "room.join" => self.room_join(id, session, &fields).await,
            "match.quick" => self.match_quick(id, session, &fields).await,
            "room.get" => self.room_get(id, &fields).await,
            "seat.claim" => self.seat_claim(id, session, &fields).await,
            "seat.release" | "room.leave" => self.seat_release(id, session, &fields).await,
            "session.get" => self.session_get(id, &session).await,
            "session.end" => self.session_end(id, session).await,
            _ => Err(ErrorCode::MethodNotFound.into()),
        }
    }

    async fn room_open(
        &self,
        id: u32,
        session: SessionHandle,
        fields: &Fields<'_>,
    ) -> Result<(), Failure> {
        let request = OpenRoomRequest::read(fields)?;
        let actions = self.context.actions.clone();
        let caller = Caller::Session(session);
        let entered = self
            .context
            .change(async move { actions.open_room(caller, request).await })
            .await?;
        self.answer_rpc(id, EnteredReply::from(entered));
        Ok(())
    }

    async fn room_join(
        &self,
        id: u32,
        session: SessionHandle,
        fields: &Fields<'_>,
    ) -> Result<(), Failure> {
        let (code, request) = (fields.room()?, JoinRequest::read(fields)?);
        let actions = self.context.actions.clone();
        let caller = Caller::Session(session);
        let entered = self
            .context
            .by_code(self.address, async move {
                actions.join_room(caller, code, request).await
            })
            .await?;
        self.answer_rpc(id, EnteredReply::from(entered));
        Ok(())
    }

    async fn match_quick(
        &self,
        id: u32,
        session: SessionHandle,
        fields: &Fields<'_>,
    ) -> Result<(), Failure> {
        let request = QuickMatchRequest::read(fields)?;
        let actions = self.context.actions.clone();
        let caller = Caller::Session(session);
        let entered = self
            .context
            .change(async move { actions.quick_match(caller, request).await })
            .await?;
        self.answer_rpc(id, EnteredReply::from(entered));
        Ok(())
    }

    async fn room_get(&self, id: u32, fields: &Fields<'_>) -> Result<(), Failure> {
        let (code, actions) = (fields.room()?, self.context.actions.clone());
        let wrong_codes = &self.context.wrong_codes;
        let room = wrong_codes.guard(self.address, actions.room(code)).await?;
        self.answer_rpc(id, RoomReply { room });
        Ok(())
    }

    async fn seat_claim(
        &self,
        id: u32,
        session: SessionHandle,
        fields: &Fields<'_>,
    ) -> Result<(), Failure> {
        let (code, request) = (fields.room()?, JoinRequest::read(fields)?);
        let actions = self.context.actions.clone();
        let (seat, _) = self
            .context
            .by_code(self.address, async move {
                actions.claim(&session, code, request).await
            })
            .await?;
        self.answer_rpc(id, SeatReply { seat });
        Ok(())
    }

    async fn seat_release(
        &self,
        id: u32,
        session: SessionHandle,
        fields: &Fields<'_>,
    ) -> Result<(), Failure> {
        let code = fields.room()?;
        let actions = self.context.actions.clone();
        self.context
            .by_code(self.address, async move {
                actions.release(&session, code).await
            })
            .await?;
        self.answer_rpc(id, Empty {});
        Ok(())
    }

    async fn session_get(&self, id: u32, session: &SessionHandle) -> Result<(), Failure> {
        let report = self.context.actions.session(session).await?;
        let seats = report.seats;
        self.answer_rpc(id, SeatsReply { seats });
        Ok(())
    }

    /// The session itself queues the answer: its end closes this connection.
    async fn session_end(&self, id: u32, session: SessionHandle) -> Result<(), Failure> {
        let last_words = result(self.outbound.encoding(), id, &RpcResult { data: Empty {} });
        let actions = self.context.actions.clone();
        self.context
            .change(async move { actions.end_with(&session, Some(last_words)).await })
            .await?;
        Ok(())
    }

    fn answer_rpc<D: Serialize>(&self, id: u32, data: D) {
        self.answer(id, &RpcResult { data });
    }
}
