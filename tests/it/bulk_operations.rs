//! The commands of the operator that change dead letters: what they do on every store, whoever else is at work,
//! and wherever they are killed.

mod closing;
mod correcting;
mod fixture;
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
                    super::super::fixture::within_the_limit(super::$case(&super::Bench::embedded())).await;
                }
            )+
        }
        #[cfg(feature = "cassandra")]
        mod cassandra {
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(bench) = super::Bench::cassandra().await {
                        super::super::fixture::within_the_limit(super::$case(&bench)).await;
                    }
                }
            )+
        }
    };
}
use on_every_store;
