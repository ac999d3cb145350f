//! A PgBouncer before a PostgreSQL server.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

use super::daemon::free_address;
use super::eventually;
use super::program::{program, run};
use super::server::{as_postgres, is_root};

/// Where Debian installs it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Pooler {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Pooler {
    /// Starts one before the database of this URL. `mode` is its `pool_mode`.
    pub(crate) async fn before(url: &str, mode: &str) -> Pooler {
        let server: PgConnectOptions = url.parse().unwrap();
        let (credentials, _) = url.rsplit_once('@').unwrap();
        let (_, database) = url.rsplit_once('/').unwrap();
        let (_, password) = credentials.rsplit_once(':').unwrap_or((credentials, ""));
        let address = free_address();
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.txt");
        fs::write(
            &users,
            format!("\"{}\" \"{password}\"\n", server.get_username()),
        )
        .unwrap();
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{database} = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = {mode}\n\
             default_pool_size = 30\nmax_client_conn = 100\n\
             ignore_startup_parameters = extra_float_digits,options\n",
            server.get_host(),
            server.get_port(),
            address.port(),
            users.display(),
        );
        fs::write(&settings, text).unwrap();
        if is_root() {
            run(program("chown")
                .args(["-R", "postgres:"])
                .arg(folder.path()));
        }
        let process = as_postgres(Path::new(PROGRAM))
            .arg("-q")
            .arg(&settings)
            .spawn()
            .expect("PgBouncer is installed");
        let pooler = Pooler {
            process,
            url: format!("{credentials}@{address}/{database}"),
            _folder: folder,
        };
        pooler.answers(address).await;
        pooler
    }

    /// What a daemon is told.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn answers(&self, address: SocketAddr) {
        eventually("PgBouncer listens", async || {
            TcpStream::connect(address)
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
