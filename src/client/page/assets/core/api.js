// Requests to the client. Every URL is relative, so that the page works below any path.
//
// Every request carries the token in a header. The answer 401 ends the page's session.
import { keep, kept } from "./storage.js";
import { t } from "./texts.js";

const ROOT = "api/v1/";

export class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

let onSessionLost = () => {};

/** Sets what happens when the token is no longer valid. */
export function whenSessionLost(action) {
  onSessionLost = action;
}

export const hasToken = () => Boolean(kept("token"));
export const mayManage = () => kept("rights") !== "read";

export function forgetToken() {
  keep("token", null);
  keep("rights", null);
}

const authorization = () => {
  const token = kept("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
};

async function failure(response, hasShownToken = true) {
  if (response.status === 401 && hasShownToken) {
    forgetToken();
    onSessionLost();
  }
  let error;
  try {
    ({ error } = await response.json());
  } catch {
    // The body is not from the client, but from a proxy in between.
  }
  const message = error?.message ?? t.errors.status(response.status);
  return new ApiError(error?.code ?? "failed", message, response.status);
}

/** Sends a request. Throws `ApiError` for every status but success. */
export async function request(path, options = {}) {
  const { method = "GET", json, accept, signal, showsToken = true } = options;
  const headers = showsToken ? authorization() : {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (accept) headers.Accept = accept;
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(ROOT + path, {
      method, headers, body, signal, cache: "no-store", credentials: "omit", redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("client_gone", t.errors.unreachable);
  }
  if (!response.ok) throw await failure(response, showsToken);
  return response;
}

const value = (answer) => {
  if (answer.error) throw new ApiError(answer.error.code, answer.error.message);
  return answer.value;
};

/** Carries out a command and returns its value. */
export async function command(name, words = {}, { signal } = {}) {
  const response = await request("command", {
    method: "POST", json: { command: name, ...words }, signal,
  });
  return value(await response.json());
}

/** Carries out a command that reports progress. */
export async function commandWithProgress(name, words, onProgress, signal) {
  const response = await request("command", {
    method: "POST", json: { command: name, ...words }, accept: "application/x-ndjson", signal,
  });
  let last;
  for await (const line of lines(response.body)) {
    const answer = JSON.parse(line);
    if (answer.progress) onProgress(answer.progress);
    else last = answer;
  }
  if (!last) throw new ApiError("client_gone", t.errors.unreachable);
  return value(last);
}

/** Splits a body into lines, without their ends. */
export async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value: text } = await reader.read();
      if (done) break;
      const parts = (rest + text).split("\n");
      rest = parts.pop();
      yield* parts;
    }
    if (rest) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Trades a one-time code for a token. */
export async function openSession(code) {
  const response = await request("session", {
    method: "POST", json: { code }, showsToken: false,
  });
  const session = await response.json();
  keep("token", session.token);
  keep("rights", session.rights);
}

const part = encodeURIComponent;

/** Returns a short-lived URL of a file's content, for elements that send no headers. */
export async function contentUrl(group, file) {
  const path = `groups/${part(group)}/files/${part(file)}/content`;
  const response = await request("link", { method: "POST", json: { path } });
  return (await response.json()).url;
}

/** Returns the `peers` or the `pieces` of a file that is downloaded or shared. */
export async function ofFile(group, file, what) {
  return (await request(`groups/${part(group)}/files/${part(file)}/${what}`)).json();
}

/** Lists a directory of the client's machine; without a path the first where the user may begin. */
export async function directory(path) {
  const response = await request(`directories?path=${part(path)}`);
  const listed = await response.json();
  return listed.path === null && listed.roots.length > 0 ? directory(listed.roots[0]) : listed;
}

/** Stores a file of this browser in a directory and shares it. `fetch` reports no progress. */
export function drop(file, group, directoryPath, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    const lost = () => reject(new ApiError("client_gone", t.errors.unreachable));
    sender.open("PUT", `${ROOT}drops?directory=${part(directoryPath)}&name=${part(file.name)}` +
      `&group=${part(group)}`);
    for (const [header, text] of Object.entries(authorization())) {
      sender.setRequestHeader(header, text);
    }
    sender.setRequestHeader("Content-Type", "application/octet-stream");
    sender.upload.onprogress = (event) => onProgress(event.loaded);
    sender.onerror = lost;
    sender.onabort = () => reject(new DOMException("", "AbortError"));
    sender.onload = async () => {
      const response = new Response(sender.responseText, { status: sender.status || 500 });
      if (!response.ok) return reject(await failure(response));
      try {
        resolve(value(JSON.parse(sender.responseText.trim().split("\n").at(-1))));
      } catch (error) {
        reject(error instanceof ApiError ? error : new ApiError("failed", t.errors.unreachable));
      }
    };
    signal?.addEventListener("abort", () => sender.abort());
    sender.send(file);
  });
}
