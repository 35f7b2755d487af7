//! The signature of history entries.

use ecom_card_numbers::mask_text;

/// The role or person that changes dead letters, as their history names it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A role's name, or a person.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// The run it belongs to.
    pub run_id: String,
}

impl Actor {
    /// Returns a signature. Card numbers in the name and the host are masked, for histories are kept.
    pub fn new(name: &str, host: &str, run_id: String) -> Self {
        Self { name: mask_text(name).into_owned(), host: mask_text(host).into_owned(), run_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_in_a_signature_are_masked() {
        let actor = Actor::new("ada 4111/1111/1111/1111", "host-4111111111111111", "run".into());
        assert_eq!((&*actor.name, &*actor.host), ("ada ****/****/****/1111", "host-************1111"));
        assert_eq!(Actor::new("ada", "host", "run".into()).name, "ada");
    }
}
