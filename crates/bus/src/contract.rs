//! The contract suite of the [`Bus`](crate::Bus) port: what its documentation promises, as test cases.
//!
//! An adapter turns each case into a separate test with
//! [`bus_contract_tests!`](crate::bus_contract_tests) and, if it delivers exactly,
//! [`exact_delivery_contract_tests!`](crate::exact_delivery_contract_tests). Both take the path of an async
//! function that returns a fresh [`BusSubject`], or `None` to skip the case.
#![allow(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

/// Runs the listed cases through a macro of this name. A case that is missing from the list is dead code,
/// which the compiler reports.
///
/// `$d` is a dollar sign, for the macro that this one defines.
macro_rules! suite {
    ($d:tt $module:ident $(#[$attribute:meta])* $stamp:ident: [$($case:ident),+ $(,)?]) => {
        /// The cases, each with a time limit.
        pub mod cases {
            use crate::contract::{BusSubject, run};
            $(
                /// Runs the case of this name, unless there is no subject.
                pub async fn $case(subject: Option<BusSubject>) {
                    if let Some(subject) = subject {
                        run(super::$case(&subject)).await;
                    }
                }
            )+
        }

        $(#[$attribute])*
        #[macro_export]
        macro_rules! $stamp {
            ($d subject:path) => {
                $(
                    #[tokio::test]
                    async fn $case() {
                        $d crate::contract::$module::cases::$case($d subject().await).await;
                    }
                )+
            };
        }
    };
}

pub mod every_bus;
pub mod exact_delivery;
mod fixture;
mod subject;
mod waiting;

pub use subject::{BusSubject, OpenBus, service_address, unique_name};
pub use waiting::{never_within, next_within, within};

use std::time::Duration;

/// The time limit of a case; far more than any needs.
const CASE_LIMIT: Duration = Duration::from_secs(240);

async fn run(case: impl Future<Output = ()>) {
    within(CASE_LIMIT, "the end of the case", case).await;
}
