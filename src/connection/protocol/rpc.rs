//! The rpc methods: a player's actions over the socket.

use bytes::Bytes;
use serde::Serialize;

use super::dispatch::Connection;
use crate::actions::Caller;
use crate::session::SessionHandle;
use crate::wire::{
    Empty, ErrorCode, Failure, Fields, JoinRequest, Joined, OpenRoomRequest, QuickMatchRequest,
    RoomView, RpcResult, SeatView, result,
};

#[derive(Serialize)]
struct EnteredReply {
    room: RoomView,
    seat: Option<SeatView>,
}

impl From<Joined> for EnteredReply {
    fn from(entered: Joined) -> EnteredReply {
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
    seat: Option<SeatView>,
}

#[derive(Serialize)]
struct SeatsReply {
    seats: Vec<SeatView>,
}

impl Connection {
    pub(crate) async fn rpc(
        &mut self,
        id: u32,
        session: SessionHandle,
        method: String,
        data: Option<Bytes>,
    ) -> Result<(), Failure> {
        let data = data.unwrap_or_default();
        let fields = Fields::parse(&data)?;
        let actions = self.actions();
        let caller = Caller::Session(session.clone());
        match method.as_str() {
            "room.open" => {
                let (wish, key) = (OpenRoomRequest::read(&fields)?, fields.key()?);
                let opening = async move { actions.open_room(caller, wish, key).await };
                let entered = self.context.change(opening).await?;
                self.answer_rpc(id, EnteredReply::from(entered));
            }
            "room.join" => {
                let entered = self
                    .join(caller, &fields, JoinRequest::read(&fields)?)
                    .await?;
                self.answer_rpc(id, EnteredReply::from(entered));
            }
            "seat.claim" => {
                let wish = JoinRequest {
                    spectate: false,
                    ..JoinRequest::read(&fields)?
                };
                let seat = self.join(caller, &fields, wish).await?.seat;
                self.answer_rpc(id, SeatReply { seat });
            }
            "match.quick" => {
                let (wish, key) = (QuickMatchRequest::read(&fields)?, fields.key()?);
                let matching = async move { actions.quick_match(caller, wish, key).await };
                let entered = self.context.change(matching).await?;
                self.answer_rpc(id, EnteredReply::from(entered));
            }
            "seat.release" | "room.leave" => {
                let (code, key) = (fields.room()?, fields.key()?);
                let releasing = async move { actions.release(&session, code, key).await };
                self.context.change(releasing).await?;
                self.answer_rpc(id, Empty {});
            }
            "room.get" => {
                let room = actions.room(fields.room()?, Some(&session)).await?;
                self.answer_rpc(id, RoomReply { room });
            }
            "session.get" => {
                let seats = actions.session(&session).await?.seats;
                self.answer_rpc(id, SeatsReply { seats });
            }
            "session.end" => {
                let key = fields.key()?;
                // The session itself queues the answer, because its end closes this connection.
                let last_words =
                    result(self.outbound.encoding(), id, &RpcResult { data: Empty {} });
                let ending =
                    async move { actions.end_session(&session, Some(last_words), key).await };
                self.context.change(ending).await?;
            }
            _ => return Err(ErrorCode::MethodNotFound.into()),
        }
        Ok(())
    }

    async fn join(
        &self,
        caller: Caller,
        fields: &Fields<'_>,
        wish: JoinRequest,
    ) -> Result<Joined, Failure> {
        let (code, key) = (fields.room()?, fields.key()?);
        let actions = self.actions();
        let joining = async move { actions.join_room(caller, code, wish, key).await };
        Ok(self.context.change(joining).await?)
    }

    fn answer_rpc<D: Serialize>(&self, id: u32, data: D) {
        self.answer(id, &RpcResult { data });
    }
}
