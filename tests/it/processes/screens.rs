//! The screens of terminals with 80, 100 and 140 columns.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::PLAIN;
use super::program::{Program, TestDir};
use super::table::consume;

/// Runs a program on a terminal of this size until it ends, and returns what it writes to it.
async fn on_terminal(program: Program, columns: u16, rows: u16) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let open = || -> OwnedFd {
        rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap()
    };
    let program = program.stdout(Stdio::from(open()));
    let reading = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        // The end of the last process on a terminal is an error of its reader.
        File::from(terminal).read_to_end(&mut shown).ok();
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    });
    program.run().await.with(0);
    reading.await.unwrap()
}

#[tokio::test]
async fn nothing_is_wider_than_the_terminal_and_a_shown_id_is_accepted() {
    let dir = TestDir::new();
    dir.run("payments_producer", &[&["--order-ids", "1-20", "--rate", "max"][..], &PLAIN].concat())
        .await
        .with(0);
    consume(&dir, "payment_consumer", &["--order-grace", "0s"]).await;
    dir.run("dlq_handler", &["--once"]).await.with(0);
    for columns in [80, 100, 140] {
        for args in [&["triage"][..], &["list"], &["report"], &["explain", "3"], &["history"]] {
            let shown = on_terminal(dir.program("dlq_handler", args), columns, 30).await;
            assert!(!shown.is_empty(), "{args:?}");
            for line in shown.lines() {
                assert!(line.chars().count() <= columns.into(), "{args:?} at {columns} columns: {line}");
            }
        }
    }
    let list = on_terminal(dir.program("dlq_handler", &["list", "--limit", "3"]), 80, 24).await;
    let shown: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).skip(3).collect();
    assert_eq!(shown.iter().map(|id| id.len()).collect::<Vec<_>>(), [20; 3], "{list}");
    let found = dir.run("dlq_handler", &["show", shown[0], "--format", "json"]).await.with(0).json();
    let id = found["id"].as_str().unwrap();
    assert!(id.starts_with(shown[0]), "{found}");

    let shortest = &id[..16];
    dir.run("dlq_handler", &["list", shortest]).await.with(0);
    let planned = dir.run("dlq_handler", &["discard", shortest, "--dry-run"]).await.with(0);
    assert!(planned.stdout.contains("1  discarded"), "{}", planned.stdout);
    let retried =
        dir.run("dlq_handler", &["retry", shortest, "--yes", "--format", "json"]).await.with(0).json();
    assert_eq!(retried["dead_letters"], 1, "{retried}");
    let unknown = dir.run("dlq_handler", &["show", "20200101-00-0000"]).await.with(3);
    assert!(unknown.stderr.contains("there is no dead letter"), "{}", unknown.stderr);
    dir.run("dlq_handler", &["show", &id[..15]]).await.with(2);
}
