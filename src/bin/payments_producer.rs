//! Publishes payment events: generated from a seed, or the lines of a file.

fn main() -> std::process::ExitCode {
    ecom::payments_producer(std::env::args_os().collect())
}
