//! The rules that are in force.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::command::{Effect, Extent, Point};

/// The rules, oldest first. One rule takes effect at a time.
#[derive(Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<Rule>>,
}

struct Rule {
    point: Point,
    effect: Effect,
    left: Option<u32>,
    until: Option<Instant>,
    /// The number of times that it took effect.
    struck: u64,
}

impl Rule {
    fn is_over(&self) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Faults {
    /// Adds a rule.
    pub(crate) fn add(&self, point: Point, effect: Effect, extent: Extent) {
        let (left, until) = match extent {
            Extent::Times(times) => (Some(times), None),
            Extent::For(time) => (None, Some(Instant::now() + time)),
            Extent::Always => (None, None),
        };
        self.rules().push(Rule { point, effect, left, until, struck: 0 });
    }

    /// Ends all rules.
    pub(crate) fn clear(&self) {
        for rule in self.rules().iter_mut() {
            rule.left = Some(0);
        }
    }

    /// Returns the effect of the first rule for this point, and counts it.
    pub(crate) fn strike(&self, point: Point) -> Option<Effect> {
        let mut rules = self.rules();
        let rule = rules.iter_mut().find(|rule| rule.point == point && !rule.is_over())?;
        rule.left = rule.left.map(|left| left - 1);
        rule.struck += 1;
        Some(rule.effect)
    }

    /// Returns the number of times that any rule took effect.
    pub(crate) fn struck(&self) -> u64 {
        self.rules().iter().map(|rule| rule.struck).sum()
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rule_takes_effect_as_often_or_as_long_as_its_extent_says() {
        let faults = Faults::default();
        faults.add(Point::Publish, Effect::Never, Extent::Times(2));
        faults.add(Point::Publish, Effect::Ignored, Extent::For(Duration::from_secs(1)));
        assert_eq!(faults.strike(Point::Acknowledge), None);
        let struck: Vec<_> = (0..4).map(|_| faults.strike(Point::Publish)).collect();
        let expected = [Effect::Never, Effect::Never, Effect::Ignored, Effect::Ignored].map(Some);
        assert_eq!(struck, expected);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(faults.strike(Point::Publish), None);
        faults.add(Point::Publish, Effect::Never, Extent::Always);
        faults.clear();
        assert_eq!((faults.strike(Point::Publish), faults.struck()), (None, 4));
    }
}
