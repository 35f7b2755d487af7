//! The programs of a Kubernetes cluster, brought to this host, and a running etcd and API server.

use super::Place;
use crate::cache;
use crate::ops::tools::quietly;
use crate::processes::{free_ports, signal, wait_until};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The release of Kubernetes, as in `tools/go.mod`.
const VERSION: &str = "1.36.3";
const BUILT: [&str; 4] = [
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubelet",
];
/// The token of the administrator, on an API server that only this host reaches for as long as a check runs.
const TOKEN: &str = "administrator";
const START_LIMIT: Duration = Duration::from_secs(180);

/// Returns the folder of Kubernetes' own programs, built from its Go modules once per user: about ten minutes of
/// one core.
pub(super) fn kubernetes(place: &Place<'_>) -> Result<PathBuf> {
    let home = cache()?.join(format!("kubernetes-{VERSION}"));
    let (bin, partial) = (home.join("bin"), home.join("partial"));
    fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
    let lock = File::create(home.join("lock")).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.with_context(|| format!("could not lock {}", home.display()))?;
    if bin.is_dir() {
        return Ok(bin);
    }
    eprintln!("building Kubernetes {VERSION} (about ten minutes of one core, once per user)");
    let version = "k8s.io/component-base/version";
    let (major, minor) = VERSION.split_once('.').context("a version has a minor part")?;
    let minor = minor.split('.').next().unwrap_or_default();
    let flags = format!(
        "-s -w -X {version}.gitVersion=v{VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    );
    fs::create_dir_all(&partial)?;
    place.go_build("xtask/src/ops/kubernetes/tools", &["-ldflags", &flags], &BUILT, &partial)?;
    fs::rename(&partial, &bin).with_context(|| format!("could not create {}", bin.display()))?;
    Ok(bin)
}

/// A process that ends when it is dropped, or when this process ends.
pub(super) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program, whose output goes into a log of its name in `dir`.
    pub(super) fn start(program: &Path, arguments: &[String], dir: &Path) -> Result<Self> {
        let name = program.file_name().context("a program has a name")?.to_string_lossy().into_owned();
        Self::start_as(&name, program, arguments, dir)
    }

    /// Starts a program under another name.
    pub(super) fn start_as(name: &str, program: &Path, arguments: &[String], dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until a condition holds; fails if the process ends before, or it takes too long.
    pub(super) fn wait(&mut self, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let mut ended = false;
        let done = wait_until(START_LIMIT, || {
            ended = !matches!(self.child.try_wait(), Ok(None));
            ended || is_ready()
        });
        let text = || {
            let text = fs::read(&self.log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        };
        ensure!(done && !ended, "{} did not become ready; the end of its log:\n{}", self.name, text());
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = signal(self.child.id(), Signal::TERM);
        if !wait_until(Duration::from_secs(5), || !matches!(self.child.try_wait(), Ok(None))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A running etcd and API server. Fields are dropped in this order.
pub(super) struct ControlPlane {
    _api: Daemon,
    _etcd: Daemon,
    kubectl: PathBuf,
    /// The configuration of the administrator, for clients.
    pub(super) kubeconfig: PathBuf,
    /// The folder of keys, logs and data.
    pub(super) dir: PathBuf,
}

impl ControlPlane {
    /// Starts both with their data in `dir`, which is emptied first. Pods of a node see the API server at `advertised`.
    pub(super) fn start(place: &Place<'_>, dir: &Path, advertised: Ipv4Addr) -> Result<Self> {
        let kubectl = place.program("kubectl", "install kubectl 1.27 or later")?;
        let (bin, etcd) = (kubernetes(place)?, place.debian("etcd", &["etcd-server"])?.join("usr/bin/etcd"));
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
        let [client, peer, secure] = free_ports()?;
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = Daemon::start(
            &etcd,
            &[
                format!("--data-dir={}", dir.join("etcd").display()),
                format!("--listen-client-urls={}", local(client)),
                format!("--advertise-client-urls={}", local(client)),
                format!("--listen-peer-urls={}", local(peer)),
                // Nothing here outlives the check.
                "--unsafe-no-fsync".to_owned(),
            ],
            dir,
        )?;
        etcd.wait(|| answers(&local(client), "health", &["-f"]))?;
        let key = dir.join("service-accounts.key");
        quietly(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
        let tokens = dir.join("tokens.csv");
        fs::write(&tokens, format!("{TOKEN},administrator,1,system:masters\n"))?;
        let mut api = Daemon::start(
            &bin.join("kube-apiserver"),
            &[
                format!("--etcd-servers={}", local(client)),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--advertise-address={advertised}"),
                format!("--secure-port={secure}"),
                format!("--cert-dir={}", dir.join("certificates").display()),
                "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", key.display()),
                format!("--service-account-signing-key-file={}", key.display()),
                "--authorization-mode=RBAC".to_owned(),
                format!("--token-auth-file={}", tokens.display()),
                "--endpoint-reconciler-type=none".to_owned(),
                // There is no DNS that knows the names of nodes.
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ],
            dir,
        )?;
        let server = format!("https://127.0.0.1:{secure}");
        let bearer = format!("Authorization: Bearer {TOKEN}");
        api.wait(|| answers(&server, "readyz", &["-fk", "-H", &bearer]))?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(
            &kubeconfig,
            format!(
                "apiVersion: v1
kind: Config
clusters: [{{ name: it, cluster: {{ server: \"{server}\", insecure-skip-tls-verify: true }} }}]
users: [{{ name: it, user: {{ token: {TOKEN} }} }}]
contexts: [{{ name: it, context: {{ cluster: it, user: it, namespace: ecom }} }}]
current-context: it
"
            ),
        )?;
        Ok(Self { _api: api, _etcd: etcd, kubectl, kubeconfig, dir: dir.to_owned() })
    }

    /// Returns a kubectl command on this cluster.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs kubectl and returns its standard output. A warning of the server is an error.
    pub(super) fn clean(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl(arguments).output().context("could not start kubectl")?;
        let [text, errors] =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let is_clean = output.status.success() && errors.is_empty();
        let said = if errors.is_empty() { &text } else { &errors };
        ensure!(is_clean, "kubectl {}:\n{}", arguments.join(" "), said.trim_end());
        Ok(text)
    }
}

/// Returns whether a server answers a request with success.
fn answers(server: &str, path: &str, options: &[&str]) -> bool {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "5", "-o", "/dev/null"]).args(options).arg(format!("{server}/{path}"));
    command.status().is_ok_and(|status| status.success())
}
