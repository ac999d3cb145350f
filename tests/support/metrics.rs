//! What the daemon counts, as an operator scrapes it.

/// One scrape.
#[derive(Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of a series, written as it is shown: name and labels.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        let line = self.series().find(|(name, _)| *name == series);
        let (_, value) = line.unwrap_or_else(|| panic!("no {series} in {}", self.0));
        value.parse().expect("a metric is a number")
    }

    /// The sum of all series with this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let is_asked = |series: &str| series.split('{').next() == Some(name);
        let values = self.series().filter(|(series, _)| is_asked(series));
        values
            .map(|(_, value)| value.parse::<f64>().expect("a metric is a number"))
            .sum()
    }

    /// Every series with its value.
    pub(crate) fn series(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' '))
    }
}
