//! Provisioning as text: `gcloud` commands that are ready to run.

use std::fmt::Write as _;
use std::time::Duration;

use crate::resources::{DesiredTopics, Resource, resources};
use crate::settings::PubsubSettings;

/// Returns a shell script that creates the missing topics and subscriptions. It is idempotent.
pub fn print_gcloud(settings: &PubsubSettings, desired: &DesiredTopics) -> String {
    let mut script = String::from(
        "#!/bin/sh\n# Creates topics and subscriptions; existing ones are not changed.\nset -eu\n",
    );
    for resource in resources(settings, desired) {
        let describe = match &resource {
            Resource::Topic { name } => format!("pubsub topics describe {}", quoted(name)),
            Resource::Subscription { name, .. } => format!("pubsub subscriptions describe {}", quoted(name)),
        };
        // With `set -e`, a failing `describe` does not end the script, because it is the left side of `||`.
        let _ = writeln!(
            script,
            "{} >/dev/null 2>&1 ||\n  {}",
            command(settings, &describe),
            create(settings, &resource)
        );
    }
    script
}

/// Returns a shell script that creates one service account for each of these binaries and grants it roles on exactly the
/// topics and subscriptions that it uses.
pub fn print_iam(settings: &PubsubSettings, uses: &[BusUse<'_>]) -> String {
    let project = quoted(&settings.project);
    let mut script = format!(
        "#!/bin/sh\n# One service account per binary, with roles on single topics and subscriptions only.\n\
         # ecom_setup needs roles/pubsub.editor:\n\
         #   gcloud projects add-iam-policy-binding {project} --member=user:YOU --role=roles/pubsub.editor\n\
         set -eu\n\
         # A new service account takes a moment to propagate.\n\
         bind() {{ for _ in 1 2 3 4 5 6; do \"$@\" >/dev/null && return 0; sleep 5; done; return 1; }}\n"
    );
    for account in uses {
        let id = format!("ecom-{}", account.binary.replace('_', "-"));
        let member = format!("serviceAccount:{id}@{}.iam.gserviceaccount.com", settings.project);
        let _ = write!(
            script,
            "\n# {binary}\n{describe} >/dev/null 2>&1 ||\n  {create}\n",
            binary = account.binary,
            describe = command(
                settings,
                &format!(
                    "iam service-accounts describe {id}@{}.iam.gserviceaccount.com",
                    quoted(&settings.project)
                )
            ),
            create = command(
                settings,
                &format!("iam service-accounts create {id} --display-name={}", account.binary)
            ),
        );
        for binding in account.bindings() {
            let call = format!(
                "pubsub {} add-iam-policy-binding {} --member={} --role={}",
                binding.collection,
                quoted(binding.name),
                quoted(&member),
                binding.role
            );
            let _ = writeln!(script, "bind {}", command(settings, &call));
        }
    }
    script
}

/// Returns the command that creates the resource.
pub(super) fn create(settings: &PubsubSettings, resource: &Resource) -> String {
    match resource {
        Resource::Topic { name } => command(settings, &format!("pubsub topics create {}", quoted(name))),
        Resource::Subscription { name, topic, ack_deadline, retention, retain_acked } => command(
            settings,
            &format!(
                "pubsub subscriptions create {} --topic={} --ack-deadline={} --message-retention-duration={} \
                 --expiration-period=never{}",
                quoted(name),
                quoted(topic),
                ack_deadline.as_secs(),
                duration(*retention),
                if *retain_acked { " --retain-acked-messages" } else { "" }
            ),
        ),
    }
}

/// Returns the command that changes these settings of an existing subscription.
pub(super) fn update(settings: &PubsubSettings, subscription: &str, flags: &[String]) -> String {
    command(settings, &format!("pubsub subscriptions update {} {}", quoted(subscription), flags.join(" ")))
}

/// Returns the command that deletes and recreates a subscription.
pub(super) fn recreate(settings: &PubsubSettings, resource: &Resource) -> String {
    let delete = format!("pubsub subscriptions delete {}", quoted(resource.name()));
    format!("{} && {}", command(settings, &delete), create(settings, resource))
}

/// Formats a duration for `gcloud`: in whole days if possible, else in seconds.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds > 0 && seconds.is_multiple_of(86_400) {
        format!("{}d", seconds / 86_400)
    } else {
        format!("{seconds}s")
    }
}

fn command(settings: &PubsubSettings, call: &str) -> String {
    let project = quoted(&settings.project);
    match settings.endpoint() {
        None => format!("gcloud {call} --project={project}"),
        Some(endpoint) => format!(
            "env CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB={}/ CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true \
             gcloud {call} --project={project}",
            quoted(&endpoint)
        ),
    }
}

/// Quotes a word for the shell if it needs to be.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What a binary does on the bus, for its service account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusUse<'a> {
    /// The name of the binary.
    pub binary: &'static str,
    /// The subscriptions that it receives from, by their short names.
    pub receives: Vec<&'a str>,
    /// The topics that it publishes to, by their short names.
    pub publishes: Vec<&'a str>,
}

