//! Serves the test broker as a process. Prints its address, then the answer to each command that it reads from
//! standard input; without commands it serves until it is killed.
#![allow(clippy::print_stdout, reason = "its parent reads the answers")]

use ecom_test_broker::TestBroker;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let broker = TestBroker::start_on(&address).await?;
    println!("{}", broker.address());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match broker.command(&line) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("error: {error}"),
        }
    }
    std::future::pending().await
}
