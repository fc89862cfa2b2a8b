//! Plots as SVG elements inside a page, without a script and without a font of their own.
//!
//! Hand-made in place of a plotting library: what is drawn carries classes and no colours, so that the page's style
//! sheet gives it those of the reader's light or dark theme; and the percentile axis is nobody else's.
//!
//! Owns: frame, ticks, legend, lines, bars, marks, what the pointer shows. Never: knows what is plotted.

use std::fmt::Write as _;

use super::page::escape;
use super::scale::Scale;

/// Units of the viewBox. A page shows them one to one where it is wide enough.
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 46.0;

/// Width of a character at the size that `page.css` gives to ticks (12 px), generously.
const LETTER: f64 = 7.0;

/// A bar is a stroke, not a surface.
const BAR_WIDTH_MAX: f64 = 40.0;

/// A series of fewer points shows each of them.
const DOTS_BELOW: usize = 45;

/// One axis: its scale, its ticks with their texts, and what it shows with its unit.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) label: String,
}

/// One line, or a row of bars or dots.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// The class that gives it its colour: `blue`, `orange`, `red`, `green`, `violet`, `grey`.
    pub(super) colour: &'static str,
    pub(super) kind: Kind,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Line,
    /// A line with its ground filled.
    Area,
    /// Bars at whole numbers; several such series stand side by side.
    Bars,
    /// Thin lines from top to bottom where y is not zero.
    Flags,
    /// Circles that are not filled.
    Rings,
}

/// A straight line across the plot, with a word on it.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Horizontal(f64, String),
    Vertical(f64, String),
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    pub(super) rules: Vec<Rule>,
    /// Points that are named beside themselves, towards the upper left.
    pub(super) named: Vec<(f64, f64, String)>,
    /// What the pointer shows at the places of x.
    pub(super) hints: Vec<(f64, String)>,
}

impl Plot {
    /// The `figure` element.
    pub(super) fn render(&self) -> String {
        let mut out = String::from("<figure>\n<figcaption>");
        let _ = write!(out, "<h3>{}</h3>", escape(&self.title));
        self.legend(&mut out);
        let _ = write!(
            out,
            "</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(&self.title)
        );
        self.y_axis(&mut out);
        self.x_axis(&mut out);
        let bars = self
            .series
            .iter()
            .filter(|series| series.kind == Kind::Bars)
            .count();
        let mut bar = 0;
        for series in &self.series {
            self.series(&mut out, series, (bar, bars));
            bar += usize::from(series.kind == Kind::Bars);
        }
        self.rules(&mut out);
        self.names(&mut out);
        self.hints(&mut out);
        out.push_str("</svg>\n</figure>\n");
        out
    }

