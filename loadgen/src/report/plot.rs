//! Line charts as SVG: axes, grid, legend, and values under the pointer. Inside a page, which has
//! the style, or as a file of its own.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 34.0;
/// Colours of lines, in order.
const COLOUR_COUNT: usize = 4;
/// Style of a file of its own; pages have theirs.
const STYLE: &str = "svg{background:#fff;font:12px sans-serif;fill:#333}.title{font-size:14px;font-weight:600}\
     .grid{stroke:#ddd}.hit{fill:transparent}polyline{fill:none;stroke-width:2}\
     .l0{stroke:#2563eb}.k0{fill:#2563eb}.l1{stroke:#d97706}.k1{fill:#d97706}\
     .l2{stroke:#b91c1c}.k2{fill:#b91c1c}.l3{stroke:#15803d}.k3{fill:#15803d}";
/// Smallest value of a logarithmic axis: a microsecond in milliseconds.
const LOG_MIN: f64 = 0.001;

/// A chart.
#[derive(Debug)]
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// Along.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// Lines, four at most.
    pub lines: Vec<Line>,
}

/// One line; its points in order of x.
#[derive(Debug)]
pub struct Line {
    /// Its name in the legend.
    pub label: &'static str,
    /// Values.
    pub points: Vec<(f64, f64)>,
}

/// How values become places.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    unit: &'static str,
    scale: Scale,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scale {
    Linear,
    Log,
    /// Values are 1/(1-p), told as percentages.
    Percentile,
}

impl Axis {
    /// From zero.
    pub fn linear(unit: &'static str) -> Axis {
        Axis { unit, scale: Scale::Linear }
    }

    /// Powers of ten.
    pub fn log(unit: &'static str) -> Axis {
        Axis { unit, scale: Scale::Log }
    }

    /// Nines.
    pub fn percentile() -> Axis {
        Axis { unit: "", scale: Scale::Percentile }
    }

    /// The value on a straight scale.
    fn straight(self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(LOG_MIN).log10(),
            Scale::Percentile => value.max(1.0).log10(),
        }
    }

    /// Ends of the axis on the straight scale, and its ticks with their texts.
    fn ticks(self, low: f64, high: f64) -> (f64, f64, Vec<(f64, String)>) {
        if self.scale != Scale::Linear {
            let first = self.straight(low).floor();
            let last = self.straight(high).ceil().max(first + 1.0);
            let ticks = (first as i32..=last as i32).map(|power| {
                let power = f64::from(power);
                (power, self.text(10f64.powf(power)))
            });
            return (first, last, ticks.collect());
        }
        let span = if high > 0.0 { high } else { 1.0 };
        let rough = span / 5.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * magnitude >= rough);
        let step = step.unwrap_or(10.0) * magnitude;
        let count = (span / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|at| {
            let value = f64::from(at) * step;
            (value, self.text(value))
        });
        (0.0, count * step, ticks.collect())
    }

    fn text(self, value: f64) -> String {
        match self.scale {
            Scale::Percentile if value <= 1.0 => "0 %".into(),
            Scale::Percentile => format!("{} %", number(100.0 - 100.0 / value)),
            _ => number(value),
        }
    }
}

