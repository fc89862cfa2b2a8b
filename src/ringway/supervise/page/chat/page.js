// A chat over topics `chat/ROOM`. A message is { id, name, text, at }: strings, and the time in milliseconds since 1970.

const SHOWN_MAX = 500;
const PRESENCE_MS = 4000;

let server = null;
let client = null;
let topic = "";
// Up to where the topic was read. A topic without history has no epoch yet.
let [epoch, offset] = [null, 0];
let isGapExpected = false; // the one before all that is kept says nothing
let seen = new Set(); // ids of messages that are shown
let presenceTimer = 0;

// What a browser keeps, where it may.
const kept = (storage) => { try { return window[storage]; } catch { return {}; } };
const [store, tab] = [kept("localStorage"), kept("sessionStorage")];
const me = tab.me ??= Math.random().toString(36).slice(2, 10);
$("name").value = store.name ?? `guest ${100 + Math.floor(Math.random() * 900)}`;
$("room").value = roomOf(location.hash) || "lobby";

function roomOf(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return ""; // it was typed, and is no room
  }
}

const hueOf = (name) => hue([...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 997, 7) % 8);

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// ---- what is shown ----

// Stays at the end if the reader was there.
function show(item) {
  const list = $("messages");
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(item);
  while (list.childElementCount > SHOWN_MAX) list.firstChild.remove();
  if (follows) list.scrollTop = list.scrollHeight;
}
const note = (text, kind = "") => show(element("li", { className: `note ${kind}`, textContent: text }));

function showMessage({ id, name, text, at }, own) {
  const from = element("div", { className: "from" }, own ? "" : name, element("time", { textContent: clock(new Date(at)) }));
  from.style.setProperty("--hue", hueOf(name));
  const item = element("li", { className: own ? "own" : "" }, from, element("div", { className: "body", textContent: text }));
  item.dataset.id = id;
  show(item);
  return item;
}

// Anybody may publish anything to the topic.
function isMessage(data) {
  return typeof data === "object" && data !== null && Number.isFinite(data.at)
    && [["id", 40], ["name", 32], ["text", 2000]].every(([key, most]) => typeof data[key] === "string" && data[key].length <= most);
}

function noteMessage(event) {
  const { data } = event;
  if (event.topic !== topic) return;
  offset = Math.max(offset, event.offset ?? 0);
  if (!epoch) learnEpoch();
  if (!isMessage(data) || seen.has(data.id)) return;
  seen.add(data.id);
  if (!$("messages").querySelector(`[data-id="${CSS.escape(data.id)}"]`)) showMessage(data, data.id.startsWith(me));
}

function noteGap({ messages }) {
  if (!isGapExpected) note(messages ? `${plural(messages, "message")} missing here` : "messages may be missing here", "gap");
  isGapExpected = false;
}

// ---- the room ----

async function enter() {
  const entered = topic;
  setPill("state", "joining", "warn");
  try {
    isGapExpected = !epoch;
    const ack = await client.subscribe(topic, epoch ? { epoch, offset } : FROM_THE_BEGINNING);
    if (entered !== topic) return;
    if (ack.epoch !== epoch) [epoch, offset] = [ack.epoch ?? null, 0];
    setPill("state", "joined", "good");
    problem("");
    $("text").disabled = $("send").disabled = false;
    $("text").placeholder = `Message to ${topic.slice(5)}`;
    await countPresence();
    // What was kept has come before this answer.
    if (entered === topic && epoch && epoch === ack.epoch) offset = Math.max(offset, ack.offset);
  } catch (error) {
    setPill("state", "not joined", "bad");
    problem(`The server does not let you in: ${error.message}`);
  }
}

// A message does not say its epoch, but the answer to a subscription does.
async function learnEpoch() {
  const of = topic;
  const ack = await client.subscribe(of).catch(() => ({}));
  if (of === topic) epoch ??= ack.epoch ?? null;
}

async function countPresence() {
  clearTimeout(presenceTimer);
  if (!client?.isOpen) return;
  try {
    const { subscribers } = await client.presence(topic);
    $("presence").textContent = subscribers === 1 ? "only you are here" : `${subscribers.toLocaleString()} are here`;
  } catch (error) {
    $("presence").textContent = "";
  }
  presenceTimer = setTimeout(countPresence, PRESENCE_MS);
}

function join() {
  const url = socketOf(server, "pubsub", "pages");
  const room = $("room").value.trim().replace(/[/+#\p{Cc}]/gu, "-");
  if (!room || !url) return;
  client?.end();
  [topic, epoch, offset, seen] = [`chat/${room}`, null, 0, new Set()];
  $("room").value = room;
  location.hash = encodeURIComponent(room);
  store.name = $("name").value;
  $("messages").replaceChildren();
  setPill("state", "connecting", "warn");
  client = new PubSub(url, {
    open: enter,
    message: noteMessage,
    gap: noteGap,
    closed(text, pause) {
      setPill("state", "connecting again", "warn");
      $("text").disabled = $("send").disabled = true;
      $("presence").textContent = "";
      if (text) note(text);
      else problem(`${whyClosed(server, url)}; next try in ${(pause / 1000).toFixed(1)} s`);
    },
  });
  $("text").focus();
}

async function say(text) {
  const message = { id: `${me}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`, name: $("name").value.trim() || "somebody", text, at: Date.now() };
  const item = showMessage(message, true);
  item.classList.add("unsent");
  $("messages").scrollTop = $("messages").scrollHeight;
  try {
    await client.publish(topic, message);
    item.classList.remove("unsent");
  } catch (error) {
    note(`not sent: ${error.message}`, "gap");
  }
}

$("join").addEventListener("submit", (event) => { event.preventDefault(); join(); });
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || !client?.isOpen) return;
  $("text").value = "";
  say(text);
});

follow(5000, (stats) => {
  server = stats.server;
  $("join-button").disabled = false;
  if (!socketOf(server, "pubsub", "pages")) showAbsence(server, ["pubsub"]);
});
