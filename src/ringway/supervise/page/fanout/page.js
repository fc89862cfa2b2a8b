// One sender, many receivers. A message is the text `NUMBER MILLISECONDS ....`: its number from 0 on, and when it was sent by the clock of
// this page.

const PUMP_MS = 10;
const CONNECTING_MAX = 8; // Chromium holds a page back for seconds that opens many WebSockets at once
const LAST_DELIVERIES_MS = 1500;
const SPAN_S = 60;

let server = null;
let run = null;

// ---- latencies ----

// Counts by a tenth of a power of ten, from 10 µs to 10 s, as [count]; a percentile is the upper end of its bar.
const BARS = 60;
const barOf = (ms) => Math.min(BARS - 1, Math.max(0, Math.floor(10 * Math.log10(Math.max(ms, 1e-9) / 0.01))));
const endOf = (bar) => 0.01 * 10 ** ((bar + 1) / 10);

// All of a second, exactly. A browser cannot receive so many that this takes too much memory.
function percentile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : 0;
}
function percentileOfBars(bars, share) {
  const all = bars.reduce((a, b) => a + b, 0);
  let left = all * share;
  const at = bars.findIndex((count) => (left -= count) <= 0);
  return all ? endOf(at) : 0;
}

// ---- the two ways ----

// Each opens a connection: `opened()` when it may be used, `heard(text)` for each message, `closed(why)`.
const WAYS = {
  broadcast: {
    label: "broadcast",
    path: () => `fanout-${Math.random().toString(36).slice(2, 8)}`,
    open(url, { opened, heard, closed }) {
      const socket = new WebSocket(url);
      socket.onopen = opened;
      socket.onmessage = (event) => heard(String(event.data));
      socket.onclose = (event) => closed(event);
      return { send: (text) => socket.send(text), close: () => { socket.onclose = null; socket.close(1000); } };
    },
  },
  pubsub: {
    label: "pubsub",
    path: () => "pages",
    open(url, { opened, heard, closed, receives, topic }) {
      const socket = new WebSocket(url);
      socket.onopen = () => {
        if (receives) socket.send(JSON.stringify({ op: "subscribe", id: 1, topic }));
        else opened();
      };
      socket.onmessage = (message) => {
        const event = JSON.parse(message.data);
        if (event.op === "ack") opened();
        if (event.op === "message") heard(event.data);
        if (event.op === "error") closed({ reason: event.text });
      };
      socket.onclose = (event) => closed(event);
      const send = (text) => socket.send(JSON.stringify({ op: "publish", topic, data: text }));
      return { send, close: () => { socket.onclose = null; socket.close(1000); } };
    },
  },
};

// ---- a run ----

class Run {
  constructor(way, url, { receivers, rate, size }) {
    Object.assign(this, { way, url, wanted: receivers, rate, size, sockets: [], open: 0, lost: 0 });
    Object.assign(this, { published: 0, due: 0, delivered: 0, missing: 0, duplicates: 0, overtaken: 0, max: 0 });
    Object.assign(this, { bars: new Array(BARS).fill(0), second: [], samples: [], timers: [] });
    this.topic = `fanout/${Math.random().toString(36).slice(2, 8)}`;
    this.ended = false;
    for (let at = 0; at < Math.min(receivers, CONNECTING_MAX); at += 1) this.receive();
  }

  // Opens a receiver, and the next one when it is open.
  receive() {
    const state = { next: 0, holes: new Set() };
    let isOpen = false;
    this.sockets.push(this.way.open(this.url, {
      topic: this.topic,
      receives: true,
      opened: () => {
        isOpen = true;
        this.open += 1;
        if (this.sockets.length < this.wanted && !this.ended) this.receive();
        if (this.open === this.wanted) this.begin();
      },
      heard: (text) => this.note(state, text),
      closed: (event) => this.lose(isOpen, event),
    }));
  }

  lose(wasOpen, event) {
    if (this.ended) return;
    this.lost += 1;
    if (wasOpen) this.open -= 1;
    problem(wasOpen ? `The server closed a connection${event.code ? ` (${event.code})` : ""} ${event.reason || ""}` : event.reason || whyClosed(server, this.url));
    if (!wasOpen) stop();
  }

