//! What came of the dead letters of a run, counted.

use std::collections::BTreeMap;

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::verdict::Verdict;

/// The word a run keeps the number of differences by.
const DIFFERED: &str = "differed";
/// Differences kept as examples.
const EXAMPLES: usize = 20;

/// A dead letter that ended otherwise than was predicted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misprediction {
    /// The dead letter.
    pub id: DeadLetterId,
    /// Its verdict when the run began.
    pub predicted: Verdict,
    /// What came of it.
    pub outcome: ActualOutcome,
}

/// What came of dead letters.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OutcomeCounts {
    /// Dead letters by outcome.
    pub outcomes: BTreeMap<ActualOutcome, u64>,
    /// How many of them ended otherwise than was predicted.
    pub differed: u64,
    /// The first of those.
    pub differences: Vec<Misprediction>,
}

impl OutcomeCounts {
    /// Dead letters counted.
    pub fn dead_letters(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Counts one dead letter.
    pub fn count(&mut self, outcome: ActualOutcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Remembers that a counted dead letter ended otherwise than was predicted.
    pub fn differs(&mut self, difference: Misprediction) {
        self.differed += 1;
        if self.differences.len() < EXAMPLES {
            self.differences.push(difference);
        }
    }

    /// Adds what another tally counted.
    pub fn add(&mut self, other: Self) {
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.differed += other.differed;
        let room = EXAMPLES.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.into_iter().take(room));
    }

    /// The tally as the operations store keeps it, sorted by word; examples are not kept.
    pub fn words(&self) -> Vec<(String, u64)> {
        let counts = self.outcomes.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), *count));
        let differed = (self.differed > 0).then(|| (DIFFERED.to_owned(), self.differed));
        let mut words: Vec<(String, u64)> = counts.chain(differed).collect();
        words.sort_unstable();
        words
    }

    /// A tally as the operations store keeps it; words of other versions are passed over.
    pub fn read(words: &[(String, u64)]) -> Self {
        let mut counts = Self::default();
        for (word, count) in words {
            match ActualOutcome::parse(word) {
                Some(outcome) => *counts.outcomes.entry(outcome).or_default() += count,
                None if word == DIFFERED => counts.differed += count,
                None => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_reads_what_it_keeps() {
        let mut counts = OutcomeCounts::default();
        counts.count(ActualOutcome::Waiting);
        counts.count(ActualOutcome::Recovered);
        counts.count(ActualOutcome::Recovered);
        let id = DeadLetterId::parse("20240121-07-0123456789abcdef0123456789abcdef").expect("an id");
        let difference =
            Misprediction { id, predicted: Verdict::AppliesNow, outcome: ActualOutcome::Waiting };
        counts.differs(difference.clone());
        let words: Vec<(String, u64)> =
            [("differed", 1), ("recovered", 2), ("waiting", 1)].map(|(word, n)| (word.to_owned(), n)).into();
        assert_eq!(counts.words(), words);
        let read = OutcomeCounts::read(&words);
        assert_eq!((read.dead_letters(), read.differed), (3, 1));
        let mut sum = read;
        sum.add(counts);
        assert_eq!((sum.dead_letters(), sum.differed, sum.differences), (6, 2, vec![difference]));
    }
}
