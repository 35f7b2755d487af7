//! Takes dead letters into the ledger, retries what waits, and reports.

fn main() -> std::process::ExitCode {
    ecom::dlq_handler()
}