  // All receivers are there: the sender comes, and sends by the clock.
  begin() {
    if (this.ended || this.sender) return;
    setPill("state", "running", "good");
    this.sender = this.way.open(this.url, {
      topic: this.topic,
      opened: () => {
        this.began = this.pace = performance.now();
        this.timers.push(setInterval(() => this.pump(), PUMP_MS), setInterval(() => this.tick(), 1000));
      },
      heard: () => {},
      closed: (event) => this.lose(false, event),
    });
    this.sockets.push(this.sender);
  }

  pump() {
    const behind = Math.floor(((performance.now() - this.pace) / 1000) * this.rate) - this.published;
    // A tab that slept goes on from now.
    if (behind > this.rate) this.pace += (behind / this.rate) * 1000;
    else for (let at = 0; at < behind; at += 1) this.publish();
  }

  publish() {
    const head = `${this.published} ${performance.now().toFixed(3)} `;
    this.sender.send(head.padEnd(this.size, "."));
    this.published += 1;
    this.due += this.open;
  }

  note(state, text) {
    const [number, sent] = String(text).split(" ", 2).map(Number);
    if (!Number.isFinite(number) || !Number.isFinite(sent)) return; // a tick of the server, or somebody else's
    if (number >= state.next) {
      for (let hole = state.next; hole < number && state.holes.size < 10_000; hole += 1) state.holes.add(hole);
      this.missing += number - state.next;
      state.next = number + 1;
    } else if (state.holes.delete(number)) {
      this.missing -= 1;
      this.overtaken += 1;
    } else {
      this.duplicates += 1;
      return;
    }
    const ms = performance.now() - sent;
    this.delivered += 1;
    this.bars[barOf(ms)] += 1;
    this.max = Math.max(this.max, ms);
    this.second.push(ms);
  }

  tick() {
    const sorted = this.second.sort((a, b) => a - b);
    this.second = [];
    const t = (performance.now() - this.began) / 1000;
    this.samples.push({ t, count: sorted.length, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), max: sorted.at(-1) ?? 0 });
    if (this.samples.length > SPAN_S + 5) this.samples.shift();
    if (run === this) showRun(this);
  }

  // No message is sent any more; the last ones may still come.
  end() {
    clearInterval(this.timers[0]);
    this.stopped = performance.now();
    setPill("state", "last deliveries", "warn");
    setTimeout(() => this.close(), this.published ? LAST_DELIVERIES_MS : 0);
  }

  close() {
    this.ended = true;
    this.timers.forEach(clearInterval);
    this.sockets.forEach((socket) => socket.close());
    if (this.began) {
      // What has not come by now, and what was passed over.
      this.missing = Math.max(0, this.due - this.delivered);
      this.tick();
    }
    if (run === this) setPill("state", "stopped");
  }
}

// ---- what is shown ----

const plot = new Plot("plot", { text: (ms) => (ms ? millis(ms) : "0"), least: 1, label: "Latency of each second" });

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function showRun(shown) {
  const seconds = shown.began ? ((shown.stopped ?? performance.now()) - shown.began) / 1000 : 0;
  const whole = { p50: percentileOfBars(shown.bars, 0.5), p99: percentileOfBars(shown.bars, 0.99) };
  const last = shown.ended ? { ...whole, count: shown.delivered / seconds } : shown.samples.at(-1) ?? { count: 0, p50: 0, p99: 0 };
  const counted = (id, count) => {
    $(id).textContent = count.toLocaleString();
    $(id).className = `big ${count ? "some" : ""}`;
  };
  $("t-open").textContent = shown.open.toLocaleString();
  $("t-open-sub").textContent = shown.lost ? `${shown.lost} lost` : `through ${shown.way.label}`;
  big("t-rate", short(last.count), "/s");
  $("t-rate-sub").textContent = `${shown.delivered.toLocaleString()} of ${shown.due.toLocaleString()}`;
  bigTime("t-p50", last.p50 * 1e6);
  bigTime("t-p99", last.p99 * 1e6);
  $("t-p50-sub").textContent = `whole run ≤ ${millis(whole.p50)}`;
  $("t-p99-sub").textContent = `whole run ≤ ${millis(whole.p99)}, max ${millis(shown.max)}`;
  $("t-published").textContent = shown.published.toLocaleString();
  $("t-published-sub").textContent = seconds ? `${short(shown.published / seconds)}/s` : "";
  counted("t-missing", shown.missing);
  counted("t-duplicates", shown.duplicates);
  counted("t-overtaken", shown.overtaken);
  draw();
}

