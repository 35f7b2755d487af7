//! Cassandra made slow: a relay in front of it, from which every byte leaves a fixed time after it came,
//! in its order, at any rate.

use crate::{facts, launch::total};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join;
use std::{io, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio::{sync::mpsc, task::JoinSet};

/// Delay of each byte in each direction: a request takes twice that at least.
pub const DELAY: Duration = Duration::from_millis(50);
/// Bytes of a chunk, at most.
const CHUNK: usize = 16 * 1024;
/// Chunks on their way in one direction, at most; beyond it the sender waits.
const ON_THE_WAY: usize = 4 * 1024;

/// A relay, until it is dropped.
pub struct Relay {
    /// The address that takes Cassandra's place.
    pub address: String,
    _task: JoinSet<()>,
}

impl Relay {
    /// Listens at the address that Cassandra announces, on a port of its own: there, and on the port of
    /// the contact point, is where the driver connects to a node that it has found.
    pub async fn start() -> Result<Self> {
        let cluster = facts::session("system").await?.get_cluster_state();
        let node = cluster.get_nodes_info().first().context("found no node")?;
        let (announced, port) = (node.address.ip(), node.address.port());
        let why = || format!("no relay can listen at {announced}, where Cassandra says it can be reached");
        let listener = TcpListener::bind((announced, 0)).await.with_context(why)?;
        let address = listener.local_addr()?.to_string();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks does so for both sides, which know what it means to them.
                tokio::spawn(async move {
                    let server = TcpStream::connect((announced, port)).await?;
                    client.set_nodelay(true).and(server.set_nodelay(true))?;
                    both_ways(client, server).await
                });
            }
        });
        Ok(Self { address, _task: task })
    }
}

/// Checks that every write took the way through the relay: else their mean in the metrics of what was
/// measured is shorter than the delay of both directions.
pub fn check(metrics: &str) -> Result<()> {
    let writes = |family: &str| {
        total(metrics, |line| line.starts_with(family) && line.contains("operation=\"record_order\""))
    };
    let (seconds, count) = (writes("ecom_store_seconds_sum"), writes("ecom_store_seconds_count"));
    let least = 2.0 * DELAY.as_secs_f64();
    ensure!(
        count > 0.0 && seconds / count >= least,
        "{count} writes took {seconds} s, less than {least} s each: they went around the relay"
    );
    Ok(())
}

/// Passes on what either side sends until both have ended; a side that breaks ends both.
async fn both_ways(near: impl AsyncRead + AsyncWrite, far: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (from_near, to_near) = tokio::io::split(near);
    let (from_far, to_far) = tokio::io::split(far);
    try_join(pass(from_near, to_far), pass(from_far, to_near)).await.map(drop)
}

/// Passes on one direction to its end: chunks are read as they come, and written when they are due.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer).await?;
            let chunk = (Instant::now() + DELAY, buffer[..count].to_vec());
            if sender.send(chunk).await.is_err() || count == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if bytes.is_empty() {
                break;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    try_join(read, write).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    /// Returns a client and a server with the relay between them, each with a buffer of this many bytes.
    fn relayed(buffer: usize) -> (DuplexStream, DuplexStream) {
        let ((client, near), (far, server)) = (duplex(buffer), duplex(buffer));
        tokio::spawn(both_ways(near, far));
        (client, server)
    }

    /// Asserts that the delay and nothing more has passed; timers of tokio have a resolution of 1 ms.
    fn assert_due(sent: Instant) {
        let late = sent.elapsed();
        assert!(late >= DELAY && late <= DELAY + Duration::from_millis(2), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_arrives_the_delay_after_it_was_sent_in_both_directions_and_after_the_other_has_ended()
    {
        let (mut client, mut server) = relayed(1_024);
        let (one, mut bytes) = (Instant::now(), [0; 3]);
        client.write_all(b"one").await.unwrap();
        sleep(Duration::from_millis(20)).await;
        let two = Instant::now();
        client.write_all(b"two").await.unwrap();
        client.shutdown().await.unwrap();
        for (words, sent) in [(b"one", one), (b"two", two)] {
            server.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, words);
            assert_due(sent);
        }
        assert_eq!(server.read(&mut bytes).await.unwrap(), 0);
        let (back, mut answer) = (Instant::now(), Vec::new());
        server.write_all(b"yes").await.unwrap();
        drop(server);
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"yes");
        assert_due(back);
    }

    #[tokio::test(start_paused = true)]
    async fn much_at_once_arrives_whole_in_order_and_no_later_than_little() {
        let (mut client, mut server) = relayed(8 << 20);
        let sent: Vec<u8> = (0..4 << 20).map(|n: u32| (n / 7) as u8).collect();
        let (start, mut arrived) = (Instant::now(), vec![0; sent.len()]);
        client.write_all(&sent).await.unwrap();
        server.read_exact(&mut arrived).await.unwrap();
        assert!(arrived == sent);
        assert_due(start);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_waits_for_a_receiver_that_does_not_read() {
        let (mut client, _server) = relayed(1_024);
        let mut sent = 0;
        while let Ok(written) = timeout(Duration::from_secs(10), client.write(&[0; 1_024])).await {
            sent += written.unwrap();
        }
        assert!(sent > 1 << 20 && sent <= (ON_THE_WAY + 4) * 1_024, "{sent}");
    }

    #[test]
    fn writes_that_went_around_the_relay_are_noticed() {
        let metrics = |seconds: f64| {
            let labels = "operation=\"record_order\",outcome=\"ok\"";
            format!(
                "ecom_store_seconds_sum{{{labels}}} {seconds}\necom_store_seconds_count{{{labels}}} 100\n\
                 ecom_store_seconds_sum{{operation=\"fact\",outcome=\"ok\"}} 100\n"
            )
        };
        assert!(check(&metrics(10.1)).is_ok());
        assert!(check(&metrics(9.9)).is_err() && check("").is_err());
    }
}
