//! The report of a benchmark: a table for people, or one line of JSON.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Results, in the order in which they are printed.
#[derive(Debug)]
pub(super) struct Report {
    name: &'static str,
    facts: Vec<Fact>,
}

#[derive(Debug)]
struct Fact {
    key: &'static str,
    label: &'static str,
    value: Value,
    shown: String,
}

impl Report {
    pub(super) fn new(name: &'static str) -> Report {
        Report {
            name,
            facts: Vec::new(),
        }
    }

    /// Adds a whole number.
    pub(super) fn count(&mut self, key: &'static str, label: &'static str, count: u64) {
        self.add(key, label, count.into(), grouped(count));
    }

    /// Adds a number with `places` decimal places, or "unknown" if it could not be measured.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        label: &'static str,
        number: Option<f64>,
        places: usize,
    ) {
        let rounded = number.map(|number| rounded(number, places));
        let shown = match rounded {
            None => "unknown".to_owned(),
            Some(number) if places == 0 => grouped(number.max(0.0).round() as u64),
            Some(number) => format!("{number:.places$}"),
        };
        self.add(key, label, json!(rounded), shown);
    }

    /// Adds a ratio, with the interval in which it lies.
    pub(super) fn ratio(
        &mut self,
        key: &'static str,
        label: &'static str,
        ratio: f64,
        interval: RangeInclusive<f64>,
    ) {
        let [ratio, low, high] =
            [ratio, *interval.start(), *interval.end()].map(|number| rounded(number, 3));
        let value = json!({ "ratio": ratio, "low": low, "high": high });
        let shown = format!("{ratio:.3} x ({low:.3} to {high:.3})");
        self.add(key, label, value, shown);
    }

    pub(super) fn text(&mut self, key: &'static str, label: &'static str, text: &str) {
        self.add(key, label, text.into(), text.to_owned());
    }

    /// Adds a distribution of times, in the unit of the histogram: microseconds.
    pub(super) fn spread(
        &mut self,
        key: &'static str,
        label: &'static str,
        spread: &Histogram<u64>,
    ) {
        let at = |share: f64| spread.value_at_quantile(share);
        let (p50, p90, p99, p999) = (at(0.5), at(0.9), at(0.99), at(0.999));
        let mean = spread.mean().round() as u64;
        let max = if spread.is_empty() { 0 } else { spread.max() };
        let value = json!({
            "p50": p50, "p90": p90, "p99": p99, "p99_9": p999, "max": max, "mean": mean, "count": spread.len(),
        });
        let millis = |micros: u64| format!("{:.2}", micros as f64 / 1000.0);
        let shown = format!(
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}  mean {} ms",
            millis(p50),
            millis(p90),
            millis(p99),
            millis(p999),
            millis(max),
            millis(mean)
        );
        self.add(key, label, value, shown);
    }

    pub(super) fn print(&self, is_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if is_json {
            return writeln!(out, "{}", self.to_json());
        }
        let width = self
            .facts
            .iter()
            .map(|fact| fact.label.len())
            .max()
            .unwrap_or(0);
        writeln!(out, "bench {}", self.name)?;
        for fact in &self.facts {
            writeln!(out, "  {:width$}  {}", fact.label, fact.shown)?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let facts = self.facts.iter();
        let mut object: Map<String, Value> = facts
            .map(|fact| (fact.key.to_owned(), fact.value.clone()))
            .collect();
        object.insert("bench".to_owned(), self.name.into());
        object.into()
    }

    fn add(&mut self, key: &'static str, label: &'static str, value: Value, shown: String) {
        self.facts.push(Fact {
            key,
            label,
            value,
            shown,
        });
    }
}

/// Returns a histogram of microseconds up to ten minutes, with three digits of precision.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are in order")
}

pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

fn rounded(number: f64, places: usize) -> f64 {
    let scale = 10_f64.powi(i32::try_from(places).unwrap_or(0));
    (number * scale).round() / scale
}

/// Writes a number with commas between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn what_could_not_be_measured_is_null() {
        let mut report = Report::new("rooms");
        report.number("a", "a", None, 1);
        report.number("b", "b", Some(1.26), 1);
        assert_eq!(
            report.to_json(),
            json!({"bench": "rooms", "a": null, "b": 1.3})
        );
    }
}
