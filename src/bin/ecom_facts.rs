//! Shows, verifies and exports the fact table.

fn main() -> std::process::ExitCode {
    ecom::ecom_facts(std::env::args_os().collect())
}
