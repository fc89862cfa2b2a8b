// mqtt.js, unmodified, over WebSocket: publishes numbered messages with QoS 1 and waits for all of them. Prints `ok`.

import mqtt from "mqtt";

const [url, count] = [process.argv[2], Number(process.argv[3])];
const heard = new Set();
const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: 20_000 });
const fail = (error) => { console.log(`${error}`); process.exit(1); };
client.on("error", fail);
client.on("close", () => fail("closed"));
client.on("message", (topic, payload) => {
  heard.add(payload.toString());
  if (heard.size < count) return;
  client.removeAllListeners("close");
  client.end(false, {}, () => console.log(`ok ${heard.size} messages`));
});
await client.subscribeAsync("mqttjs/#", { qos: 1 });
for (let at = 0; at < count; at += 1) client.publish("mqttjs/a", `message ${at} ${"x".repeat(at * 10)}`, { qos: 1 });
setTimeout(() => fail(`only ${heard.size} of ${count} messages`), 40_000).unref();
