//! `bench compare`: two builds of the hub under the same load in turn, and the ratio of their figures.
//!
//! The speed of a machine drifts by a third within an hour, so only adjacent runs are compared. Each pair gives one
//! ratio, and the order within the pairs alternates (A B B A A B ...). The interval around the median of the ratios
//! assumes nothing about their distribution. Its ends are two of the ratios, as far out as the [order statistics of a
//! median](https://en.wikipedia.org/wiki/Order_statistic) demand.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::error::BenchError;
use super::option::CompareOptions;
use super::report::Report;

/// The least probability that the true median lies within the interval.
const CONFIDENCE: f64 = 0.9;

/// A figure by which two hubs are compared.
struct Figure {
    /// Its place in the report; a dot leads into a nested object.
    key: &'static str,
    label: &'static str,
}

const TALK: &[Figure] = &[
    Figure {
        key: "deliveries_per_hub_cpu_second",
        label: "deliveries per second of the hub's CPU",
    },
    Figure {
        key: "delay_us.p50",
        label: "delay, p50",
    },
    Figure {
        key: "delay_us.p99",
        label: "delay, p99",
    },
];

const CREATE: &[Figure] = &[
    Figure {
        key: "creates_per_second",
        label: "creates a second",
    },
    Figure {
        key: "delay_us.p99",
        label: "delay, p99",
    },
];

const IDLE: &[Figure] = &[Figure {
    key: "kib_per_player",
    label: "memory per player",
}];

const STORM: &[Figure] = &[
    Figure {
        key: "ready_ms",
        label: "time to readiness",
    },
    Figure {
        key: "back_all_ms",
        label: "time until all are back",
    },
];

pub(super) async fn measure(options: &CompareOptions) -> Result<Report, BenchError> {
    let bench = options.bench();
    let figures = figures(&bench)?;
    let mut ratios = vec![Vec::new(); figures.len()];
    for pair in 0..options.pairs {
        let (old, new) = if pair % 2 == 0 {
            let old = run(&options.old, &bench).await?;
            (old, run(&options.new, &bench).await?)
        } else {
            let new = run(&options.new, &bench).await?;
            (run(&options.old, &bench).await?, new)
        };
        for (figure, ratios) in figures.iter().zip(&mut ratios) {
            ratios.push(figure.of(&new)? / figure.of(&old)?);
        }
    }
    let mut report = Report::new("compare");
    report.text("benchmark", "benchmark", &bench.join(" "));
    report.count("pairs", "pairs", options.pairs.into());
    for (figure, ratios) in figures.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let (low, high) = interval(ratios);
        report.ratio(figure.key, figure.label, median(ratios), low..=high);
    }
    Ok(report)
}

/// Runs the benchmark once, in a process of its own, against a hub of this program.
async fn run(program: &Path, bench: &[String]) -> Result<Value, BenchError> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("bench")
        .args(bench)
        .args(["--json", "--program"])
        .arg(program)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let output = ran.await.map_err(io::Error::other)??;
    let told = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&told).map_err(|_| {
        let program = program.display();
        BenchError::Nothing(format!("a run against {program} failed: {}", output.status))
    })
}

impl Figure {
    fn of(&self, report: &Value) -> Result<f64, BenchError> {
        let mut value = report;
        for part in self.key.split('.') {
            value = &value[part];
        }
        value
            .as_f64()
            .filter(|figure| *figure > 0.0)
            .ok_or_else(|| BenchError::Nothing(format!("a run has no {}", self.label)))
    }
}

fn figures(bench: &[String]) -> Result<&'static [Figure], BenchError> {
    match bench.first().map(String::as_str) {
        Some("rooms" | "fanout") => Ok(TALK),
        Some("create") => Ok(CREATE),
        Some("idle") => Ok(IDLE),
        Some("storm") => Ok(STORM),
        Some(other) => Err(BenchError::Usage(format!(
            "`{other}` cannot be compared: expected rooms, fanout, create, idle or storm after `--`"
        ))),
        None => Err(BenchError::Usage("no benchmark is named".to_owned())),
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// Returns the narrowest symmetric pair of ratios that encloses the true median with [`CONFIDENCE`]; the outermost
/// pair if there are too few for that.
fn interval(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len();
    // The probability that at most `below` ratios are under the median, as with a fair coin.
    let (mut below, mut chance) = (0, 0.5_f64.powf(count as f64));
    let mut tail = chance;
    while below + 1 < count / 2 {
        chance *= (count - below) as f64 / (below + 1) as f64;
        if 2.0 * (tail + chance) > 1.0 - CONFIDENCE {
            break;
        }
        tail += chance;
        below += 1;
    }
    (sorted[below], sorted[count - 1 - below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_twelve_ratios_leaves_out_two_on_each_side() {
        let sorted: Vec<f64> = (1..=12).map(f64::from).collect();

        assert_eq!(interval(&sorted), (3.0, 10.0));
        assert!((median(&sorted) - 6.5).abs() < f64::EPSILON);
    }

    #[test]
    fn the_interval_of_few_ratios_is_as_wide_as_they_are() {
        assert_eq!(interval(&[0.9, 1.0, 1.1]), (0.9, 1.1));
        assert_eq!(interval(&[1.0]), (1.0, 1.0));
    }

    #[test]
    fn a_figure_is_found_within_a_spread() {
        let report = serde_json::json!({ "delay_us": { "p99": 250 } });

        assert_eq!(TALK[2].of(&report).ok(), Some(250.0));
        assert!(TALK[0].of(&report).is_err());
    }
}
