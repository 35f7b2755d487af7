//! `test`: private services, every test, each feature alone, and an account of what was left out.

use crate::failure::{Attempt, Failure, Outcome, say};
use crate::guard::Guard;
use crate::services::{self, Endpoint, Options, Service};
use crate::workspace::{self, cargo};
use std::path::Path;

/// Features that must each build without the others.
const FEATURES: [&str; 3] = ["pubsub", "cassandra", "embedded"];

const REQUIRE: &str = "REQUIRE_SERVICES";

/// Whether a missing service fails the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Services {
    /// All must be there.
    Required,
    /// What is missing is said at the end.
    Optional,
}

/// As `REQUIRE_SERVICES` says; empty and `0` mean no.
pub fn required_by_environment() -> Services {
    match std::env::var(REQUIRE) {
        Ok(value) if !value.is_empty() && value != "0" => Services::Required,
        _ => Services::Optional,
    }
}

/// Runs it. With `arguments` for `cargo test` the feature checks are left out.
pub fn run(arguments: &[&str], services: Services) -> Outcome<u8> {
    let root = workspace::root()?;
    let dir = root.join("target").join("services-test").join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).attempt(format_args!("create {}", dir.display()))?;
    let mut guard = Guard::start(&dir)?;
    let result = run_guarded(&root, &dir, arguments, services, &mut guard);
    if !matches!(result, Ok(0)) {
        guard.keep_logs();
    }
    result
}

fn run_guarded(
    root: &Path,
    dir: &Path,
    arguments: &[&str],
    services: Services,
    guard: &mut Guard,
) -> Outcome<u8> {
    let options = Options { free_ports: true, ..Options::new(dir.to_path_buf()) };
    let mut endpoints = Vec::new();
    let mut left_out = Vec::new();
    for (service, result) in Service::ALL.into_iter().zip(services::up(root, &options)?) {
        match result {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(failure) => left_out.push(without(service, &failure)),
        }
    }
    for endpoint in &endpoints {
        say(&format!("{} at {}: {}", endpoint.service.name(), endpoint.address, endpoint.how));
    }
    if services == Services::Required && !left_out.is_empty() {
        return Err(Failure::new(format!("{REQUIRE}=1, but something is missing:\n{}", left_out.join("\n"))));
    }
    let mut failed = Vec::new();
    if !tests(root, arguments, &endpoints, services, guard)? {
        failed.push("cargo test".to_owned());
    }
    if arguments.is_empty() {
        for feature in FEATURES {
            if !feature_alone(root, feature, guard)? {
                failed.push(format!("cargo check with {feature} alone"));
            }
        }
    } else {
        left_out.push("  each feature alone: arguments narrow this run".to_owned());
    }
    account(&left_out, &failed);
    Ok(u8::from(!failed.is_empty()))
}

fn without(service: Service, failure: &Failure) -> String {
    let way = failure.way_out().map(|way| format!("\n    hint: {way}")).unwrap_or_default();
    format!("  tests that need {}: {}{way}", service.name(), failure.what())
}

fn tests(
    root: &Path,
    arguments: &[&str],
    endpoints: &[Endpoint],
    services: Services,
    guard: &mut Guard,
) -> Outcome<bool> {
    let words = test_words(arguments);
    say(&format!("cargo {}", words.join(" ")));
    let mut command = cargo(root, &words);
    for service in Service::ALL {
        command.env_remove(service.variable());
    }
    command.envs(endpoints.iter().map(|endpoint| (endpoint.service.variable(), &endpoint.address)));
    match services {
        Services::Required => command.env(REQUIRE, "1"),
        Services::Optional => command.env_remove(REQUIRE),
    };
    guard.run(&mut command)
}

/// `cargo test` over the whole workspace, unless the arguments choose packages themselves.
fn test_words<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let own: Vec<&str> = arguments.iter().copied().take_while(|word| *word != "--").collect();
    let chooses =
        own.iter().any(|word| matches!(*word, "-p" | "--package") || word.starts_with("--package="));
    let mut words = vec!["test"];
    if !chooses {
        words.push("--workspace");
    }
    words.push("--all-features");
    words.extend(arguments);
    words
}

fn feature_alone(root: &Path, feature: &str, guard: &mut Guard) -> Outcome<bool> {
    let words = ["check", "--lib", "--bins", "--no-default-features", "--features", feature];
    say(&format!("cargo {}", words.join(" ")));
    guard.run(&mut cargo(root, &words))
}

fn account(left_out: &[String], failed: &[String]) {
    if !left_out.is_empty() {
        say(&format!("\nnot run:\n{}", left_out.join("\n")));
    }
    if failed.is_empty() {
        say("\neverything that ran passed");
    } else {
        say(&format!("\nfailed: {}", failed.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_the_whole_workspace() {
        assert_eq!(test_words(&[]), ["test", "--workspace", "--all-features"]);
        assert_eq!(test_words(&["late"]), ["test", "--workspace", "--all-features", "late"]);
    }

    #[test]
    fn a_chosen_package_is_the_only_one() {
        assert_eq!(test_words(&["-p", "xtask"]), ["test", "--all-features", "-p", "xtask"]);
        assert_eq!(test_words(&["--", "-p"]), ["test", "--workspace", "--all-features", "--", "-p"]);
    }

    #[test]
    fn a_missing_service_is_named_with_its_reason_and_way_out() {
        let failure = Failure::new("found no Java 17").hint("install it");
        assert_eq!(
            without(Service::Cassandra, &failure),
            "  tests that need cassandra: found no Java 17\n    hint: install it"
        );
    }
}
