//! Plots as SVG elements inside a page, without scripts and fonts.
//!
//! Written by hand instead of with a plotting library, for two reasons. The elements carry classes and no colours, so
//! that the page's style sheet can colour them for a light or a dark theme. And no library has the percentile axis.
//!
//! Owns: frame, ticks, legend, lines, bars, marks, and what the pointer shows. Never: knows the meaning of a figure.

use std::fmt::Write as _;

use super::page::escape;
use super::scale::Scale;

/// The area of a drawing in units of its viewBox, about one pixel each.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// CSS class. `page.css` shows the drawing of one class or the other, by the width of the window.
    class: &'static str,
    width: f64,
    /// Where the vertical axis stands.
    left: f64,
}

const WIDE: Frame = Frame {
    class: "wide",
    width: 880.0,
    left: 78.0,
};

const NARROW: Frame = Frame {
    class: "narrow",
    width: 350.0,
    left: 70.0,
};

const HEIGHT: f64 = 300.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 46.0;

/// Width of a character, rounded up, at the size that `page.css` gives to ticks (12 px).
const LETTER: f64 = 7.0;

/// Widest bar.
const BAR_WIDTH_MAX: f64 = 40.0;

/// A series with fewer points than this shows each as a dot.
const DOTS_BELOW: usize = 45;

/// One axis: its scale, its ticks with their texts, and its label with the unit.
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
    /// CSS class of its colour: `blue`, `orange`, `red`, `green`, `violet`, `grey`.
    pub(super) colour: &'static str,
    pub(super) kind: Kind,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Line,
    /// A broad, pale line, which stays visible under another line.
    Broad,
    /// A line with the area below it filled.
    Area,
    /// Bars at whole numbers. Several series of bars stand side by side.
    Bars,
    /// Thin lines from top to bottom where y is not zero.
    Flags,
    /// Circles without filling.
    Rings,
}

/// A straight line across the plot, with a label.
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
    /// Points with a label to their upper left.
    pub(super) named: Vec<(f64, f64, String)>,
    /// Text that the pointer shows, by x.
    pub(super) hints: Vec<(f64, String)>,
}

impl Plot {
    /// The `figure` element. It holds two drawings, and the page shows the one that fits: in the drawing for a wide
    /// window, text would be too small on a phone.
    pub(super) fn render(&self) -> String {
        let mut out = String::from("<figure>\n<figcaption>");
        let _ = write!(out, "<h3>{}</h3>", escape(&self.title));
        self.legend(&mut out);
        out.push_str("</figcaption>\n");
        for frame in [WIDE, NARROW] {
            Drawing { plot: self, frame }.render(&mut out);
        }
        out.push_str("</figure>\n");
        out
    }

    fn legend(&self, out: &mut String) {
        out.push_str("<ul class=legend>");
        for series in &self.series {
            let shape = match series.kind {
                Kind::Bars => "bar",
                Kind::Flags => "flag",
                Kind::Rings => "ring",
                Kind::Broad => "broad",
                Kind::Line | Kind::Area => "line",
            };
            let (colour, name) = (series.colour, escape(&series.name));
            let _ = write!(out, "<li><i class=\"{shape} {colour}\"></i>{name}</li>");
        }
        out.push_str("</ul>");
    }
}

/// A plot drawn in one of the two sizes.
struct Drawing<'a> {
    plot: &'a Plot,
    frame: Frame,
}

