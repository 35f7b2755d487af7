//! Runs all five roles in one process on the embedded default, and verifies every row.

fn main() -> std::process::ExitCode {
    ecom::ecom_demo()
}
