//! What came of the letters of a run, counted.

use std::collections::BTreeMap;

use ecom_domain::letter::LetterId;
use ecom_domain::outcome::Outcome;
use ecom_domain::verdict::Verdict;

/// The word a run keeps the number of differences by.
const DIFFERED: &str = "differed";
/// Differences kept as examples.
const EXAMPLES: usize = 20;

/// A letter that ended otherwise than was foretold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The letter.
    pub id: LetterId,
    /// Its verdict when the run began.
    pub foretold: Verdict,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of letters.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Letters by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How many of them ended otherwise than was foretold.
    pub differed: u64,
    /// The first of those.
    pub differences: Vec<Difference>,
}

impl Tally {
    /// Letters counted.
    pub fn letters(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Counts one letter.
    pub fn count(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Remembers that a counted letter ended otherwise than was foretold.
    pub fn differs(&mut self, difference: Difference) {
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

    /// The tally as the journal keeps it, sorted by word; examples are not kept.
    pub fn words(&self) -> Vec<(String, u64)> {
        let counts = self.outcomes.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), *count));
        let differed = (self.differed > 0).then(|| (DIFFERED.to_owned(), self.differed));
        let mut words: Vec<(String, u64)> = counts.chain(differed).collect();
        words.sort_unstable();
        words
    }

    /// A tally as the journal keeps it; words of other versions are passed over.
    pub fn read(words: &[(String, u64)]) -> Self {
        let mut tally = Self::default();
        for (word, count) in words {
            match Outcome::parse(word) {
                Some(outcome) => *tally.outcomes.entry(outcome).or_default() += count,
                None if word == DIFFERED => tally.differed += count,
                None => {}
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_reads_what_it_keeps() {
        let mut tally = Tally::default();
        tally.count(Outcome::Waiting);
        tally.count(Outcome::Recovered);
        tally.count(Outcome::Recovered);
        let id = LetterId::parse("20240121-07-0123456789abcdef0123456789abcdef").expect("an id");
        let difference = Difference { id, foretold: Verdict::AppliesNow, outcome: Outcome::Waiting };
        tally.differs(difference.clone());
        let words: Vec<(String, u64)> =
            [("differed", 1), ("recovered", 2), ("waiting", 1)].map(|(word, n)| (word.to_owned(), n)).into();
        assert_eq!(tally.words(), words);
        let read = Tally::read(&words);
        assert_eq!((read.letters(), read.differed), (3, 1));
        let mut sum = read;
        sum.add(tally);
        assert_eq!((sum.letters(), sum.differed, sum.differences), (6, 2, vec![difference]));
    }
}
