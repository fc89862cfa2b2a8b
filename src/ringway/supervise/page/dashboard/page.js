const POLL_MS = 1000;
const HISTORY_S = 300;

// ---- totals ----

// Parts that stay whole where the line has to be broken.
function sub(id, ...parts) {
  const spans = parts.map((text) => element("span", { textContent: text }));
  $(id).replaceChildren(...spans.flatMap((span, at) => (at ? [" ", span] : [span])));
}
const split = (id, incoming, outgoing) => sub(id, `in ${short(incoming.per_s)},`, `out ${short(outgoing.per_s)}`);
function bigRate(id, value, unit) {
  const [number, prefix] = human(value);
  big(id, number, prefix + unit);
}

function showTotals(total) {
  const live = total.live;
  big("t-clients", total.clients.toLocaleString(), "");
  $("t-handshakes").textContent = `${short(live.handshakes.per_s)} handshakes/s`;
  bigRate("t-messages", live.messages_in.per_s + live.messages_out.per_s, "/s");
  split("t-messages-split", live.messages_in, live.messages_out);
  bigRate("t-bytes", live.message_bytes_in.per_s + live.message_bytes_out.per_s, "B/s");
  split("t-bytes-split", live.message_bytes_in, live.message_bytes_out);
  bigRate("t-wire", live.wire_bytes_in.per_s + live.wire_bytes_out.per_s, "B/s");
  split("t-wire-split", live.wire_bytes_in, live.wire_bytes_out);
  big("t-sessions", total.total.streams.toLocaleString(), "");
  sub("t-sessions-sub", `${short(live.streams_opened.per_s)} opened/s,`, `${short(total.total.streams_opened)} since the start`);
  bigRate("t-streams", live.stream_bytes_in.per_s + live.stream_bytes_out.per_s, "B/s");
  sub("t-streams-split", `to targets ${short(live.stream_bytes_out.per_s)},`, `from them ${short(live.stream_bytes_in.per_s)}`);
  bigTime("t-connect", total.total.stream_connect_ns / (total.total.streams_opened || 1));
  sub("t-connect-sub", "mean,", `${short(total.total.streams_failed)} not reached`);
  bigRate("t-deliveries", live.deliveries.per_s, "/s");
  sub("t-deliveries-sub", `published ${short(live.published.per_s)}/s,`, `late ${short(live.late.per_s)}/s`);
  bigRate("t-drops", live.dropped.per_s, "/s");
  sub("t-drops-sub", `${short(dropped(total.total))} since the start`);
  big("t-cpu", live.cpu_percent.toFixed(0), "%");
  // An echo's message is one in and one out; a broadcast is dear by what it sends.
  const [way, messages] = live.messages_out.per_s > live.messages_in.per_s ? ["out", live.messages_out.per_s] : ["in", live.messages_in.per_s];
  $("t-cpu-sub").textContent = `${(messages ? (live.cpu_percent * 1e4) / messages : 0).toFixed(2)} µs per message ${way}`;
  bigTime("t-turn", live.turn_ns.p99);
  sub("t-turn-sub", `p50 ${nanos(live.turn_ns.p50)},`, `max ${nanos(live.turn_ns.max)}`);
}

// ---- lost and refused, by reason ----

// The counters whose sum is `dropped`, and those of other losses and refusals.
const DROPS = {
  drops: "connection ended, or its queue was full",
  late_dropped_oldest: "slow subscriber, the oldest made room",
  late_dropped_newest: "slow subscriber, its queue was full",
  late_dropped_conflated: "slow subscriber, a newer one took its place",
  late_dropped_too_big: "slow subscriber, larger than its queue",
  late_dropped_closed: "subscriber closed",
  bus_missed: "records of the bus, overwritten unread",
};
const REFUSALS = {
  closed_unclean: "connections without a closing handshake",
  streams_failed: "targets that could not be reached",
  streams_reset: "streams that ended with a reset",
  violations: "peers that broke the protocol",
  handshakes_failed: "opening handshakes that failed",
  refused: "refused, --max-connections",
  address_limited: "refused, limits of an address",
  tls_failed: "TLS handshakes that failed",
  records_dropped: "records of statistics, pipe full",
};
const dropped = (counters) => Object.keys(DROPS).reduce((sum, name) => sum + counters[name], 0);

function showPairs(id, pairs) {
  $(id).replaceChildren(...pairs.flatMap(([name, value, title, kind]) => [
    element("dt", { textContent: name, title: title ?? "" }), element("dd", { textContent: value, className: kind ?? "" })]));
}
function showReasons(server, counters) {
  const row = ([name, text]) => [text, counters[name].toLocaleString(), name, counters[name] ? "some" : ""];
  // A gateway has no subscribers.
  const reasons = { ...(isGateway(server) ? { drops: DROPS.drops } : DROPS), ...REFUSALS };
  showPairs("reasons", Object.entries(reasons).map(row));
}

// ---- workers ----

