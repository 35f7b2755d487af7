//! Publishes order events: seeded mock orders, or the lines of a file.

fn main() -> std::process::ExitCode {
    ecom::orders_producer()
}
