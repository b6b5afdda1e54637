//! What was counted at one moment, family by family: what is written as Prometheus' text.

use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Series;
use super::histogram::{Bounds, Counts, Histogram};
use crate::families::{FAMILIES, Family, Kind};

/// Samples by family. Those with the same labels are added up, so that none is shown twice.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(BTreeMap<&'static str, BTreeMap<Vec<String>, Value>>);

/// What a series stands at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Amount(f64),
    Level(i64),
    Mean(f64),
    Histogram(Counts),
}

impl Value {
    fn add(&mut self, more: &Self) {
        match (self, more) {
            (Self::Count(count), Self::Count(more)) => *count += more,
            (Self::Amount(amount), Self::Amount(more)) => *amount += more,
            (Self::Level(level), Self::Level(more)) => *level += more,
            (Self::Histogram(counts), Self::Histogram(more)) => counts.add(more),
            // A family has values of one kind.
            _ => {}
        }
    }
}

impl Snapshot {
    fn add(&mut self, family: &'static Family, labels: &[&str], value: Value) {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let samples = self.0.entry(family.name).or_default();
        samples.entry(labels).and_modify(|known| known.add(&value)).or_insert(value);
    }

    pub(super) fn count(&mut self, family: &'static Family, labels: &[&str], count: u64) {
        self.add(family, labels, Value::Count(count));
    }

    /// As [`count`](Self::count), but for what has never happened.
    pub(super) fn count_seen(&mut self, family: &'static Family, labels: &[&str], count: u64) {
        if count > 0 {
            self.count(family, labels, count);
        }
    }

    pub(super) fn amount(&mut self, family: &'static Family, labels: &[&str], amount: f64) {
        self.add(family, labels, Value::Amount(amount));
    }

    pub(super) fn mean(&mut self, family: &'static Family, labels: &[&str], mean: f64) {
        self.add(family, labels, Value::Mean(mean));
    }

    pub(super) fn level(&mut self, family: &'static Family, labels: &[&str], level: i64) {
        self.add(family, labels, Value::Level(level));
    }

    /// Adds `copies` together, unless nothing was observed; how much was.
    pub(super) fn histogram<'a, const N: usize>(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        copies: impl IntoIterator<Item = &'a Histogram<N>>,
    ) -> u64 {
        let mut counts = Counts::default();
        copies.into_iter().for_each(|copy| copy.read(&mut counts));
        self.counts(family, labels, counts)
    }

    /// Adds what histograms have counted, unless nothing was observed; how much was.
    pub(super) fn counts(&mut self, family: &'static Family, labels: &[&str], counts: Counts) -> u64 {
        let count = counts.count();
        if count > 0 {
            self.add(family, labels, Value::Histogram(counts));
        }
        count
    }

    /// A histogram in which nothing may have been observed yet.
    pub(super) fn unobserved<const N: usize>(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        bounds: &'static Bounds<N>,
    ) {
        let mut counts = Counts::default();
        counts.of(bounds);
        self.add(family, labels, Value::Histogram(counts));
    }

    /// What the histograms of `family` have added up to.
    pub(super) fn sum_of(&self, family: &'static Family) -> f64 {
        let samples = self.0.get(family.name).into_iter().flat_map(BTreeMap::values);
        samples.map(|value| if let Value::Histogram(counts) = value { counts.sum } else { 0.0 }).sum()
    }

    /// The samples of `family`: labels with their values, and what they stand at. An empty value is none.
    pub(crate) fn samples<'a>(
        &'a self,
        family: &'static Family,
    ) -> impl Iterator<Item = (Vec<(&'static str, &'a str)>, &'a Value)> {
        self.0.get(family.name).into_iter().flatten().map(|(labels, value)| {
            let labels = family.labels.iter().copied().zip(labels.iter().map(String::as_str));
            (labels.filter(|(_, value)| !value.is_empty()).collect(), value)
        })
    }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let shot = self.snapshot();
        for family in FAMILIES {
            let mut samples = shot.samples(family).peekable();
            if samples.peek().is_none() {
                continue;
            }
            let (name, kind) = match family.kind {
                Kind::Counter => (family.name.trim_end_matches("_total"), MetricType::Counter),
                Kind::Gauge => (family.name, MetricType::Gauge),
                Kind::Histogram => (family.name, MetricType::Histogram),
            };
            let mut encoder = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, value) in samples {
                match labels.as_slice() {
                    [] => write(&mut encoder, value)?,
                    labels => write(&mut encoder.encode_family(&labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, value: &Value) -> Result<(), std::fmt::Error> {
    match value {
        Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
        Value::Amount(amount) => encoder.encode_counter::<NoLabelSet, _, f64>(amount, None),
        Value::Level(level) => encoder.encode_gauge(level),
        Value::Mean(mean) => encoder.encode_gauge(mean),
        Value::Histogram(counts) => {
            let bounds = counts.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.buckets.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(counts.sum, counts.count(), &buckets, None)
        }
    }
}
