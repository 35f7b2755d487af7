//! The Terraform module: its format, the arguments of its resources, and whether it plans what `ecom_setup` prints.

mod local;
mod printed;

use super::Place;
use super::tools::{passes, quietly};
use crate::processes::remove_variables;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The module.
const MODULE: &str = "deploy/terraform";
/// The copy of it that is planned.
const COPY: &str = "target/ops/terraform";
/// The binaries of the shop.
const SHOP: [&str; 3] = ["api_service", "payment_processor", "notifier"];
/// The purposes of topics and subscriptions, and the section of the configuration that names them.
const STREAMS: [(&str, &str); 5] = [
    ("orders", "bus"),
    ("payments", "bus"),
    ("dead_letters", "bus"),
    ("requests", "shop"),
    ("notices", "shop"),
];

/// Resources, each as JSON: its type, and the arguments that are set.
type Resources = BTreeSet<String>;

/// A way to use the module.
struct Case {
    name: &'static str,
    project: &'static str,
    /// True if all topics and subscriptions have names of their own.
    is_renamed: bool,
    shop: bool,
    /// The Kubernetes namespace of workload identity.
    namespace: Option<&'static str>,
}

const CASES: [Case; 3] = [
    Case { name: "defaults", project: "my-project", is_renamed: false, shop: true, namespace: None },
    Case { name: "own names", project: "other-1", is_renamed: true, shop: true, namespace: Some("prod") },
    Case { name: "no shop", project: "my-project", is_renamed: false, shop: false, namespace: Some("ecom") },
];

/// Checks the format, and compares the planned resources with the scripts that `ecom_setup` prints.
pub(super) fn plan(place: &Place<'_>) -> Result<bool> {
    place.program("terraform", "install Terraform 1.5 or later")?;
    let format = ["fmt", "-check", "-diff", "-recursive", MODULE];
    let mut passed = passes(terraform(place.root).args(format))?;
    let setup = std::path::absolute(place.tested_programs()?.join("ecom_setup"))?;
    for case in &CASES {
        passed &= is_as_printed(place, &setup, case).with_context(|| format!("case {}", case.name))?;
    }
    Ok(passed & is_protected(place)?)
}

/// Checks the arguments of each resource against the schema of the provider, which a Python package carries.
pub(super) fn schema(place: &Place<'_>) -> Result<bool> {
    // The package is read, not run: what it depends on is not needed, nor is the bytecode of its thousands of files.
    let options = ["--no-deps", "--no-compile"];
    let packages =
        ["python-hcl2==8.1.4", "lark==1.3.1", "regex==2026.11.19", "cdktf-cdktf-provider-google==16.12.1"];
    let bin = place.python("terraform", &[&options[..], &packages].concat())?;
    let mut command = Command::new(bin.join("python"));
    passes(command.args(["xtask/src/ops/terraform/schema.py", MODULE]).current_dir(place.root))
}

/// Plans the module in one case, and compares the plan with the scripts.
fn is_as_printed(place: &Place<'_>, setup: &Path, case: &Case) -> Result<bool> {
    let folder = place.root.join(COPY);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    local::copy(&place.root.join(MODULE), &folder)?;
    fs::write(folder.join("terraform.tfvars.json"), case.variables().to_string())?;
    let run = |arguments: &[&str]| quietly(terraform(&folder).args(arguments));
    run(&["plan", "-input=false", "-no-color", "-out=plan"])?;
    let shown = terraform(&folder).args(["show", "-json", "plan"]).output()?;
    let shown: Value = serde_json::from_slice(&shown.stdout).context("the plan is not JSON")?;
    let planned = local::resources(&shown)?;

    let printed = case.printed(setup)?;
    for (side, others, owns) in [("Terraform", &printed, &planned), ("ecom_setup", &planned, &printed)] {
        for resource in owns.difference(others) {
            eprintln!("{}: only {side} has {resource}", case.name);
        }
    }
    let outputs = &shown["planned_values"]["outputs"];
    let is_complete = case.accounts(&printed)? == outputs["service_accounts"]["value"];
    if !is_complete {
        eprintln!("{}: the output service_accounts is {}", case.name, outputs["service_accounts"]["value"]);
    }

    Ok(planned == printed && is_complete)
}

/// Checks that the plan of the last case, once applied, cannot be undone: destroying a subscription drops its backlog.
fn is_protected(place: &Place<'_>) -> Result<bool> {
    let folder = place.root.join(COPY);
    quietly(terraform(&folder).args(["apply", "-input=false", "-no-color", "plan"]))?;
    let mut is_protected = true;
    // Subscriptions are destroyed first, so topics are refused once the state has no subscriptions.
    for kind in ["google_pubsub_subscription", "google_pubsub_topic"] {
        let plan = terraform(&folder).args(["plan", "-destroy", "-input=false", "-no-color"]).output()?;
        let refusal = format!("Resource terraform_data.{kind}__");
        let is_refused = String::from_utf8_lossy(&plan.stderr).contains(&refusal);
        if plan.status.success() || !is_refused {
            eprintln!("{kind} has no prevent_destroy");
            is_protected = false;
        }
        let resource = format!("terraform_data.{kind}__this");
        quietly(terraform(&folder).args(["state", "rm", &resource]))?;
    }
    Ok(is_protected)
}

