//! The rules of the house, checked by reading the sources.
//!
//! Each rule is a function from a file to the breaches in it, so that it can be shown to notice one.

mod source;

use std::path::Path;

use source::{Source, Token};

/// A rule: what it says, and the breaches it finds in one file.
type Rule = (&'static str, fn(&Source) -> Vec<String>);

const RULES: [Rule; 14] = [
    ("imports go one way", imports_go_one_way),
    ("ports do not name their adapters", ports_do_not_name_adapters),
    ("the codec knows messages and nothing else of the bus", codec_knows_messages_only),
    ("client crates are named by their adapters only", clients_stay_in_their_adapters),
    ("the environment is read in config and app only", environment_stays_outside),
    ("the domain is pure", domain_is_pure),
    ("wall time is read in the clock only", wall_time_stays_in_the_clock),
    ("the pipeline starts no threads and detaches nothing", pipeline_detaches_nothing),
    ("binaries are thin", binaries_are_thin),
    ("modules are foo.rs and foo/", no_mod_files),
    ("files are short", files_are_short),
    ("nothing unwraps, sleeps, waits to be done or is unbounded", nothing_careless),
    ("every select is biased", selects_are_biased),
    ("tests are sentences, never sleep and are never ignored", tests_are_honest),
];

/// What each module may import; its own name is understood. Bus and store stand for their ports, with
/// the adapters as modules of their own.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("clock", &[]),
    ("metrics", &["domain"]),
    ("bus", &["domain"]),
    ("store", &["domain"]),
    ("codec", &["domain", "bus"]),
    ("bus::pubsub", &["domain", "clock", "metrics", "bus"]),
    ("store::cassandra", &["domain", "clock", "metrics", "store"]),
    ("embedded", &["domain", "clock", "metrics", "bus", "store"]),
    ("pipeline", &["domain", "clock", "metrics", "bus", "store", "codec"]),
    ("scenario", &["domain", "clock", "metrics", "bus", "store", "codec", "pipeline"]),
    ("desk", &["domain", "clock", "metrics", "bus", "store", "codec", "pipeline"]),
    ("config", &["domain"]),
];

/// Client crates, and the only files that name them: a name ending in `*` stands for all that begin so.
const CLIENTS: [(&str, &[&str]); 5] = [
    ("google_cloud*", &["src/bus/pubsub*"]),
    ("scylla", &["src/store/cassandra*"]),
    ("rusqlite", &["src/embedded*"]),
    // Two files beside `cli`: one parses what `cli` declares, the other prints completions of it.
    ("clap", &["src/app/cli*", "src/app.rs"]),
    ("clap_complete", &["src/app/cli*", "src/app/setup.rs"]),
];

const BIN_LINES: usize = 20;
const FILE_LINES: usize = 400;

