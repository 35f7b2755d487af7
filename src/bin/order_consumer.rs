//! Records order events in the fact table.

fn main() -> std::process::ExitCode {
    ecom::order_consumer(std::env::args_os().collect())
}