function draw() {
  const line = (name, text, shade, area) => ({ name: text, color: shade, area, value: (sample) => sample[name] });
  const lines = [line("p50", "p50", css("--accent"), true), line("p99", "p99", css("--other")), line("max", "max", css("--bad"))];
  showLegend("legend", lines);
  plot.draw(run?.samples ?? [], lines, SPAN_S);
  drawHistogram(run?.bars ?? []);
}

function drawHistogram(bars) {
  const fresh = freshCanvas($("histogram"));
  if (!fresh) return;
  const { ctx, width, height } = fresh;
  const area = { left: 10, right: width - 10, top: 10, bottom: height - 22 };
  const used = bars.map((count, bar) => (count ? bar : -1)).filter((bar) => bar >= 0);
  // Whole powers of ten around what came, two at least.
  const first = used.length ? Math.floor(used[0] / 10) * 10 : 10;
  const last = Math.max(used.length ? Math.ceil((used.at(-1) + 1) / 10) * 10 : 30, first + 20);
  const x = (bar) => area.left + ((bar - first) / (last - first)) * (area.right - area.left);
  const peak = Math.max(1, ...bars);
  ctx.fillStyle = css("--soft");
  ctx.strokeStyle = css("--grid");
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (let bar = first; bar <= last; bar += 10) {
    ctx.beginPath();
    ctx.moveTo(Math.round(x(bar)) + 0.5, area.top);
    ctx.lineTo(Math.round(x(bar)) + 0.5, area.bottom);
    ctx.stroke();
    ctx.textAlign = bar === first ? "left" : bar === last ? "right" : "center";
    ctx.fillText(millis(0.01 * 10 ** (bar / 10)).replace(/\.0+(?= )/, ""), x(bar), area.bottom + 7);
  }
  ctx.fillStyle = css("--accent");
  for (const bar of used) {
    const tall = Math.max(1.5, (bars[bar] / peak) * (area.bottom - area.top));
    ctx.fillRect(x(bar) + 1, area.bottom - tall, x(bar + 1) - x(bar) - 2, tall);
  }
}

// ---- controls ----

function start() {
  const way = WAYS[$("through").value];
  const numbers = Object.fromEntries(["receivers", "rate", "size"].map((id) => [id, Number($(id).value)]));
  problem("");
  run = new Run(way, socketOf(server, way.label, way.path()), numbers);
  setPill("state", "connecting", "warn");
  setRunning(true);
  showRun(run);
}
function stop() {
  run?.end();
  setRunning(false);
}
function setRunning(is) {
  $("start").textContent = is ? "Stop" : "Start";
  $("start").classList.toggle("primary", !is);
  for (const id of ["through", "receivers", "rate", "size"]) $(id).disabled = is;
}

$("setup").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("start").textContent === "Stop") stop();
  else start();
});
addEventListener("pagehide", () => run?.close());
addEventListener("resize", draw);
dark.addEventListener("change", draw);
draw();

follow(5000, (stats) => {
  const isFirst = !server;
  server = stats.server;
  const ways = Object.keys(WAYS).filter((name) => socketOf(server, name, "x"));
  if (!ways.length) return showAbsence(server, ["broadcast", "pubsub"]);
  $("start").disabled = false;
  if (isFirst) $("through").replaceChildren(...ways.map((name) => element("option", { value: name, textContent: name })));
  return undefined;
});
