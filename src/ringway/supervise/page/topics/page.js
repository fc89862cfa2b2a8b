// All topics that a pattern matches, live, with their last messages.

const TOPICS_MAX = 500;
const KEPT_MAX = 50; // messages of each topic
const SHOWN_BYTES = 400;
const REFRESH_MS = 500;
const RATE_S = 5;

let server = null;
let client = null;
let chosen = null; // the topic whose messages are shown
const patterns = new Set(); // what is subscribed to
const topics = new Map(); // name → { count, messages: [{ at, text, kind, offset }], times }
const replayed = new Set(); // topics whose next gap stands before all that is kept
let leftOut = 0; // messages of topics beyond TOPICS_MAX
let gaps = 0;

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// ---- what comes ----

function entry(name) {
  const known = topics.get(name);
  if (known) return known;
  if (topics.size >= TOPICS_MAX) return null;
  const made = { count: 0, messages: [], times: [] };
  topics.set(name, made);
  return made;
}
function keep(topic, message) {
  topic.messages.push({ at: new Date(), ...message });
  if (topic.messages.length > KEPT_MAX) topic.messages.shift();
}

function noteMessage(event) {
  const topic = entry(event.topic);
  if (!topic) { leftOut += 1; return; }
  const text = "data" in event ? JSON.stringify(event.data) : `base64 ${event.base64}`;
  topic.count += 1;
  topic.times.push(performance.now());
  if (topic.times.length > 10_000) topic.times.shift();
  keep(topic, { text: text.slice(0, SHOWN_BYTES), kind: "", offset: event.offset });
}

function noteGap({ topic: name, messages }) {
  const topic = name && entry(name);
  if (replayed.delete(name)) {
    if (topic) keep(topic, { text: "what the server keeps:", kind: "note" });
    return;
  }
  gaps += 1;
  if (topic) keep(topic, { text: messages ? `${plural(messages, "message")} missing here` : "messages may be missing here", kind: "gap" });
}

// ---- what is shown ----

function ratePerS(topic, now) {
  while (topic.times.length && topic.times[0] < now - RATE_S * 1000) topic.times.shift();
  return topic.times.length / RATE_S;
}

// A row for each topic stays the same element, so that it can be clicked while figures change.
const rows = new Map();
function rowOf(name) {
  const known = rows.get(name);
  if (known) return known;
  const cells = Array.from({ length: 5 }, () => element("td"));
  cells[0].textContent = cells[0].title = name;
  const row = element("tr", { tabIndex: 0 }, ...cells);
  row.addEventListener("click", () => chooseTopic(name));
  row.addEventListener("keydown", (event) => { if (event.key === "Enter") chooseTopic(name); });
  rows.set(name, { row, cells });
  const after = [...rows.keys()].sort().find((other) => other > name);
  $("topics").insertBefore(row, after ? rows.get(after).row : null);
  return rows.get(name);
}

function refresh() {
  const now = performance.now();
  for (const [name, topic] of topics) {
    const { row, cells } = rowOf(name);
    const last = topic.messages.findLast((message) => !message.kind);
    const texts = [last?.text ?? "", `${short(ratePerS(topic, now))}/s`, topic.count.toLocaleString(), last ? uptime((Date.now() - last.at) / 1000) : ""];
    texts.forEach((text, at) => { if (cells[at + 1].textContent !== text) cells[at + 1].textContent = text; });
    row.setAttribute("aria-selected", String(name === chosen));
  }
  $("nothing").hidden = topics.size > 0;
  $("count").textContent = topics.size ? plural(topics.size, "topic") : "";
  const all = [...topics.values()].reduce((sum, topic) => sum + topic.count, 0);
  const notes = [leftOut && `${plural(leftOut, "message")} of further topics not shown`, gaps && plural(gaps, "gap")].filter(Boolean);
  $("totals").textContent = [plural(all + leftOut, "message"), ...notes].join(" · ");
  if (chosen) showOne();
}

