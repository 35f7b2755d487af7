//! Serves the HTTP API of orders and payments.

fn main() -> std::process::ExitCode {
    ecom::api_service(std::env::args_os().collect())
}
