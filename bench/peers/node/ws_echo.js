// ws with bufferutil on Node.js: permessage-deflate off unless asked for (its default for servers), UTF-8 validated (its default). It writes
// once per message, header and payload gathered.
//
// --deflate takeover|no-takeover: permessage-deflate with its defaults: level and memory level of zlib, window 15, a threshold of 1024 bytes
// without takeover. --tls CERTIFICATE KEY: on an https server with its defaults, as in its README. --fd N: the inherited listener. --broadcast: as in
// its README, a loop over all open clients.
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocket, WebSocketServer } = require('ws');

// Larger messages are refused, by every peer.
const MESSAGE_BYTES_MAX = 100 * 1024 * 1024;
// Node.js listens again, with 511 by default.
const BACKLOG = 8192;

const broadcast = process.argv.includes('--broadcast');
const deflate = process.argv.includes('--deflate') ? process.argv[process.argv.indexOf('--deflate') + 1] : 'off';
if (!['off', 'takeover', 'no-takeover'].includes(deflate)) {
  console.error('--deflate needs takeover or no-takeover');
  process.exit(2);
}
const tls = process.argv.indexOf('--tls');
const fd = Number(process.argv[process.argv.indexOf('--fd') + 1]);
if (!Number.isInteger(fd)) {
  console.error('--fd needs the number of a listening socket');
  process.exit(2);
}
// bufferutil falls back to JavaScript without a word.
if (!/native code/.test(require('bufferutil').unmask)) {
  console.error('bufferutil has no native code here');
  process.exit(1);
}

const server =
  tls < 0
    ? http.createServer()
    : https.createServer({ cert: fs.readFileSync(process.argv[tls + 1]), key: fs.readFileSync(process.argv[tls + 2]) });
const websockets = new WebSocketServer({
  server,
  perMessageDeflate: deflate !== 'off' && { serverNoContextTakeover: deflate === 'no-takeover' },
  maxPayload: MESSAGE_BYTES_MAX,
  // Only a broadcast needs the set of clients.
  clientTracking: broadcast,
});

websockets.on('connection', (connection) => {
  // A client that resets its connection is how every run ends: not worth a line.
  connection.on('error', () => {});
  connection.on('message', (message, isBinary) => {
    if (!broadcast) {
      connection.send(message, { binary: isBinary });
      return;
    }
    for (const client of websockets.clients) {
      if (client.readyState === WebSocket.OPEN) {
        client.send(message, { binary: isBinary });
      }
    }
  });
});

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen({ fd, backlog: BACKLOG }, () => console.log('ready'));
