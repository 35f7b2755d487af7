//! The manifests under `deploy/kubernetes`: rendered, and checked by the schemas and by rules of our own; accepted by a real
//! API server; run on a real node.

mod api_server;
mod exercise;
mod node;
mod programs;
mod relay;

pub(super) use api_server::accepts;
pub(super) use node::runs;

use super::Place;
use super::tools::passes;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The folders that are rendered.
const RENDERED: [&str; 3] = ["base", "overlays/gke", "overlays/ci"];
/// Schemas of Kubernetes' own kinds, and of the kinds of KEDA and the Prometheus Operator.
const PYTHON: [&str; 4] = [
    "kubernetes-validate==1.36.0",
    "cloudcoil-models-keda==2.16.1.0",
    "cloudcoil-models-prometheus-operator==0.80.1.0",
    "pydantic==2.14.4",
];
const ALERTS: &str = "deploy/prometheus/alerts.yml";
const RULE: &str = "deploy/kubernetes/components/alerts/prometheus-rule.yaml";
/// Writes [`RULE`] instead of comparing it.
const UPDATE: &str = "UPDATE_MANIFESTS";

/// Renders base and overlays, and checks schemas, pods and references; compares the PrometheusRule with the alerts.
pub(super) fn manifests(place: &Place<'_>) -> Result<bool> {
    let is_same = rule_is_of_alerts(place)?;
    let files = render(place)?;
    let bin = place.python("kubernetes", &PYTHON)?;
    let mut command = Command::new(bin.join("python"));
    command.arg(place.root.join("xtask/src/ops/kubernetes/manifests.py"));
    command.arg(place.root.join("deploy/kubernetes/README.md")).args(files);
    Ok(passes(&mut command)? & is_same)
}

/// Writes each rendered folder into a file under `target/`; returns the files.
fn render(place: &Place<'_>) -> Result<Vec<PathBuf>> {
    let kubectl = place.program("kubectl", "install kubectl 1.27 or later")?;
    let target = place.root.join("target/ops/manifests");
    fs::create_dir_all(&target).with_context(|| format!("could not create {}", target.display()))?;
    let render = |folder: &&str| {
        let source = place.root.join("deploy/kubernetes").join(folder);
        let output = Command::new(&kubectl).arg("kustomize").arg(&source).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        // A warning is about something deprecated.
        let is_clean = output.status.success() && errors.is_empty();
        ensure!(is_clean, "could not render {}\n{}", source.display(), errors.trim_end());
        let file = target.join(format!("{}.yaml", folder.replace('/', "-")));
        fs::write(&file, output.stdout).with_context(|| format!("could not write {}", file.display()))?;
        Ok(file)
    };
    RENDERED.iter().map(render).collect()
}

/// Returns whether the PrometheusRule has exactly the alerts of [`ALERTS`].
fn rule_is_of_alerts(place: &Place<'_>) -> Result<bool> {
    let read = |file: &str| {
        let path = place.root.join(file);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let expected = prometheus_rule(&read(ALERTS)?)?;
    if std::env::var_os(UPDATE).is_some() {
        fs::write(place.root.join(RULE), &expected).with_context(|| format!("could not write {RULE}"))?;
    }
    let is_same = read(RULE)? == expected;
    if !is_same {
        eprintln!("{RULE} differs from {ALERTS}\nhint: {UPDATE}=1 cargo xtask ops manifests");
    }
    Ok(is_same)
}

/// Returns the PrometheusRule of a file of alerts.
fn prometheus_rule(alerts: &str) -> Result<String> {
    let start = alerts.find("\ngroups:\n").with_context(|| format!("found no groups in {ALERTS}"))? + 1;
    let indent = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
    let groups: String = alerts[start..].lines().map(indent).collect();
    Ok(format!(
        "# Generated from {ALERTS}; `cargo xtask ops manifests` compares them.
# After a change there: {UPDATE}=1 cargo xtask ops manifests
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ecom
  labels: {{ app.kubernetes.io/part-of: ecom }}
spec:
{groups}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prometheus_rule_has_the_groups_of_the_alerts_without_their_header() {
        let rule = prometheus_rule("# Header.\ngroups:\n  - name: a\n    expr: |\n      x\n\n  - name: b\n")
            .unwrap();
        assert!(
            rule.ends_with("\nspec:\n  groups:\n    - name: a\n      expr: |\n        x\n\n    - name: b\n")
        );
        assert!(!rule.contains("Header"));
        assert!(prometheus_rule("rules:\n").is_err());
    }
}
