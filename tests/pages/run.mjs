// The supervisor's pages in Chromium, as a user has them. See scripts/pages.
//
// Owns: the servers, the browser, and what is expected. Waits for what a page shows and for nothing else; a page that logs an error fails.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import net from "node:net";
import path from "node:path";
import { parseArgs } from "node:util";
import puppeteer from "puppeteer-core";

const { values: options } = parseArgs({
  options: { server: { type: "string" }, wsperf: { type: "string" }, chromium: { type: "string" }, screenshots: { type: "string" }, only: { type: "string" } },
});

// More than any step takes on a loaded machine.
const PATIENCE_MS = 60_000;
const DESKTOP = { width: 1280, height: 900 };
// Without `isMobile`, which would load the page anew.
const PHONE = { width: 390, height: 844, deviceScaleFactor: 2 };

// ---- a server ----

class Server {
  static start(...more) {
    return Server.spawn(options.server, ["--wsuri=ws://127.0.0.1:0", ...more]);
  }

  static gateway(...more) {
    return Server.spawn(path.join(path.dirname(options.server), "ringway"), ["gateway", "127.0.0.1:0", ...more]);
  }

  static async spawn(program, args) {
    const server = new Server();
    server.child = spawn(program, [...args, "--port=auto", "--format=json"], { stdio: ["ignore", "pipe", "pipe"] });
    let complaints = "";
    server.child.stderr.on("data", (text) => { complaints += text; });
    const lines = createInterface({ input: server.child.stdout });
    const exit = once(server.child, "exit").then(() => { throw new Error(`the server has ended: ${complaints}`); });
    const [line] = await Promise.race([once(lines, "line"), exit]);
    exit.catch(() => {}); // later it ends because it is stopped
    lines.on("line", () => {}); // statistics
    server.ready = JSON.parse(line);
    return server;
  }

  get web() { return this.ready.web; }
  stats() { return fetch(`${this.web}stats.json`).then((response) => response.json()); }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, "exit");
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), PATIENCE_MS);
    await gone;
    clearTimeout(timer);
  }
}

// ---- a tab ----

let browser;
let failures = [];

async function open(url, viewport = DESKTOP, scheme = "light") {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => failures.push(`${url}: ${error.message}`));
  page.on("console", (message) => {
    // A connection that fails is logged by the browser itself; what the page makes of it is tested.
    const isOwn = !/WebSocket connection to|Failed to load resource/.test(message.text());
    if (message.type() === "error" && isOwn) failures.push(`${url}: ${message.text()}`);
  });
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.evaluateOnNewDocument(breakable);
  await page.goto(url);
  return page;
}

// Runs in the page: `cutLine(true)` ends its WebSockets, and no new one opens until `cutLine(false)`.
function breakable() {
  const sockets = [];
  let isCut = false;
  window.cutLine = (cut) => {
    isCut = cut;
    if (cut) sockets.forEach((socket) => socket.close());
  };
  window.WebSocket = class extends WebSocket {
    constructor(url, ...protocols) {
      super(isCut ? "ws://127.0.0.1:1/" : url, ...protocols);
      sockets.push(this);
    }
  };
}

// Waits until something holds in a page. By a timer: a tab in the background draws no frames.
const holds = (page, condition, ...values) => page.waitForFunction(condition, { polling: 50 }, ...values);

// Waits until the text of an element is as it should be: a string that it has, or a pattern.
async function shows(page, selector, wanted) {
  const pattern = wanted instanceof RegExp ? wanted : new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  try {
    await holds(
      page, (selector, source, flags) => new RegExp(source, flags).test(document.querySelector(selector)?.textContent ?? ""),
      selector, pattern.source, pattern.flags,
    );
  } catch (error) {
    const text = await page.evaluate((selector) => document.querySelector(selector)?.textContent, selector);
    const problem = await page.evaluate(() => document.querySelector("#problem")?.textContent);
    throw new Error(`${page.url()}: ${selector} shows ${JSON.stringify(text)}, not ${pattern}; problem: ${JSON.stringify(problem)}`, { cause: error });
  }
}
const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const number = async (page, selector) => Number((await text(page, selector)).replace(/[^\d.-]/g, ""));
async function type(page, selector, value) {
  await page.$eval(selector, (element) => { element.value = ""; });
  await page.type(selector, value);
}
const submit = (page, form) => page.$eval(form, (element) => element.requestSubmit());

