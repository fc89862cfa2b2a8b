// What every page has: figures as people read them, elements, the server that runs, and how a page reaches its WebSockets.

const $ = (id) => document.getElementById(id);

// ---- figures ----

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
const millis = (ms) => nanos(ms * 1e6);
function uptime(seconds) {
  const s = Math.floor(seconds);
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}
const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;
const clock = (date = new Date()) => date.toTimeString().slice(0, 8);

// ---- elements ----

// Text goes in as text and never as markup: much of it was written by strangers.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
function setPill(id, text, kind = "") {
  $(id).textContent = text;
  $(id).className = `pill ${kind}`;
}
function big(id, number, unit) {
  $(id).replaceChildren(number, element("small", { textContent: unit }));
}
function bigTime(id, ns) {
  const [number, unit] = nanos(ns).split(" ");
  big(id, number, unit || "");
}

// Hues that differ from each other and from the accent of the total; golden-angle steps when they run out.
const HUES = [155, 32, 285, 350, 185, 75, 320, 110];
const dark = matchMedia("(prefers-color-scheme: dark)");
const hue = (index) => HUES[index] ?? (20 + index * 137.5) % 360;
const color = (index) => `hsl(${hue(index)} ${dark.matches ? "62% 62%" : "65% 42%"})`;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- the server ----

async function fetchJson(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function setStatus(kind, text) {
  $("status").className = `status ${kind}`;
  $("status").textContent = text;
}

// Only gateways have this option.
const isGateway = (server) => "connect-timeout" in server.options;

function showServer(stats) {
  const server = stats.server;
  document.body.classList.toggle("gateway", isGateway(server));
  const tier = server.io === "uring" ? "io_uring" : server.io || "no worker yet";
  $("address").textContent = server.address;
  const since = new Date(server.started_unix_s * 1000).toLocaleString();
  $("footer").textContent = `Ringway ${server.version} · ${plural(server.workers, "worker")} on ${tier} · accept queue ${server.backlog} · pid ${server.pid} · up ${uptime(stats.uptime_s)}, since ${since}`;
  $("footer").title = server.io_note;
  const ready = stats.workers.filter((worker) => worker.state === "ready").length;
  setStatus(ready === server.workers ? "live" : "part", ready === server.workers ? "live" : `${ready} of ${server.workers} workers ready`);
}

// Calls `show` with the server's figures now and again and again. A supervisor that does not answer shows as lost.
function follow(everyMs, show) {
  const step = async () => {
    try {
      const stats = await fetchJson("/stats.json");
      showServer(stats);
      await show(stats);
    } catch (error) {
      setStatus("lost", "no answer from the supervisor");
      console.warn(error);
    }
    setTimeout(step, everyMs);
  };
  step();
}

const isLoopback = (host) => host === "localhost" || host === "[::1]" || host.startsWith("127.");

// Where a browser reaches the server: the first place that is no Unix socket. A wildcard stands for the host of this page, and so does
// a loopback address where this page came through a proxy or a tunnel from elsewhere. "": there is no such place.
function socketBase(server) {
  for (const place of server.address.split(",")) {
    const found = /^wss?:\/\/(.+):(\d+)\/?$/.exec(place.trim());
    if (!found) continue;
    const [, bound, port] = found;
    const here = location.hostname;
    const host = bound === "0.0.0.0" || bound === "[::]" || (isLoopback(bound) && !isLoopback(here)) ? here : bound;
    const scheme = server.options.tls === "only" ? "wss" : "ws";
    return `${scheme}://${host}:${port}`;
  }
  return "";
}

// The address of an application, as a path of its own below `name` where the service has many. "": none is served.
function socketOf(server, application, name) {
  const service = server.services.find((one) => one.application === application);
  const base = socketBase(server);
  if (!service || !base) return "";
  const path = service.path.replace(/\{[^}]*\}/g, name).replace(/\*$/, name);
  return encodeURI(`${base}${path}`);
}

// Why a WebSocket did not open, as far as a page may know.
function whyClosed(server, url) {
  if (server.options["allow-origin"]) return `no connection to ${url}: the server takes pages of some origins only; add --allow-origin=${location.origin}`;
  if (url.startsWith("wss:")) return `no connection to ${url}: does this browser trust the server's certificate?`;
  return `no connection to ${url}`;
}

// Says how to start a server with one of these applications.
function showAbsence(server, applications) {
  const name = applications[0];
  const place = server.address.startsWith("ws://") ? ` --wsuri=${server.address}` : "";
  const others = server.services.filter((one) => one.path !== "/*").map((one) => `${one.path}=${one.application}`);
  const beside = [...others, `/${name}=${name}`].join(",");
  const kinds = applications.join(" and no ");
  const text = socketBase(server)
    ? "Start it with the application on every path, or with a path of its own beside others:"
    : `It listens on ${server.address}, which no browser reaches. Start it at a port:`;
  const commands = [`server${place} --app=${name}`, `server${place} --service=${beside}`];
  const listed = commands.map((command) => element("pre", { textContent: command }));
  const heading = element("h1", { textContent: `This server has no ${kinds}` });
  $("absent").replaceChildren(heading, element("p", { textContent: text }), ...listed);
  $("absent").hidden = false;
  $("present").hidden = true;
}

for (const link of document.querySelectorAll("nav a")) {
  if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
}
