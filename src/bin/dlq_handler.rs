//! Stores dead letters, retries those that wait, and shows and changes them.

fn main() -> std::process::ExitCode {
    ecom::dlq_handler(std::env::args_os().collect())
}