impl Drawing<'_> {
    /// The `svg` element.
    fn render(&self, out: &mut String) {
        let (class, width) = (self.frame.class, self.frame.width);
        let title = escape(&self.plot.title);
        let _ = writeln!(
            out,
            "<svg class={class} viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        );
        self.y_axis(out);
        self.x_axis(out);
        let series = &self.plot.series;
        let bars = series.iter().filter(|one| one.kind == Kind::Bars).count();
        let mut bar = 0;
        for one in series {
            self.series(out, one, (bar, bars));
            bar += usize::from(one.kind == Kind::Bars);
        }
        self.rules(out);
        self.names(out);
        self.hints(out);
        out.push_str("</svg>\n");
    }

    fn left(&self, x: f64) -> f64 {
        self.frame.left + self.plot.x.scale.place(x) * (self.frame.width - self.frame.left - RIGHT)
    }

    fn top(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.plot.y.scale.place(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn y_axis(&self, out: &mut String) {
        let right = self.frame.width - RIGHT;
        for (value, text) in &self.plot.y.ticks {
            let top = self.top(*value);
            let from = self.frame.left;
            let _ = writeln!(out, "<path class=grid d=\"M{from} {top:.1}H{right}\"/>");
            let (left, base, text) = (self.frame.left - 8.0, top + 4.0, escape(text));
            let _ = writeln!(out, "<text class=end x={left} y={base:.1}>{text}</text>");
        }
        let (middle, label) = ((TOP + HEIGHT - BOTTOM) / 2.0, escape(&self.plot.y.label));
        let _ = writeln!(
            out,
            "<text class=\"middle label\" transform=\"translate(13 {middle}) rotate(-90)\">{label}</text>"
        );
    }

    fn x_axis(&self, out: &mut String) {
        let bottom = HEIGHT - BOTTOM;
        // End of the last tick text. A text that would touch it is left out; its tick stays.
        let mut free = 0.0;
        for (value, text) in &self.plot.x.ticks {
            let left = self.left(*value);
            let _ = writeln!(out, "<path class=tick d=\"M{left:.1} {bottom}v5\"/>");
            let half = text.chars().count() as f64 * LETTER / 2.0;
            let at = left.min(self.frame.width - half);
            if at - half >= free {
                let (base, text) = (bottom + 19.0, escape(text));
                let _ = writeln!(out, "<text class=middle x={at:.1} y={base}>{text}</text>");
                free = at + half + LETTER;
            }
        }
        let right = self.frame.width - RIGHT;
        let from = self.frame.left;
        let _ = writeln!(out, "<path class=axis d=\"M{from} {bottom}H{right}\"/>");
        let (middle, base) = ((self.frame.left + right) / 2.0, HEIGHT - 6.0);
        let label = escape(&self.plot.x.label);
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
            Kind::Line | Kind::Area | Kind::Broad => {
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
                let is_broad = series.kind == Kind::Broad;
                let broad = if is_broad { " broad" } else { "" };
                let _ = writeln!(out, "<path class=\"line {colour}{broad}\" d=\"{path}\"/>");
                if places.len() < DOTS_BELOW && !is_broad {
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
        let (from, right, bottom) = (self.frame.left, self.frame.width - RIGHT, HEIGHT - BOTTOM);
        for rule in &self.plot.rules {
            let path = match rule {
                Rule::Horizontal(y, _) => format!("M{from} {:.1}H{right}", self.top(*y)),
                Rule::Vertical(x, _) => format!("M{:.1} {TOP}V{bottom}", self.left(*x)),
            };
            let _ = writeln!(out, "<path class=rule d=\"{path}\"/>");
        }
        // Rules are drawn behind all lines, so that none of them crosses a word.
        for rule in &self.plot.rules {
            let (class, left, base, text) = match rule {
                Rule::Horizontal(y, text) => {
                    let (class, left, base) = self.label_place(self.top(*y), text);
                    (class, left, base, text)
                }
                Rule::Vertical(x, text) => {
                    let left = self.left(*x);
                    let (class, at) = if left > self.frame.width / 2.0 {
                        ("end", left - 6.0)
                    } else {
                        ("start", left + 6.0)
                    };
                    (class, at, TOP - 8.0, text)
                }
            };
            let text = escape(text);
            let _ = writeln!(
                out,
                "<text class=\"{class} ruled\" x={left:.1} y={base:.1}>{text}</text>"
            );
        }
    }

    /// Where the label of a horizontal rule at `top` goes: above or below it, at its beginning or its end, wherever the
    /// fewest lines cross.
    fn label_place(&self, top: f64, text: &str) -> (&'static str, f64, f64) {
        let width = text.chars().count() as f64 * LETTER;
        let (from, to) = (self.frame.left + 6.0, self.frame.width - RIGHT - 6.0);
        let ends = [("start", from, from), ("end", to, to - width)];
        let bases = [top - 5.0, top + 14.0];
        let fits = |base: f64| base - 11.0 >= TOP - 4.0 && base <= HEIGHT - BOTTOM - 2.0;
        let places = bases
            .into_iter()
            .filter(|base| fits(*base))
            .flat_map(|base| {
                ends.map(|(class, at, left)| {
                    let hits = self.hits((left, left + width), (base - 11.0, base + 3.0));
                    (hits, (class, at, base))
                })
            });
        let best = places.min_by_key(|(hits, _)| *hits);
        best.map_or(("start", from, bases[1]), |(_, place)| place)
    }

    /// How many lines and vertical rules cross a box.
    fn hits(&self, across: (f64, f64), down: (f64, f64)) -> usize {
        /// Steps between two points of a line that are tested: closer together than the width of a word.
        const STEPS: u32 = 40;
        let inside = |(left, top): (f64, f64)| {
            (across.0..=across.1).contains(&left) && (down.0..=down.1).contains(&top)
        };
        let lines = self.plot.series.iter();
        let lines = lines.filter(|one| matches!(one.kind, Kind::Line | Kind::Area));
        let through_lines = lines.map(|series| {
            let places = series.points.iter();
            let places: Vec<_> = places.map(|(x, y)| (self.left(*x), self.top(*y))).collect();
            let pairs = places.windows(2);
            let between = pairs.flat_map(|pair| {
                let (one, two) = (pair[0], pair[1]);
                (0..=STEPS).map(move |step| {
                    let part = f64::from(step) / f64::from(STEPS);
                    let at = |from: f64, to: f64| from + (to - from) * part;
                    (at(one.0, two.0), at(one.1, two.1))
                })
            });
            between.filter(|place| inside(*place)).count()
        });
        let through_rules = self.plot.rules.iter().filter(|rule| match rule {
            Rule::Vertical(x, _) => (across.0..=across.1).contains(&self.left(*x)),
            Rule::Horizontal(..) => false,
        });
        through_lines.sum::<usize>() + through_rules.count()
    }

    fn names(&self, out: &mut String) {
        // Places that have a label already: left end, right end and baseline.
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for (x, y, text) in &self.plot.named {
            let (left, top) = (self.left(*x), self.top(*y));
            let _ = writeln!(out, "<circle class=named cx={left:.1} cy={top:.1} r=3.5 />");
            let (end, base) = (left - 7.0, top - 7.0);
            let start = end - text.chars().count() as f64 * LETTER;
            let hits = |other: &(f64, f64, f64)| {
                start < other.1 && other.0 < end && (base - other.2).abs() < 14.0
            };
            if start < self.frame.left || taken.iter().any(hits) {
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
        let lefts: Vec<f64> = self.plot.hints.iter().map(|(x, _)| self.left(*x)).collect();
        let middle = |one: Option<&f64>, two: Option<&f64>, end: f64| match (one, two) {
            (Some(one), Some(two)) => (one + two) / 2.0,
            _ => end,
        };
        for (at, (_, text)) in self.plot.hints.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| lefts.get(before));
            let from = middle(before, lefts.get(at), self.frame.left);
            let to = middle(lefts.get(at), lefts.get(at + 1), self.frame.width - RIGHT);
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

    /// The plot for a window.
    fn wide(figure: &str) -> &str {
        let begin = figure.find("<svg class=wide ").expect("it is there");
        let end = figure.find("<svg class=narrow ").expect("the other too");
        &figure[begin..end]
    }

    #[test]
    fn a_phone_has_a_plot_of_its_own_that_nobody_has_to_scroll() {
        let svg = plot(Kind::Line, vec![(0.0, 0.0), (10.0, 10.0)]).render();
        let narrow = svg.split("<svg class=narrow ").nth(1).expect("it is there");
        assert!(narrow.starts_with("viewBox=\"0 0 350 300\""), "{narrow}");
        assert!(
            narrow.contains("<path class=\"line blue\" d=\"M70.0 254.0L336.0 24.0\"/>"),
            "{narrow}"
        );
    }

    #[test]
    fn no_line_goes_through_the_text_of_a_rule() {
        // The line first lies on the rule, and then leaves it downwards.
        let mut plot = plot(Kind::Line, vec![(0.0, 5.1), (4.0, 5.1), (10.0, 0.0)]);
        plot.rules = vec![Rule::Horizontal(5.0, "bound".to_owned())];
        let svg = plot.render();
        assert!(
            wide(&svg).contains("<text class=\"end ruled\" x=860.0 y=134.0>bound</text>"),
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
        let svg = wide(&svg);
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
        let svg = wide(&svg);
        assert_eq!(svg.matches("class=named").count(), 2);
        assert!(svg.contains(">first<") && !svg.contains(">second<"));
    }

    #[test]
    fn flags_stand_where_something_happened() {
        let svg = plot(Kind::Flags, vec![(1.0, 0.0), (2.0, 3.0)]).render();
        assert_eq!(wide(&svg).matches("<path class=\"flag blue\"").count(), 1);
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
