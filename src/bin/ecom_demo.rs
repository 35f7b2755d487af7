//! Runs all five roles in one process with embedded bus and store, and verifies every row.

fn main() -> std::process::ExitCode {
    ecom::ecom_demo(std::env::args_os().collect())
}
