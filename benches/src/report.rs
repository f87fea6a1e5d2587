//! What the measurements found, as a table for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::measure::{Sample, median};
use crate::{Metric, Row, Variant};

/// All samples of one variant.
pub struct Finding {
    /// The row it answers.
    pub row: &'static Row,
    /// Who was measured.
    pub variant: &'static Variant,
    /// One sample for each round.
    pub samples: Vec<Sample>,
}

impl Finding {
    /// A finding without samples yet.
    pub fn new(row: &'static Row, variant: &'static Variant) -> Self {
        Self { row, variant, samples: Vec::new() }
    }

    /// The figure that counts: the median over the rounds, in the unit of the row's metric.
    pub fn value(&self) -> f64 {
        median(&mut self.values())
    }

    fn values(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| self.row.metric.of(sample)).collect()
    }

    /// The lowest and the highest figure.
    fn range(&self) -> (f64, f64) {
        let values = self.values().into_iter();
        values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), high.max(value)))
    }

    /// Beside time on the wall: how many a second, and the CPU of each.
    fn rate(&self) -> String {
        if !matches!(self.row.metric, Metric::WallPerItem) {
            return String::new();
        }
        let of = |value: fn(&Sample) -> f64| median(&mut self.samples.iter().map(value).collect::<Vec<_>>());
        let rate = of(|sample| sample.items as f64 / sample.wall.as_secs_f64().max(1e-9));
        let cpu = of(|sample| sample.cpu.as_secs_f64() * 1e6 / sample.items.max(1) as f64);
        format!("{rate:>9.0}/s {:>6} us CPU  ", figure(cpu))
    }

    /// How it compares with the floor, and whether that is good enough.
    fn verdict(&self, floor: f64) -> String {
        match self.variant.bar {
            None => String::new(),
            Some(bar) if bar.holds(self.value(), floor) => format!("{bar} held"),
            Some(bar) => format!("{bar} MISSED"),
        }
    }
}

/// The findings of one row, the floor first, as lines of a table.
pub fn table(findings: &[Finding]) -> String {
    let Some(floor) = findings.first() else { return String::new() };
    let (row, base) = (floor.row, floor.value());
    let mut text = format!("{}: {}, {}\n", row.name, row.about, row.metric.unit());
    for finding in findings {
        let (low, high) = finding.range();
        let line = format!(
            "  {:<18} {:>10}   {:>10} .. {:<10} {:>7.2}x  {}{}",
            finding.variant.name,
            figure(finding.value()),
            figure(low),
            figure(high),
            finding.value() / base,
            finding.rate(),
            finding.verdict(base),
        );
        writeln!(text, "{}", line.trim_end()).expect("a String takes any text");
    }
    text
}

/// The findings of one row as JSON, the floor first.
pub fn json(findings: &[Finding]) -> Value {
    let base = findings.first().map(Finding::value);
    let variants = findings.iter().map(|finding| {
        json!({
            "row": finding.row.name,
            "variant": finding.variant.name,
            "unit": finding.row.metric.unit(),
            "median": finding.value(),
            "ratio": base.map(|base| finding.value() / base),
            "bar": finding.variant.bar.map(|bar| bar.to_string()),
            "holds": finding.variant.bar.zip(base).map(|(bar, base)| bar.holds(finding.value(), base)),
            "samples": finding.samples,
        })
    });
    variants.collect()
}

/// Three digits that count.
fn figure(value: f64) -> String {
    let decimals = if value >= 100.0 { 0 } else { (2.0 - value.max(0.001).log10().floor()) as usize };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rows;

    fn findings(floor: &[u64], other: &[u64]) -> Vec<Finding> {
        let row = rows::named("cost").expect("it is listed");
        let sample = |micros: &u64| Sample {
            items: 10,
            cpu: Duration::from_micros(*micros),
            wall: Duration::ZERO,
            p50: None,
            memory: 0,
        };
        let all = row.variants.iter().zip([floor, other]);
        all.map(|(variant, values)| Finding { row, variant, samples: values.iter().map(sample).collect() }).collect()
    }

    #[test]
    fn the_table_compares_medians_with_the_floor() {
        let text = table(&findings(&[10, 90, 20], &[50, 30, 40]));
        assert!(text.contains("arithmetic") && text.contains("2.00x  <= 1 MISSED"), "{text}");
        let text = table(&findings(&[10, 10, 10], &[5, 5, 50]));
        assert!(text.contains("0.50x  <= 1 held"), "{text}");
    }

    #[test]
    fn time_on_the_wall_is_told_as_a_rate_with_its_cpu_too() {
        let row = rows::named("budget").expect("it is listed");
        let sample = Sample {
            items: 1_000,
            cpu: Duration::from_millis(20),
            wall: Duration::from_millis(50),
            p50: None,
            memory: 0,
        };
        let finding = Finding { row, variant: &row.variants[0], samples: vec![sample] };
        let text = table(&[finding]);
        assert!(text.contains("50.0") && text.contains("20000/s   20.0 us CPU"), "{text}");
    }

    #[test]
    fn json_says_the_same() {
        let value = json(&findings(&[20], &[40]));
        assert_eq!(
            (&value[1]["ratio"], &value[1]["holds"], &value[0]["bar"]),
            (&json!(2.0), &json!(false), &json!(null))
        );
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        let figures = [0.0412, 0.45, 2.6, 39.12, 331.0, 4210.4].map(figure);
        assert_eq!(figures, ["0.0412", "0.450", "2.60", "39.1", "331", "4210"]);
    }
}