/// A role on one topic or subscription.
struct IamBinding<'a> {
    /// `topics` or `subscriptions`.
    collection: &'static str,
    name: &'a str,
    role: &'static str,
}

impl<'a> BusUse<'a> {
    /// Returns the roles that it needs. A publisher is also a viewer of its topic, to check that it has a subscription; a
    /// subscriber is a viewer of its subscription, to report at once that it is missing.
    fn bindings(&self) -> impl Iterator<Item = IamBinding<'a>> {
        let of = |collection, names: &[&'a str], role| {
            let pair = |name: &&'a str| [role, "roles/pubsub.viewer"].map(|role| (collection, *name, role));
            names.iter().flat_map(pair).collect::<Vec<_>>()
        };
        let bindings = [
            of("subscriptions", &self.receives, "roles/pubsub.subscriber"),
            of("topics", &self.publishes, "roles/pubsub.publisher"),
        ];
        bindings.into_iter().flatten().map(|(collection, name, role)| IamBinding { collection, name, role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the script with a `gcloud` that prints its arguments and then runs `result`. Returns the printed
    /// lines.
    #[cfg(unix)]
    fn dry_run(script: &str, result: &str) -> Vec<String> {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let stub =
            format!("gcloud() {{ echo \"gcloud $*\" >&3; {result}; }}\nenv() {{ shift 2; \"$@\"; }}\n");
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3>&1; . /dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(format!("{stub}{script}").as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[cfg(unix)]
    const ABSENT: &str = r#"case "$*" in *describe*) return 1;; esac"#;

    #[cfg(unix)]
    #[test]
    fn the_script_creates_missing_resources_and_changes_no_others() {
        let script = print_gcloud(&PubsubSettings::new("shop"), &DesiredTopics::default());
        let created: Vec<_> =
            dry_run(&script, ABSENT).into_iter().filter(|line| line.contains(" create ")).collect();
        assert_eq!(
            created,
            [
                "gcloud pubsub topics create orders_data --project=shop",
                "gcloud pubsub subscriptions create orders_data-sub --topic=orders_data --ack-deadline=60 --message-retention-duration=7d --expiration-period=never --project=shop",
                "gcloud pubsub topics create payments_data --project=shop",
                "gcloud pubsub subscriptions create payments_data-sub --topic=payments_data --ack-deadline=60 --message-retention-duration=7d --expiration-period=never --project=shop",
                "gcloud pubsub topics create dlq_payments_data --project=shop",
                "gcloud pubsub subscriptions create dlq_payments_data-sub --topic=dlq_payments_data --ack-deadline=60 --message-retention-duration=31d --expiration-period=never --project=shop",
            ]
        );
        let existing = dry_run(&script, "return 0");
        assert_eq!(existing.len(), 6, "{existing:?}");
        assert!(existing.iter().all(|line| line.contains(" describe ")), "{existing:?}");
    }

    #[cfg(unix)]
    #[test]
    fn every_binary_gets_the_roles_that_it_needs_and_no_others() {
        let uses = [
            BusUse { binary: "orders_producer", receives: vec![], publishes: vec!["orders_data"] },
            BusUse {
                binary: "order_consumer",
                receives: vec!["orders_data-sub"],
                publishes: vec!["dlq_payments_data"],
            },
        ];
        let script = print_iam(&PubsubSettings::new("shop"), &uses);
        let bound: Vec<_> = dry_run(&script, ABSENT)
            .into_iter()
            .filter_map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                let after =
                    |flag: &str| words.iter().find_map(|word| word.strip_prefix(flag)).map(str::to_owned);
                let account = after("--member=serviceAccount:")?.replace("@shop.iam.gserviceaccount.com", "");
                Some(format!("{account} {} {}", after("--role=roles/pubsub.")?, words[4]))
            })
            .collect();
        assert_eq!(
            bound,
            [
                "ecom-orders-producer publisher orders_data",
                "ecom-orders-producer viewer orders_data",
                "ecom-order-consumer subscriber orders_data-sub",
                "ecom-order-consumer viewer orders_data-sub",
                "ecom-order-consumer publisher dlq_payments_data",
                "ecom-order-consumer viewer dlq_payments_data",
            ]
        );
        assert!(!script.lines().any(|line| line.starts_with("gcloud projects")), "no role is project-wide");
    }

    #[test]
    fn commands_for_the_emulator_go_to_the_emulator() {
        let settings = PubsubSettings::new("shop").on_emulator("127.0.0.1:8085");
        assert_eq!(
            create(&settings, &Resource::Topic { name: "orders_data".to_owned() }),
            "env CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=http://127.0.0.1:8085/ \
             CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true gcloud pubsub topics create orders_data --project=shop"
        );
    }

    #[test]
    fn words_with_special_characters_are_quoted() {
        assert_eq!(quoted("orders_data-sub"), "orders_data-sub");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(quoted("~x"), "'~x'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn durations_of_whole_days_are_in_days() {
        assert_eq!(duration(Duration::from_secs(31 * 86_400)), "31d");
        assert_eq!(duration(Duration::from_secs(600)), "600s");
    }
}
