//! Bulk operations and corrections on every store: their outcomes, with handlers and other operators at work,
//! and wherever they are killed.

mod closing;
mod correcting;
mod fixture;
mod resuming;
mod retrying;

/// Makes every case a test on every store.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        #[cfg(feature = "embedded")]
        mod embedded {
            $(
                #[tokio::test]
                async fn $case() {
                    super::super::fixture::within_the_limit(super::$case(&super::TestStore::embedded())).await;
                }
            )+
        }
        #[cfg(feature = "cassandra")]
        mod cassandra {
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(store) = super::TestStore::shared_cassandra().await {
                        super::super::fixture::within_the_limit(super::$case(&store)).await;
                    }
                }
            )+
        }
    };
}
use on_every_store;
