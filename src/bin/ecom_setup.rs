//! Creates topics, subscriptions, keyspace and tables; safe to repeat.

fn main() -> std::process::ExitCode {
    ecom::ecom_setup(std::env::args_os().collect())
}
