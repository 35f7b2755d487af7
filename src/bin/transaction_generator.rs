//! Creates random transactions and orders over HTTP.

fn main() -> std::process::ExitCode {
    ecom::transaction_generator()
}
