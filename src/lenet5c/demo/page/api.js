// Requests to the demo's server.

import { find } from "./dom.js";

async function post(path, body, type) {
  let reply;
  try {
    const headers = { "Content-Type": type, "X-Lenet5c-Token": find("meta[name=token]").content };
    reply = await fetch(path, { method: "POST", headers, body });
  } catch {
    throw new Error("The demo does not respond. Is it still running in its terminal?");
  }
  if (reply.ok) return reply;
  const { error } = await reply.json().catch(() => ({ error: reply.statusText }));
  throw new Error(error);
}

// Returns the response of a path as an object.
export async function ask(path, request = {}) {
  return (await post(path, JSON.stringify(request), "application/json")).json();
}

// Returns the response of a path as facts and the bytes after them.
export async function askBytes(path, request = {}) {
  const buffer = await (await post(path, JSON.stringify(request), "application/json")).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { facts, bytes: new Uint8Array(buffer, 4 + length) };
}

// Sends a file; returns the response as an object.
export async function sendFile(path, file) {
  return (await post(path, file, "application/octet-stream")).json();
}
