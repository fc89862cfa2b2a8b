// A client of the JSON form of docs/pubsub.md, which connects again when its connection is lost.

const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 5000;

class PubSub {
  // `hear` has: open(), closed(text), message(event), gap(event); all but `message` may be left out.
  constructor(url, hear) {
    Object.assign(this, { url, hear, waiting: new Map(), nextId: 1, pause: RETRY_MS_MIN, ended: false });
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(this.url);
    let opened = false;
    this.socket.onopen = () => {
      opened = true;
      this.pause = RETRY_MS_MIN;
      this.hear.open?.();
    };
    this.socket.onmessage = (event) => this.note(JSON.parse(event.data));
    this.socket.onclose = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error("the connection was lost"));
      this.waiting.clear();
      if (this.ended) return;
      const code = event.code === 1006 ? "" : ` (${event.code}${event.reason ? ` ${event.reason}` : ""})`;
      this.hear.closed?.(opened ? `connection lost${code}` : "", this.pause);
      this.timer = setTimeout(() => this.connect(), this.pause);
      this.pause = Math.min(this.pause * 2, RETRY_MS_MAX);
    };
  }

  note(event) {
    const waiting = this.waiting.get(event.id);
    this.waiting.delete(event.id);
    if (event.op === "message") this.hear.message(event);
    else if (event.op === "gap") this.hear.gap?.(event);
    else if (event.op === "error") waiting?.reject(new Error(`${event.code}: ${event.text}`));
    else waiting?.resolve(event);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  // A promise of the answer. It fails if the server refuses, or if the connection ends first.
  ask(request) {
    if (!this.isOpen) return Promise.reject(new Error("there is no connection"));
    const id = this.nextId;
    this.nextId = id >= 4294967295 ? 1 : id + 1;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ ...request, id }));
    });
  }

  subscribe(topic, since) { return this.ask({ op: "subscribe", topic, ...(since ? { since } : {}) }); }
  unsubscribe(topic) { return this.ask({ op: "unsubscribe", topic }); }
  publish(topic, data, retain = false) { return this.ask({ op: "publish", topic, data, ...(retain ? { retain } : {}) }); }
  presence(topic) { return this.ask({ op: "presence", topic }); }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.socket.close(1000);
  }
}

// Before everything that a topic keeps: of another epoch, so all that is kept comes, behind a gap.
const FROM_THE_BEGINNING = { epoch: "0", offset: 0 };
