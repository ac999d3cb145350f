//! What a metric is: a name, a sort, and labels from closed sets.

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
