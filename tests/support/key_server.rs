//! A web server with a key set, which can be away, wrong or silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Issuer;

/// A server that runs for as long as this lives.
#[derive(Debug)]
pub(crate) struct KeyServer {
    url: String,
    answer: Arc<Mutex<Serving>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Serving {
    Body(String),
    Status(u16),
    /// Takes the request and says nothing.
    Silence,
}

impl KeyServer {
    /// Serves the keys of these issuers.
    pub(crate) async fn of(issuers: &[&Issuer]) -> KeyServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(Serving::Body(key_set(issuers))));
        let asked = Arc::new(AtomicUsize::new(0));
        let serving = serve(listener, Arc::clone(&answer), Arc::clone(&asked));
        KeyServer {
            url,
            answer,
            asked,
            task: tokio::spawn(serving),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From here on it serves the keys of these issuers.
    pub(crate) fn turns_to(&self, issuers: &[&Issuer]) {
        self.serves(Serving::Body(key_set(issuers)));
    }

    pub(crate) fn serves(&self, serving: Serving) {
        *self.answer.lock() = serving;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The key set of these issuers, as text.
pub(crate) fn key_set(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Serving>>, asked: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        asked.fetch_add(1, Ordering::SeqCst);
        let serving = answer.lock().clone();
        tokio::spawn(respond(stream, serving));
    }
}

async fn respond(mut stream: TcpStream, serving: Serving) {
    let mut request = [0; 4096];
    // Whatever was asked: there is one thing to be had.
    let _ = stream.read(&mut request).await;
    let (status, body) = match serving {
        Serving::Body(body) => (200, body),
        Serving::Status(status) => (status, String::new()),
        Serving::Silence => {
            // Until the daemon hangs up.
            while let Ok(1..) = stream.read(&mut request).await {}
            return;
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // The daemon may have hung up.
    let _ = stream.write_all(answer.as_bytes()).await;
}
