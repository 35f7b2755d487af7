//! Applies the manifests to a real API server, as a dry run that must not print a warning, in a namespace of the profile `restricted`.

use super::programs::ControlPlane;
use super::{Place, render};
use anyhow::{Result, ensure};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

/// Kinds of KEDA and the Prometheus Operator, as group, version, kind and plural. The server gets no schemas for them; the
/// check `manifests` has those.
const CUSTOM: [(&str, &str, &str, &str); 4] = [
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ("keda.sh", "v1alpha1", "TriggerAuthentication", "triggerauthentications"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
];

/// Starts an API server, and has it check each rendered folder as if it was applied.
pub(in super::super) fn accepts(place: &Place<'_>) -> Result<bool> {
    let files = render(place)?;
    let dir = place.root.join("target/ops/api-server");
    let server = ControlPlane::start(place, &dir, Ipv4Addr::LOCALHOST)?;
    define_custom_kinds(&server)?;
    server.clean(&[
        "apply",
        "-f",
        &text(&place.root.join("deploy/kubernetes/overlays/gke/namespace.yaml")),
    ])?;
    let mut passed = true;
    for file in &files {
        match server.clean(&["apply", "--dry-run=server", "--namespace=ecom", "-f", &text(file)]) {
            Ok(output) => println!(
                "{}: {} documents accepted",
                file.file_stem().unwrap_or_default().display(),
                output.lines().count()
            ),
            Err(error) => {
                eprintln!("{error}");
                passed = false;
            }
        }
    }
    Ok(passed)
}

/// Has the server know [`CUSTOM`].
fn define_custom_kinds(server: &ControlPlane) -> Result<()> {
    let define = |(group, version, kind, plural): (&str, &str, &str, &str)| {
        format!(
            "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{ name: {plural}.{group} }}
spec:
  group: {group}
  scope: Namespaced
  names: {{ kind: {kind}, plural: {plural}, singular: {} }}
  versions:
    - name: {version}
      served: true
      storage: true
      schema: {{ openAPIV3Schema: {{ type: object, x-kubernetes-preserve-unknown-fields: true }} }}
---
",
            kind.to_lowercase()
        )
    };
    let file = server.dir.join("custom-kinds.yaml");
    fs::write(&file, CUSTOM.map(define).concat())?;
    server.clean(&["apply", "-f", &text(&file)])?;
    let established =
        server.clean(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &text(&file)])?;
    ensure!(established.lines().count() == CUSTOM.len(), "not all custom kinds are defined:\n{established}");
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
