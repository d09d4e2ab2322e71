//! Files that suddenly say next to nothing: more often a mount that went, or a script that wrote half, than a wish.
//!
//! Judges the files alone. Edits, rollbacks and what a person insists on are wishes and do not come here.

use evergate_conf::{Node, Path, Report, node::Place};

/// Fewer objects than that come and go for good reasons, all but the last.
const OBJECTS_MIN: usize = 20;
/// Less than one in so many left is a mistake until somebody says otherwise.
const LEFT: usize = 10;

/// Why files that say `now` are not used after files that said `before`; `None` if they may be.
pub(super) fn problem(before: &Node, now: &Node) -> Option<Report> {
    let (before, now) = (objects(before), objects(now));
    let nothing_left = before > 0 && now == 0;
    let little_left = before >= OBJECTS_MIN && now * LEFT < before;
    (nothing_left || little_left).then(|| {
        let mut report = Report::new();
        let message = format!("the files had {before} objects and now have {now}, which may be a mistake");
        report
            .problem("shrunk", &Path::root(), Place::default(), message)
            .help("if it is meant, ask for the reload by hand: `evergate reload`, or SIGHUP");
        report
    })
}

/// Entries of the sections; what is no section counts as one.
fn objects(files: &Node) -> usize {
    let sections = files.as_map().into_iter().flat_map(|map| map.entries());
    sections.map(|s| s.node.as_map().map_or(1, |map| map.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::{int, map};

    /// Files with a setting and so many objects in two sections.
    fn files(objects: usize) -> Node {
        let section = |n: usize| map((0..n).map(|i| (i.to_string(), int(0))));
        let half = objects.saturating_sub(1) / 2;
        let rest = objects.saturating_sub(1) - half;
        let sections = [("a".to_owned(), section(half)), ("b".to_owned(), section(rest))];
        map(sections.into_iter().chain((objects > 0).then(|| ("setting".to_owned(), int(1)))))
    }

    #[test]
    fn less_than_a_tenth_of_many_or_nothing_of_any() {
        for (before, now, refused) in [
            (0, 0, false),
            (0, 5, false),
            (1, 0, true),
            (1, 1, false),
            (19, 1, false),
            (19, 0, true),
            (20, 1, true),
            (20, 2, false),
            (20, 20, false),
            (100, 9, true),
            (100, 10, false),
            (101, 10, true),
            (5, 100, false),
        ] {
            let found = problem(&files(before), &files(now));
            assert_eq!(found.is_some(), refused, "{before} to {now}");
            if let Some(report) = found {
                let text = report.to_string();
                let said = format!("had {before} objects and now have {now},");
                assert!(text.contains(&said) && text.contains("evergate reload"), "{text}");
            }
        }
        assert!(problem(&files(1), &Node::empty_map()).is_some());
    }
}
