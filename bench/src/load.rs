//! Load from outside: `wrk` and `h2load` on the core beside the proxies, and what they say.

use std::process::Command;

use crate::peers::CORES;

/// What a run of a tool came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ran {
    pub requests: f64,
    pub seconds: f64,
    pub bytes: f64,
    /// Answers that were not 2xx, and connections that failed.
    pub failed: u64,
}

impl Ran {
    /// A run with a failure in it says nothing of how fast its proxy is.
    pub(crate) fn sound(&self) -> Result<(), String> {
        match (self.failed, self.requests) {
            (0, n) if n >= 1.0 => Ok(()),
            (0, _) => Err(format!("no answer under load within {} s", self.seconds)),
            (failed, n) => Err(format!("under load {failed} failures beside {n} answers")),
        }
    }
}

/// `wrk` with these arguments.
pub(crate) fn wrk(args: &[String]) -> Result<Ran, String> {
    let text = run("wrk", args)?;
    parse_wrk(&text).ok_or_else(|| format!("wrk: {text}"))
}

/// `h2load` with these arguments.
pub(crate) fn h2load(args: &[String]) -> Result<Ran, String> {
    let text = run("h2load", args)?;
    parse_h2load(&text).ok_or_else(|| format!("h2load: {text}"))
}

fn run(tool: &str, args: &[String]) -> Result<String, String> {
    let mut command = Command::new("taskset");
    command.args(["-c", &CORES[1].to_string(), tool]).args(args);
    let output = command.output().map_err(|e| format!("{tool}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text.into_owned()) } else { Err(format!("{tool}: {text}")) }
}

fn parse_wrk(text: &str) -> Option<Ran> {
    let line = text.lines().find(|l| l.contains(" requests in "))?.trim();
    let (requests, rest) = line.split_once(" requests in ")?;
    let (time, read) = rest.split_once(", ")?;
    let numbers = |line: &str| -> u64 {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).sum()
    };
    let failed = text.lines().map(str::trim).filter_map(|l| {
        l.strip_prefix("Non-2xx or 3xx responses:").or_else(|| l.strip_prefix("Socket errors:"))
    });
    Some(Ran {
        requests: requests.parse().ok()?,
        seconds: seconds(time)?,
        bytes: bytes(read.strip_suffix(" read")?)?,
        failed: failed.map(numbers).sum(),
    })
}

fn parse_h2load(text: &str) -> Option<Ran> {
    let line = |start: &str| text.lines().find_map(|l| l.strip_prefix(start));
    let finished = line("finished in ")?;
    let (time, _) = finished.split_once(',')?;
    let word = |text: &str, after: &str| -> Option<u64> {
        let part = text.split(',').find(|p| p.trim().ends_with(after))?;
        part.split_whitespace().next()?.parse().ok()
    };
    let requests = line("requests: ")?;
    let succeeded = word(requests, " succeeded")?;
    let statuses = line("status codes: ")?;
    let bad = ["3xx", "4xx", "5xx"].iter().filter_map(|s| word(statuses, s)).sum::<u64>();
    let traffic = line("traffic: ")?.split(['(', ')']).nth(1)?;
    Some(Ran {
        requests: succeeded as f64,
        seconds: seconds(time)?,
        bytes: traffic.parse().ok()?,
        failed: word(requests, " failed")?.max(bad),
    })
}

/// `2.00s`, `310.2ms`, `1.50m`.
fn seconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let (number, unit) =
        units.iter().find_map(|(word, unit)| Some((text.trim().strip_suffix(word)?, unit)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

/// `1.50GB`, as wrk writes it: steps of 1024.
fn bytes(text: &str) -> Option<f64> {
    let kib = 1024_f64;
    let units = [("KB", kib), ("MB", kib.powi(2)), ("GB", kib.powi(3)), ("TB", kib.powi(4)), ("B", 1.0)];
    let (number, unit) =
        units.iter().find_map(|(word, unit)| Some((text.trim().strip_suffix(word)?, unit)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Thread Stats   Avg      \
                    Stdev     Max   +/- Stdev\n    Latency     1.35ms  120us   4.71ms   92.00%\n  95078 requests in \
                    2.00s, 21.31MB read\n";
        let ran = Ran { requests: 95_078.0, seconds: 2.0, bytes: 21.31 * 1024.0 * 1024.0, failed: 0 };
        assert_eq!(parse_wrk(&format!("{text}Requests/sec:  47539.00\n")), Some(ran.clone()));
        let errors =
            "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 7\n";
        assert_eq!(parse_wrk(&format!("{text}{errors}")), Some(Ran { failed: 4328, ..ran }));
        assert_eq!(parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
    }

    #[test]
    fn h2load_is_understood() {
        let text = "starting benchmark...\n\nfinished in 2.01s, 23071.50 req/s, 2.44MB/s\nrequests: 46143 total, 46783 \
                    started, 46143 done, 46143 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 46143 2xx, 0 \
                    3xx, 0 4xx, 0 5xx\ntraffic: 4.88MB (5121873) total, 180.25KB (184572) headers (space savings \
                    96.92%), 3.39MB (3553011) data\n";
        let ran = Ran { requests: 46_143.0, seconds: 2.01, bytes: 5_121_873.0, failed: 0 };
        assert_eq!(parse_h2load(text), Some(ran.clone()));
        for (from, to, failed) in [
            ("46143 2xx, 0 3xx, 0 4xx, 0 5xx", "46000 2xx, 0 3xx, 3 4xx, 140 5xx", 143),
            ("0 failed, 0 errored, 0 timeout", "39 failed, 39 errored, 0 timeout", 39),
        ] {
            assert_eq!(parse_h2load(&text.replace(from, to)), Some(Ran { failed, ..ran.clone() }), "{to}");
        }
        assert_eq!(parse_h2load("usage: h2load\n"), None);
    }

    #[test]
    fn failures_are_said() {
        let ran = |requests, failed| Ran { requests, failed, seconds: 2.0, bytes: 0.0 }.sound();
        assert_eq!(ran(10.0, 0), Ok(()));
        assert_eq!(ran(0.0, 0), Err("no answer under load within 2 s".to_owned()));
        assert_eq!(ran(10.0, 3), Err("under load 3 failures beside 10 answers".to_owned()));
    }

    #[test]
    fn units_are_understood() {
        for (text, expected) in [("2.00s", 2.0), ("310ms", 0.31), ("1.5m", 90.0)] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for (text, expected) in [("10B", 10.0), ("1.00KB", 1024.0), ("2GB", 2.0 * 1_073_741_824.0)] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!((seconds("soon"), bytes("much")), (None, None));
    }
}
