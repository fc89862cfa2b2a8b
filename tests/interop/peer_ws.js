// ws on Node.js, in both roles: the same as common.py is for Python, with the same command line and the same words.
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocket, WebSocketServer } = require('ws');

const MESSAGE_BYTES_MAX = 2 << 20;
const SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20];
const CODES = [1000, 1001, 1011, 3000, 4999];
const STEP_TIMEOUT_MS = 20_000;

const [role, ...rest] = process.argv.slice(2);
const has = (name) => rest.includes(name);
const after = (name, more = 1) => rest[rest.indexOf(name) + more];
const deflate = has('--deflate');

function messages() {
  return SIZES.flatMap((size) => {
    const words = Buffer.from('Grüße, 世界 🦀 and plain words; '.repeat(size / 30 + 1));
    // A cut inside a character is filled up with dots.
    const text = new TextDecoder().decode(words.subarray(0, size)).replace(/\ufffd+$/, '');
    const binary = Buffer.alloc(size).map((_, index) => (index * 7919 + (index >> 8)) & 255);
    return [text + '.'.repeat(size - Buffer.byteLength(text)), binary];
  });
}

// In four, one of them empty: characters of text stay whole.
function partsOf(message) {
  const third = Math.floor(message.length / 3);
  const cut = typeof message === 'string' ? message.slice.bind(message) : message.subarray.bind(message);
  const safe = typeof message === 'string' && /[\udc00-\udfff]/.test(message[third] ?? '') ? third + 1 : third;
  return [cut(0, safe), cut(0, 0), cut(safe)];
}

class Connection {
  constructor(uri, tls) {
    this.socket = new WebSocket(uri, { perMessageDeflate: deflate, maxPayload: MESSAGE_BYTES_MAX, ...tls });
    this.inbox = [];
    this.waiting = [];
    this.socket.on('message', (data, isBinary) => this.put(isBinary ? data : data.toString()));
    this.opened = new Promise((open, fail) => this.socket.on('open', open).on('error', fail));
    this.closed = new Promise((close) => this.socket.on('close', (code) => close(code)));
  }

  put(message) {
    const next = this.waiting.shift();
    next ? next(message) : this.inbox.push(message);
  }

  receive() {
    return this.inbox.length ? Promise.resolve(this.inbox.shift()) : new Promise((next) => this.waiting.push(next));
  }
}

const same = (one, other) => typeof one === typeof other && (typeof one === 'string' ? one === other : one.equals(other));
const named = (message) => `${typeof message === 'string' ? 'text' : 'binary'} of ${Buffer.byteLength(message)} bytes`;

async function* steps(uri, tls) {
  const connection = new Connection(uri, tls);
  await connection.opened;
  const extensions = connection.socket.extensions;
  yield ['compression', (extensions !== '') === deflate];
  const all = messages();
  for (const message of all) {
    connection.socket.send(message);
    yield [named(message), same(await connection.receive(), message)];
  }
  all.forEach((message) => connection.socket.send(message));
  for (const message of all) {
    yield [`${named(message)} among many`, same(await connection.receive(), message)];
  }
  for (const message of all) {
    const parts = partsOf(message);
    const binary = typeof message !== 'string';
    parts.forEach((part, index) => connection.socket.send(part, { binary, fin: index === parts.length - 1 }));
    yield [`${named(message)} in fragments`, same(await connection.receive(), message)];
  }
  const pong = new Promise((next) => connection.socket.once('pong', next));
  connection.socket.ping('still there');
  yield ['ping', (await pong).toString() === 'still there'];
  connection.socket.close();
  // ws says 1005 for a close frame without a code.
  yield ['close without a code', [1000, 1005].includes(await connection.closed)];
  for (const code of CODES) {
    const one = new Connection(uri, tls);
    await one.opened;
    one.socket.close(code, 'so long');
    yield [`close ${code}`, (await one.closed) === code];
  }
}

const inTime = (promise) =>
  Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error('nothing came in time')), STEP_TIMEOUT_MS).unref())]);

async function client(uri) {
  const checks = steps(uri, has('--ca') ? { ca: fs.readFileSync(after('--ca')) } : {});
  const differences = [];
  let held = 0;
  try {
    for (let step = await inTime(checks.next()); !step.done; step = await inTime(checks.next())) {
      const [what, result] = step.value;
      result ? held++ : differences.push(`${what}: differs`);
    }
  } catch (error) {
    differences.push(`after ${held} checks: ${error.message}`);
  }
  console.log(differences.join('; ') || `ok ${held}`);
  process.exit(differences.length ? 1 : 0);
}

function server() {
  const saw = { opened: 0, compressed: 0, codes: {} };
  const options = has('--tls') ? { cert: fs.readFileSync(after('--tls')), key: fs.readFileSync(after('--tls', 2)) } : null;
  const listener = options ? https.createServer(options) : http.createServer();
  const all = new WebSocketServer({ server: listener, perMessageDeflate: deflate && { threshold: 0 }, maxPayload: MESSAGE_BYTES_MAX });
  all.on('connection', (socket) => {
    saw.opened++;
    saw.compressed += socket.extensions !== '' ? 1 : 0;
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => {
      if (data.length <= 1000) return socket.send(data, { binary: isBinary });
      // Larger answers in two frames.
      socket.send(data.subarray(0, 500), { binary: isBinary, fin: false });
      socket.send(data.subarray(500), { binary: isBinary, fin: true });
    });
    socket.on('close', (code) => (saw.codes[code] = (saw.codes[code] ?? 0) + 1));
  });
  listener.listen(0, '127.0.0.1', () => console.log(`listening ${listener.address().port}`));
  process.stdin.resume().on('end', () => {
    console.log(JSON.stringify(saw));
    process.exit(0);
  });
}

role === 'client' ? client(rest[0]) : server();
