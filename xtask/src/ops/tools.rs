//! Programs that the checks run, found on this host or brought to it.

use super::Place;
use crate::steps::NotRun;
use crate::test::{self, Scope};
use crate::{cache, cargo};
use anyhow::{Context, Error, Result, anyhow, ensure};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

impl Place<'_> {
    /// Returns the error of a check that lacks something: it fails the run where the services are required.
    pub(super) fn lacks(&self, what: &str) -> Error {
        if self.scope == Scope::Required { anyhow!("{what}") } else { NotRun(what.to_owned()).into() }
    }

    /// Returns the path of a program on PATH.
    pub(super) fn program(&self, name: &str, hint: &str) -> Result<PathBuf> {
        which::which(name).map_err(|_| self.lacks(&format!("found no {name} on PATH\nhint: {hint}")))
    }

    /// Returns the folder of what cargo builds.
    pub(super) fn target(&self) -> PathBuf {
        self.root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
    }

    /// Returns the folder of the programs as `cargo xtask test` builds them, so that a run of it has them ready.
    pub(super) fn tested_programs(&self) -> Result<PathBuf> {
        let build = cargo(self.root, test::cargo_test(&[]), &["--no-run", "--quiet"].map(str::to_owned));
        ensure!(self.is_done(build)?, "the programs do not build");
        Ok(self.target().join("debug"))
    }

    /// Runs a build; returns whether it succeeded.
    pub(super) fn is_done(&self, mut build: Command) -> Result<bool> {
        let name = build.get_program().display().to_string();
        Ok(build.status().with_context(|| format!("could not start {name}"))?.success())
    }

    /// Returns the `bin` folder of a Python environment with these packages, installed once per checkout.
    pub(super) fn python(&self, name: &str, packages: &[&str]) -> Result<PathBuf> {
        let python = self.program("python3", "install Python 3")?;
        let home = self.root.join("target/ops").join(format!("python-{name}"));
        let (bin, done) = (home.join("bin"), home.join("installed"));
        if fs::read_to_string(&done).is_ok_and(|text| text == packages.join("\n")) {
            return Ok(bin);
        }
        let _ = fs::remove_dir_all(&home);
        quietly(Command::new(python).args(["-m", "venv"]).arg(&home))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        quietly(Command::new(bin.join("python")).args(pip).args(packages))
            .map_err(|error| self.lacks(&format!("{error:#}")))?;
        fs::write(&done, packages.join("\n"))
            .with_context(|| format!("could not write {}", done.display()))?;
        Ok(bin)
    }

    /// Returns a program of a Go module, built once per user.
    pub(super) fn go(&self, package: &str, version: &str) -> Result<PathBuf> {
        let name = package.rsplit('/').next().unwrap_or(package);
        let folder = cache()?.join("go").join(format!("{}-{version}", package.replace('/', "-")));
        let program = folder.join(name);
        if !program.is_file() {
            let go = self.program("go", "install Go 1.24 or later")?;
            let mut install = Command::new(go);
            install.args(["install", &format!("{package}@{version}")]).env("GOBIN", &folder);
            quietly(&mut install).map_err(|error| self.lacks(&format!("{error:#}")))?;
        }
        Ok(program)
    }

    /// Returns the folder of `cqlsh`.
    pub(super) fn cqlsh(&self) -> Result<PathBuf> {
        self.python("cqlsh", &["cqlsh==6.2.2"])
    }

    /// Returns the program of a package that a Go module of this workspace is or requires, built once per user.
    pub(super) fn go_module(&self, module: &str, package: &str) -> Result<PathBuf> {
        let sources = self.root.join(module);
        let mut files: Vec<PathBuf> = fs::read_dir(&sources)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .with_context(|| format!("could not read {}", sources.display()))?;
        files.retain(|file| {
            file.extension().is_some_and(|it| ["go", "mod", "sum"].iter().any(|of_go| it == *of_go))
        });
        files.sort();
        let mut hash = DefaultHasher::new();
        package.hash(&mut hash);
        for file in &files {
            fs::read(file).with_context(|| format!("could not read {}", file.display()))?.hash(&mut hash);
        }
        let name = sources.file_name().context("a module has a folder")?.to_string_lossy();
        let home = cache()?.join("go").join(format!("{name}-{:016x}", hash.finish()));
        let program = home.join(&*name);
        if program.is_file() {
            return Ok(program);
        }
        eprintln!("building {package} of {module} (some three minutes, once per user)");
        fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
        let partial = home.join(format!("partial-{}", std::process::id()));
        self.go_build(module, &[], &[package], &partial)?;
        fs::rename(&partial, &program).with_context(|| format!("could not create {}", program.display()))?;
        Ok(program)
    }

    /// Builds packages of a Go module of this workspace, or that it requires: one into a file, or all into a folder.
    pub(super) fn go_build(
        &self,
        module: &str,
        flags: &[&str],
        packages: &[&str],
        output: &Path,
    ) -> Result<()> {
        let mut build = Command::new(self.program("go", "install Go, at least as new as its go.mod says")?);
        build.args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false"]).args(flags);
        build.arg("-o").arg(output).args(packages).stdin(Stdio::null());
        build.env("CGO_ENABLED", "0").current_dir(self.root.join(module));
        ensure!(self.is_done(build)?, "{} of {module} does not build", packages.join(" "));
        Ok(())
    }

    /// Returns the folder into which these Debian packages are unpacked, without being installed, once per user.
    /// Packages that they depend on are not fetched.
    pub(super) fn debian(&self, name: &str, packages: &[&str]) -> Result<PathBuf> {
        let home = cache()?.join("debian").join(name);
        let (unpacked, done) = (home.join("root"), home.join("unpacked"));
        if fs::read_to_string(&done).is_ok_and(|text| text == packages.join("\n")) {
            return Ok(unpacked);
        }
        self.program("apt-get", "this check takes programs from Debian's packages")?;
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&unpacked).with_context(|| format!("could not create {}", unpacked.display()))?;
        let fetch = || quietly(Command::new("apt-get").arg("download").args(packages).current_dir(&home));
        // A new host has no lists of packages yet, or old ones.
        fetch()
            .or_else(|_| quietly(Command::new("apt-get").arg("update")).and_then(|()| fetch()))
            .map_err(|error| self.lacks(&format!("{error:#}")))?;
        for entry in fs::read_dir(&home)? {
            let file = entry?.path();
            if file.extension().is_some_and(|it| it == "deb") {
                quietly(Command::new("dpkg").arg("-x").arg(&file).arg(&unpacked))?;
            }
        }
        fs::write(&done, packages.join("\n"))
            .with_context(|| format!("could not write {}", done.display()))?;
        Ok(unpacked)
    }
}

/// Runs a command whose output is shown only if it fails.
pub(super) fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("could not start {name}"))?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "{name} failed\n{}", text.trim_end());
    Ok(())
}

/// Runs a command that prints what it found; returns whether it succeeded.
pub(super) fn passes(command: &mut Command) -> Result<bool> {
    let name = command.get_program().display().to_string();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("could not start {name}"))?;
    Ok(status.success())
}
