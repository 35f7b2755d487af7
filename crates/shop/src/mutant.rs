//! Seeded bugs, to prove that the tests find them. They exist only with the feature `mutants`, and only on the thread of the
//! test that activates one.

/// A seeded bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// An order that ended without units leaves no mark, so a processor that was frozen can reserve some for it.
    NoReleaseMark,
    /// The units of an order are released before it is refused.
    ReleaseBeforeRefused,
    /// A state is written whatever state the order has meanwhile.
    MoveWithoutRevision,
}

impl Mutant {
    /// Every seeded bug.
    pub const ALL: [Self; 3] = [Self::NoReleaseMark, Self::ReleaseBeforeRefused, Self::MoveWithoutRevision];
}

#[cfg(feature = "mutants")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Activates a seeded bug on this thread; `None` deactivates it.
#[cfg(feature = "mutants")]
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Returns whether a seeded bug is active.
#[cfg(feature = "mutants")]
pub(super) fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Returns false: there are no seeded bugs.
#[cfg(not(feature = "mutants"))]
pub(super) fn is_active(_: Mutant) -> bool {
    false
}
