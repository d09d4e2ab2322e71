//! The Prometheus text format, version 0.0.4: families in, text out.
//!
//! Knows nothing of what is measured.

use std::fmt::{self, Write};

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Families written one after the other.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    out: String,
}

/// A family whose samples are being written.
pub(crate) struct Family<'a> {
    name: &'static str,
    out: &'a mut String,
}

/// Names and values of labels.
pub(crate) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// Begins a family; each name once.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        put(&mut self.out, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", Escaped(help, false)));
        Family { name, out: &mut self.out }
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Into<f64>) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.out
    }
}

impl Family<'_> {
    /// A sample; each set of labels once.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Into<f64>) {
        self.line("", labels, None, value.into());
    }

    /// A count, which may be larger than a float holds exactly.
    pub(crate) fn count(&mut self, labels: Labels<'_>, value: u64) {
        // The format is made of floats: above 2^53 the last digits are lost on either side.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        self.line("", labels, None, value as f64);
    }

    /// A histogram: upper bounds with cumulative counts, the last bound infinite.
    pub(crate) fn histogram(&mut self, labels: Labels<'_>, buckets: &[(f64, u64)], sum: f64) {
        for (bound, count) in buckets {
            #[expect(clippy::cast_precision_loss, reason = "as in `count`")]
            self.line("_bucket", labels, Some(*bound), *count as f64);
        }
        self.line("_sum", labels, None, sum);
        let total = buckets.last().map_or(0, |(_, count)| *count);
        #[expect(clippy::cast_precision_loss, reason = "as in `count`")]
        self.line("_count", labels, None, total as f64);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<f64>, value: f64) {
        put(self.out, format_args!("{}{suffix}", self.name));
        let mut sign = '{';
        for (name, text) in labels {
            put(self.out, format_args!("{sign}{name}=\"{}\"", Escaped(text, true)));
            sign = ',';
        }
        if let Some(bound) = bound {
            put(self.out, format_args!("{sign}le=\"{}\"", Number(bound)));
            sign = ',';
        }
        put(self.out, format_args!("{} {}\n", if sign == ',' { "}" } else { "" }, Number(value)));
    }
}

/// Writing to a `String` cannot fail.
fn put(out: &mut String, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// A float as the format has it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            x if x.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            x => x.fmt(f),
        }
    }
}

/// A label value (quotes escaped too) or a help text.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod reader;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_families() {
        let mut text = Exposition::default();
        text.single("up_seconds", Kind::Gauge, "Since\nthe start \\ \"now\".", 1.5);
        let mut requests = text.family("requests_total", Kind::Counter, "Requests.");
        requests.count(&[("route", "a\"b\\c\nd"), ("status", "200")], 3);
        requests.count(&[], 1 << 40);
        text.family("took_seconds", Kind::Histogram, "Time.").histogram(
            &[("m", "x")],
            &[(0.005, 1), (1.0, 3), (f64::INFINITY, 4)],
            2.25,
        );
        assert_eq!(
            text.into_text(),
            "# HELP up_seconds Since\\nthe start \\\\ \"now\".\n# TYPE up_seconds gauge\nup_seconds 1.5\n\
             # HELP requests_total Requests.\n# TYPE requests_total counter\n\
             requests_total{route=\"a\\\"b\\\\c\\nd\",status=\"200\"} 3\nrequests_total 1099511627776\n\
             # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
             took_seconds_bucket{m=\"x\",le=\"0.005\"} 1\ntook_seconds_bucket{m=\"x\",le=\"1\"} 3\n\
             took_seconds_bucket{m=\"x\",le=\"+Inf\"} 4\ntook_seconds_sum{m=\"x\"} 2.25\ntook_seconds_count{m=\"x\"} 4\n"
        );
    }

    proptest! {
        #[test]
        fn any_label_is_read_back(value in ".*", number in any::<f64>()) {
            let mut text = Exposition::default();
            text.family("x", Kind::Gauge, &format!("Help {value}")).sample(&[("l", &value)], number);
            let families = reader::read(&text.into_text()).unwrap();
            let sample = &families["x"].samples[0];
            prop_assert_eq!(&sample.labels["l"], &value);
            prop_assert!(sample.value == number || number.is_nan() && sample.value.is_nan());
        }
    }
}
