//! gungraun's runner, built with the library's version from `Cargo.lock`: cargo tells the benchmark where
//! it is, so that nothing has to be installed.

use std::process::ExitCode;

use gungraun_runner::error::Error;

fn main() -> ExitCode {
    match gungraun_runner::runner::run::run() {
        Ok(()) => ExitCode::SUCCESS,
        // The runner has already printed which limit is exceeded.
        Err(error) if matches!(error.downcast_ref(), Some(Error::RegressionError(_))) => ExitCode::from(3),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
