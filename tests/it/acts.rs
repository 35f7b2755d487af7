//! The commands of the desk that change letters: what they do on every store, whoever else is at work,
//! and wherever they are killed.

mod bench;
mod closing;
mod correcting;
mod resuming;
mod retrying;

/// Makes every case a test of its own on every store.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        #[cfg(feature = "embedded")]
        mod embedded {
            $(
                #[tokio::test]
                async fn $case() {
                    super::super::bench::within_the_limit(super::$case(&super::Bench::embedded())).await;
                }
            )+
        }
        #[cfg(feature = "cassandra")]
        mod cassandra {
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(bench) = super::Bench::cassandra().await {
                        super::super::bench::within_the_limit(super::$case(&bench)).await;
                    }
                }
            )+
        }
    };
}
use on_every_store;
