//! Shows, verifies and exports the fact table.

fn main() -> std::process::ExitCode {
    ecom::app::ecom_facts()
}
