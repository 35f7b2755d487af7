//! Every program of this package in one file, for images: it runs the one by whose name it is called, or the one that its first
//! argument names.

fn main() -> std::process::ExitCode {
    ecom::ecom(std::env::args_os().collect())
}
