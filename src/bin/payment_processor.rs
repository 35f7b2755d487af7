//! Takes orders and payments of the API through their states.

fn main() -> std::process::ExitCode {
    ecom::payment_processor(std::env::args_os().collect())
}
