//! Seeded bugs, to prove that the tests find them: each is a mistake that this code or another of its kind once
//! had. They exist only with the feature `mutants`, and only the one that `ECOM_MUTANT` names is active.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A seeded bug.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            /// Every seeded bug.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns its name, as `ECOM_MUTANT` has it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

mutants! {
    /// An order writes null into the payment columns.
    NullPaymentColumns = "null-payment-columns",
    /// A message is acked though the result of its write is unknown.
    AckBeforeWrite = "ack-before-write",
    /// A message is acked though its dead letter may not be published.
    AckBeforePublish = "ack-before-publish",
    /// Rows are written at the time of the server, not at T.
    ServerTime = "server-time",
    /// T has no slot: the events of a batch without times of their own have one T.
    NoSlot = "no-slot",
    /// A column that an event does not have is left as it is, not set to null.
    UnsetColumns = "unset-columns",
    /// The publish time and the id of the original message are lost on the dead-letter topic.
    OriginLost = "origin-lost",
    /// Another payment with the same T is written over the first.
    NoTieRule = "no-tie-rule",
    /// Each attempt of a write has a T of its own.
    NewTimePerAttempt = "new-time-per-attempt",
    /// A row counts as an order, though its order columns are null.
    RowIsOrder = "row-is-order",
    /// A parked dead letter is not checked again.
    NoRecheck = "no-recheck",
    /// A message is nacked in an outage.
    NackInOutage = "nack-in-outage",
    /// The end of a stream without an error is the end of the subscription.
    StreamEndIsEnd = "stream-end-is-end",
    /// A stop abandons what is in flight.
    AbandonedOnStop = "abandoned-on-stop",
    /// A card number is dead-lettered as it is.
    CardNumberKept = "card-number-kept",
    /// Dead letters that do not fit into the retry schedule are forgotten.
    ScheduleForgets = "schedule-forgets",
    /// A scan ends at the first part that it cannot read.
    ScanEndsAtUnreadable = "scan-ends-at-unreadable",
    /// A time in seconds is taken for one in microseconds.
    SecondsAsMicroseconds = "seconds-as-microseconds",
    /// A database file that was replaced is not noticed.
    FileNotChecked = "file-not-checked",
    /// A line that cannot be written to stderr is a panic.
    StderrPanics = "stderr-panics",
    /// A price beyond 64 bits becomes the largest integer.
    PriceClamped = "price-clamped",
    /// A removal takes a dead letter that was reopened meanwhile.
    RemovesReopened = "removes-reopened",
    /// The state that was written last wins, by the clocks of the writers.
    StateByClock = "state-by-clock",
    /// A correction may have the T that its row has.
    CorrectionTakesRowTime = "correction-takes-row-time",
    /// A retry is due when a clock that was ahead said so.
    FastClockSchedules = "fast-clock-schedules",
}

/// Returns whether this bug is active.
#[cfg(feature = "mutants")]
pub fn is_active(mutant: Mutant) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let named = || {
        let name = std::env::var("ECOM_MUTANT").ok()?;
        let named = Mutant::ALL.iter().copied().find(|mutant| mutant.as_str() == name);
        Some(named.unwrap_or_else(|| panic!("ECOM_MUTANT: {name} is the name of no mutant")))
    };
    *ACTIVE.get_or_init(named) == Some(mutant)
}

/// Returns false: there are no seeded bugs without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn is_active(_: Mutant) -> bool {
    false
}
