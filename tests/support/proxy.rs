//! A line that can be cut: a TCP proxy in this process, between a client and a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// A proxy before one server. It and its lines go when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    accepting: AbortHandle,
}

/// What happens to what is sent.
#[derive(Debug, Clone, Default)]
struct Line {
    /// Raised to cut all lines that exist.
    cuts: u64,
    /// Nothing arrives for the time being, and nobody is told.
    is_silent: bool,
    /// New lines are refused.
    is_down: bool,
    delay: Duration,
    /// Once the client has sent this, the line is cut when the server answers it.
    cut_answer_to: Option<&'static [u8]>,
    /// How often that happened.
    answers_cut: u64,
    /// Each new line is cut after a number of bytes that this decides.
    dice: Option<Dice>,
    /// Each new line is cut after so many bytes to the client.
    answer_max: Option<u64>,
    /// How often either happened.
    bytes_cut: u64,
}

/// Numbers that look like chance and are the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

/// What a line may still carry, both ways together.
type Rest = AtomicU64;

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(watch::Sender::new(Line::default()));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&line))).abort_handle();
        Proxy {
            address,
            line,
            accepting,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the lines that exist; new ones may be made.
    pub(crate) fn cut(&self) {
        self.line.send_modify(|line| line.cuts += 1);
    }

    /// Cuts all lines and refuses new ones, until [`Proxy::comes_up`].
    pub(crate) fn goes_down(&self) {
        self.line.send_modify(|line| {
            line.cuts += 1;
            line.is_down = true;
        });
    }

    /// Lets nothing through and says nothing, as a phone in a tunnel does, until [`Proxy::comes_up`].
    pub(crate) fn goes_silent(&self) {
        self.line.send_modify(|line| line.is_silent = true);
    }

    pub(crate) fn comes_up(&self) {
        self.line.send_modify(|line| {
            line.is_down = false;
            line.is_silent = false;
            line.delay = Duration::ZERO;
            line.answer_max = None;
            if line.dice.take().is_some() {
                line.cuts += 1;
            }
        });
    }

    /// Lets everything that is sent from here on arrive this much later.
    pub(crate) fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }

    /// The next time the client sends `request`, the server gets it, but its answer is cut off.
    pub(crate) fn cut_the_next_answer_to(&self, request: &'static [u8]) {
        self.line
            .send_modify(|line| line.cut_answer_to = Some(request));
    }

    /// Cuts each line that is made from here on after some bytes, few or many, until
    /// [`Proxy::comes_up`]. What is cut where follows from the seed and the order of the lines.
    pub(crate) fn cut_at_any_byte(&self, seed: u64) {
        self.line.send_modify(|line| {
            line.cuts += 1;
            line.dice = Some(Dice(seed));
        });
    }

    /// Cuts each line that is made from here on after so many bytes to the client, until
    /// [`Proxy::comes_up`].
    pub(crate) fn cut_answers_after(&self, bytes: u64) {
        self.line.send_modify(|line| line.answer_max = Some(bytes));
    }

    pub(crate) fn lines_cut_at_some_byte(&self) -> u64 {
        self.line.borrow().bytes_cut
    }

    pub(crate) fn answers_cut(&self) -> u64 {
        self.line.borrow().answers_cut
    }
}

impl Dice {
    /// Any number.
    pub(crate) fn roll(&mut self) -> u64 {
        // SplitMix64: any seed will do, and it needs no state but one number.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Any length up to 16 KiB, short ones as often as long ones.
    fn length(&mut self) -> u64 {
        let mixed = self.roll();
        let magnitude = mixed % 15;
        (mixed >> 8) % (1 << magnitude)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: Arc<watch::Sender<Line>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        if line.borrow().is_down {
            continue;
        }
        tokio::spawn(carry(client, server, Arc::clone(&line)));
    }
}

/// Carries one line until an end hangs up or the line is cut.
async fn carry(client: TcpStream, server: SocketAddr, line: Arc<watch::Sender<Line>>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    for stream in [&client, &server] {
        // Without it only the timing is worse.
        let _ = stream.set_nodelay(true);
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let condemned = watch::Sender::new(false);
    let mut changes = line.subscribe();
    let cuts = changes.borrow_and_update().cuts;
    let mut length = u64::MAX;
    line.send_if_modified(|line| {
        length = line.dice.as_mut().map_or(u64::MAX, Dice::length);
        false
    });
    let rest = Rest::new(length);
    let answer = Rest::new(line.borrow().answer_max.unwrap_or(u64::MAX));
    tokio::select! {
        biased;
        _ = changes.wait_for(|line| line.cuts > cuts) => {}
        () = upward(client_read, server_write, &line, &condemned, &rest) => {}
        () = downward(server_read, client_write, &line, &condemned, [&rest, &answer]) => {}
    }
    if [rest, answer]
        .iter()
        .any(|rest| rest.load(Ordering::Relaxed) == 0)
    {
        line.send_modify(|line| line.bytes_cut += 1);
    }
}

async fn upward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    line: &watch::Sender<Line>,
    condemned: &watch::Sender<bool>,
    rest: &Rest,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        line.send_if_modified(|line| {
            let is_asked = line
                .cut_answer_to
                .is_some_and(|request| bytes.windows(request.len()).any(|part| part == request));
            if is_asked {
                line.cut_answer_to = None;
                condemned.send_replace(true);
            }
            is_asked
        });
        if !pass(bytes, &mut to, line, rest).await {
            return;
        }
    }
}

async fn downward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    line: &watch::Sender<Line>,
    condemned: &watch::Sender<bool>,
    [rest, answer]: [&Rest; 2],
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if *condemned.borrow() {
            line.send_modify(|line| line.answers_cut += 1);
            return;
        }
        let allowed = answer.load(Ordering::Relaxed).min(length as u64);
        if !pass(&buffer[..allowed as usize], &mut to, line, rest).await {
            return;
        }
        if answer.fetch_sub(allowed, Ordering::Relaxed) == allowed {
            return;
        }
    }
}

/// Says whether the line still stands.
async fn pass(
    bytes: &[u8],
    to: &mut OwnedWriteHalf,
    line: &watch::Sender<Line>,
    rest: &Rest,
) -> bool {
    let mut changes = line.subscribe();
    let delay = match changes.wait_for(|line| !line.is_silent).await {
        Ok(line) => line.delay,
        Err(_) => return false,
    };
    sleep(delay).await;
    let length = bytes.len() as u64;
    // One task carries both ways, so nothing comes between these two.
    let allowed = length.min(rest.load(Ordering::Relaxed));
    rest.fetch_sub(allowed, Ordering::Relaxed);
    let is_written = to.write_all(&bytes[..allowed as usize]).await.is_ok();
    is_written && rest.load(Ordering::Relaxed) > 0
}
