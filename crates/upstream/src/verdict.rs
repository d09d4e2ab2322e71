//! Verdicts of health checks: what follows from one more answer. Pure; who asks and who obeys is elsewhere.

use evergate_contract::config::Health;

/// What health checks say of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Not asked, or no verdict so far; takes requests.
    #[default]
    Unknown,
    /// Lives.
    Healthy,
    /// Takes no requests.
    Unhealthy,
}

/// The verdict on an endpoint, and answers in a row that speak against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// What holds.
    pub verdict: Verdict,
    /// So many answers in a row say otherwise.
    pub in_row: u32,
}

/// What follows from an answer. An endpoint without verdict takes requests, so one good answer settles it, and it
/// takes as many bad ones as for a living endpoint.
#[must_use]
pub fn step(rules: &Health, streak: Streak, good: bool) -> Streak {
    let (against, turned) = match (streak.verdict, good) {
        (Verdict::Unknown, true) => return Streak { verdict: Verdict::Healthy, in_row: 0 },
        (Verdict::Healthy, true) | (Verdict::Unhealthy, false) => return Streak { in_row: 0, ..streak },
        (Verdict::Unknown | Verdict::Healthy, false) => (rules.unhealthy, Verdict::Unhealthy),
        (Verdict::Unhealthy, true) => (rules.healthy, Verdict::Healthy),
    };
    let in_row = streak.in_row.saturating_add(1);
    if in_row >= u32::from(against) {
        Streak { verdict: turned, in_row: 0 }
    } else {
        Streak { in_row, ..streak }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_answers_in_a_row() {
        // Answers as letters: `+` good, `-` bad; the verdict after each: `?`, `h`ealthy, `u`nhealthy.
        let check = |healthy: u16, unhealthy: u16, answers: &str, expected: &str| {
            let rules = Health { healthy, unhealthy, ..Health::default() };
            let mut streak = Streak::default();
            let verdicts: String = answers
                .chars()
                .map(|answer| {
                    streak = step(&rules, streak, answer == '+');
                    match streak.verdict {
                        Verdict::Unknown => '?',
                        Verdict::Healthy => 'h',
                        Verdict::Unhealthy => 'u',
                    }
                })
                .collect();
            assert_eq!(verdicts, expected, "for {answers}");
        };
        check(2, 3, "+", "h");
        check(2, 3, "---", "??u");
        check(2, 3, "--+", "??h");
        check(2, 3, "+--+---", "hhhhhhu");
        check(2, 3, "---+-++", "??uuuuh");
        check(1, 1, "-+-+", "uhuh");
        check(3, 2, "+--+++", "hhuuuh");
    }
}