#[test]
fn the_sources_keep_every_rule() {
    let sources = source::all();
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    for expected in ["src/lib.rs", "src/domain/order.rs", "src/bin/ecom_demo.rs", "tests/it/architecture.rs"]
    {
        assert!(paths.contains(&expected), "{expected} was not read");
    }
    let breaches: Vec<String> = RULES
        .iter()
        .flat_map(|(says, find)| {
            let found = sources.iter().flat_map(find);
            found.map(move |breach| format!("{breach}  [{says}]"))
        })
        .collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn every_rule_notices_its_breach() {
    let long = "fn f() {}\n".repeat(FILE_LINES + 1);
    let breaches: [(&str, &str, &str); 39] = [
        ("imports go one way", "src/domain/x.rs", "use crate::bus::Message;"),
        ("imports go one way", "src/pipeline/x.rs", "use crate::embedded::open;"),
        ("imports go one way", "src/pipeline/x.rs", "fn f() { crate::store::cassandra::connect() }"),
        ("imports go one way", "src/bus/x.rs", "use super::super::store::{self, FactStore};"),
        ("imports go one way", "src/scenario/x.rs", "use crate::{domain::order, app::main};"),
        ("imports go one way", "src/embedded/x.rs", "use crate::pipeline;"),
        ("imports go one way", "src/bin/x.rs", "use ecom::domain::order::Order;"),
        ("imports go one way", "src/novelty/x.rs", "use crate::domain;"),
        ("ports do not name their adapters", "src/bus/x.rs", "use super::pubsub::Pubsub;"),
        ("ports do not name their adapters", "src/bus.rs", "mod pubsub; pub use pubsub::Pubsub;"),
        ("ports do not name their adapters", "src/store.rs", "mod cassandra; use cassandra::Session;"),
        (
            "the codec knows messages and nothing else of the bus",
            "src/codec/x.rs",
            "use crate::bus::{Message, Publisher};",
        ),
        (
            "client crates are named by their adapters only",
            "src/app/x.rs",
            "use google_cloud_auth::credentials;",
        ),
        ("client crates are named by their adapters only", "src/store/ledger.rs", "use scylla::client;"),
        (
            "client crates are named by their adapters only",
            "src/app/wiring.rs",
            "type C = rusqlite::Connection;",
        ),
        ("client crates are named by their adapters only", "src/app/roles.rs", "use clap::Args;"),
        ("the environment is read in config and app only", "src/clock.rs", "use std::{env, fs};"),
        (
            "the environment is read in config and app only",
            "src/bus/x.rs",
            "fn f() { std::env::var(\"HOME\").ok(); }",
        ),
        ("the domain is pure", "src/domain/x.rs", "use tokio::time::Duration;"),
        ("the domain is pure", "src/domain/x.rs", "fn f() { std::fs::read(\"x\").ok(); }"),
        ("the domain is pure", "src/domain/x.rs", "fn f() { std::time::SystemTime::now(); }"),
        ("the domain is pure", "src/domain/x.rs", "async fn f() {}"),
        ("wall time is read in the clock only", "src/pipeline/x.rs", "fn f() { chrono::Utc::now(); }"),
        ("wall time is read in the clock only", "src/app/x.rs", "fn f() { SystemTime::now(); }"),
        (
            "the pipeline starts no threads and detaches nothing",
            "src/pipeline/x.rs",
            "fn f() { tokio::spawn(g()); }",
        ),
        ("binaries are thin", "src/bin/x.rs", "fn main() { if true {} }"),
        ("modules are foo.rs and foo/", "src/bus/mod.rs", ""),
        ("files are short", "src/bus/x.rs", &long),
        (
            "nothing unwraps, sleeps, waits to be done or is unbounded",
            "src/app/x.rs",
            "fn f() { g().unwrap(); }",
        ),
        (
            "nothing unwraps, sleeps, waits to be done or is unbounded",
            "src/app/x.rs",
            "fn f() { std::thread::sleep(d); }",
        ),
        ("nothing unwraps, sleeps, waits to be done or is unbounded", "src/app/x.rs", "fn f() { todo!() }"),
        (
            "nothing unwraps, sleeps, waits to be done or is unbounded",
            "src/bus/x.rs",
            "fn f() { unbounded_channel(); }",
        ),
        ("every select is biased", "src/app/x.rs", "fn f() { tokio::select! { () = a => {} } }"),
        (
            "tests are sentences, never sleep and are never ignored",
            "src/app/x.rs",
            "#[cfg(test)] mod tests { #[ignore] #[test] fn a() {} }",
        ),
        (
            "tests are sentences, never sleep and are never ignored",
            "src/app/x.rs",
            "#[cfg(test)] mod tests { #[ignore = \"slow\"] #[test] fn a() {} }",
        ),
        (
            "tests are sentences, never sleep and are never ignored",
            "tests/it/x.rs",
            "async fn f() { tokio::time::sleep(d).await }",
        ),
        (
            "tests are sentences, never sleep and are never ignored",
            "tests/it/x.rs",
            "fn f() { thread::sleep(d) }",
        ),
        (
            "tests are sentences, never sleep and are never ignored",
            "tests/it/simulated/x.rs",
            "fn f() { std::thread::sleep(d) }",
        ),
        (
            "tests are sentences, never sleep and are never ignored",
            "tests/it/x.rs",
            "#[tokio::test] async fn test_orders() {}",
        ),
    ];
    for (says, path, text) in breaches {
        let found: Vec<String> = RULES
            .iter()
            .filter(|rule| rule.0 == says)
            .flat_map(|rule| rule.1(&Source::of(path, text)))
            .collect();
        assert!(!found.is_empty(), "\"{says}\" does not notice in {path}: {}", &text[..text.len().min(80)]);
    }
    for (says, _) in RULES {
        assert!(breaches.iter().any(|(said, ..)| *said == says), "nothing breaks \"{says}\"");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    for (path, text) in [
        ("src/pipeline/x.rs", "use crate::{bus::Message, store::FactStore, domain};"),
        ("src/bus/pubsub/x.rs", "use super::super::Message; use google_cloud_pubsub::Error; use super::x;"),
        ("src/app/x.rs", "use crate::embedded::open; use crate::scenario; fn f() { std::env::args(); }"),
        ("src/codec/x.rs", "use crate::bus::{Attributes, Message, Received};"),
        ("src/bin/x.rs", "fn main() -> ExitCode { ecom::app::x() }"),
        (
            "src/app/x.rs",
            "// use rusqlite; .unwrap()\n/* todo!() /* nested */ */ const A: &str = \"#[ignore] todo!()\";",
        ),
        (
            "src/app/x.rs",
            "const A: &str = r#\"\" rusqlite \"#; const B: char = '\"'; fn f<'a>() {} // rusqlite",
        ),
        ("src/app/x.rs", "#[cfg(test)] mod tests { use rusqlite::Connection; fn f() { a().unwrap() } }"),
        ("src/domain/x.rs", "#[cfg(test)]\nuse std::{env, fs};\nfn after() {}"),
        ("src/app/x.rs", "fn f() { tokio::select! { biased; () = a => {} } }"),
        ("tests/it/simulated/x.rs", "async fn f() { tokio::time::sleep(d).await }"),
    ] {
        let source = Source::of(path, text);
        let found: Vec<String> = RULES.iter().flat_map(|rule| rule.1(&source)).collect();
        assert!(found.is_empty(), "{path}: {text}\n{found:?}");
    }
}

/// The module a path leads to, as [`MAY_IMPORT`] knows it.
fn module(path: &[String]) -> Option<String> {
    match path {
        [top, adapter, ..]
            if (top == "bus" && adapter == "pubsub") || (top == "store" && adapter == "cassandra") =>
        {
            Some(format!("{top}::{adapter}"))
        }
        [top, ..] => Some(top.clone()),
        [] => None,
    }
}

fn imports_go_one_way(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/bin/") {
        let named = source.paths_from("ecom");
        return breaches(source, named, |path| {
            (path.first().is_none_or(|first| first != "app")).then(|| "a binary imports app only".to_owned())
        });
    }
    let Some(own) = source.module_path().as_deref().and_then(module) else { return Vec::new() };
    if own == "app" {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == own) else {
        return vec![format!("{}: {own} has no place among the modules: give it one", source.path)];
    };
    breaches(source, source.crate_paths(), |path| {
        let other = module(path)?;
        let fine = other == own || allowed.contains(&other.as_str());
        (!fine).then(|| format!("{own} must not import {other}"))
    })
}

fn ports_do_not_name_adapters(source: &Source) -> Vec<String> {
    let own = source.module_path().as_deref().and_then(module);
    let adapter = match own.as_deref() {
        Some("bus") => "pubsub",
        Some("store") => "cassandra",
        Some(_) | None => return Vec::new(),
    };
    let tokens = source.tokens();
    let named = (0..tokens.len()).filter(|&at| tokens[at].text == adapter);
    named
        .filter(|&at| at == 0 || tokens[at - 1].text != "mod")
        .map(|at| source.says(&tokens[at], &format!("a port must not name {adapter}")))
        .collect()
}

fn codec_knows_messages_only(source: &Source) -> Vec<String> {
    if source.module_path().as_deref().and_then(module).as_deref() != Some("codec") {
        return Vec::new();
    }
    let messages = ["Attributes", "Message", "Received"];
    breaches(source, source.crate_paths(), |path| match path {
        [bus, name, ..] if bus == "bus" && !messages.contains(&name.as_str()) => {
            Some(format!("the codec must not know bus::{name}"))
        }
        _ => None,
    })
}

fn clients_stay_in_their_adapters(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let client = |name: &str| CLIENTS.iter().find(|(client, _)| fits(client, name));
    let strange = |token: &&Token| {
        client(&token.text).is_some_and(|(_, files)| !files.iter().any(|file| fits(file, &source.path)))
    };
    let named = source.tokens().iter().filter(strange);
    named.map(|token| source.says(token, &format!("{} must not be named here", token.text))).collect()
}

/// Whether a name is the pattern, or begins as one that ends in `*`.
fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

fn environment_stays_outside(source: &Source) -> Vec<String> {
    let outside = ["src/app.rs", "src/app/*", "src/config.rs", "src/config/*"];
    if !source.path.starts_with("src/") || outside.iter().any(|file| fits(file, &source.path)) {
        return Vec::new();
    }
    breaches(source, source.paths_from("std"), |path| {
        (path.first()? == "env").then(|| "std::env belongs in config and app".to_owned())
    })
}

fn domain_is_pure(source: &Source) -> Vec<String> {
    if source.module_path().as_deref().and_then(module).as_deref() != Some("domain") {
        return Vec::new();
    }
    let impure = ["tokio", "async", "await", "Instant", "SystemTime", "Utc", "Local", "rand"];
    let words = source.tokens().iter().filter(|token| impure.contains(&token.text.as_str()));
    let words = words.map(|token| source.says(token, &format!("{} in the domain", token.text)));
    let doing = ["fs", "io", "net", "env", "process", "thread"];
    let paths = breaches(source, source.paths_from("std"), |path| {
        let first = path.first()?;
        doing.contains(&first.as_str()).then(|| format!("std::{first} in the domain"))
    });
    words.chain(paths).collect()
}

fn wall_time_stays_in_the_clock(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || source.path == "src/clock.rs" {
        return Vec::new();
    }
    let tokens = source.tokens();
    let wall = ["SystemTime", "Utc", "Local"];
    let read = tokens
        .windows(3)
        .filter(|at| wall.contains(&at[0].text.as_str()) && at[1].text == "::" && at[2].text == "now");
    read.map(|at| source.says(&at[0], "wall time comes from a Clock")).collect()
}

fn pipeline_detaches_nothing(source: &Source) -> Vec<String> {
    if !fits("src/pipeline*", &source.path) {
        return Vec::new();
    }
    let tokens = source.tokens();
    let spawned = tokens.windows(3).filter(|at| {
        let from = at[0].text.as_str();
        matches!(from, "tokio" | "task" | "thread") && at[1].text == "::" && at[2].text.starts_with("spawn")
    });
    spawned.map(|at| source.says(&at[0], "the pipeline owns its tasks: use a JoinSet")).collect()
}

fn binaries_are_thin(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/bin/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    if source.lines > BIN_LINES {
        found.push(format!("{}: {} lines, at most {BIN_LINES}", source.path, source.lines));
    }
    let decides = source.tokens().iter().filter(|token| matches!(token.text.as_str(), "if" | "match"));
    found.extend(decides.map(|token| source.says(token, "a binary decides nothing")));
    found
}

fn no_mod_files(source: &Source) -> Vec<String> {
    let named = Path::new(&source.path).file_name().is_some_and(|name| name == "mod.rs");
    if named { vec![format!("{}: name it after its folder", source.path)] } else { Vec::new() }
}

fn files_are_short(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || source.lines_before_tests <= FILE_LINES {
        return Vec::new();
    }
    vec![format!(
        "{}: {} lines before its tests, at most {FILE_LINES}",
        source.path, source.lines_before_tests
    )]
}

/// The embedded engine's own thread waits for the file's lock as SQLite asks it to: by sleeping.
const MAY_SLEEP: &str = "src/embedded/database.rs";

fn nothing_careless(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let tokens = source.tokens();
    let mut found = Vec::new();
    for at in tokens.windows(3) {
        let [a, b, c] = [0, 1, 2].map(|index| at[index].text.as_str());
        let breach = match (a, b, c) {
            (".", "unwrap", "(") => "no unwrap outside of tests",
            ("thread", "::", "sleep") if source.path != MAY_SLEEP => "no thread sleeps",
            ("todo" | "unimplemented" | "dbg", "!", _) => "done is done",
            ("unbounded_channel" | "unbounded", "(", _) => "memory is bounded by configuration",
            _ => continue,
        };
        found.push(source.says(&at[1], breach));
    }
    found
}

fn selects_are_biased(source: &Source) -> Vec<String> {
    let tokens = source.tokens();
    let careless = tokens.windows(4).filter(|at| {
        at[0].text == "select"
            && at[1].text == "!"
            && at[3].text != "biased"
            && source.path.starts_with("src/")
    });
    careless.map(|at| source.says(&at[0], "a select that is not biased cannot be replayed")).collect()
}

/// Where nothing waits for real: tokio's clock is paused, and sleeping costs no time.
const TIME_IS_PAUSED: &str = "tests/it/simulated*";

fn tests_are_honest(source: &Source) -> Vec<String> {
    let all = &source.everything;
    let mut found = Vec::new();
    for at in all.windows(3) {
        let [a, b, c] = [0, 1, 2].map(|index| at[index].text.as_str());
        if (a, b, c) == ("#", "[", "ignore") {
            found.push(source.says(&at[0], "an ignored test is none"));
        }
        let ours = source.path.starts_with("tests/");
        let waits = b == "sleep" && (a == "::" || c == "(") && !fits(TIME_IS_PAUSED, &source.path);
        if ours && (waits || (a, b, c) == ("thread", "::", "sleep")) {
            found.push(source.says(&at[1], "wait for a condition"));
        }
        if a == "fn" && b.starts_with("test_") && ours {
            found.push(source.says(&at[1], "a test's name is a sentence"));
        }
    }
    found
}

/// Paths that break a rule, as lines that say where.
fn breaches(
    source: &Source,
    paths: Vec<(Token, Vec<String>)>,
    breach: impl Fn(&[String]) -> Option<String>,
) -> Vec<String> {
    let said = paths.iter().filter_map(|(token, path)| Some(source.says(token, &breach(path)?)));
    said.collect()
}