impl Case {
    /// The name of a topic or subscription where all have names of their own.
    fn own_name(kind: &str, stream: &str) -> String {
        format!("own-{kind}-{stream}")
    }

    fn variables(&self) -> Value {
        let mut variables = json!({ "project": self.project, "kubernetes_namespace": self.namespace });
        if !self.shop {
            variables["shop"] = json!(false);
        }
        if self.is_renamed {
            for kind in ["topics", "subscriptions"] {
                for (stream, _) in STREAMS {
                    variables[kind][stream] = json!(Self::own_name(kind, stream));
                }
            }
            variables["kubernetes_service_accounts"] = json!({ "notifier": "mailer" });
            variables["workload_pool"] = json!("pool");
        }
        variables
    }

    /// Returns the resources that the scripts of `ecom_setup` create, and those that only the module has.
    fn printed(&self, setup: &Path) -> Result<Resources> {
        let mut settings = Vec::new();
        for (stream, section) in STREAMS.iter().filter(|_| self.is_renamed) {
            for kind in ["topics", "subscriptions"] {
                settings.push("--set".to_owned());
                settings.push(format!("{section}.{kind}.{stream}={}", Self::own_name(kind, stream)));
            }
        }
        let mut resources = Vec::new();
        for script in ["gcloud", "iam"] {
            resources.extend(printed::resources(setup, script, self.project, &settings)?);
        }
        resources.retain(|it| self.shop || !is_of_the_shop(it));
        self.add_setup(&mut resources);
        self.add_workload_identity(&mut resources);
        let count = resources.len();
        let resources: Resources = resources.iter().map(Value::to_string).collect();
        ensure!(resources.len() == count, "a script creates something twice");
        Ok(resources)
    }

    /// Adds the account of `ecom_setup`, which may look up every topic and subscription.
    fn add_setup(&self, resources: &mut Vec<Value>) {
        let member = format!("serviceAccount:{}", self.email("ecom_setup"));
        let kinds = [("google_pubsub_topic", "topic"), ("google_pubsub_subscription", "subscription")];
        for (kind, key) in kinds {
            let of_kind: Vec<Value> = resources.iter().filter(|it| it["type"] == kind).cloned().collect();
            resources.extend(of_kind.iter().map(|it| {
                json!({ "type": format!("{kind}_iam_member"), "project": self.project, key: it["name"],
                        "role": "roles/pubsub.viewer", "member": member })
            }));
        }
        resources.push(json!({ "type": "google_service_account", "project": self.project,
                               "account_id": account_id("ecom_setup"), "display_name": "ecom_setup" }));
    }

    /// Lets each binary's Kubernetes service account act as its service account.
    fn add_workload_identity(&self, resources: &mut Vec<Value>) {
        let Some(namespace) = self.namespace else { return };
        let pool = if self.is_renamed { "pool".into() } else { format!("{}.svc.id.goog", self.project) };
        let bind = |binary: &String| {
            let is_own = self.is_renamed && binary == "notifier";
            let name = if is_own { "mailer".to_owned() } else { binary.replace('_', "-") };
            let account = format!("projects/{}/serviceAccounts/{}", self.project, self.email(binary));
            json!({ "type": "google_service_account_iam_member", "service_account_id": account,
                    "role": "roles/iam.workloadIdentityUser",
                    "member": format!("serviceAccount:{pool}[{namespace}/{name}]") })
        };
        let bindings: Vec<Value> = binaries(resources).iter().map(bind).collect();
        resources.extend(bindings);
    }

    fn email(&self, binary: &str) -> String {
        format!("{}@{}.iam.gserviceaccount.com", account_id(binary), self.project)
    }

    /// Returns the address of each binary's account.
    fn accounts(&self, printed: &Resources) -> Result<Value> {
        let resources: Vec<Value> =
            printed.iter().map(|it| Ok(serde_json::from_str(it)?)).collect::<Result<_>>()?;
        Ok(binaries(&resources).iter().map(|it| (it.clone(), json!(self.email(it)))).collect())
    }
}

/// Returns whether only the shop needs a resource with the default names.
fn is_of_the_shop(resource: &Value) -> bool {
    let names = ["requests_data", "notices_data", "requests_data-sub", "notices_data-sub"];
    let member = resource["member"].as_str().unwrap_or_default();
    let is_of = |id: &String| {
        resource["account_id"] == id.as_str() || member.starts_with(&format!("serviceAccount:{id}@"))
    };
    ["name", "topic", "subscription"].iter().any(|key| names.iter().any(|name| resource[key] == *name))
        || SHOP.map(account_id).iter().any(is_of)
}

/// Returns the binaries that have an account.
fn binaries(resources: &[Value]) -> Vec<String> {
    let accounts = resources.iter().filter(|it| it["type"] == "google_service_account");
    accounts.filter_map(|it| Some(it["display_name"].as_str()?.to_owned())).collect()
}

/// Returns the id of a binary's service account.
fn account_id(binary: &str) -> String {
    format!("ecom-{}", binary.trim_start_matches("ecom_").replace('_', "-"))
}

/// Returns a Terraform command in a folder, without the settings of the user.
fn terraform(folder: &Path) -> Command {
    let mut command = Command::new("terraform");
    command.current_dir(folder);
    remove_variables(&mut command, &["TF_"]);
    command
}