    fn left(&self, x: f64) -> f64 {
        LEFT + self.x.scale.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn top(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn legend(&self, out: &mut String) {
        out.push_str("<ul class=legend>");
        for series in &self.series {
            let shape = match series.kind {
                Kind::Bars => "bar",
                Kind::Flags => "flag",
                Kind::Rings => "ring",
                Kind::Line | Kind::Area => "line",
            };
            let (colour, name) = (series.colour, escape(&series.name));
            let _ = write!(out, "<li><i class=\"{shape} {colour}\"></i>{name}</li>");
        }
        out.push_str("</ul>");
    }

    fn y_axis(&self, out: &mut String) {
        let right = WIDTH - RIGHT;
        for (value, text) in &self.y.ticks {
            let top = self.top(*value);
            let _ = writeln!(out, "<path class=grid d=\"M{LEFT} {top:.1}H{right}\"/>");
            let (left, base, text) = (LEFT - 8.0, top + 4.0, escape(text));
            let _ = writeln!(out, "<text class=end x={left} y={base:.1}>{text}</text>");
        }
        let (middle, label) = ((TOP + HEIGHT - BOTTOM) / 2.0, escape(&self.y.label));
        let _ = writeln!(
            out,
            "<text class=\"middle label\" transform=\"translate(13 {middle}) rotate(-90)\">{label}</text>"
        );
    }

    fn x_axis(&self, out: &mut String) {
        let bottom = HEIGHT - BOTTOM;
        // The end of the last text: one that would touch it is left out, its tick stays.
        let mut free = 0.0;
        for (value, text) in &self.x.ticks {
            let left = self.left(*value);
            let _ = writeln!(out, "<path class=tick d=\"M{left:.1} {bottom}v5\"/>");
            let half = text.chars().count() as f64 * LETTER / 2.0;
            let at = left.min(WIDTH - half);
            if at - half >= free {
                let (base, text) = (bottom + 19.0, escape(text));
                let _ = writeln!(out, "<text class=middle x={at:.1} y={base}>{text}</text>");
                free = at + half + LETTER;
            }
        }
        let right = WIDTH - RIGHT;
        let _ = writeln!(out, "<path class=axis d=\"M{LEFT} {bottom}H{right}\"/>");
        let (middle, base) = ((LEFT + right) / 2.0, HEIGHT - 6.0);
        let label = escape(&self.x.label);
        let _ = writeln!(
            out,
            "<text class=\"middle label\" x={middle} y={base}>{label}</text>"
        );
    }

    fn series(&self, out: &mut String, series: &Series, bar: (usize, usize)) {
        let colour = series.colour;
        let places: Vec<_> = series
            .points
            .iter()
            .map(|(x, y)| (self.left(*x), self.top(*y)))
            .collect();
        let bottom = HEIGHT - BOTTOM;
        match series.kind {
            Kind::Line | Kind::Area => {
                let mut path = String::new();
                for (at, (left, top)) in places.iter().enumerate() {
                    let _ = write!(
                        path,
                        "{}{left:.1} {top:.1}",
                        if at == 0 { "M" } else { "L" }
                    );
                }
                if let (Kind::Area, Some(first), Some(last)) =
                    (series.kind, places.first(), places.last())
                {
                    let (first, last) = (first.0, last.0);
                    let _ = writeln!(
                        out,
                        "<path class=\"area {colour}\" d=\"{path}L{last:.1} {bottom}L{first:.1} {bottom}Z\"/>"
                    );
                }
                let _ = writeln!(out, "<path class=\"line {colour}\" d=\"{path}\"/>");
                if places.len() < DOTS_BELOW {
                    for (left, top) in &places {
                        let _ = writeln!(
                            out,
                            "<circle class=\"dot {colour}\" cx={left:.1} cy={top:.1} r=2.5 />"
                        );
                    }
                }
            }
            Kind::Bars => {
                let slot = self.left(1.0) - self.left(0.0);
                let bars = bar.1.max(1) as f64;
                let width = (slot * 0.72 / bars).min(BAR_WIDTH_MAX);
                for (left, top) in places {
                    let left = left + width * (bar.0 as f64 - bars / 2.0);
                    let (width, height) = ((width - 1.0).max(0.8), bottom - top);
                    let _ = writeln!(
                        out,
                        "<rect class=\"bar {colour}\" x={left:.1} y={top:.1} width={width:.1} height={height:.1} />"
                    );
                }
            }
            Kind::Flags => {
                for ((left, _), (_, y)) in places.iter().zip(&series.points) {
                    if *y != 0.0 {
                        let _ = writeln!(
                            out,
                            "<path class=\"flag {colour}\" d=\"M{left:.1} {TOP}V{bottom}\"/>"
                        );
                    }
                }
            }
            Kind::Rings => {
                for (left, top) in places {
                    let _ = writeln!(
                        out,
                        "<circle class=\"ring {colour}\" cx={left:.1} cy={top:.1} r=6 />"
                    );
                }
            }
        }
    }

    fn rules(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for rule in &self.rules {
            let (path, left, top, class, text) = match rule {
                Rule::Horizontal(y, text) => {
                    let top = self.top(*y);
                    // Under the line where there is no room above it.
                    let base = if top < TOP + 14.0 {
                        top + 14.0
                    } else {
                        top - 5.0
                    };
                    (
                        format!("M{LEFT} {top:.1}H{right}"),
                        LEFT + 6.0,
                        base,
                        "start",
                        text,
                    )
                }
                Rule::Vertical(x, text) => {
                    let left = self.left(*x);
                    let (class, at) = if left > WIDTH / 2.0 {
                        ("end", left - 6.0)
                    } else {
                        ("start", left + 6.0)
                    };
                    (
                        format!("M{left:.1} {TOP}V{bottom}"),
                        at,
                        TOP - 8.0,
                        class,
                        text,
                    )
                }
            };
            let text = escape(text);
            let _ = writeln!(out, "<path class=rule d=\"{path}\"/>");
            let _ = writeln!(
                out,
                "<text class=\"{class} ruled\" x={left:.1} y={top:.1}>{text}</text>"
            );
        }
    }

    fn names(&self, out: &mut String) {
        // What has a text already: its left end, right end and base.
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for (x, y, text) in &self.named {
            let (left, top) = (self.left(*x), self.top(*y));
            let _ = writeln!(out, "<circle class=named cx={left:.1} cy={top:.1} r=3.5 />");
            let (end, base) = (left - 7.0, top - 7.0);
            let start = end - text.chars().count() as f64 * LETTER;
            let hits = |other: &(f64, f64, f64)| {
                start < other.1 && other.0 < end && (base - other.2).abs() < 14.0
            };
            if start < LEFT || taken.iter().any(hits) {
                continue;
            }
            taken.push((start, end, base));
            let text = escape(text);
            let _ = writeln!(
                out,
                "<text class=\"end value\" x={end:.1} y={base:.1}>{text}</text>"
            );
        }
    }

    fn hints(&self, out: &mut String) {
        let lefts: Vec<f64> = self.hints.iter().map(|(x, _)| self.left(*x)).collect();
        let middle = |one: Option<&f64>, two: Option<&f64>, end: f64| match (one, two) {
            (Some(one), Some(two)) => (one + two) / 2.0,
            _ => end,
        };
        for (at, (_, text)) in self.hints.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| lefts.get(before));
            let from = middle(before, lefts.get(at), LEFT);
            let to = middle(lefts.get(at), lefts.get(at + 1), WIDTH - RIGHT);
            let (width, height) = ((to - from).max(0.0), HEIGHT - TOP - BOTTOM);
            let text = escape(text);
            let _ = writeln!(
                out,
                "<rect class=hint x={from:.1} y={TOP} width={width:.1} height={height}><title>{text}</title></rect>"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(kind: Kind, points: Vec<(f64, f64)>) -> Plot {
        let scale = Scale::Linear {
            low: 0.0,
            high: 10.0,
        };
        let axis = |label: &str| Axis {
            scale,
            ticks: vec![(0.0, "0".to_owned())],
            label: label.to_owned(),
        };
        Plot {
            title: "A < B".to_owned(),
            x: axis("time (s)"),
            y: axis("rate"),
            series: vec![Series {
                name: "a".to_owned(),
                colour: "blue",
                kind,
                points,
            }],
            rules: Vec::new(),
            named: Vec::new(),
            hints: Vec::new(),
        }
    }

    #[test]
    fn the_corners_of_the_scales_are_the_corners_of_the_frame() {
        let svg = plot(Kind::Line, vec![(0.0, 0.0), (10.0, 10.0)]).render();
        assert!(
            svg.contains("<path class=\"line blue\" d=\"M78.0 254.0L866.0 24.0\"/>"),
            "{svg}"
        );
        assert!(
            svg.contains("<h3>A &lt; B</h3>") && svg.contains("time (s)"),
            "{svg}"
        );
    }

    #[test]
    fn a_single_point_is_seen() {
        let svg = plot(Kind::Line, vec![(5.0, 5.0)]).render();
        assert!(
            svg.contains("<circle class=\"dot blue\" cx=472.0 cy=139.0 r=2.5 />"),
            "{svg}"
        );
    }

    #[test]
    fn ticks_that_would_touch_keep_their_mark_and_lose_their_text() {
        let mut plot = plot(Kind::Line, Vec::new());
        plot.x.ticks = [0.0, 0.1, 5.0].map(|at| (at, format!("tick {at}"))).into();
        let svg = plot.render();
        assert_eq!(svg.matches("class=tick").count(), 3);
        assert!(svg.contains("tick 0<") && svg.contains("tick 5<") && !svg.contains("tick 0.1<"));
    }

    #[test]
    fn names_that_would_cover_each_other_are_left_out() {
        let mut plot = plot(Kind::Line, Vec::new());
        plot.named = vec![
            (5.0, 5.0, "first".to_owned()),
            (5.1, 5.0, "second".to_owned()),
        ];
        let svg = plot.render();
        assert_eq!(svg.matches("class=named").count(), 2);
        assert!(svg.contains(">first<") && !svg.contains(">second<"));
    }

    #[test]
    fn flags_stand_where_something_happened() {
        let svg = plot(Kind::Flags, vec![(1.0, 0.0), (2.0, 3.0)]).render();
        assert_eq!(svg.matches("<path class=\"flag blue\"").count(), 1);
    }

    #[test]
    fn hints_cover_the_width_without_a_gap() {
        let mut plot = plot(Kind::Line, Vec::new());
        plot.hints = vec![(2.5, "a".to_owned()), (7.5, "b".to_owned())];
        let svg = plot.render();
        assert!(
            svg.contains("x=78.0 y=24 width=394.0 height=230><title>a<"),
            "{svg}"
        );
        assert!(
            svg.contains("x=472.0 y=24 width=394.0 height=230><title>b<"),
            "{svg}"
        );
    }
}
