//! A real node: API server, controllers, scheduler, containerd and kubelet, in namespaces of their own, with a Pub/Sub
//! emulator and a Cassandra node beside them. It ends with the check, however that ends.

use super::programs::{ControlPlane, Daemon, kubernetes};
use super::{Place, exercise};
use crate::ops::image::{self, IMAGE};
use crate::ops::namespaces::{self, ADDRESS, HOME};
use crate::ops::tools::quietly;
use crate::services;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The image of a pod's sandbox.
const PAUSE: &str = "localhost/pause:1";

/// Runs [`exercise`] on a node.
pub(in super::super) fn runs(place: &Place<'_>) -> Result<bool> {
    if place.is_in_namespaces {
        let cluster = Cluster::start(place)?;
        return exercise::passes(place, &cluster);
    }
    // What is fetched and built, while there is a network.
    let (packages, _) = (packages(place)?, kubernetes(place)?);
    place.debian("etcd", &["etcd-server"])?;
    let home = place.root.join("target/ops/node");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
    image::archive(place, &home.join("ecom.tar"))?;
    services::fetch(place.root).map_err(|error| place.lacks(&format!("{error:#}")))?;
    let mut command = namespaces::command(place, &packages, &home);
    command.arg(std::env::current_exe()?).args(["ops", "--in-namespaces", "node"]);
    // Clients connect to the address that a node tells them.
    let told = format!("-Dcassandra.settings.broadcast_rpc_address={ADDRESS}");
    command.env("JAVA_TOOL_OPTIONS", format!("-Dcassandra.settings.rpc_address=0.0.0.0 {told}"));
    namespaces::succeeds(&mut command, &home)
}

/// Returns the folder of containerd and what it needs.
fn packages(place: &Place<'_>) -> Result<PathBuf> {
    place.debian("node", &[&namespaces::PACKAGES[..], &["containernetworking-plugins"]].concat())
}

/// The running node. Fields are dropped in this order.
pub(super) struct Cluster {
    _daemons: Vec<Daemon>,
    pub(super) server: ControlPlane,
    containerd: Containerd,
    started: Instant,
}

impl Cluster {
    /// Starts everything and waits until the node is ready.
    fn start(place: &Place<'_>) -> Result<Self> {
        let started = Instant::now();
        let home = Path::new(HOME);
        let files = place.root.join("xtask/src/ops/kubernetes/node");
        let (packages, bin) = (packages(place)?, kubernetes(place)?);
        let server = ControlPlane::start(place, &home.join("server"), ADDRESS)?;
        let mut cluster = Self { _daemons: Vec::new(), server, containerd: Containerd { packages }, started };
        cluster.say("API server ready");

        fs::create_dir_all(home.join("cni"))?;
        fs::copy(files.join("network.conflist"), home.join("cni/10-node.conflist"))?;
        let containerd = &cluster.containerd;
        symlink(containerd.packages.join("usr/lib/cni"), home.join("cni-plugins"))?;
        let mut daemon = containerd.start(&files.join("containerd.toml"), home)?;
        daemon.wait(|| containerd.ctr(&["version"]).is_ok())?;
        containerd.import(&pause_image(&containerd.packages, home)?)?;
        containerd.import(&home.join("ecom.tar"))?;
        cluster._daemons.push(daemon);
        cluster.say("images imported");

        let kubeconfig = format!("--kubeconfig={}", cluster.server.kubeconfig.display());
        let of_server = |name: &str| cluster.server.dir.join(name).display().to_string();
        let controllers = [
            kubeconfig.clone(),
            "--leader-elect=false".to_owned(),
            format!("--service-account-private-key-file={}", of_server("service-accounts.key")),
            format!("--root-ca-file={}", of_server("certificates/apiserver.crt")),
        ];
        let scheduler = [kubeconfig.clone(), "--leader-elect=false".to_owned()];
        let kubelet = [
            kubeconfig,
            format!("--config={}", files.join("kubelet.yaml").display()),
            format!("--root-dir={HOME}/kubelet"),
            format!("--cert-dir={HOME}/kubelet-certificates"),
            "--hostname-override=node-1".to_owned(),
            format!("--node-ip={ADDRESS}"),
        ];
        for (program, arguments) in [
            ("kube-controller-manager", &controllers[..]),
            ("kube-scheduler", &scheduler),
            ("kubelet", &kubelet),
        ] {
            cluster._daemons.push(Daemon::start(&bin.join(program), arguments, home)?);
        }
        let ready = ["wait", "--for=condition=Ready", "--timeout=1s", "node/node-1"];
        let kubelet = cluster._daemons.last_mut().context("the kubelet was started")?;
        kubelet.wait(|| cluster.server.clean(&ready).is_ok())?;
        cluster.say("node ready");
        Ok(cluster)
    }

