//! Confirms paid orders to their customers.

fn main() -> std::process::ExitCode {
    ecom::notifier(std::env::args_os().collect())
}