const PILLS = { ready: "good", starting: "warn", silent: "bad", restarting: "warn", gone: "bad" };
function workerRow(worker) {
  const live = worker.live;
  const [name, state] = [element("td"), element("td")];
  if (worker.state) {
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = color(worker.worker);
    name.append(swatch);
    const text = worker.restarts ? `${worker.state} (replaced ${worker.restarts}×)` : worker.state;
    state.append(element("span", { className: `pill ${PILLS[worker.state] || ""}`, textContent: text }));
  }
  name.append(String(worker.worker));
  const cells = [
    worker.pid ?? "", worker.cpu ?? "", `${live.cpu_percent.toFixed(0)} %`, worker.clients.toLocaleString(),
    short(live.handshakes.per_s), short(live.messages_in.per_s), short(live.messages_out.per_s),
    bytes(live.wire_bytes_in.per_s), bytes(live.wire_bytes_out.per_s),
    nanos(live.turn_ns.p50), nanos(live.turn_ns.p99), nanos(live.turn_ns.max),
    short(dropped(worker.total)), short(worker.total.enobufs), short(worker.total.partial_sends),
  ];
  return element("tr", {}, name, state, ...cells.map((text) => element("td", { textContent: text })));
}
function showWorkers(stats) {
  const rows = stats.workers.map(workerRow);
  rows.push(workerRow({ ...stats.total, worker: "All" }));
  $("workers").replaceChildren(...rows);
}

// ---- plots ----

// A sample: `t` in seconds since the start, and the members of /history.json.
const samples = [];
let span = 60;
let way = "both";

const rateText = (value) => `${short(value).replace(/\.0+(?=\D|$)|(\.\d*[1-9])0+(?=\D|$)/, "$1")}/s`;
const countText = (value) => short(value).replace(/\.0+(?=\D|$)/, "");
const byteRateText = (value) => (value ? `${bytes(value).replace(/\.0+ /, " ")}/s` : "0");
const plots = {
  messages: new Plot("plot-messages", { text: (value) => (value ? rateText(value) : "0"), label: "Messages per second of each worker and in total" }),
  clients: new Plot("plot-clients", { text: countText, least: 4, parts: 3, label: "Clients" }),
  wire: new Plot("plot-wire", { text: byteRateText, least: 1000, parts: 3, label: "Bytes per second on the wire" }),
  streams: new Plot("plot-streams", { text: byteRateText, least: 1000, parts: 3, label: "Bytes per second of streams, to targets and from them" }),
  deliveries: new Plot("plot-deliveries", { text: (value) => (value ? rateText(value) : "0"), parts: 3, label: "Deliveries and dropped messages per second" }),
  cpu: new Plot("plot-cpu", { text: (value) => `${value.toFixed(0)} %`, least: 10, parts: 3, label: "CPU load of each worker" }),
  turn: new Plot("plot-turn", { text: (value) => (value ? nanos(value) : "0"), least: 1e5, parts: 3, label: "99th percentile of the turn time of each worker" }),
};

function addSample(stats) {
  const [workers, total] = [stats.workers.map((worker) => worker.live), stats.total.live];
  samples.push({
    t: stats.uptime_s,
    messages_in: workers.map((live) => live.messages_in.per_s),
    messages_out: workers.map((live) => live.messages_out.per_s),
    cpu_percent: workers.map((live) => live.cpu_percent),
    turn_ns_p99: workers.map((live) => live.turn_ns.p99),
    clients: stats.total.clients,
    wire_bytes_in: total.wire_bytes_in.per_s,
    wire_bytes_out: total.wire_bytes_out.per_s,
    stream_bytes_in: total.stream_bytes_in.per_s,
    stream_bytes_out: total.stream_bytes_out.per_s,
    deliveries: total.deliveries.per_s,
    dropped: total.dropped.per_s,
  });
  while (samples.length && samples[0].t < stats.uptime_s - HISTORY_S - 2) samples.shift();
}

const rate = (sample, worker) => (way === "out" ? 0 : sample.messages_in[worker] ?? 0) + (way === "in" ? 0 : sample.messages_out[worker] ?? 0);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const eachWorker = (workers, value) => Array.from({ length: workers }, (_, at) => ({ name: `worker ${at}`, color: color(at), value: (sample) => value(sample, at) }));

