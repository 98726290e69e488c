// Requests to the tracker. Every URL is relative, so that the page works below any path.
//
// Every request carries the token in a header. The answer 401 ends the page's session.
import { keep, kept } from "./storage.js";
import { t } from "./texts.js";

const ROOT = "api/v1/";
/** Keys of their own: behind a proxy a member's page may have the same origin. */
const [TOKEN, RIGHTS] = ["tracker.token", "tracker.rights"];
/** Maximum number of lines in one answer of the tracker. */
export const LINES_MAX = 10000;

export class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

let onSessionLost = () => {};
let onReadOnly = () => {};

/** Sets what happens when the token is no longer valid, and when it turns out to be read-only. */
export function whenSessionLost(action, readOnly) {
  onSessionLost = action;
  onReadOnly = readOnly;
}

export const hasToken = () => Boolean(kept(TOKEN));
export const mayManage = () => kept(RIGHTS) !== "read";

function keepToken(token, rights) {
  keep(TOKEN, token);
  keep(RIGHTS, rights);
}

export const forgetToken = () => keepToken(null, null);

async function failure(response) {
  let error;
  try {
    ({ error } = await response.json());
  } catch {
    // The body is not from the tracker, but from a proxy in between.
  }
  const message = error?.message ?? t.errors.status(response.status);
  return new ApiError(error?.code ?? "failed", message, response.status);
}

async function post(path, json, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(ROOT + path, {
      method: "POST", headers, body: JSON.stringify(json), cache: "no-store", credentials: "omit",
      redirect: "error",
    });
  } catch {
    throw new ApiError("tracker_gone", t.errors.unreachable);
  }
  if (!response.ok) throw await failure(response);
  return response.json();
}

const given = (...words) =>
  words.filter((word) => word !== undefined && word !== null && word !== "").map(String);
const option = (name, value) => (value ? [name, String(value)] : []);

/** The arguments of each command, from its words by name. */
const ARGUMENTS = {
  users: ({ pattern }) => given(pattern),
  reset_password: ({ user }) => [user],
  disable_user: ({ user }) => [user],
  enable_user: ({ user }) => [user],
  delete_user: ({ user }) => [user, "--yes"],
  delete_group: ({ group }) => [group, "--yes"],
  remove_file: ({ group, file }) => [group, file, "--yes"],
  quota: ({ quota, value }) => given(quota, value),
  accounts: ({ accounts }) => given(accounts),
  audit: ({ since, until, user, limit }) => [
    ...option("--since", since), ...option("--until", until), ...option("--user", user),
    ...option("--limit", limit),
  ],
  backup: ({ file }) => [file],
  add_tracker: ({ address }) => [address],
  remove_tracker: ({ number }) => [String(number)],
  rotate_key: ({ step }) => (step === "end" ? ["end", "--yes"] : given(step)),
  create_token: ({ name, rights, days }) => given(name, rights, days),
  revoke_token: ({ token }) => [token],
};

/** Carries out a command and returns `{ lines, more }`. */
export async function ask(command, words = {}, limit = LINES_MAX) {
  const token = kept(TOKEN);
  try {
    const json = { command, arguments: ARGUMENTS[command]?.(words) ?? [], limit };
    return await post("admin", json, token);
  } catch (error) {
    // A later answer to an earlier token says nothing about the present one.
    if (error.status === 401 && token === kept(TOKEN)) {
      forgetToken();
      onSessionLost();
    }
    if (error.status === 403 && error.code === "not_allowed" && mayManage()) {
      keep(RIGHTS, "read");
      onReadOnly();
    }
    throw error;
  }
}

/** Commands that are answered by a list. */
const LISTS = ["users", "sessions", "audit", "tokens"];

/** Carries out a command and returns its line, or its list of lines. */
export async function command(name, words = {}) {
  const { lines } = await ask(name, words);
  return LISTS.includes(name) ? lines : lines[0];
}

/** Trades a one-time code for a token. A token is taken as it is. */
export async function openSession(code) {
  if (code.startsWith("posse_")) return keepToken(code, null);
  const session = await post("session", { code });
  return keepToken(session.token, session.rights);
}
