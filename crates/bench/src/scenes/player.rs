//! Players that publish: each has a task that sends its messages and counts those that it receives.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, Socket};
use crate::counters::Tally;
use crate::frame::{self, Heard, Stamp};
use crate::open_loop::Due;
use crate::report::micros;
use holdfast_wire::Encoding;

/// Limit on the wait for messages in flight at the end. Messages that have not arrived by then are lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between two checks for messages in flight.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// State that all players share.
#[derive(Debug)]
pub(crate) struct Stage {
    began: Instant,
    pub(crate) tally: Tally,
    encoding: Encoding,
    payload: usize,
    is_over: AtomicBool,
}

/// The state of one room, shared by its players.
#[derive(Debug)]
pub(crate) struct Circle {
    channel: Arc<str>,
    members: u32,
    /// For each message in flight, the number of members that have not received it. Empty if turns are scheduled.
    unheard: Box<[AtomicU32]>,
    heard: AtomicU64,
}

impl Stage {
    pub(crate) fn new(encoding: Encoding, payload: usize) -> Stage {
        Stage {
            began: Instant::now(),
            tally: Tally::new(),
            encoding,
            payload,
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Returns the microseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// Stops all players from publishing.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Waits for messages in flight, and counts those that do not arrive.
    pub(crate) async fn lost(&self, circles: &[Arc<Circle>]) -> u64 {
        let members = circles
            .first()
            .map_or(0, |circle| u64::from(circle.members));
        let give_up = Instant::now() + DELIVERY_TIMEOUT;
        loop {
            let counts = self.tally.counts();
            let accepted = counts.said.saturating_sub(counts.refused);
            let lost = (accepted * members).saturating_sub(counts.heard);
            if lost == 0 || Instant::now() > give_up {
                return lost;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Circle {
    /// Allows `under_way` messages in flight at a time, if each message causes the next; 0 if turns are scheduled.
    pub(crate) fn new(channel: Arc<str>, members: u32, under_way: u32) -> Circle {
        Circle {
            channel,
            members,
            unheard: (0..under_way).map(|_| AtomicU32::new(members)).collect(),
            heard: AtomicU64::new(0),
        }
    }

    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Counts one receipt of a message. Returns the number of the next message, if it was the last receipt.
    fn hears(&self, number: u64) -> Option<u64> {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let under_way = self.unheard.len() as u64;
        let place = usize::try_from(number.checked_rem(under_way)?).ok()?;
        let unheard = &self.unheard[place];
        if unheard.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        unheard.store(self.members, Ordering::Release);
        Some(number + under_way)
    }
}

/// One player that publishes.
pub(crate) struct ActivePlayer {
    who: usize,
    socket: Socket,
    next_id: u32,
    circle: Arc<Circle>,
    stage: Arc<Stage>,
}

impl ActivePlayer {
    pub(crate) fn new(
        who: usize,
        client: Client,
        circle: &Arc<Circle>,
        stage: &Arc<Stage>,
    ) -> ActivePlayer {
        let (socket, next_id) = client.into_socket();
        ActivePlayer {
            who,
            socket,
            next_id,
            circle: Arc::clone(circle),
            stage: Arc::clone(stage),
        }
    }

    /// Publishes `opens` messages, then plays until the connection ends.
    pub(crate) async fn play(mut self, mut turns: mpsc::Receiver<Due>, opens: u32) {
        for number in 0..opens {
            if let Err(error) = self.say(number.into(), self.stage.now()).await {
                return self.cut(&error);
            }
        }
        loop {
            let done = tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(frame)) => self.take(frame).await,
                    Some(Err(error)) => Err(error),
                    None => Err(Error::ConnectionClosed),
                },
                Some(due) = turns.recv() => self.say(due, due).await,
            };
            if let Err(error) = done {
                return self.cut(&error);
            }
        }
    }

    async fn take(&mut self, frame: Message) -> Result<(), Error> {
        if let Message::Close(close) = frame {
            let why = close.map_or("no reason".to_owned(), |close| close.to_string());
            return Err(Error::Io(io::Error::other(format!("closed: {why}"))));
        }
        for heard in frame::hear(&frame) {
            match heard {
                Heard::Ping => self.socket.send(frame::pong(self.stage.encoding)).await?,
                Heard::Stamp(stamp) => self.hear(stamp).await?,
                Heard::Refused(reply) => self.stage.tally.refused(reply),
                Heard::Other => {}
            }
        }
        Ok(())
    }

    async fn hear(&mut self, stamp: Stamp) -> Result<(), Error> {
        let now = self.stage.now();
        self.stage.tally.heard(self.who, stamp, now);
        match self.circle.hears(stamp.number) {
            Some(next) => self.say(next, now).await,
            None => Ok(()),
        }
    }

    async fn say(&mut self, number: u64, due: Due) -> Result<(), Error> {
        if self.stage.is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let stamp = Stamp { number, due };
        let Stage {
            encoding, payload, ..
        } = *self.stage;
        let channel = &self.circle.channel;
        let command = frame::publish(encoding, self.next_id, channel, stamp, payload);
        self.next_id += 1;
        self.stage.tally.said();
        self.socket.send(command).await
    }

    fn cut(&self, error: &Error) {
        if !self.stage.is_over.load(Ordering::Relaxed) {
            self.stage.tally.cut(error.to_string());
        }
    }
}
