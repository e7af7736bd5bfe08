// Requests to the demo's server.

const token = document.querySelector("meta[name=token]").content;

async function post(path, request) {
  let reply;
  try {
    reply = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Lenet5c-Token": token },
      body: JSON.stringify(request),
    });
  } catch {
    throw new Error("The demo does not answer. Is it still running in its terminal?");
  }
  if (reply.ok) return reply;
  let why = reply.statusText;
  try {
    why = (await reply.json()).error;
  } catch {
    // The status has to do.
  }
  throw new Error(why);
}

// What a path answers, as an object.
export async function ask(path, request = {}) {
  return (await post(path, request)).json();
}

// What a path answers, as facts and the bytes behind them.
export async function askBytes(path, request) {
  const buffer = await (await post(path, request)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { facts, buffer, start: 4 + length };
}

// Asks for the newest state alone: one request under way, and one waiting that newer ones replace.
export class Latest {
  constructor(send, receive, fail) {
    Object.assign(this, { send, receive, fail, busy: false, next: null });
  }

  push(request) {
    this.next = request;
    if (!this.busy) this.#run();
  }

  async #run() {
    this.busy = true;
    while (this.next) {
      const request = this.next;
      this.next = null;
      try {
        this.receive(await this.send(request), request);
      } catch (error) {
        this.fail(error);
      }
    }
    this.busy = false;
  }
}
