// A plot over time, drawn by hand: a grid, lines, and the values under the pointer.

// The next of 1, 2, 2.5, 5 × 10^n above value / parts.
function gridStep(value, parts) {
  const raw = value / parts;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.9999) * power;
}

// A canvas in the pixels of the screen, empty. Returns null while it is not shown.
function freshCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width || !height) return null;
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.font = "11px system-ui, sans-serif";
  return { ctx, width, height };
}

class Plot {
  // `text`: a value as people read it; `least`: the top of the axis where all values are smaller; `whole`: there are no fractions.
  // Samples have `t` in seconds; a line has `name`, `color`, `value(sample)` and perhaps `area`.
  constructor(id, { text, least = 1, parts = 4, label }) {
    this.box = $(id);
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    this.tip = element("div", { className: "tip", hidden: true });
    this.box.replaceChildren(this.canvas, this.tip);
    Object.assign(this, { text, least, parts, pointer: null, shown: null });
    this.canvas.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; this.redraw(); });
    this.canvas.addEventListener("pointerleave", () => { this.pointer = null; this.redraw(); });
    new ResizeObserver(() => this.redraw()).observe(this.box);
    dark.addEventListener("change", () => this.redraw());
  }

  draw(samples, lines, span) {
    this.shown = { samples, lines, span };
    this.redraw();
  }

  redraw() {
    const fresh = this.shown && freshCanvas(this.canvas);
    if (!fresh) return;
    const { ctx, width, height } = fresh;
    const { samples, lines, span } = this.shown;
    const now = samples.length ? samples.at(-1).t : 0;
    const visible = samples.filter((sample) => sample.t >= now - span - 2);
    const peak = Math.max(this.least, ...visible.flatMap((sample) => lines.map((line) => line.value(sample))));
    const step = gridStep(peak, this.parts);
    const top = step * Math.ceil((peak * 1.04) / step);
    const marks = Array.from({ length: Math.round(top / step) + 1 }, (_, at) => this.text(at * step));
    const left = Math.max(30, ...marks.map((mark) => ctx.measureText(mark).width)) + 10;
    const area = { left, right: width - 6, top: 8, bottom: height - 22 };
    const x = (t) => area.right - ((now - t) / span) * (area.right - area.left);
    const y = (value) => area.bottom - (value / top) * (area.bottom - area.top);
    Plot.drawAxes(ctx, area, marks, span);
    ctx.save();
    ctx.beginPath();
    ctx.rect(area.left, area.top - 4, area.right - area.left + 4, area.bottom - area.top + 5);
    ctx.clip();
    for (const line of lines) Plot.drawLine(ctx, visible, line, x, y, area.bottom);
    ctx.restore();
    this.drawTip(ctx, area, visible, lines, x, now);
  }

  static drawAxes(ctx, area, marks, span) {
    ctx.strokeStyle = css("--grid");
    ctx.fillStyle = css("--soft");
    ctx.lineWidth = 1;
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    marks.forEach((mark, index) => {
      const at = Math.round(area.bottom - ((area.bottom - area.top) * index) / (marks.length - 1)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(area.left, at);
      ctx.lineTo(area.right, at);
      ctx.stroke();
      ctx.fillText(mark, area.left - 8, at);
    });
    ctx.textBaseline = "top";
    const parts = area.right - area.left < 300 ? 2 : span === 300 ? 5 : 4;
    for (let part = 0; part <= parts; part += 1) {
      const at = area.left + ((area.right - area.left) * part) / parts;
      const ago = span - (span * part) / parts;
      ctx.textAlign = part === parts ? "right" : part === 0 ? "left" : "center";
      ctx.fillText(ago === 0 ? "now" : ago >= 60 ? `−${ago / 60} min` : `−${ago} s`, at, area.bottom + 7);
    }
  }

  static drawLine(ctx, visible, line, x, y, bottom) {
    if (!visible.length) return;
    ctx.beginPath();
    visible.forEach((sample, index) => ctx[index ? "lineTo" : "moveTo"](x(sample.t), y(line.value(sample))));
    ctx.strokeStyle = line.color;
    ctx.lineWidth = line.area ? 2 : 1.4;
    ctx.lineJoin = "round";
    ctx.stroke();
    if (!line.area) return;
    ctx.lineTo(x(visible.at(-1).t), bottom);
    ctx.lineTo(x(visible[0].t), bottom);
    ctx.closePath();
    ctx.globalAlpha = 0.1;
    ctx.fillStyle = line.color;
    ctx.fill();
    ctx.globalAlpha = 1;
  }

  drawTip(ctx, area, visible, lines, x, now) {
    this.tip.hidden = this.pointer === null || !visible.length;
    if (this.tip.hidden) return;
    const near = visible.reduce((best, s) => (Math.abs(x(s.t) - this.pointer) < Math.abs(x(best.t) - this.pointer) ? s : best));
    const at = Math.max(area.left, x(near.t));
    ctx.strokeStyle = css("--soft");
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    ctx.moveTo(at, area.top);
    ctx.lineTo(at, area.bottom);
    ctx.stroke();
    ctx.setLineDash([]);
    const ago = Math.round(now - near.t);
    const rows = lines.slice(0, 13).map((line) => element("span", {}, line.name, element("code", { textContent: this.text(line.value(near)) })));
    this.tip.replaceChildren(element("b", { textContent: ago ? `${ago} s ago` : "now" }), ...rows);
    this.tip.style.left = at > (area.left + area.right) / 2 ? `${Math.max(0, at - this.tip.offsetWidth - 10)}px` : `${at + 10}px`;
  }
}

// The names of lines, each behind a stroke of its color.
function showLegend(id, lines, most = 12) {
  const items = lines.slice(0, most).map((line) => {
    const stroke = element("i");
    stroke.style.background = line.color;
    return element("span", {}, stroke, line.name);
  });
  if (lines.length > most) items.push(`and ${lines.length - most} more`);
  $(id).replaceChildren(...items);
}

// A group of buttons of which one is pressed: what its attribute says holds.
function choose(attribute, chosen, set) {
  const buttons = [...document.querySelectorAll(`[data-${attribute}]`)];
  const press = (value) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset[attribute] === value)));
  press(chosen);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      press(button.dataset[attribute]);
      set(button.dataset[attribute]);
    });
  }
}
