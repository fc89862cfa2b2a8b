"""paho, unmodified, over WebSocket: publishes numbered messages with QoS 1 and waits for all of them. Prints `ok`."""

import sys
import threading

import paho.mqtt.client as mqtt

port, count = int(sys.argv[1]), int(sys.argv[2])
heard, all_heard = set(), threading.Event()


def on_message(_client, _data, message):
    heard.add(message.payload)
    if len(heard) == count:
        all_heard.set()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets")
client.on_message = on_message
subscribed = threading.Event()
client.on_subscribe = lambda *_: subscribed.set()
client.connect("127.0.0.1", port)
client.loop_start()
client.subscribe("paho/#", qos=1)
assert subscribed.wait(20), "no answer to the subscription"
for at in range(count):
    client.publish("paho/a", f"message {at} " + "x" * at * 10, qos=1)
if not all_heard.wait(40):
    sys.exit(f"only {len(heard)} of {count} messages")
client.disconnect()
print(f"ok {len(heard)} messages")
