//! Joins payment events to their orders in the fact table.

fn main() -> std::process::ExitCode {
    ecom::payment_consumer(std::env::args_os().collect())
}
