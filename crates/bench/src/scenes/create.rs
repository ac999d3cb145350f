//! `bench create`: guests open a room and take a seat, each with one request and one commit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::ClientError;
use crate::error::BenchError;
use crate::hub::Hub;
use crate::open_loop::{Due, Pace, TURNS_OWED_MAX};
use crate::option::CreateOptions;
use crate::process::Process;
use crate::progress;
use crate::report::{Report, histogram, micros};

/// Limit on an answer's size: more than any answer of the client API.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// State that all callers share.
#[derive(Debug)]
struct Desk {
    address: SocketAddr,
    kind: String,
    began: Instant,
    is_measuring: AtomicBool,
    created: AtomicU64,
    refused: AtomicU64,
    trouble: Mutex<Option<String>>,
    delays: Mutex<Histogram<u64>>,
}

pub(crate) async fn measure(options: &CreateOptions) -> Result<Report, BenchError> {
    let hub = Hub::find(&options.target, &[], options.clients).await?;
    let desk = Arc::new(Desk {
        address: hub.address(),
        kind: options.kind.clone(),
        began: Instant::now(),
        is_measuring: AtomicBool::new(false),
        created: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        trouble: Mutex::default(),
        delays: Mutex::new(histogram()),
    });
    let mut callers = JoinSet::new();
    let mut takers = Vec::new();
    for _ in 0..options.clients {
        let (taker, turns) = mpsc::channel(TURNS_OWED_MAX);
        takers.push(taker);
        let turns = (options.rate > 0).then_some(turns);
        callers.spawn(call(Arc::clone(&desk), turns));
    }
    let pace = (options.rate > 0).then(|| Pace::start(desk.began, options.rate, takers));
    progress::wait("warming up", Instant::now() + options.warm_up).await;
    let cpu = || hub.process().and_then(Process::cpu);
    let (cpu_before, begun) = (cpu(), Instant::now());
    desk.is_measuring.store(true, Ordering::Relaxed);
    progress::wait("measuring", begun + options.duration).await;
    desk.is_measuring.store(false, Ordering::Relaxed);
    let (cpu_after, took) = (cpu(), begun.elapsed());
    let missed = pace.map_or(0, Pace::stop);
    callers.shutdown().await;
    let cpu = cpu_after
        .zip(cpu_before)
        .map(|(after, before)| after - before);
    desk.told(options, took, cpu, missed)
}

impl Desk {
    fn told(
        &self,
        options: &CreateOptions,
        took: Duration,
        cpu: Option<Duration>,
        missed: u64,
    ) -> Result<Report, BenchError> {
        let created = self.created.load(Ordering::Relaxed) as f64;
        let trouble = self.trouble.lock().clone();
        if created == 0.0 {
            return Err(BenchError::Nothing(
                trouble.unwrap_or_else(|| "no answer arrived".to_owned()),
            ));
        }
        let seconds = took.as_secs_f64();
        let mut report = Report::new("create");
        report.count("clients", "callers", options.clients.into());
        report.count("rate", "requested, a second", options.rate.into());
        report.number("seconds", "measured for, s", Some(seconds), 2);
        report.number(
            "creates_per_second",
            "creates a second",
            Some(created / seconds),
            0,
        );
        report.spread(
            "delay_us",
            "from scheduled to answered",
            &self.delays.lock(),
        );
        let per_cpu = cpu
            .filter(|cpu| !cpu.is_zero())
            .map(|cpu| created / cpu.as_secs_f64());
        report.number(
            "creates_per_hub_cpu_second",
            "creates per second of the hub's CPU",
            per_cpu,
            0,
        );
        report.count("refused", "refused", self.refused.load(Ordering::Relaxed));
        report.count("missed_turns", "skipped turns", missed);
        if let Some(trouble) = trouble {
            report.text("trouble", "first error", &trouble);
        }
        Ok(report)
    }

    fn now(&self) -> Due {
        micros(self.began.elapsed())
    }

    fn answered(&self, due: Due, answer: Result<(), ClientError>) {
        if !self.is_measuring.load(Ordering::Relaxed) {
            return;
        }
        match answer {
            Ok(()) => {
                self.created.fetch_add(1, Ordering::Relaxed);
                let delay = self.now().saturating_sub(due).max(1);
                self.delays.lock().saturating_record(delay);
            }
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.trouble.lock().get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Runs one caller, on a connection that is opened again when it breaks.
async fn call(desk: Arc<Desk>, mut turns: Option<mpsc::Receiver<Due>>) {
    let mut line = None;
    loop {
        let due = match &mut turns {
            Some(turns) => match turns.recv().await {
                Some(due) => due,
                None => return,
            },
            None => desk.now(),
        };
        let answer = create(&desk, &mut line).await;
        if matches!(answer, Err(ClientError::Line(_))) {
            line = None;
            // A hub that is gone is not retried as fast as the machine can.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        desk.answered(due, answer);
    }
}

async fn create(
    desk: &Desk,
    line: &mut Option<SendRequest<Full<Bytes>>>,
) -> Result<(), ClientError> {
    let lost = |error: hyper::Error| ClientError::Line(std::io::Error::other(error));
    let sender = match line {
        Some(sender) => sender,
        None => line.insert(dial(desk.address).await?),
    };
    let body = json!({ "kind": desk.kind, "guest": { "name": "Guest" } });
    let request = Request::post("/v1/rooms")
        .header(header::HOST, desk.address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))
        .map_err(|error| ClientError::Unreadable(error.to_string()))?;
    sender.ready().await.map_err(lost)?;
    let answer = sender.send_request(request).await.map_err(lost)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await;
    let body = body.map_err(|error| ClientError::Unreadable(error.to_string()))?;
    let body = body.to_bytes();
    if status == StatusCode::CREATED {
        return Ok(());
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    Err(ClientError::Refused {
        method: "POST /v1/rooms",
        code: status.as_u16().into(),
        message: problem["code"].as_str().unwrap_or_default().to_owned(),
    })
}

async fn dial(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, line) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ClientError::Line(std::io::Error::other(error)))?;
    // The task ends when the sender is dropped.
    tokio::spawn(line);
    Ok(sender)
}