    /// Runs a program of the image outside of Kubernetes, with a folder as `/etc/ecom`; fails if it does.
    pub(super) fn run(&self, config: &Path, arguments: &[&str]) -> Result<()> {
        let mount = format!("type=bind,src={},dst=/etc/ecom,options=rbind:ro", config.display());
        let run = [
            "run",
            "--rm",
            "--env",
            "ECOM_CONFIG=/app/config/gcp.toml:/etc/ecom/ecom.toml",
            "--mount",
            &mount,
        ];
        self.containerd.ctr(&[&run[..], &[IMAGE, "outside"], arguments].concat())
    }

    /// Prints what has been reached, and when.
    pub(super) fn say(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.started.elapsed().as_secs_f64());
    }
}

/// containerd and its client.
struct Containerd {
    packages: PathBuf,
}

impl Containerd {
    fn start(&self, config: &Path, home: &Path) -> Result<Daemon> {
        let usr = self.packages.join("usr");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("PATH={}:{}:{path}", usr.join("bin").display(), usr.join("sbin").display());
        let libraries = format!("LD_LIBRARY_PATH={}", usr.join("lib/x86_64-linux-gnu").display());
        let program = usr.join("bin/containerd");
        let arguments = [path, libraries, program.display().to_string(), "--config".to_owned()];
        Daemon::start_as(
            "containerd",
            Path::new("env"),
            &[&arguments[..], &[config.display().to_string()]].concat(),
            home,
        )
    }

    fn ctr(&self, arguments: &[&str]) -> Result<()> {
        quietly(
            Command::new(self.packages.join("usr/bin/ctr")).args(["--namespace", "k8s.io"]).args(arguments),
        )
    }

    fn import(&self, archive: &Path) -> Result<()> {
        self.ctr(&["images", "import", &archive.to_string_lossy()])
    }
}

/// Writes an image of one program that waits; returns the archive.
fn pause_image(packages: &Path, home: &Path) -> Result<PathBuf> {
    let dir = home.join("pause");
    fs::create_dir_all(&dir)?;
    let tar = |file: &str, from: &Path, names: &[&str]| {
        let path = dir.join(file);
        quietly(Command::new("tar").arg("-C").arg(from).arg("-cf").arg(&path).args(names)).map(|()| path)
    };
    let layer = tar("layer.tar", &packages.join("usr/bin"), &["catatonit"])?;
    let output = Command::new("sha256sum").arg(layer).output().context("could not start sha256sum")?;
    let sum = String::from_utf8_lossy(&output.stdout).into_owned();
    let sum = sum.split(' ').next().filter(|sum| sum.len() == 64);
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/catatonit", "-P"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sum.context("no checksum")?)] },
    });
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"] }]);
    fs::write(dir.join("config.json"), config.to_string())?;
    fs::write(dir.join("manifest.json"), manifest.to_string())?;
    let archive = tar("pause.tar", &dir, &["manifest.json", "config.json", "layer.tar"])?;
    ensure!(archive.is_file(), "{} was not written", archive.display());
    Ok(archive)
}
