//! Takes dead letters into the dead-letter store, retries what waits, and reports.

fn main() -> std::process::ExitCode {
    ecom::dlq_handler()
}
