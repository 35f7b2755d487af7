//! Publishes payment events: seeded mock payments, or the lines of a file.

fn main() -> std::process::ExitCode {
    ecom::payments_producer()
}
