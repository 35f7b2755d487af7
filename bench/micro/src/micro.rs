//! Instructions and heap blocks of events in the pipeline itself: the real handlers, consumer and codec over a
//! store that answers at once, without any service. `cargo xtask micro` runs it under valgrind.
//!
//! Each path handles [`EVENTS`] events that were made beforehand: a total of 82,180,000 instructions is
//! 8,218 an event. Instructions depend on code, compiler, profile and instruction set, not on the machine's
//! speed or load. The numbers below are of rustc 1.95, profile `bench`, x86-64; a path fails when it takes
//! more than 5 % above its number, or more heap blocks an event than it may. A change that means to cost
//! more, or less, changes the number.

#![allow(missing_docs, reason = "the harness makes public items of each path")]

mod events;
mod pipeline;

use gungraun::prelude::*;
use gungraun::{Callgrind, Dhat, DhatMetric, EventKind};
use pipeline::Work;

/// Events of a path: a multiple of the number of different events.
const EVENTS: usize = 10_000;

/// Limits a path to 5 % above this many instructions an event, and to this many heap blocks.
fn limits(instructions: u64, blocks: Option<u64>) -> LibraryBenchmarkConfig {
    let events = EVENTS as u64;
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, instructions * 105 / 100 * events)]));
    if let Some(blocks) = blocks {
        // What a path takes once, whatever its events, is less than 100 blocks. The stack of a future is
        // deep, and blocks count by the benchmark's function in it.
        let limit = [(DhatMetric::TotalBlocks, blocks * events + 100)];
        config.tool(Dhat::with_args(["--num-callers=100"]).hard_limits(limit));
    }
    config
}

// An order through its handler, in groups of ten: screen, decode, validate, count, bind.
#[library_benchmark(config = limits(8_218, Some(1)), setup = pipeline::orders)]
#[bench::handled(EVENTS)]
fn order(work: Work) {
    work();
}

// A payment through its handler: the same, with a read before the write.
#[library_benchmark(config = limits(7_474, Some(2)), setup = pipeline::payments)]
#[bench::handled(EVENTS)]
fn payment(work: Work) {
    work();
}

// An order through a consumer: intake, handler, outcome, counters, ack.
#[library_benchmark(config = limits(10_916, None), setup = pipeline::consumer)]
#[bench::handled(EVENTS)]
fn consumer(work: Work) {
    work();
}

// A dead letter: screened and encoded as a consumer does, decoded as `dlq_handler` does.
#[library_benchmark(config = limits(36_148, Some(17)), setup = pipeline::dead_letters)]
#[bench::handled(EVENTS)]
fn dead_letter(work: Work) {
    work();
}

// An order written through the port of the store, in calls of ten.
#[library_benchmark(config = limits(1_396, None), setup = pipeline::store_port)]
#[bench::handled(EVENTS)]
fn port(work: Work) {
    work();
}

// The same in calls of one, of the store itself.
#[library_benchmark(config = limits(1_323, None), setup = pipeline::store_itself)]
#[bench::handled(EVENTS)]
fn direct(work: Work) {
    work();
}

library_benchmark_group!(name = paths, benchmarks = [order, payment, consumer, dead_letter, port, direct]);
main!(library_benchmark_groups = paths);