function showOne() {
  const topic = topics.get(chosen);
  const line = ({ at, text, offset, kind }) => element("li", {}, element("time", { textContent: clock(at) }),
    element("span", { className: `text ${kind}`, textContent: text, title: text }), element("span", { className: "hint", textContent: offset ?? "" }));
  const list = $("one-messages");
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 20;
  list.replaceChildren(...(topic?.messages ?? []).map(line));
  if (follows) list.scrollTop = list.scrollHeight;
}

async function chooseTopic(name) {
  chosen = name;
  $("one").textContent = name;
  $("to").value = name;
  $("one-hint").hidden = true;
  $("one-messages").hidden = $("replay").hidden = false;
  $("one-presence").textContent = "";
  refresh();
  await countSubscribers();
}

async function countSubscribers() {
  const name = chosen;
  try {
    const { subscribers } = await client.presence(name);
    if (chosen === name) $("one-presence").textContent = `${plural(subscribers, "subscriber")} by this name`;
  } catch (error) {
    problem(error.message);
  }
}

function showSubscriptions() {
  $("subscriptions").replaceChildren(...[...patterns].map((pattern) => {
    const end = element("button", { type: "button", textContent: "×", title: `Unsubscribe from ${pattern}` });
    end.setAttribute("aria-label", end.title);
    end.addEventListener("click", () => unsubscribe(pattern));
    return element("li", {}, element("code", { textContent: pattern }), end);
  }));
}

// ---- what is asked for ----

async function subscribe(pattern, withKept = false) {
  try {
    if (withKept) replayed.add(pattern);
    await client.subscribe(pattern, withKept ? FROM_THE_BEGINNING : undefined);
    patterns.add(pattern);
    problem("");
  } catch (error) {
    replayed.delete(pattern);
    problem(`No subscription to ${pattern}: ${error.message}`);
  }
  showSubscriptions();
}
async function unsubscribe(pattern) {
  patterns.delete(pattern);
  showSubscriptions();
  try {
    await client.unsubscribe(pattern);
  } catch (error) {
    problem(error.message);
  }
}

// A JSON value if it is one, and else a text.
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function connect(url) {
  client = new PubSub(url, {
    open() {
      setPill("state", "open", "good");
      $("subscribe-button").disabled = $("publish-button").disabled = false;
      problem("");
      const again = patterns.size ? [...patterns] : [$("pattern").value];
      again.forEach((pattern) => subscribe(pattern));
    },
    closed(text, pause) {
      setPill("state", "connecting again", "warn");
      problem(text || `${whyClosed(server, url)}; next try in ${(pause / 1000).toFixed(1)} s`);
    },
    message: noteMessage,
    gap: noteGap,
  });
}

$("subscribe").addEventListener("submit", (event) => {
  event.preventDefault();
  const pattern = $("pattern").value.trim();
  subscribe(pattern, $("since").checked);
});
$("publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  const sent = performance.now();
  try {
    const { offset } = await client.publish($("to").value.trim(), valueOf($("data").value), $("retain").checked);
    $("published").textContent = `accepted after ${millis(performance.now() - sent)}${offset ? `, offset ${offset}` : ""}`;
    problem("");
  } catch (error) {
    $("published").textContent = "";
    problem(`Not published: ${error.message}`);
  }
});
$("replay").addEventListener("click", async () => {
  const topic = topics.get(chosen);
  if (topic) topic.messages = []; // what is kept comes whole
  await subscribe(chosen, true);
  await countSubscribers();
});
$("clear").addEventListener("click", () => {
  topics.clear();
  rows.clear();
  $("topics").replaceChildren();
  [leftOut, gaps] = [0, 0];
  refresh();
});
setInterval(refresh, REFRESH_MS);

follow(5000, (stats) => {
  server = stats.server;
  const url = socketOf(server, "pubsub", "pages");
  if (!url) showAbsence(server, ["pubsub"]);
  else if (!client) connect(url);
});
