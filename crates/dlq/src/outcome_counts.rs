//! Counts of actual outcomes of a bulk operation.

use std::collections::BTreeMap;

use serde::Serialize;

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::verdict::Verdict;

/// The word under which an operation keeps its number of mispredictions.
const DIFFERED: &str = "differed";
/// Mispredictions kept as examples.
const EXAMPLES: usize = 20;

/// A dead letter whose actual outcome did not match the predicted one.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Misprediction {
    /// The dead letter.
    pub id: DeadLetterId,
    /// Its verdict when the operation was planned.
    pub predicted: Verdict,
    /// Its actual outcome.
    pub outcome: ActualOutcome,
}

/// Dead letters by actual outcome.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OutcomeCounts {
    /// Dead letters by outcome.
    pub outcomes: BTreeMap<ActualOutcome, u64>,
    /// Those whose outcome did not match the prediction.
    pub differed: u64,
    /// The first of those, at most 20.
    pub differences: Vec<Misprediction>,
}

impl OutcomeCounts {
    /// The number of dead letters counted.
    pub fn dead_letters(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Counts one dead letter.
    pub fn count(&mut self, outcome: ActualOutcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Records that the outcome of a counted dead letter did not match the prediction.
    pub fn differs(&mut self, difference: Misprediction) {
        self.differed += 1;
        if self.differences.len() < EXAMPLES {
            self.differences.push(difference);
        }
    }

    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.differed += other.differed;
        let room = EXAMPLES.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.into_iter().take(room));
    }

    /// The counts as the operations store keeps them, sorted by word, without examples.
    pub fn words(&self) -> Vec<(String, u64)> {
        let counts = self.outcomes.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), *count));
        let differed = (self.differed > 0).then(|| (DIFFERED.to_owned(), self.differed));
        let mut words: Vec<(String, u64)> = counts.chain(differed).collect();
        words.sort_unstable();
        words
    }

    /// Reads counts as the operations store keeps them; ignores words of other versions.
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
    fn counts_read_what_they_keep() {
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
