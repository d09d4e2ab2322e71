//! Bars as SVG: linear from zero, one of them in colour, legible on light and dark ground.

use std::fmt::Write;

/// Bars under a title.
pub(crate) struct Panel {
    pub title: String,
    pub unit: String,
    pub bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    pub label: String,
    /// None: `note` says why.
    pub value: Option<Value>,
    pub note: String,
    /// The one that this is about.
    pub ours: bool,
}

/// A length with its spread.
#[derive(Clone, Copy)]
pub(crate) struct Value {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 20.0;
const GAP: f64 = 36.0;
const LABEL: f64 = 72.0;
/// Room for the number behind the longest bar.
const NUMBER: f64 = 58.0;
const ROW: f64 = 20.0;
const BAR: f64 = 12.0;
const HEAD: f64 = 44.0;
const FOOT: f64 = 34.0;

const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}
.ground{fill:#fff}.head{font-size:15px;font-weight:600}.title{font-weight:600}
.quiet,.tick{fill:#59636e}.tick{font-size:10px}.bar{fill:#afb8c1}.ours{fill:#0a7d57}
.own{font-weight:700}.grid{stroke:#d8dee4}.spread{stroke:#1f2328;stroke-width:1}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.quiet,.tick{fill:#9198a1}
.bar{fill:#59636e}.ours{fill:#2ea977}.grid{stroke:#2a313a}.spread{stroke:#e6edf3}}
";

/// Panels side by side, two in a row.
pub(crate) fn draw(title: &str, note: &str, panels: &[Panel]) -> String {
    let wide = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
    let rows: Vec<&[Panel]> = panels.chunks(2).collect();
    let height = |row: &[Panel]| {
        let bars = row.iter().map(|p| p.bars.len()).max().unwrap_or_default();
        HEAD + ROW * bars as f64 + FOOT
    };
    let top = if note.is_empty() { 44.0 } else { 62.0 };
    let whole = top + rows.iter().map(|r| height(r)).sum::<f64>() + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" width=\"{WIDTH}\" height=\"{whole}\" \
         role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" \
         height=\"{whole}\" rx=\"8\"/>\n",
        escaped(title)
    );
    text(&mut svg, MARGIN, 30.0, "head", "start", title);
    text(&mut svg, MARGIN, 49.0, "quiet", "start", note);
    let mut y = top;
    for row in rows {
        for (column, panel) in row.iter().enumerate() {
            let x = MARGIN + column as f64 * (wide + GAP);
            panel_at(&mut svg, panel, x, y, wide);
        }
        y += height(row);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel_at(svg: &mut String, panel: &Panel, x: f64, y: f64, wide: f64) {
    text(svg, x, y + 18.0, "title", "start", &panel.title);
    text(svg, x, y + 34.0, "tick", "start", &panel.unit);
    let longest = panel.bars.iter().filter_map(|b| b.value).map(|v| v.most.max(v.median)).fold(0.0, f64::max);
    let (end, step) = scale(longest);
    let (left, room) = (x + LABEL, wide - LABEL - NUMBER);
    let bottom = y + HEAD + ROW * panel.bars.len() as f64;
    let mut tick = 0.0;
    while tick <= end * 1.001 {
        let at = left + room * tick / end;
        let _ =
            writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {:.1}V{:.1}\"/>", y + HEAD - 2.0, bottom + 2.0);
        text(svg, at, bottom + 14.0, "tick", "middle", &number(tick));
        tick += step;
    }
    for (i, bar) in panel.bars.iter().enumerate() {
        let middle = y + HEAD + ROW * (i as f64 + 0.5);
        let own = if bar.ours { "own" } else { "" };
        text(svg, left - 8.0, middle + 4.0, own, "end", &bar.label);
        let Some(value) = bar.value else {
            text(svg, left + 5.0, middle + 4.0, "quiet", "start", &bar.note);
            continue;
        };
        let at = |value: f64| left + room * value / end;
        let (class, top) = (if bar.ours { "ours" } else { "bar" }, middle - BAR / 2.0);
        // A line of one point stays visible where the bar would be shorter.
        let length = (at(value.median) - left).max(1.0);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR}\"/>"
        );
        if at(value.most) - at(value.least) > 1.0 {
            let (from, to) = (at(value.least), at(value.most));
            let _ = writeln!(svg, "<path class=\"spread\" d=\"M{from:.1} {middle:.1}H{to:.1}\"/>");
        }
        let behind = at(value.most.max(value.median)).max(left + 1.0) + 5.0;
        text(svg, behind, middle + 4.0, own, "start", &number(value.median));
    }
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    if !words.is_empty() {
        let words = escaped(words);
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
        );
    }
}

/// Where an axis from zero ends that has room for a number, and how far its marks are apart.
fn scale(most: f64) -> (f64, f64) {
    if most <= 0.0 {
        return (1.0, 1.0);
    }
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    ((most / step - 0.001).ceil() * step, step)
}

/// Three digits that mean something, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v < 0.0005 => 0,
        v if v < 0.0995 => 3,
        v if v < 9.95 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').map_or((text.as_str(), ""), |(w, p)| (w, p));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(c);
    }
    let part = part.trim_end_matches('0');
    if part.is_empty() { out } else { format!("{out}.{part}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end, step) in [
            (0.0, 1.0, 1.0),
            (4.0, 4.0, 1.0),
            (17.0, 20.0, 5.0),
            (100.0, 100.0, 25.0),
            (149.0, 150.0, 50.0),
            (6600.0, 8000.0, 2000.0),
            (0.31, 0.4, 0.1),
        ] {
            let (found_end, found_step) = scale(most);
            let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.max(1.0);
            assert!(close(found_end, end) && close(found_step, step), "{most}: {found_end} by {found_step}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.0312, "0.031"),
            (0.5, "0.5"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (6600.0, "6,600"),
            (1_234_567.0, "1,234,567"),
            (-12.0, "-12"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn bars_are_as_long_as_they_should_be() {
        let bar = |median: f64, ours| Bar {
            label: "a<b".to_owned(),
            value: Some(Value { median, least: median, most: median }),
            note: String::new(),
            ours,
        };
        let absent = Bar { label: "c".to_owned(), value: None, note: "not there".to_owned(), ours: false };
        let panel = Panel {
            title: "t".to_owned(),
            unit: "ms".to_owned(),
            bars: vec![bar(20.0, true), bar(40.0, false), absent],
        };
        let svg = draw("Title", "", &[panel]);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|l| l.contains("class=\"ours\"") || l.contains("class=\"bar\""))
            .map(|l| l.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[0] * 2.0 - widths[1]).abs() < 0.2, "{widths:?}");
        assert!(svg.contains("a&lt;b") && svg.contains("not there"));
    }
}
