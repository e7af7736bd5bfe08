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
  const { error } = await reply.json().catch(() => ({ error: reply.statusText }));
  throw new Error(error);
}

// Returns the answer of a path as an object.
export async function ask(path, request = {}) {
  return (await post(path, request)).json();
}

// Returns the answer of a path as facts and the bytes after them.
export async function askBytes(path, request) {
  const buffer = await (await post(path, request)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { facts, buffer, start: 4 + length };
}

// Asks for the newest state only: one request under way, and one waiting that newer ones replace.
export class Latest {
  #busy = false;
  #next = null;

  constructor(send, receive, fail) {
    Object.assign(this, { send, receive, fail });
  }

  async push(request) {
    this.#next = request;
    if (this.#busy) return;
    this.#busy = true;
    while (this.#next) {
      const request = this.#next;
      this.#next = null;
      await this.send(request).then((answer) => this.receive(answer, request)).catch(this.fail);
    }
    this.#busy = false;
  }
}
