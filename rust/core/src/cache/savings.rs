//! What hits saved, summed so that it can be priced later and exactly: by provider and model, and by how long the prompt was,
//! because long prompts have other prices.
//!
//! Prices are not known here, nor when they change from one length to the next. All of them do at a whole thousand of tokens
//! (128,000, 200,000, 272,000, …), so prompts are told apart by the thousand, and those of exactly so many from longer ones.

use std::collections::HashMap;

use crate::model::Usage;

/// At most so many rows; what comes after that is kept under a model without a name, which nobody prices.
const MOST: usize = 10_000;

/// What hits of one model with prompts of about the same length saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saving {
    /// The provider's name.
    pub provider: &'static str,
    /// The model, as the answers name it.
    pub model: String,
    /// Calls that were not made. The texts of an embedding call are not counted one by one.
    pub calls: u64,
    /// The tokens that they would have taken.
    pub usage: Usage,
    /// The tokens of the longest prompt among them.
    pub longest_prompt: u64,
}

#[derive(Debug, Default)]
struct Row {
    calls: u64,
    usage: Usage,
    longest_prompt: u64,
}

/// The sums of all hits.
#[derive(Debug, Default)]
pub struct Savings {
    models: HashMap<&'static str, HashMap<String, HashMap<u64, Row>>>,
    rows: usize,
}

impl Savings {
    /// Adds what a hit saved.
    pub fn add(&mut self, provider: &'static str, model: &str, calls: u64, usage: Usage) {
        let prompt = usage.prompt_tokens();
        let class = prompt / 1000 * 2 + u64::from(!prompt.is_multiple_of(1000));
        let models = self.models.entry(provider).or_default();
        let row = match models.get_mut(model).and_then(|classes| classes.get_mut(&class)) {
            Some(row) => row,
            None => {
                self.rows += 1;
                let (model, class) = if self.rows > MOST { ("", 0) } else { (model, class) };
                models.entry(model.to_owned()).or_default().entry(class).or_default()
            }
        };
        row.calls += calls;
        row.usage = row.usage.plus(usage);
        row.longest_prompt = row.longest_prompt.max(prompt);
    }

    /// The sums, by provider, model and length.
    pub fn list(&self) -> Vec<Saving> {
        let models =
            self.models.iter().flat_map(|(provider, models)| models.iter().map(move |model| (provider, model)));
        let rows = models.flat_map(|(provider, (model, classes))| {
            classes.values().map(move |row| {
                let Row { calls, usage, longest_prompt } = *row;
                Saving { provider, model: model.clone(), calls, usage, longest_prompt }
            })
        });
        let mut rows: Vec<_> = rows.collect();
        let order = |one: &Saving, other: &Saving| {
            (one.provider, &one.model, one.longest_prompt).cmp(&(other.provider, &other.model, other.longest_prompt))
        };
        rows.sort_unstable_by(order);
        rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input, output, ..Usage::default() }
    }

    proptest! {
        #[test]
        fn a_price_that_changes_at_a_whole_thousand_is_that_of_each_call(
            calls in prop::collection::vec((prop_oneof![0..5_000_u64, (0..5_u64).prop_map(|n| n * 1000)], 0..100_u64), 0..50),
            start in (0..5_u64).prop_map(|n| n * 1000),
        ) {
            // Both ways in which a price may start: above so many tokens, and from so many on.
            let above = |prompt: u64| if prompt > start { 7_u64 } else { 3 };
            let from = |prompt: u64| if prompt >= start { 7_u64 } else { 3 };
            let mut savings = Savings::default();
            calls.iter().for_each(|(input, output)| savings.add("p", "m", 1, usage(*input, *output)));
            for price in [&above as &dyn Fn(u64) -> u64, &from] {
                let each: u64 = calls.iter().map(|(input, output)| (input + output) * price(*input)).sum();
                let summed: u64 =
                    savings.list().iter().map(|row| row.usage.total_tokens() * price(row.longest_prompt)).sum();
                prop_assert_eq!(each, summed);
            }
            prop_assert_eq!(savings.list().iter().map(|row| row.calls).sum::<u64>(), calls.len() as u64);
        }
    }

    #[test]
    fn providers_and_models_are_told_apart() {
        let mut savings = Savings::default();
        for (provider, model) in [("b", "m"), ("a", "n"), ("a", "m"), ("a", "n")] {
            savings.add(provider, model, 1, usage(1, 2));
        }
        let rows: Vec<_> = savings.list().into_iter().map(|row| (row.provider, row.model, row.calls)).collect();
        assert_eq!(rows, [("a", "m".into(), 1), ("a", "n".into(), 2), ("b", "m".into(), 1)]);
    }

    #[test]
    fn names_without_end_do_not_fill_the_memory() {
        let mut savings = Savings::default();
        for n in 0..2 * MOST {
            savings.add("p", &n.to_string(), 1, usage(1, 0));
        }
        let rows = savings.list();
        assert_eq!(rows.len(), MOST + 1);
        assert_eq!((rows[0].model.as_str(), rows[0].calls), ("", MOST as u64), "no sum is lost");
    }
}
