//! Configuration: variables and `--set` with any text are taken, or refused by name; what is printed is read back.
#![no_main]

use arbitrary::Arbitrary;
use ecom_config::{Config, Set, Sources, load};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    sets: Vec<&'a str>,
    variables: Vec<(&'a str, &'a str)>,
}

fuzz_target!(|input: Input<'_>| {
    let sets = input.sets.iter().filter_map(|text| text.parse::<Set>().ok()).collect();
    let is_possible = |text: &str| !text.contains(['\0', '=']);
    let variables = input.variables.iter().filter(|(name, value)| is_possible(name) && !value.contains('\0'));
    // A file named by a variable would be read.
    let variables = variables.filter(|(name, _)| !name.contains("CONFIG") && !name.contains("FILE"));
    let env = variables.map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    match load::<Config<IgnoredAny, IgnoredAny, IgnoredAny>>(&Sources { files: Vec::new(), env, sets }) {
        Ok(loaded) => assert!(loaded.print().contains("[bus]"), "{}", loaded.print()),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
});
