//! The same as text: `gcloud` commands that run as they stand.

use std::fmt::Write as _;
use std::time::Duration;

use super::connect::PubsubSettings;
use super::provision::{Resource, Wanted, plan};

/// A shell script that creates what is missing. Running it twice changes nothing more.
pub fn print_gcloud(settings: &PubsubSettings, wanted: &Wanted) -> String {
    let mut script =
        String::from("#!/bin/sh\n# Topics and subscriptions; what exists is left alone.\nset -eu\n");
    for resource in plan(settings, wanted) {
        let describe = match &resource {
            Resource::Topic { name } => format!("pubsub topics describe {}", quoted(name)),
            Resource::Subscription { name, .. } => format!("pubsub subscriptions describe {}", quoted(name)),
        };
        // The line is a list, and || binds only the two commands.
        let _ = writeln!(
            script,
            "{} >/dev/null 2>&1 ||\n  {}",
            command(settings, &describe),
            create(settings, &resource)
        );
    }
    script
}

/// A shell script that makes one service account per binary and binds it to the topics and
/// subscriptions it needs, and to nothing else.
pub fn print_iam(settings: &PubsubSettings, wanted: &Wanted) -> String {
    let project = quoted(&settings.project);
    let mut script = format!(
        "#!/bin/sh\n# One service account per binary, least privilege, bound to single topics and subscriptions.\n\
         # ecom_setup runs as a person with roles/pubsub.editor:\n\
         #   gcloud projects add-iam-policy-binding {project} --member=user:YOU --role=roles/pubsub.editor\n\
         set -eu\n\
         # A new account takes a moment to be known everywhere.\n\
         bind() {{ for _ in 1 2 3 4 5 6; do \"$@\" >/dev/null && return 0; sleep 5; done; return 1; }}\n"
    );
    for role in roles(wanted) {
        let account = format!("ecom-{}", role.binary.replace('_', "-"));
        let member = format!("serviceAccount:{account}@{}.iam.gserviceaccount.com", settings.project);
        let _ = write!(
            script,
            "\n# {binary}\n{describe} >/dev/null 2>&1 ||\n  {create}\n",
            binary = role.binary,
            describe = command(
                settings,
                &format!(
                    "iam service-accounts describe {account}@{}.iam.gserviceaccount.com",
                    quoted(&settings.project)
                )
            ),
            create = command(
                settings,
                &format!("iam service-accounts create {account} --display-name={}", role.binary)
            ),
        );
        for grant in role.grants {
            let call = format!(
                "pubsub {} add-iam-policy-binding {} --member={} --role={}",
                grant.collection,
                quoted(grant.name),
                quoted(&member),
                grant.role
            );
            let _ = writeln!(script, "bind {}", command(settings, &call));
        }
    }
    script
}

/// The command that creates the resource.
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
                span(*retention),
                if *retain_acked { " --retain-acked-messages" } else { "" }
            ),
        ),
    }
}

/// The command that changes flags of an existing subscription.
pub(super) fn update(settings: &PubsubSettings, subscription: &str, flags: &[String]) -> String {
    command(settings, &format!("pubsub subscriptions update {} {}", quoted(subscription), flags.join(" ")))
}

/// The commands that replace a subscription whose fault cannot be changed in place.
pub(super) fn recreate(settings: &PubsubSettings, resource: &Resource) -> String {
    let delete = format!("pubsub subscriptions delete {}", quoted(resource.name()));
    format!("{} && {}", command(settings, &delete), create(settings, resource))
}

/// Whole days where they fit, else seconds.
pub(super) fn span(duration: Duration) -> String {
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

/// As a shell word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

struct Role<'a> {
    binary: &'static str,
    grants: Vec<Grant<'a>>,
}

struct Grant<'a> {
    collection: &'static str,
    name: &'a str,
    role: &'static str,
}

