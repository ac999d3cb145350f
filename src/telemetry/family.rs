//! The description of a metric: its name, its type, its labels and its help.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// All metrics of one name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub measure: Measure,
    pub labels: &'static [Label],
    /// The help text of the metric: one sentence for people.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Only grows while the process lives.
    Counter,
    Gauge,
    Histogram,
}

/// A label with all its possible values.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    pub name: &'static str,
    /// Empty for routes, which the listeners register themselves.
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
            // Registering it is enough: it appears with its buckets, or with its first sample.
            Measure::Histogram => drop(histogram!(self.name, labels)),
        }
    }
}
