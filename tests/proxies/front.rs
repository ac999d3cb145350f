//! nginx and HAProxy as `docs/proxies.md` configures them, as child processes with files of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::support::{
    Certificate, ErrorOutput, Request, STARTS_MAX, eventually, free_address, program,
};

const PAGE: &str = include_str!("../../docs/proxies.md");

/// Where the page has the hub.
const HUB: &str = "127.0.0.1:7450";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    Nginx,
    Haproxy,
}

/// A proxy that runs, and a way to it without TLS for clients that know none. Both go when it is dropped.
#[derive(Debug)]
pub(super) struct Front {
    proxy: Child,
    address: SocketAddr,
    tunnel: AbortHandle,
    _log: ErrorOutput,
    _folder: TempDir,
}

impl Front {
    /// Starts one before this hub, and waits until it answers.
    pub(super) async fn start(product: Product, hub: SocketAddr) -> Front {
        let certificate = Certificate::make();
        for _ in 0..STARTS_MAX {
            let port = free_address();
            let folder = tempfile::tempdir().unwrap();
            let configuration = product.configure(port, hub, &certificate, folder.path());
            let (proxy, log) = product.run(&configuration, folder.path());
            let (address, tunnel) = tunnel_to(port, &certificate).await;
            let mut front = Front {
                proxy,
                address,
                tunnel,
                _log: log,
                _folder: folder,
            };
            if front.is_ready(product).await {
                return front;
            }
        }
        panic!("{product:?} did not start {STARTS_MAX} times, for want of a port");
    }

    /// Where a client of the game is to connect to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    /// False if it has ended, as it does when its port is taken.
    async fn is_ready(&mut self, product: Product) -> bool {
        let what = format!("{product:?} answers for the hub");
        eventually(&what, async || {
            if self.proxy.try_wait().unwrap().is_some() {
                return Ok(false);
            }
            let answer = Request::new(self.address, "GET", "/livez")
                .try_send()
                .await?;
            match answer.status {
                200 => Ok(true),
                _ => Err(format!("{answer:?}")),
            }
        })
        .await
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.tunnel.abort();
        // It may have ended by itself.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

impl Product {
    /// Writes the files of the proxy, and returns the path of the one to start it with.
    fn configure(
        self,
        port: SocketAddr,
        hub: SocketAddr,
        certificate: &Certificate,
        folder: &Path,
    ) -> PathBuf {
        let place = |name: &str| folder.join(name).display().to_string();
        let (chain, key) = (certificate.file(), certificate.key());
        let path = |path: &Path| path.display().to_string();
        let text = match self {
            Product::Nginx => {
                let changes = [
                    (HUB, hub.to_string()),
                    ("443 ssl", format!("{port} ssl")),
                    ("/etc/ssl/game.example/fullchain.pem", path(chain)),
                    ("/etc/ssl/game.example/key.pem", path(&key)),
                ];
                let block = change(block("nginx"), &changes);
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {};\n", place(name)))
                    .concat();
                format!(
                    "daemon off;\nmaster_process off;\npid {};\nerror_log stderr warn;\n\
                     events {{ worker_connections 256; }}\n\
                     http {{\naccess_log off;\n{temporary}{block}}}\n",
                    place("pid")
                )
            }
            Product::Haproxy => {
                let both = [fs::read(chain).unwrap(), fs::read(key).unwrap()].concat();
                fs::write(folder.join("both.pem"), both).unwrap();
                let changes = [
                    (HUB, hub.to_string()),
                    ("bind :443", format!("bind {port}")),
                    ("/etc/haproxy/certs/game.example.pem", place("both.pem")),
                ];
                change(block("haproxy"), &changes)
            }
        };
        let file = folder.join("configuration");
        fs::write(&file, text).unwrap();
        file
    }

    fn run(self, configuration: &Path, folder: &Path) -> (Child, ErrorOutput) {
        let (name, flags): (_, &[&str]) = match self {
            Product::Nginx => ("nginx", &["-e", "stderr", "-c"]),
            Product::Haproxy => ("haproxy", &["-db", "-f"]),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = program(name);
        command
            // Where a Debian system keeps servers.
            .env("PATH", format!("{path}:/usr/sbin"))
            .args(flags)
            .arg(configuration)
            .current_dir(folder);
        let log = ErrorOutput::of(&mut command);
        let proxy = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is not installed: {error}"));
        (proxy, log)
    }
}

/// The first block of the page in this language.
fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let (_, rest) = PAGE.split_once(&fence).expect("the page has such a block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    block
}

/// Puts the addresses and paths of this machine in place of those of the page.
fn change(block: &str, changes: &[(&str, String)]) -> String {
    changes.iter().fold(block.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        text.replace(from, to)
    })
}

/// Takes plain connections and passes them on over TLS.
async fn tunnel_to(proxy: SocketAddr, certificate: &Certificate) -> (SocketAddr, AbortHandle) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut trusted = RootCertStore::empty();
    trusted
        .add(CertificateDer::from_pem_file(certificate.file()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let Ok(stream) = TcpStream::connect(proxy).await else {
                    return;
                };
                // Without it only the timing is worse.
                let _ = stream.set_nodelay(true);
                let name = ServerName::from(proxy.ip());
                if let Ok(mut stream) = connector.connect(name, stream).await {
                    // Either side may hang up at any time.
                    let _ = copy_bidirectional(&mut client, &mut stream).await;
                }
            });
        }
    });
    (address, accepting.abort_handle())
}