/// Who may do what. A publisher is also a viewer of its topic, to see that a subscription keeps
/// what it publishes; a subscriber is one of its subscription, to say at once what is missing.
fn roles(wanted: &Wanted) -> Vec<Role<'_>> {
    fn publishes(topic: &str) -> [Grant<'_>; 2] {
        ["roles/pubsub.publisher", "roles/pubsub.viewer"].map(|role| Grant {
            collection: "topics",
            name: topic,
            role,
        })
    }
    fn role<'a>(binary: &'static str, grants: Vec<[Grant<'a>; 2]>) -> Role<'a> {
        Role { binary, grants: grants.into_iter().flatten().collect() }
    }
    fn receives(subscription: &str) -> [Grant<'_>; 2] {
        ["roles/pubsub.subscriber", "roles/pubsub.viewer"].map(|role| Grant {
            collection: "subscriptions",
            name: subscription,
            role,
        })
    }
    let Wanted { orders, payments, dead_letters, .. } = wanted;
    vec![
        role("orders_producer", vec![publishes(&orders.topic)]),
        role("payments_producer", vec![publishes(&payments.topic)]),
        role("order_consumer", vec![receives(&orders.subscription), publishes(&dead_letters.topic)]),
        role("payment_consumer", vec![receives(&payments.subscription), publishes(&dead_letters.topic)]),
        role(
            "dlq_handler",
            vec![receives(&dead_letters.subscription), publishes(&orders.topic), publishes(&payments.topic)],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the script with a `gcloud` that prints its arguments and says what `answer` says.
    #[cfg(unix)]
    fn dry_run(script: &str, answer: &str) -> Vec<String> {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let stub =
            format!("gcloud() {{ echo \"gcloud $*\" >&3; {answer}; }}\nenv() {{ shift 2; \"$@\"; }}\n");
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

    const ABSENT: &str = r#"case "$*" in *describe*) return 1;; esac"#;

    #[cfg(unix)]
    #[test]
    fn the_script_creates_what_is_missing_and_nothing_else() {
        let script = print_gcloud(&PubsubSettings::new("shop"), &Wanted::default());
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
        assert!(dry_run(&script, "return 0").iter().all(|line| line.contains(" describe ")));
    }

    #[cfg(unix)]
    #[test]
    fn every_binary_gets_the_rights_it_needs_and_no_other() {
        let script = print_iam(&PubsubSettings::new("shop"), &Wanted::default());
        let bound: Vec<_> = dry_run(&script, ABSENT)
            .into_iter()
            .filter_map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                let after =
                    |flag: &str| words.iter().find_map(|word| word.strip_prefix(flag)).map(str::to_owned);
                let who = after("--member=serviceAccount:")?.replace("@shop.iam.gserviceaccount.com", "");
                Some(format!("{who} {} {}", after("--role=roles/pubsub.")?, words[4]))
            })
            .collect();
        assert_eq!(
            bound,
            [
                "ecom-orders-producer publisher orders_data",
                "ecom-orders-producer viewer orders_data",
                "ecom-payments-producer publisher payments_data",
                "ecom-payments-producer viewer payments_data",
                "ecom-order-consumer subscriber orders_data-sub",
                "ecom-order-consumer viewer orders_data-sub",
                "ecom-order-consumer publisher dlq_payments_data",
                "ecom-order-consumer viewer dlq_payments_data",
                "ecom-payment-consumer subscriber payments_data-sub",
                "ecom-payment-consumer viewer payments_data-sub",
                "ecom-payment-consumer publisher dlq_payments_data",
                "ecom-payment-consumer viewer dlq_payments_data",
                "ecom-dlq-handler subscriber dlq_payments_data-sub",
                "ecom-dlq-handler viewer dlq_payments_data-sub",
                "ecom-dlq-handler publisher orders_data",
                "ecom-dlq-handler viewer orders_data",
                "ecom-dlq-handler publisher payments_data",
                "ecom-dlq-handler viewer payments_data",
            ]
        );
        assert!(!script.lines().any(|line| line.starts_with("gcloud projects")), "nothing is project-wide");
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
    fn words_that_a_shell_would_read_are_quoted() {
        assert_eq!(quoted("orders_data-sub"), "orders_data-sub");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(quoted("~x"), "'~x'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn spans_are_days_where_they_are_whole() {
        assert_eq!(span(Duration::from_secs(31 * 86_400)), "31d");
        assert_eq!(span(Duration::from_secs(600)), "600s");
    }
}
