//! The servers whose HTTP API is measured: started on a store of their own, ended with it.

use crate::api::await_answer;
use crate::launch::{Fresh, binary};
use crate::peers::done;
use crate::{facts, usage};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The worker processes of the peer: as many as this machine has cores.
const WORKERS: &str = "2";
/// Limit of a stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server and its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `api_service` on the embedded default.
    Embedded,
    /// `api_service` on Pub/Sub and Cassandra.
    Cassandra,
    /// FastAPI on PostgreSQL.
    FastApi,
}

impl Kind {
    /// Every server.
    pub const ALL: [Self; 3] = [Self::Embedded, Self::Cassandra, Self::FastApi];

    /// Returns the name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "api_service, embedded",
            Self::Cassandra => "api_service, Pub/Sub and Cassandra",
            Self::FastApi => "FastAPI and PostgreSQL",
        }
    }

    /// Returns whether the database runs for this server alone, so that its processor time is the server's.
    pub fn has_own_database(self) -> bool {
        self != Self::Cassandra
    }

    /// Installs FastAPI, and finds PostgreSQL.
    pub async fn build_peer(out: &Path) -> Result<()> {
        done(Command::new("initdb").arg("--version")).await?;
        let python = out.join("fastapi/bin/python");
        if !python.is_file() {
            done(Command::new("python3").args(["-m", "venv"]).arg(out.join("fastapi"))).await?;
        }
        let requirements = "bench/peers/python/shop_requirements.txt";
        done(Command::new(python).args(["-m", "pip", "install", "--quiet", "-r", requirements])).await
    }
}

/// A running server.
pub struct Server {
    /// Its URL without a path.
    pub base: String,
    /// Its API key.
    pub key: Option<String>,
    program: Child,
    database: Option<Child>,
    folder: PathBuf,
}

impl Server {
    /// Starts a server on an empty store.
    pub async fn start(kind: Kind, out: &Path) -> Result<Self> {
        let folder = out.join("api");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let (mut key, mut database) = (None, None);
        let program = |name: &str| -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?.with_file_name(name));
            for variable in ["ECOM_CONFIG", "PUBSUB_EMULATOR_HOST", "CASSANDRA_CONTACT_POINTS"] {
                command.env_remove(variable);
            }
            Ok(command)
        };
        let mut command = match kind {
            Kind::Embedded => {
                let embedded = |name: &str| -> Result<Command> {
                    let mut command = program(name)?;
                    command.args(["--embedded", "--data-dir"]).arg(folder.join("data"));
                    Ok(command)
                };
                done(&mut embedded("ecom_setup")?).await?;
                embedded("api_service")?
            }
            Kind::Cassandra => {
                let fresh = Fresh::named("api")?;
                let contact_points = facts::nodes()?;
                done(&mut binary("ecom_setup", &fresh, &contact_points)?).await?;
                let mut new_key = program("api_service")?;
                let made = new_key.args(["key", "--role", "shop"]).output().await?;
                ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
                let line =
                    String::from_utf8_lossy(&made.stderr).lines().last().unwrap_or_default().to_owned();
                std::fs::write(folder.join("keys"), line)?;
                key = Some(String::from_utf8_lossy(&made.stdout).trim().to_owned());
                let mut command = binary("api_service", &fresh, &contact_points)?;
                command.arg("--keys-file").arg(folder.join("keys"));
                // The users of the benchmark have one key together.
                command.args(["--set", "shop.api.rate=1000000", "--set", "shop.api.burst=1000000"]);
                command
            }
            Kind::FastApi => {
                let (child, url) = postgres(&folder, out).await?;
                database = Some(child);
                let mut command = Command::new(out.join("fastapi/bin/uvicorn"));
                command.args(["shop_api:app", "--app-dir", "bench/peers/python", "--workers", WORKERS]);
                command.args(["--no-access-log", "--log-level", "warning"]).env("DATABASE_URL", url);
                command
            }
        };
        match kind {
            Kind::FastApi => command.args(["--host", "127.0.0.1", "--port", &port.to_string()]),
            _ => command.args(["--listen", &format!("127.0.0.1:{port}"), "--quiet"]),
        };
        let log = File::create(
            out.join("logs").join(format!("api-{}.log", kind.name().replace([' ', ',', '/'], "-"))),
        )?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let program = command.spawn().with_context(|| format!("could not start {}", kind.name()))?;
        let base = format!("http://127.0.0.1:{port}");
        await_answer(&format!("{base}/docs")).await?;
        Ok(Self { base, key, program, database, folder })
    }

    /// Returns nanoseconds on a processor of the program, and of it with its own database.
    pub fn cpu_ns(&self) -> [u64; 2] {
        let of = |child: &Child| child.id().map_or(0, usage::tree_cpu_ns);
        let program = of(&self.program);
        [program, program + self.database.as_ref().map_or(0, of)]
    }

    /// Ends it, and removes its data.
    pub async fn stop(mut self) -> Result<()> {
        for (child, signal) in std::iter::once((&mut self.program, Signal::TERM))
            .chain(self.database.as_mut().map(|it| (it, Signal::INT)))
        {
            if let Some(pid) = child.id() {
                usage::signal(pid, signal);
            }
            if timeout(PATIENCE, child.wait()).await.is_err() {
                child.kill().await?;
            }
        }
        std::fs::remove_dir_all(&self.folder)
            .with_context(|| format!("could not remove {}", self.folder.display()))
    }
}

/// Starts a PostgreSQL with its own defaults, which make every commit durable; returns it and its URL.
async fn postgres(folder: &Path, out: &Path) -> Result<(Child, String)> {
    let (data, port) = (folder.join("postgres"), free_port()?);
    std::fs::create_dir_all(&data)?;
    let mut owner = None;
    if rustix::process::geteuid().is_root() {
        // It refuses to run as root.
        for path in [folder, &data] {
            done(Command::new("chown").arg("nobody").arg(path)).await?;
        }
        owner = Some("nobody");
    }
    let as_owner = |name: &str| match owner {
        None => Command::new(name),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--clear-groups", name]);
            command
        }
    };
    done(
        as_owner("initdb")
            .args(["--username", "bench", "--auth", "trust", "--encoding", "UTF8", "-D"])
            .arg(&data),
    )
    .await?;
    let log = File::create(out.join("logs/postgres.log"))?;
    let mut command = as_owner("postgres");
    command.arg("-D").arg(&data).args([
        "-p",
        &port.to_string(),
        "-h",
        "127.0.0.1",
        "-k",
        "",
        "-c",
        "max_connections=50",
    ]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    let child = command.spawn().context("could not start PostgreSQL")?;
    let ready = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let port = port.to_string();
        while done(Command::new("pg_isready").args(["-h", "127.0.0.1", "-p", &port])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.context("PostgreSQL did not start")?;
    Ok((child, format!("postgresql://bench@127.0.0.1:{port}/postgres")))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("found no free port")?.local_addr()?.port())
}
