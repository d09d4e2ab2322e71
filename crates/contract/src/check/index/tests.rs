use evergate_conf::{FileId, Format, Limits, Node, Report, format};
use proptest::prelude::*;

use crate::{Checked, check};

/// A small document; few names and few matches, so that they meet often.
fn document() -> impl Strategy<Value = String> {
    let priority = 0..2_i32;
    let listeners = prop_oneof![
        Just(""),
        Just("listeners: [x], "),
        Just("listeners: [y], "),
        Just("listeners: [x, y], ")
    ];
    let action = prop_oneof![Just("forward: u"), Just("forward: v"), Just("respond: {}")];
    let route = (0..3_u32, priority, listeners, action).prop_map(|(path, priority, listeners, action)| {
        format!("{{ match: {{ path: /p{path} }}, priority: {priority}, {listeners}{action} }}")
    });
    let routes = proptest::collection::btree_map(0..6_u32, route, 0..6);
    let there = proptest::collection::vec(any::<bool>(), 7);
    (routes, there).prop_map(|(routes, there)| {
        let object = |at: usize, text: &str| if there[at] { text.to_owned() } else { String::new() };
        let mut yaml = format!(
            "certificates: {{ {} }}\nlisteners: {{ {} {} }}\nupstreams: {{ {} {} }}\nroutes:\n  a: {{ respond: {{}} }}\n",
            object(0, "c: { cert: a, key: b }"),
            object(1, if there[5] { "x: { address: ':1' }," } else { "x: { address: ':1', tcp: v }," }),
            object(2, "y: { address: ':2', tls: { certificates: [c] } }"),
            object(3, "u: { endpoints: ['http://a'] },"),
            object(4, match there[6] {
                true => "v: { endpoints: ['https://a'], tls: { certificate: c } }",
                false => "v: { endpoints: ['tls://a:1'], tls: { certificate: c } }",
            }),
        );
        for (name, route) in routes {
            yaml += &format!("  r{name}: {route}\n");
        }
        yaml
    })
}

fn parse(yaml: &str) -> Node {
    format::parse(yaml, Format::Yaml, FileId(1), &Limits::default()).unwrap()
}

fn said(result: &Result<Checked, Report>) -> String {
    match result {
        Ok(checked) => checked.warnings().to_string(),
        Err(report) => report.to_string(),
    }
}

proptest! {
    /// Whatever was there before, the same is said of a document as without.
    #[test]
    fn changes_in_a_row_are_judged_as_documents_of_their_own(row in proptest::collection::vec(document(), 1..8)) {
        let mut live: Option<(Node, Checked)> = None;
        for yaml in row {
            let new = parse(&yaml);
            let after = check(&new, live.as_ref().map(|(document, checked)| (document, checked)));
            let anew = check(&new, None);
            prop_assert_eq!(said(&after), said(&anew), "{}", yaml);
            if let Ok(checked) = after {
                live = Some((new, checked));
            }
        }
    }
}
