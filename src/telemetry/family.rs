//! What a metric is: its name, what it measures, its labels and its help.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Metrics of one name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub measure: Measure,
    pub labels: &'static [Label],
    /// One sentence for people; the help text of the metric.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Only grows while the process lives.
    Counter,
    Gauge,
    Histogram,
}

/// A label with all the values that it may have.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    pub name: &'static str,
    /// Empty for the routes, which the listeners register themselves.
    pub values: &'static [&'static str],
}

pub(super) const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}

pub(super) const fn counts(
    name: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Family {
    Family {
        name,
        measure: Measure::Counter,
        labels,
        help,
    }
}

pub(super) const fn shows(
    name: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Family {
    Family {
        name,
        measure: Measure::Gauge,
        labels,
        help,
    }
}

pub(super) const fn spreads(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        measure: Measure::Histogram,
        labels: &[],
        help,
    }
}

impl Family {
    pub(super) fn describe(&self) {
        match self.measure {
            Measure::Counter => describe_counter!(self.name, self.help),
            Measure::Gauge => describe_gauge!(self.name, self.help),
            Measure::Histogram if self.name.ends_with("_seconds") => {
                describe_histogram!(self.name, Unit::Seconds, self.help);
            }
            Measure::Histogram => describe_histogram!(self.name, self.help),
        }
    }

    pub(super) fn touch(&self, labels: Vec<metrics::Label>) {
        match self.measure {
            Measure::Counter => counter!(self.name, labels).increment(0),
            Measure::Gauge => gauge!(self.name, labels).increment(0.0),
            // Registering it is enough for its buckets to show, or it shows with its first sample.
            Measure::Histogram => drop(histogram!(self.name, labels)),
        }
    }
}
