//! A picture of the results: for each case, how our cost and the peers' compare with the best peer's.

use std::fmt::Write as _;

use crate::report::{Report, Row};

const ROW: f64 = 16.0;
const TOP: f64 = 64.0;
const NAMES: f64 = 420.0;
const SCALE: f64 = 340.0;
const VALUES: f64 = 170.0;
const WIDTH: f64 = NAMES + SCALE + VALUES;

/// What fits on the logarithmic scale: a tenth to ten times the best peer's cost.
const DECADES: f64 = 1.0;

/// Colours that can be read on white and on black: a picture does not know on which of them a page shows it.
const STYLE: &str = "\
text{font:11px ui-monospace,monospace;fill:#777}.head{font-weight:bold}.name{text-anchor:end}\
.line{stroke:#777;stroke-opacity:.5}.one{stroke:#777}.good{fill:#2a9d5c}.bad{fill:#d9822b}.peer{fill:#8899aa}";

/// The cases that stand for the others.
const DRAWN: [&str; 25] = [
    "objects pair of 64 B",
    "objects pair of 2048 B",
    "objects batch of 10000 x 64 B, fifo",
    "objects batch of 10000 x 64 B, random",
    "objects batch of 10000 x 2048 B, random",
    "objects mixed sizes, random replacement",
    "objects mixed sizes, of its own on each of 2 threads",
    "objects mixed sizes, of its own on each of 8 threads",
    "objects of 64 B to another thread, on 2 threads",
    "objects of 64 B to another thread, on 8 threads",
    "objects boxes of 64 B on 128 threads",
    "objects of 16 B replaced at random among 10,000,000",
    "objects held for mixed sizes, at the peak",
    "objects held for mixed sizes, after 90 % at random are free",
    "pages pair order 0",
    "pages pair order 9",
    "pages batch order 0",
    "pages mixed uniform orders 50 % full",
    "pages mixed small orders 90 % full",
    "pages lowmem beside 100 fragments",
    "pages in last of 64 regions",
    "pages pairs on 1 threads",
    "pages pairs on 8 threads",
    "pages replaced at random in 256 MiB",
    "pages replaced at random in 65,536 MiB",
];

/// Draws these, as far as they were measured beside peers.
pub(crate) fn draw(report: &Report) -> String {
    let rows: Vec<(&Row, Vec<(&str, f64)>)> = report
        .rows()
        .iter()
        .filter(|row| DRAWN.contains(&row.case.as_str()))
        .filter_map(|row| Some((row, row.costs()?)))
        .collect();
    let height = TOP + ROW * rows.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Cost of Twinframe against that of the best other allocator</title>\n<style>{STYLE}</style>\n\
         <text class=\"head\" x=\"8\" y=\"18\">Cost as a multiple of the best other allocator's</text>\n\
         <text x=\"8\" y=\"34\">bars: Twinframe, to the left of the line where it is better than the best of the \
         others; ticks: the others</text>\n"
    );
    for (cost, label) in [
        (0.1, "0.1 x"),
        (0.3, "0.3"),
        (1.0, "best other"),
        (3.0, "3"),
        (10.0, "10 x"),
    ] {
        let class = if cost == 1.0 { "one" } else { "line" };
        let x = position(cost);
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            height - 4.0,
            TOP - 8.0
        );
    }
    for (i, (row, costs)) in rows.iter().enumerate() {
        draw_row(&mut svg, TOP + ROW * i as f64, row, costs);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_row(svg: &mut String, y: f64, row: &Row, costs: &[(&str, f64)]) {
    let text = y + 12.0;
    let _ = writeln!(
        svg,
        "<text class=\"name\" x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
        NAMES - 8.0,
        row.case
    );
    let best = costs.iter().skip(1).min_by(|a, b| a.1.total_cmp(&b.1));
    let best = best.map_or("", |(name, _)| name);
    for (i, (name, cost)) in costs.iter().enumerate() {
        let x = position(*cost);
        if i == 0 {
            let class = if *cost <= 1.0 { "good" } else { "bad" };
            let (start, width) = (x.min(position(1.0)), (x - position(1.0)).abs().max(1.0));
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{start:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"10\"/>\
                 <text x=\"{:.1}\" y=\"{text:.1}\">{cost:.2} x {best}</text>",
                y + 3.0,
                NAMES + SCALE + 6.0
            );
        } else {
            let _ = writeln!(
                svg,
                "<rect class=\"peer\" x=\"{:.1}\" y=\"{:.1}\" width=\"2\" height=\"10\"><title>{name}: {cost:.2} x</title></rect>",
                x - 1.0,
                y + 3.0
            );
        }
    }
}

/// Where a cost is on the scale; its ends stand for all that lies beyond.
fn position(cost: f64) -> f64 {
    let decades = cost.log10().clamp(-DECADES, DECADES);
    NAMES + SCALE * (decades + DECADES) / (2.0 * DECADES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_logarithmic_and_ends() {
        let middle = NAMES + SCALE / 2.0;
        for (cost, expected) in [
            (0.0, NAMES),
            (0.001, NAMES),
            (0.1, NAMES),
            (1.0, middle),
            (10.0, NAMES + SCALE),
            (500.0, NAMES + SCALE),
        ] {
            assert!((position(cost) - expected).abs() < 1e-6, "{cost}");
        }
    }
}