// Nothing is wider than the screen, and every control has a name.
async function fits(page) {
  const { scroll, width, nameless } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    width: document.documentElement.clientWidth,
    nameless: [...document.querySelectorAll("input, select, textarea, button")]
      .filter((control) => !control.labels?.length && !control.getAttribute("aria-label") && !control.textContent.trim())
      .map((control) => control.id),
  }));
  assert.ok(scroll <= width, `${page.url()}: ${scroll} pixels of content on ${width}`);
  assert.deepEqual(nameless, [], page.url());
}

// The page as it is, in three looks: desktop light and dark, phone.
async function picture(page, name) {
  for (const [look, viewport, scheme] of [["light", DESKTOP, "light"], ["dark", DESKTOP, "dark"], ["phone", PHONE, "light"], ["phone-dark", PHONE, "dark"]]) {
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await fits(page);
    if (options.screenshots) {
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
      await page.screenshot({ path: path.join(options.screenshots, `${name}-${look}.png`), fullPage: true });
    }
  }
  await page.setViewport(DESKTOP);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
}

// ---- what users do ----

const tests = {
  async dashboard_shows_load_and_echoes() {
    const server = await Server.start("--workers=2", "--app=echo");
    const load = spawn(options.wsperf, ["echo", server.ready.address, "--connections=20", "--rate=2000", "--duration=1h", "--warmup=0", "--cpus=none", "--silence"], { stdio: "ignore" });
    try {
      const page = await open(server.web);
      await shows(page, "#status", "live");
      await shows(page, "#t-clients", /^20$/);
      await shows(page, "#t-messages", /k\/s$/);
      await shows(page, "#workers", /1ready/);
      await shows(page, "#options-count", /^\d\d/);
      assert.equal(await page.$eval("nav a[aria-current]", (link) => link.textContent), "Dashboard");
      await page.click("#echo-connect");
      await shows(page, "#echo-state", "open");
      await submit(page, "#echo-form");
      await shows(page, "#rtt-count", /^1$/);
      await shows(page, "#echo-log", "← Hello, Ringway!");
      // The plots have what came before the page was opened, and go on.
      const drawn = () => page.evaluate(() => [...document.querySelectorAll(".plot canvas")].filter((canvas) => canvas.clientWidth).map((canvas) => canvas.toDataURL().length));
      const [before, count] = [await drawn(), (await drawn()).length];
      assert.equal(count, 6);
      await holds(page, (before) => document.querySelector(".plot canvas").toDataURL().length !== before, before[0]);
      if (options.screenshots) await new Promise((resolve) => setTimeout(resolve, 25_000));
      await picture(page, "dashboard");
      const history = await fetch(`${server.web}history.json`).then((response) => response.json());
      assert.equal(history.samples.at(-1).messages_in.length, 2);
    } finally {
      load.kill();
      await server.stop();
    }
  },

  async dashboard_of_a_gateway_shows_sessions_and_streams() {
    const target = net.createServer((socket) => socket.pipe(socket).on("error", () => {}));
    await once(target.listen(0, "127.0.0.1"), "listening");
    const server = await Server.gateway(`127.0.0.1:${target.address().port}`);
    try {
      const page = await open(server.web);
      await shows(page, "#t-sessions", /^0$/);
      await page.evaluate((url) => {
        const socket = new WebSocket(url);
        socket.onopen = () => setInterval(() => socket.send(new Uint8Array(50_000)), 20);
      }, server.ready.address);
      await shows(page, "#t-sessions", /^1$/);
      await shows(page, "#t-streams", /MB\/s$/);
      await shows(page, "#t-connect", /(µs|ms)$/);
      // It has no topics and echoes nothing.
      const hidden = await page.$$eval(".servers", (parts) => parts.every((part) => part.clientWidth === 0));
      assert.ok(hidden);
      if (options.screenshots) await new Promise((resolve) => setTimeout(resolve, 10_000));
      await picture(page, "gateway");
    } finally {
      await server.stop();
      target.close();
    }
  },

  async two_tabs_chat_and_who_comes_back_reads_what_was_missed() {
    const server = await Server.start("--workers=2", "--app=pubsub");
    try {
      const join = async (name) => {
        const page = await open(`${server.web}chat#kitchen`);
        await shows(page, "#status", "live");
        await type(page, "#name", name);
        await submit(page, "#join");
        await shows(page, "#state", "joined");
        return page;
      };
      const say = async (page, text) => {
        await type(page, "#text", text);
        await submit(page, "#say");
      };
      const ada = await join("Ada");
      await shows(ada, "#presence", "only you are here");
      await say(ada, "Is anybody here?");
      await shows(ada, "#messages .own .body", "Is anybody here?");
      // A newcomer reads what was said before, without a gap.
      const ben = await join("Ben");
      await shows(ben, "#messages li:not(.own) .from", "Ada");
      await shows(ben, "#messages li:not(.own) .body", "Is anybody here?");
      await shows(ben, "#presence", "2 are here");
      await say(ben, "I am. <b>Hello</b> Ada!");
      await shows(ada, "#messages li:not(.own) .body", "I am. <b>Hello</b> Ada!");
      assert.equal(await ada.$$eval("#messages .body b", (bold) => bold.length), 0, "text is no markup");
      // Ben's line is cut, and meanwhile Ada speaks.
      await ben.evaluate(() => cutLine(true));
      await shows(ben, "#state", "connecting again");
      await say(ada, "It works on all workers.");
      await shows(ada, "#messages .own:last-child .body", "It works on all workers.");
      assert.doesNotMatch(await text(ben, "#messages"), /all workers/);
      await ben.evaluate(() => cutLine(false));
      await shows(ben, "#messages", "It works on all workers.");
      await shows(ben, "#messages .note", "connection lost");
      await ben.reload();
      await shows(ben, "#status", "live");
      await submit(ben, "#join");
      await shows(ben, "#messages", "It works on all workers.");
      for (const page of [ada, ben]) {
        assert.equal(await page.$$eval("#messages .gap", (gaps) => gaps.length), 0);
        const texts = await page.$$eval("#messages .body", (bodies) => bodies.map((body) => body.textContent));
        assert.deepEqual(texts, ["Is anybody here?", "I am. <b>Hello</b> Ada!", "It works on all workers."]);
      }
      await ada.bringToFront();
      await picture(ada, "chat");
    } finally {
      await server.stop();
    }
  },

  async a_chat_survives_a_worker_that_dies() {
    const server = await Server.start("--workers=1", "--app=pubsub");
    try {
      const page = await open(`${server.web}chat`);
      await shows(page, "#status", "live");
      await submit(page, "#join");
      await shows(page, "#state", "joined");
      await type(page, "#text", "before");
      await submit(page, "#say");
      await shows(page, "#messages", "before");
      const { workers } = await server.stats();
      process.kill(workers[0].pid, "SIGKILL");
      // Its history is lost, and the page says so.
      await shows(page, "#messages .gap", "missing here");
      await shows(page, "#state", "joined");
      await type(page, "#text", "after");
      await submit(page, "#say");
      await holds(page, () => [...document.querySelectorAll("#messages .own")].at(-1)?.textContent.includes("after"));
      await holds(page, () => !document.querySelector("#messages .unsent"));
    } finally {
      await server.stop();
    }
  },

  async fan_out_reaches_all_through_broadcast_and_pubsub() {
    const server = await Server.start("--workers=2", "--service=/live/*=broadcast,/topics=pubsub");
    try {
      for (const way of ["broadcast", "pubsub"]) {
        const page = await open(`${server.web}fanout`);
        await shows(page, "#through", "broadcastpubsub");
        await page.select("#through", way);
        await type(page, "#receivers", "40");
        await type(page, "#rate", "50");
        await submit(page, "#setup");
        await shows(page, "#state", "running");
        await shows(page, "#t-open", /^40$/);
        await holds(page, () => Number(document.querySelector("#t-published").textContent.replace(/\D/g, "")) >= 100);
        if (options.screenshots && way === "broadcast") await new Promise((resolve) => setTimeout(resolve, 12_000));
        await picture(page, `fanout-${way}`);
        await submit(page, "#setup");
        await shows(page, "#state", "stopped");
        const [published, missing, duplicates, overtaken] = await Promise.all(["published", "missing", "duplicates", "overtaken"].map((id) => number(page, `#t-${id}`)));
        assert.deepEqual({ missing, duplicates, overtaken }, { missing: 0, duplicates: 0, overtaken: 0 });
        await shows(page, "#t-rate-sub", `${(published * 40).toLocaleString("en-US")} of ${(published * 40).toLocaleString("en-US")}`);
        assert.match(await text(page, "#t-p99-sub"), /whole run ≤ [\d.]+ (µs|ms|s), max/);
        await page.close();
      }
    } finally {
      await server.stop();
    }
  },

  async topics_are_subscribed_to_published_and_replayed() {
    const server = await Server.start("--workers=2", "--app=pubsub");
    try {
      const page = await open(`${server.web}topics`);
      await shows(page, "#state", "open");
      await shows(page, "#subscriptions", "#");
      const publish = async (topic, data) => {
        await type(page, "#to", topic);
        await type(page, "#data", data);
        await submit(page, "#publish");
      };
      for (const bid of ["1.0810", "1.0811", "1.0813"]) {
        await publish("prices/eur/spot", `{"bid": ${bid}}`);
        await shows(page, "#topics tr td:nth-child(2)", `{"bid":${Number(bid)}}`);
      }
      await page.click("#retain");
      await publish("notes/today", "no JSON at all");
      await shows(page, "#published", /accepted after .+, offset 1/);
      await shows(page, "#count", "2 topics");
      await shows(page, "#topics", "\"no JSON at all\"");
      await shows(page, "#topics tr:nth-child(2) td:nth-child(4)", /^3$/);
      await page.click("#topics tr:nth-child(2)");
      await shows(page, "#one", "prices/eur/spot");
      await shows(page, "#one-messages", "1.0813");
      await shows(page, "#one-presence", "0 subscribers by this name");
      await page.click("#replay");
      await shows(page, "#one-messages", /what the server keeps.*1\.081\D.*1\.0811.*1\.0813/s);
      await shows(page, "#one-presence", "1 subscriber by this name");
      await picture(page, "topics");
      // A retained message waits for later subscribers, and a bad pattern is refused in words.
      const later = await open(`${server.web}topics`);
      await shows(later, "#topics", "notes/today");
      await type(later, "#pattern", "prices/#/spot");
      await submit(later, "#subscribe");
      await shows(later, "#problem", "bad_topic");
      await later.click("#subscriptions button");
      await shows(later, "#subscriptions", /^$/);
    } finally {
      await server.stop();
    }
  },

  async a_terminal_is_typed_into_resized_and_ended() {
    const server = await Server.gateway("--workers=1", "--pty", "--pty-page", "--exec=sh");
    try {
      // Below a path, as behind a proxy that adds one.
      const page = await open(`${server.ready.address.replace("ws:", "http:").replace(/\/?$/, "/")}below/`);
      await shows(page, "#state", "Connected");
      const enter = async (line) => {
        await page.click("#terminal");
        await page.keyboard.type(`${line}\n`);
      };
      await enter("echo $((6 * 7))-h\u00e9llo");
      await shows(page, ".xterm-rows", "42-h\u00e9llo");
      const size = async () => {
        const [columns, rows] = (await text(page, "#size")).split(" \u00d7 ");
        await enter("stty size");
        await shows(page, ".xterm-rows", new RegExp(`${rows} ${columns}\\D`));
        return Number(columns);
      };
      const wide = await size();
      const shown = await text(page, "#size");
      await page.setViewport({ width: 700, height: 500 });
      await holds(page, (shown) => document.querySelector("#size").textContent !== shown, shown);
      assert.ok((await size()) < wide);
      await page.setViewport(DESKTOP);
      await picture(page, "terminal");
      await enter("exit 3");
      await shows(page, "#state", "The session has ended: exit status 3.");
      await page.click("#again");
      await shows(page, "#state", "Connected");
      await enter("echo again-$((1 + 1))");
      await shows(page, ".xterm-rows", "again-2");
    } finally {
      await server.stop();
    }
  },

  async xterms_own_addon_is_served_as_well() {
    const server = await Server.gateway("--workers=1", "--pty", "--pty-page", "--exec=sh");
    try {
      const address = server.ready.address.replace(/\/?$/, "/");
      const page = await open(address.replace("ws:", "http:"));
      await shows(page, "#state", "Connected");
      // It sends what is typed in text messages.
      const addon = await readFile(new URL(import.meta.resolve("@xterm/addon-attach").replace(/\.js$/, ".mjs")), "utf8");
      await page.evaluate(async (address, addon) => {
        const { AttachAddon } = await import(URL.createObjectURL(new Blob([addon], { type: "text/javascript" })));
        const { Terminal } = await import("./xterm.mjs");
        const place = document.createElement("div");
        place.id = "attached";
        document.body.append(place);
        const terminal = new Terminal();
        terminal.open(place);
        const socket = new WebSocket(address);
        terminal.loadAddon(new AttachAddon(socket));
        await new Promise((resolve) => { socket.onopen = resolve; });
        terminal.focus();
      }, address, addon);
      await page.keyboard.type("echo $((40 + 2))-h\u00e9llo\n");
      await shows(page, "#attached .xterm-rows", "42-h\u00e9llo");
    } finally {
      await server.stop();
    }
  },

  async a_page_without_its_application_says_how_to_start_one() {
    const server = await Server.start("--workers=1", "--app=echo");
    try {
      for (const [name, application] of [["chat", "pubsub"], ["fanout", "broadcast"], ["topics", "pubsub"]]) {
        const page = await open(`${server.web}${name}`);
        await shows(page, "#absent h1", `This server has no ${application}`);
        await shows(page, "#absent", `server --wsuri=${server.ready.address} --app=${application}`);
        await shows(page, "#absent", `--service=/${application}=${application}`);
        assert.equal(await page.$eval("#present", (present) => present.hidden), true);
        await picture(page, `absent-${name}`);
        await page.close();
      }
    } finally {
      await server.stop();
    }
  },

  async a_server_that_takes_other_origins_only_is_told_so() {
    const server = await Server.start("--workers=1", "--app=pubsub", "--allow-origin=https://example.com");
    try {
      const page = await open(`${server.web}topics`);
      await shows(page, "#problem", `add --allow-origin=${new URL(server.web).origin}`);
    } finally {
      await server.stop();
    }
    const allowed = await Server.start("--workers=1", "--app=pubsub", "--allow-origin=*://127.0.0.1:*");
    try {
      const page = await open(`${allowed.web}topics`);
      await shows(page, "#state", "open");
    } finally {
      await allowed.stop();
    }
  },
};

// ---- all of them ----

if (options.screenshots) await mkdir(options.screenshots, { recursive: true });
browser = await puppeteer.launch({
  executablePath: options.chromium,
  // Tabs in the background keep their timers; as root there is no sandbox.
  args: ["--disable-background-timer-throttling", "--disable-renderer-backgrounding", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])],
});
const chosen = Object.entries(tests).filter(([name]) => name.includes(options.only ?? ""));
let failed = 0;
try {
  for (const [name, test] of chosen) {
    const began = performance.now();
    failures = [];
    try {
      await test();
      assert.deepEqual(failures, []);
      console.log(`ok      ${name}  ${((performance.now() - began) / 1000).toFixed(1)} s`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}\n${failures.join("\n")}`);
    }
    for (const page of (await browser.pages()).slice(1)) await page.close();
  }
} finally {
  await browser.close();
}
if (!chosen.length) console.log(`no test has ${options.only} in its name`);
process.exitCode = failed || !chosen.length ? 1 : 0;
