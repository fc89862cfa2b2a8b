"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const POLL_MS = 1000;
  const HISTORY_S = 300;

  // ---- figures as people read them ----

  const UNITS = ["", "k", "M", "G", "T", "P"];
  function human(value) {
    let unit = 0;
    while (value >= 999.5 && unit < UNITS.length - 1) { value /= 1000; unit += 1; }
    const digits = unit === 0 ? (Number.isInteger(value) || value >= 9.95 ? 0 : 1) : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return [value.toFixed(digits), UNITS[unit]];
  }
  const short = (value) => human(value).join("");
  const bytes = (value) => { const [number, unit] = human(value); return `${number} ${unit}B`; };
  function nanos(ns) {
    if (!ns) return "–";
    const [scale, unit] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "µs"] : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
    const value = ns / scale;
    return `${value.toFixed(scale === 1 || value >= 99.95 ? 0 : value < 9.995 ? 2 : 1)} ${unit}`;
  }
  function uptime(seconds) {
    const s = Math.floor(seconds);
    const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${m} min`;
    return m ? `${m} min ${s % 60} s` : `${s} s`;
  }
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

  function big(id, number, unit) {
    const small = document.createElement("small");
    small.textContent = unit;
    $(id).replaceChildren(number, small);
  }
  // Parts that stay whole where the line has to be broken.
  function sub(id, ...parts) {
    const spans = parts.map((text) => Object.assign(document.createElement("span"), { textContent: text }));
    $(id).replaceChildren(...spans.flatMap((span, at) => (at ? [" ", span] : [span])));
  }
  const split = (id, incoming, outgoing) => sub(id, `in ${short(incoming.per_s)},`, `out ${short(outgoing.per_s)}`);
  function bigRate(id, value, unit) {
    const [number, prefix] = human(value);
    big(id, number, prefix + unit);
  }

  // Hues that differ from each other and from the accent of the total; golden-angle steps when they run out.
  const HUES = [155, 32, 285, 350, 185, 75, 320, 110];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hue = (worker) => HUES[worker] ?? (20 + worker * 137.5) % 360;
  const color = (worker) => `hsl(${hue(worker)} ${dark.matches ? "62% 62%" : "65% 42%"})`;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- what is running ----

  function showServer(stats) {
    const server = stats.server;
    const tier = server.io === "uring" ? "io_uring" : server.io || "no worker yet";
    $("address").textContent = server.address;
    $("about").textContent = `${plural(server.workers, "worker")} · ${tier} · up ${uptime(stats.uptime_s)}`;
    $("about").title = server.io_note;
    $("footer").textContent = `Ringway ${server.version} · pid ${server.pid} · accept queue ${server.backlog} · started ${new Date(server.started_unix_s * 1000).toLocaleString()}`;
    const ready = stats.workers.filter((worker) => worker.state === "ready").length;
    setStatus(ready === server.workers ? "live" : "part", ready === server.workers ? "live" : `${ready} of ${server.workers} workers ready`);
    if (!$("options").childElementCount) showOptions(server.options);
    if (!$("echo-url").value) $("echo-url").value = echoUrl(server.address);
    if (server.address.startsWith("ws+unix:")) $("echo-url").placeholder = "not reachable from a browser: a Unix socket";
  }
  function setStatus(kind, text) {
    $("status").className = `status ${kind}`;
    $("status").textContent = text;
  }
  function showOptions(options) {
    for (const [name, value] of Object.entries(options)) {
      const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      detail.textContent = value;
      $("options").append(term, detail);
    }
    $("options-count").textContent = `${Object.keys(options).length}, `;
  }
  // The page's host, the server's port: the address bound may be 0.0.0.0.
  function echoUrl(address) {
    const port = /^ws:\/\/.*:(\d+)$/.exec(address);
    return port ? `ws://${location.hostname}:${port[1]}/` : "";
  }

  // ---- totals and workers ----

  function showTotals(total) {
    const live = total.live;
    const wire = live.wire_bytes_in.per_s + live.wire_bytes_out.per_s;
    big("t-clients", total.clients.toLocaleString(), "");
    $("t-handshakes").textContent = `${short(live.handshakes.per_s)} handshakes/s`;
    bigRate("t-messages", live.messages_in.per_s + live.messages_out.per_s, "/s");
    split("t-messages-split", live.messages_in, live.messages_out);
    bigRate("t-bytes", live.message_bytes_in.per_s + live.message_bytes_out.per_s, "B/s");
    split("t-bytes-split", live.message_bytes_in, live.message_bytes_out);
    bigRate("t-wire", wire, "B/s");
    split("t-wire-split", live.wire_bytes_in, live.wire_bytes_out);
    big("t-cpu", live.cpu_percent.toFixed(0), "%");
    // An echo's message is one in and one out; a broadcast is dear by what it sends.
    const [way, messages] = live.messages_out.per_s > live.messages_in.per_s ? ["out", live.messages_out.per_s] : ["in", live.messages_in.per_s];
    $("t-cpu-sub").textContent = `${(messages ? (live.cpu_percent * 1e4) / messages : 0).toFixed(2)} µs per message ${way}`;
    const [turn, unit] = nanos(live.turn_ns.p99).split(" ");
    big("t-turn", turn, unit || "");
    sub("t-turn-sub", `p50 ${nanos(live.turn_ns.p50)},`, `max ${nanos(live.turn_ns.max)}`);
  }

  const PILLS = { ready: "good", starting: "warn", silent: "bad", restarting: "warn", gone: "bad" };
  function workerRow(worker) {
    const row = document.createElement("tr");
    const live = worker.live;
    const name = document.createElement("td");
    if (worker.state) {
      const swatch = document.createElement("i");
      swatch.className = "swatch";
      swatch.style.background = color(worker.worker);
      name.append(swatch);
    }
    name.append(String(worker.worker));
    const state = document.createElement("td");
    if (worker.state) {
      const pill = document.createElement("span");
      pill.className = `pill ${PILLS[worker.state] || ""}`;
      pill.textContent = worker.restarts ? `${worker.state} (replaced ${worker.restarts}×)` : worker.state;
      state.append(pill);
    }
    row.append(name, state);
    const cells = [
      worker.pid ?? "", worker.cpu ?? "", `${live.cpu_percent.toFixed(0)} %`, worker.clients.toLocaleString(),
      short(live.handshakes.per_s), short(live.messages_in.per_s), short(live.messages_out.per_s),
      bytes(live.wire_bytes_in.per_s), bytes(live.wire_bytes_out.per_s),
      nanos(live.turn_ns.p50), nanos(live.turn_ns.p99), nanos(live.turn_ns.max),
      short(worker.total.drops), short(worker.total.enobufs), short(worker.total.partial_sends),
    ];
    for (const text of cells) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }
  function showWorkers(stats) {
    const rows = stats.workers.map(workerRow);
    rows.push(workerRow({ ...stats.total, worker: "All" }));
    $("workers").replaceChildren(...rows);
  }

  // ---- the plot ----

  const samples = []; // { t: seconds since start, in: [per worker], out: [per worker] }
  let span = 60;
  let way = "both";
  let pointer = null;

  function addSample(stats) {
    const rates = (name) => stats.workers.map((worker) => worker.live[name].per_s);
    samples.push({ t: stats.uptime_s, in: rates("messages_in"), out: rates("messages_out") });
    while (samples.length && samples[0].t < stats.uptime_s - HISTORY_S - 2) samples.shift();
  }
  const rate = (sample, worker) => (way === "out" ? 0 : sample.in[worker] ?? 0) + (way === "in" ? 0 : sample.out[worker] ?? 0);
  const messages = (sample) => sample.in.map((_, worker) => rate(sample, worker));
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  // The next of 1, 2, 2.5, 5 × 10^n above value / 4: four or five grid lines.
  function gridStep(value) {
    const raw = Math.max(value, 1) / 4;
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  }

  function draw() {
    const canvas = $("plot");
    const { width, height } = canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = "11px system-ui, sans-serif";
    const box = { left: 52, right: width - 8, top: 8, bottom: height - 24 };
    const now = samples.length ? samples.at(-1).t : 0;
    const shown = samples.filter((sample) => sample.t >= now - span - 2);
    const peak = Math.max(1, ...shown.map((sample) => sum(messages(sample))));
    const step = gridStep(peak);
    const top = step * Math.ceil((peak * 1.04) / step);
    const x = (t) => box.right - ((now - t) / span) * (box.right - box.left);
    const y = (value) => box.bottom - (value / top) * (box.bottom - box.top);
    drawAxes(ctx, box, step, top, y);
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.left, box.top - 4, box.right - box.left + 4, box.bottom - box.top + 5);
    ctx.clip();
    const workers = shown.length ? shown.at(-1).in.length : 0;
    drawLine(ctx, shown, x, y, (s) => sum(messages(s)), css("--accent"), 2, box.bottom);
    if (workers > 1) {
      for (let worker = 0; worker < workers; worker += 1) {
        drawLine(ctx, shown, x, y, (s) => rate(s, worker), color(worker), 1.25, null);
      }
    }
    ctx.restore();
    drawTip(ctx, box, shown, x, y, now);
  }

  function drawAxes(ctx, box, step, top, y) {
    ctx.strokeStyle = css("--grid");
    ctx.fillStyle = css("--soft");
    ctx.lineWidth = 1;
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    for (let value = 0; value <= top + step / 2; value += step) {
      const at = Math.round(y(value)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(box.left, at);
      ctx.lineTo(box.right, at);
      ctx.stroke();
      ctx.fillText(value === 0 ? "0" : `${short(value).replace(/\.0+(?=\D|$)|(\.\d*[1-9])0+(?=\D|$)/, "$1")}/s`, box.left - 8, at);
    }
    ctx.textBaseline = "top";
    const parts = span === 60 ? 4 : 5;
    for (let part = 0; part <= parts; part += 1) {
      const at = box.left + ((box.right - box.left) * part) / parts;
      const ago = span - (span * part) / parts;
      ctx.textAlign = part === parts ? "right" : part === 0 ? "left" : "center";
      ctx.fillText(ago === 0 ? "now" : ago >= 60 ? `−${ago / 60} min` : `−${ago} s`, at, box.bottom + 8);
    }
  }

  function drawLine(ctx, shown, x, y, value, stroke, width, fillTo) {
    if (!shown.length) return;
    ctx.beginPath();
    shown.forEach((sample, index) => ctx[index ? "lineTo" : "moveTo"](x(sample.t), y(value(sample))));
    ctx.strokeStyle = stroke;
    ctx.lineWidth = width;
    ctx.lineJoin = "round";
    ctx.stroke();
    if (fillTo === null) return;
    ctx.lineTo(x(shown.at(-1).t), fillTo);
    ctx.lineTo(x(shown[0].t), fillTo);
    ctx.closePath();
    ctx.globalAlpha = 0.09;
    ctx.fillStyle = stroke;
    ctx.fill();
    ctx.globalAlpha = 1;
  }

  function drawTip(ctx, box, shown, x, y, now) {
    const tip = $("tip");
    tip.hidden = pointer === null || !shown.length;
    if (tip.hidden) return;
    const near = shown.reduce((best, s) => (Math.abs(x(s.t) - pointer) < Math.abs(x(best.t) - pointer) ? s : best));
    const at = Math.max(box.left, x(near.t));
    ctx.strokeStyle = css("--soft");
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.bottom);
    ctx.stroke();
    ctx.setLineDash([]);
    const lines = [["Total", sum(messages(near))], ...messages(near).slice(0, 12).map((value, i) => [`Worker ${i}`, value])];
    const title = document.createElement("b");
    const ago = Math.round(now - near.t);
    title.textContent = ago ? `${ago} s ago` : "now";
    tip.replaceChildren(title, ...lines.map(([name, value]) => {
      const line = document.createElement("span");
      line.append(name, Object.assign(document.createElement("code"), { textContent: `${short(value)}/s` }));
      return line;
    }));
    tip.style.top = `${box.top + 4}px`;
    tip.style.left = at > (box.left + box.right) / 2 ? `${at - tip.offsetWidth - 10}px` : `${at + 10}px`;
  }

  function showLegend(workers) {
    const names = workers > 1 ? Array.from({ length: Math.min(workers, 12) }, (_, i) => [`worker ${i}`, color(i)]) : [];
    const items = [["total", css("--accent")], ...names].map(([name, shade]) => {
      const [item, line] = [document.createElement("span"), document.createElement("i")];
      line.style.background = shade;
      item.append(line, name);
      return item;
    });
    if (workers > 12) items.push(`and ${workers - 12} more`);
    $("legend").replaceChildren(...items);
  }

  // A group of buttons of which one is pressed: what its attribute says holds.
  function choose(attribute, chosen, set) {
    const buttons = [...document.querySelectorAll(`[data-${attribute}]`)];
    const press = (value) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset[attribute] === value)));
    press(chosen);
    for (const button of buttons) {
      button.addEventListener("click", () => {
        set(button.dataset[attribute]);
        press(button.dataset[attribute]);
        draw();
      });
    }
  }
  choose("span", String(span), (value) => { span = Number(value); });
  choose("way", way, (value) => { way = value; });
  $("plot").addEventListener("pointermove", (event) => { pointer = event.offsetX; draw(); });
  $("plot").addEventListener("pointerleave", () => { pointer = null; draw(); });
  addEventListener("resize", draw);
  dark.addEventListener("change", draw);

  // ---- the echo box ----

  let socket = null;
  const inFlight = []; // when each message left; echoes come back in order
  const rtt = { count: 0, total: 0, min: Infinity };

  function log(text, kind, right) {
    const line = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date().toTimeString().slice(0, 8);
    const body = document.createElement("span");
    body.className = `text ${kind}`;
    body.textContent = text;
    line.append(time, body, right || "");
    $("echo-log").append(line);
    while ($("echo-log").childElementCount > 200) $("echo-log").firstChild.remove();
    $("echo-log").scrollTop = $("echo-log").scrollHeight;
  }
  function setEcho(text, kind) {
    const open = text === "open";
    $("echo-state").textContent = text;
    $("echo-state").className = `pill ${kind}`;
    $("echo-connect").textContent = socket ? "Close" : "Connect";
    $("echo-url").disabled = socket !== null;
    $("echo-text").disabled = !open;
    $("echo-send").disabled = !open;
  }
  const millis = (ms) => (ms < 1 ? `${(ms * 1000).toFixed(0)} µs` : `${ms.toFixed(ms < 10 ? 2 : 1)} ms`);

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
      const ms = performance.now() - inFlight.shift();
      rtt.count += 1;
      rtt.total += ms;
      rtt.min = Math.min(rtt.min, ms);
      $("rtt-last").textContent = millis(ms);
      $("rtt-min").textContent = millis(rtt.min);
      $("rtt-mean").textContent = millis(rtt.total / rtt.count);
      $("rtt-count").textContent = rtt.count.toLocaleString();
      const text = typeof event.data === "string" ? event.data : `${event.data.byteLength} bytes`;
      log(`← ${text}`, "", millis(ms));
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

  async function fetchJson(path) {
    const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  let startedAt = null;
  async function loadHistory(server) {
    if (startedAt === server.started_unix_s) return;
    startedAt = server.started_unix_s; // a server that was restarted begins a new plot
    samples.length = 0;
    const history = await fetchJson("/history.json");
    for (const sample of history.samples) samples.push({ t: sample.uptime_s, in: sample.messages_in, out: sample.messages_out });
  }

  async function poll() {
    try {
      const stats = await fetchJson("/stats.json");
      await loadHistory(stats.server);
      showServer(stats);
      showTotals(stats.total);
      showWorkers(stats);
      showLegend(stats.workers.length);
      addSample(stats);
      draw();
    } catch (error) {
      setStatus("lost", "no answer from the supervisor");
    }
    setTimeout(poll, POLL_MS);
  }
  poll();
})();