function draw() {
  const workers = samples.length ? samples.at(-1).messages_in.length : 0;
  const [accent, other, bad] = [css("--accent"), css("--other"), css("--bad")];
  const total = { name: "total", color: accent, area: true, value: (sample) => sum(sample.messages_in.map((_, worker) => rate(sample, worker))) };
  const messages = [total, ...(workers > 1 ? eachWorker(workers, rate) : [])];
  const one = (name, text, shade, area) => ({ name: text, color: shade, area, value: (sample) => sample[name] });
  const wire = [one("wire_bytes_out", "out", accent, true), one("wire_bytes_in", "in", other)];
  const streams = [one("stream_bytes_out", "to targets", accent, true), one("stream_bytes_in", "from targets", other)];
  const deliveries = [one("deliveries", "delivered", accent, true), one("dropped", "dropped", bad)];
  plots.messages.draw(samples, messages, span);
  plots.clients.draw(samples, [one("clients", "clients", accent, true)], span);
  plots.wire.draw(samples, wire, span);
  plots.streams.draw(samples, streams, span);
  plots.deliveries.draw(samples, deliveries, span);
  plots.cpu.draw(samples, eachWorker(workers, (sample, worker) => sample.cpu_percent[worker] ?? 0), span);
  plots.turn.draw(samples, eachWorker(workers, (sample, worker) => sample.turn_ns_p99[worker] ?? 0), span);
  showLegend("legend", messages);
  showLegend("legend-wire", wire);
  showLegend("legend-streams", streams);
  showLegend("legend-deliveries", deliveries);
}

choose("span", String(span), (value) => { span = Number(value); draw(); });
choose("way", way, (value) => { way = value; draw(); });
dark.addEventListener("change", draw);

// ---- the echo box ----

let socket = null;
const inFlight = []; // when each message left; echoes come back in order
const rtt = { count: 0, total: 0, min: Infinity };

function log(text, kind, right) {
  const body = element("span", { className: `text ${kind}`, textContent: text });
  $("echo-log").append(element("li", {}, element("time", { textContent: clock() }), body, right || ""));
  while ($("echo-log").childElementCount > 200) $("echo-log").firstChild.remove();
  $("echo-log").scrollTop = $("echo-log").scrollHeight;
}
function setEcho(text, kind) {
  setPill("echo-state", text, kind);
  $("echo-connect").textContent = socket ? "Close" : "Connect";
  $("echo-url").disabled = socket !== null;
  $("echo-text").disabled = $("echo-send").disabled = text !== "open";
}

function connect() {
  const url = $("echo-url").value.trim();
  if (!url) return log("no address: a browser cannot reach a Unix socket", "bad");
  const started = performance.now();
  try {
    socket = new WebSocket(url);
  } catch (error) {
    return log(`cannot connect to ${url}: ${error.message}`, "bad");
  }
  let opened = false;
  socket.binaryType = "arraybuffer";
  inFlight.length = 0;
  setEcho("connecting", "warn");
  socket.onopen = () => {
    opened = true;
    setEcho("open", "good");
    log(`connected to ${url}`, "good", millis(performance.now() - started));
    $("echo-text").focus();
  };
  socket.onmessage = (event) => {
    const text = typeof event.data === "string" ? event.data : `${event.data.byteLength} bytes`;
    const sent = inFlight.shift();
    if (sent === undefined) return log(`← ${text}`, ""); // nobody asked: it is a broadcast
    const ms = performance.now() - sent;
    rtt.count += 1;
    rtt.total += ms;
    rtt.min = Math.min(rtt.min, ms);
    $("rtt-last").textContent = millis(ms);
    $("rtt-min").textContent = millis(rtt.min);
    $("rtt-mean").textContent = millis(rtt.total / rtt.count);
    $("rtt-count").textContent = rtt.count.toLocaleString();
    return log(`← ${text}`, "", millis(ms));
  };
  socket.onclose = (event) => {
    socket = null;
    setEcho("closed", event.wasClean ? "" : "bad");
    const how = event.wasClean ? "closed" : opened ? "connection lost" : `no connection to ${url}`;
    log(`${how}: code ${event.code}${event.reason ? ` “${event.reason}”` : ""}`, event.wasClean ? "" : "bad");
  };
  return undefined;
}

$("echo-connect").addEventListener("click", () => (socket ? socket.close(1000, "bye") : connect()));
$("echo-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!socket) return connect();
  if (socket.readyState !== WebSocket.OPEN) return undefined;
  inFlight.push(performance.now());
  socket.send($("echo-text").value);
  log(`→ ${$("echo-text").value}`, "");
  return undefined;
});

// ---- polling ----

let startedAt = null;
async function loadHistory(server) {
  if (startedAt === server.started_unix_s) return;
  startedAt = server.started_unix_s; // a server that was restarted begins a new plot
  samples.length = 0;
  const history = await fetchJson("/history.json");
  for (const { uptime_s, ...sample } of history.samples) samples.push({ t: uptime_s, ...sample });
  const options = Object.entries(server.options);
  showPairs("options", options);
  $("options-count").textContent = `${options.length}, `;
  $("echo-url").value ||= socketOf(server, "echo", "echo") || socketBase(server);
  if (!socketBase(server)) $("echo-url").placeholder = "not reachable from a browser: a Unix socket";
}

follow(POLL_MS, async (stats) => {
  await loadHistory(stats.server);
  showTotals(stats.total);
  showReasons(stats.server, stats.total.total);
  showWorkers(stats);
  addSample(stats);
  draw();
});