impl Chart {
    /// The drawing as a file.
    pub fn document(&self) -> String {
        let open = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\""
        );
        let whole = self.svg().replacen("<svg", &open, 1);
        whole.replacen("\">", &format!("\"><style>{STYLE}</style>"), 1)
    }

    /// The drawing, for a page.
    pub fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let (mut low, mut high) = ((f64::MAX, f64::MAX), (0.0, 0.0));
        for (x, y) in all() {
            (low.0, high.0) = (x.min(low.0), x.max(high.0));
            (low.1, high.1) = (y.min(low.1), y.max(high.1));
        }
        if all().next().is_none() {
            low = (0.0, 0.0);
        }
        let (x0, x1, x_ticks) = self.x.ticks(low.0, high.0);
        let (y0, y1, y_ticks) = self.y.ticks(low.1, high.1);
        let place_x = |at: f64| LEFT + (at - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
        let place_y = |at: f64| HEIGHT - BOTTOM - (at - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\
             <text class=\"title\" x=\"14\" y=\"20\">{0}</text>",
            self.title
        );
        for (at, text) in &y_ticks {
            let y = place_y(*at);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0
            );
        }
        for (at, text) in &x_ticks {
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                place_x(*at),
                HEIGHT - BOTTOM + 16.0
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"14\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 4.0,
            self.x.unit,
            TOP - 10.0,
            self.y.unit
        );
        self.draw_lines(&place_x, &place_y, &mut out);
        out.push_str("</svg>\n");
        out
    }

    fn draw_lines(
        &self,
        place_x: &dyn Fn(f64) -> f64,
        place_y: &dyn Fn(f64) -> f64,
        out: &mut String,
    ) {
        let mut legend_x = 150.0;
        let mut values: std::collections::BTreeMap<u64, (f64, String)> = Default::default();
        for (index, line) in self.lines.iter().enumerate() {
            let class = index % COLOUR_COUNT;
            let mut path = String::new();
            for (x, y) in &line.points {
                let (at_x, at_y) = (place_x(self.x.straight(*x)), place_y(self.y.straight(*y)));
                let _ = write!(path, "{at_x:.1},{at_y:.1} ");
                let (_, text) = values
                    .entry(x.to_bits())
                    .or_insert_with(|| (at_x, format!("{} {}", self.x.text(*x), self.x.unit)));
                let _ = write!(text, "\n{}: {} {}", line.label, number(*y), self.y.unit);
            }
            let _ = write!(
                out,
                "<polyline class=\"l{class}\" points=\"{}\"/>\
                 <rect class=\"k{class}\" x=\"{legend_x:.0}\" y=\"{:.0}\" width=\"10\" height=\"3\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
                path.trim_end(),
                TOP - 15.0,
                legend_x + 14.0,
                TOP - 10.0,
                line.label
            );
            legend_x += 30.0 + 6.2 * line.label.len() as f64;
        }
        let width = (WIDTH - LEFT - RIGHT) / values.len().max(1) as f64;
        for (x, text) in values.values() {
            let _ = write!(
                out,
                "<rect class=\"hit\" x=\"{:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{:.1}\"><title>{text}</title></rect>",
                x - width / 2.0,
                HEIGHT - TOP - BOTTOM
            );
        }
    }
}

/// A number as short as it can be told.
fn number(value: f64) -> String {
    if value >= 10_000.0 {
        return format!("{}k", number((value / 100.0).round() / 10.0));
    }
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 1.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let texts = |axis: Axis, low, high| -> String {
            let (_, _, ticks) = axis.ticks(low, high);
            ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(texts(Axis::linear("s"), 0.0, 9.3), "0 2 4 6 8 10");
        assert_eq!(texts(Axis::linear("s"), 0.0, 0.0), "0 0.2 0.4 0.6 0.8 1");
        assert_eq!(texts(Axis::linear("s"), 0.0, 100_000.0), "0 20k 40k 60k 80k 100k");
        assert_eq!(texts(Axis::log("ms"), 0.3, 42.0), "0.1 1 10 100");
        assert_eq!(texts(Axis::percentile(), 1.0, 5000.0), "0 % 90 % 99 % 99.9 % 99.99 %");
    }

    #[test]
    fn points_lie_inside_the_frame() {
        let points = vec![(0.0, 0.0), (1.0, 50.0), (2.0, 100.0)];
        let chart = Chart {
            title: "t",
            x: Axis::linear("s"),
            y: Axis::linear("n"),
            lines: vec![Line { label: "a", points }],
        };
        let svg = chart.svg();
        assert!(svg.contains("points=\"56.0,226.0 295.0,137.0 534.0,48.0\""), "{svg}");
        assert!(svg.contains("<title>1 s\na: 50 n</title>"), "{svg}");
        let file = chart.document();
        assert!(file.starts_with("<svg xmlns=") && file.contains("><style>svg{"), "{file}");
        let empty = Chart { lines: Vec::new(), ..chart };
        assert!(!empty.svg().contains("NaN"));
    }
}
