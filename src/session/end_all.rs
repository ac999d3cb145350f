//! The end of all sessions of a user, in one commit. Their actors and their rooms receive it after the commit.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::message::SessionMessage;
use super::registry::Sessions;
use crate::id::{SessionId, UserId};
use crate::mailbox::ANSWER_TIMEOUT;
use crate::persistence::{
    Committed, EndSessions, EndedSessions, Refused, SessionCommand, WriteError,
};
use crate::room::{SessionTold, load_refusal, refusal};
use crate::wire::Refusal;

/// Wait before the database is asked again which sessions have ended.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How long an ended session is remembered: longer than an actor takes to start from a row that was read before.
const REMEMBERED: Duration = Duration::from_mins(1);

impl Sessions {
    /// Ends all open sessions of a user, with their tokens and seats, in one commit. Then their connections close and
    /// their rooms release the seats. Returns how many sessions were open.
    ///
    /// # Errors
    /// UNAVAILABLE: all of them or none have ended. A retry is safe.
    pub(crate) async fn end_all_of(&self, user: &UserId) -> Result<usize, Refusal> {
        // Each session with a seat has an actor from here on, so that its rooms are known if the outcome is not.
        let woken = self.wake_user(user).await;
        woken.map_err(load_refusal)?;
        let (reply, answer) = oneshot::channel();
        let command = SessionCommand::EndAll(EndSessions { user: user.clone() });
        let (sessions, user) = (self.clone(), user.clone());
        let persistence = &self.context().persistence;
        persistence.write_then(command, move |result| {
            // The caller may have stopped waiting.
            let _ = reply.send(sessions.all_settled(user, result));
        });
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(ended)) => ended.map_err(|refused| refusal(&refused)),
            Ok(Err(_)) | Err(_) => Err(Refusal::unavailable()),
        }
    }

    /// Applies the outcome of the write. Returns how many sessions have ended.
    fn all_settled(
        self,
        user: UserId,
        result: Result<Committed, WriteError>,
    ) -> Result<usize, Refused> {
        match (result, tokio::runtime::Handle::try_current()) {
            (Ok(Committed::AllEnded(ended)), runtime) => {
                let ids = self.all_ended(ended);
                let count = ids.len();
                if let Ok(runtime) = runtime {
                    runtime.spawn(async move {
                        tokio::time::sleep(REMEMBERED).await;
                        self.context().ended_lately.forget(&ids);
                    });
                }
                Ok(count)
            }
            // No other outcome belongs to this command.
            (Ok(_), _) => Err(Refused::Internal),
            (Err(WriteError::Refused(refused)), _) => Err(refused),
            (Err(WriteError::Lost), runtime) => {
                // Without a runtime the process is ending, and the next one reads the stored state.
                if let Ok(runtime) = runtime {
                    runtime.spawn(self.find_out_all(user));
                }
                Err(Refused::Unavailable {
                    retry_after: RETRY_DELAY,
                })
            }
        }
    }

    /// Has the rooms release the seats, with the events that the commit added to their durable streams, and then ends
    /// the actors of the sessions.
    pub(super) fn all_ended(&self, mut ended: EndedSessions) -> Vec<SessionId> {
        let context = self.context();
        // First: an actor that is started from an older row, and is in no directory yet, finds its session here.
        context.ended_lately.add(&ended.sessions);
        for (session, room, code) in ended.seats {
            let told = SessionTold::take(&mut ended.told, room);
            context.rooms.vacated(code, session, told);
        }
        for id in &ended.sessions {
            if let Some(session) = self.live_by_id(*id) {
                session.tell(SessionMessage::Ended);
            }
        }
        ended.sessions
    }

    /// Finds out which sessions of the user have ended, after the answer to the write was lost.
    async fn find_out_all(self, user: UserId) {
        for session in self.all_live_of_user(&user) {
            let persistence = &self.context().persistence;
            let is_ended = loop {
                match persistence.session_truth(session.id()).await {
                    Ok(stored) => break stored.is_none_or(|stored| stored.is_ended),
                    Err(_) => tokio::time::sleep(RETRY_DELAY).await,
                }
            };
            // A session that has failed meanwhile is read again, with its rooms.
            if is_ended && let Ok(report) = session.report().await {
                for seat in report.seats {
                    let rooms = &self.context().rooms;
                    rooms.vacated(seat.code, session.id(), SessionTold::Unknown);
                }
                session.tell(SessionMessage::Ended);
            }
        }
    }
}
