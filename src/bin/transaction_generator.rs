//! Creates random transactions and orders over HTTP.

fn main() -> std::process::ExitCode {
    ecom::transaction_generator(std::env::args_os().collect())
}
