//! Heap blocks an event, for every path: `micro blocks` starts it.

use std::io::Write;
use std::process::ExitCode;

use dhat::{HeapStats, Profiler};
use micro::{Path, measured, per_event};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Events of the shorter of two runs; a multiple of the number of different messages.
const EVENTS: u64 = 1_280;

fn main() -> ExitCode {
    let _profiler = Profiler::builder().testing().build();
    let mut exceeded = false;
    print(&format!("{:<10}{:>10}{:>8}  heap blocks/event", "path", "blocks", "limit"));
    for path in Path::ALL {
        // What the process takes once is in none of the two, what a run takes once is in both.
        blocks(path, 1);
        let blocks = blocks(path, 2 * EVENTS).saturating_sub(blocks(path, EVENTS));
        let limit = path.block_limit();
        let is_over = limit.is_some_and(|limit| blocks > limit * EVENTS);
        exceeded |= is_over;
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        let verdict = if is_over { "  EXCEEDED" } else { "" };
        print(&format!("{:<10}{:>10.2}{limit:>8}{verdict}", path.name(), per_event(blocks, EVENTS)));
    }
    if exceeded { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

/// The heap blocks of doing a path this many times.
fn blocks(path: Path, events: u64) -> u64 {
    let work = path.prepare(usize::try_from(events).unwrap_or_default());
    let before = HeapStats::get().total_blocks;
    measured(work);
    HeapStats::get().total_blocks - before
}

fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
