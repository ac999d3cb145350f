//! TLS in front of a server that has none, and the certificate with which it proves who it is.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::program::{program, run};

/// What a certificate says: this machine, and that it signs no others.
const PROFILE: &str = "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = about\n\
                       [name]\nCN = keys\n\
                       [about]\nbasicConstraints = critical, CA:FALSE\n\
                       subjectAltName = IP:127.0.0.1\n";

/// A certificate that nobody but its maker has signed.
#[derive(Debug)]
pub(crate) struct Certificate {
    folder: TempDir,
    file: PathBuf,
}

impl Certificate {
    /// Has `openssl` make one.
    pub(crate) fn make() -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("profile"), PROFILE).unwrap();
        run(program("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args([
                "-config",
                "profile",
                "-keyout",
                "key",
                "-out",
                "certificate",
            ])
            .current_dir(folder.path()));
        Certificate {
            file: folder.path().join("certificate"),
            folder,
        }
    }

    /// What whoever trusts it is given.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The file of its secret key.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_file(&self.file).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.key()).unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

/// Takes requests over TLS and has the server behind it answer them, for as long as this lives.
#[derive(Debug)]
pub(crate) struct TlsFront {
    url: String,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TlsFront {
    /// In front of what answers at this `http` URL.
    pub(crate) fn of(url: &str, certificate: &Certificate) -> TlsFront {
        let rest = url.strip_prefix("http://").expect("it has no TLS");
        let (behind, path) = rest.split_once('/').expect("it has a path");
        let behind: SocketAddr = behind.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(certificate.config());
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever does not trust the certificate hangs up in the middle.
                let _ = answer(stream.unwrap(), &config, behind);
            }
        });
        TlsFront {
            url: format!("https://{address}/{path}"),
            address,
            is_over,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// One request, which fits into one read, and its answer, which ends with its connection.
fn answer(stream: TcpStream, config: &Arc<ServerConfig>, behind: SocketAddr) -> io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut front = StreamOwned::new(connection, stream);
    let mut request = [0; 4096];
    let length = front.read(&mut request)?;
    let mut back = TcpStream::connect(behind)?;
    back.write_all(&request[..length])?;
    let mut answer = Vec::new();
    back.read_to_end(&mut answer)?;
    front.write_all(&answer)?;
    front.conn.send_close_notify();
    front.flush()
}
