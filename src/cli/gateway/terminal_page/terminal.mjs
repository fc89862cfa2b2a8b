// The page's terminal: xterm.js on a WebSocket of the subprotocol terminal.ringway.v1, where binary messages are bytes and a text message
// is the size (docs/terminals.md).
import { Terminal } from "./xterm.mjs";
import { FitAddon } from "./addon-fit.mjs";

const part = (name) => document.getElementById(name);
const isDark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => isDark.matches
  ? { background: "#16181b", foreground: "#e6e6e3", cursor: "#e6e6e3", selectionBackground: "#3d4f6b" }
  : {
      background: "#fdfdfc", foreground: "#1d1f21", cursor: "#1d1f21", selectionBackground: "#b9d2f7",
      white: "#6b6f73", brightWhite: "#1d1f21", yellow: "#8a6300", brightYellow: "#a07800", green: "#1e7a34", brightGreen: "#2a9444", cyan: "#0b7285", brightCyan: "#0c8599",
    };

const terminal = new Terminal({ cursorBlink: true, scrollback: 10000, fontFamily: "ui-monospace, monospace", fontSize: 14, theme: theme() });
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(part("terminal"));
fit.fit();
isDark.addEventListener("change", () => { terminal.options.theme = theme(); });
new ResizeObserver(() => fit.fit()).observe(part("terminal"));

let socket;

function say(text, isBad) {
  part("state").textContent = text;
  part("bar").className = isBad ? "bad" : "";
}

// What a Close says, in words.
function ending({ code, reason }, wasOpen) {
  if (reason) return `The session has ended: ${reason}.`;
  if (code === 1000) return "The session has ended.";
  if (!wasOpen) return "The server was not reached, or gives no terminal here.";
  return code === 1006 ? "The connection was lost." : `The connection has ended with code ${code}.`;
}

function connect() {
  const address = new URL(location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  address.searchParams.set("columns", terminal.cols);
  address.searchParams.set("rows", terminal.rows);
  const own = new WebSocket(address, "terminal.ringway.v1");
  let wasOpen = false;
  own.binaryType = "arraybuffer";
  own.onopen = () => {
    wasOpen = true;
    say("Connected", false);
    own.send(JSON.stringify({ columns: terminal.cols, rows: terminal.rows }));
    terminal.focus();
  };
  own.onmessage = ({ data }) => terminal.write(new Uint8Array(data));
  own.onclose = (close) => {
    say(ending(close, wasOpen), close.code !== 1000);
    part("again").hidden = false;
    part("again").focus();
  };
  socket = own;
  say("Connecting…", false);
  part("again").hidden = true;
}

const isOpen = () => socket.readyState === WebSocket.OPEN;
const encoder = new TextEncoder();
const showSize = () => { part("size").textContent = `${terminal.cols} × ${terminal.rows}`; };
terminal.onData((text) => { if (isOpen()) socket.send(encoder.encode(text)); });
terminal.onBinary((bytes) => { if (isOpen()) socket.send(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))); });
terminal.onResize(({ cols: columns, rows }) => {
  showSize();
  if (isOpen()) socket.send(JSON.stringify({ columns, rows }));
});
part("again").onclick = () => { terminal.reset(); connect(); };
showSize();
connect();
