// Chromium, contexts that keep what pages complain of, and axe-core.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { until } from "./until.mjs";

const require = createRequire(import.meta.url);
const axeSource = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
/** Failures of requests are expected where a test stops a program. */
const EXPECTED = /^Failed to load resource|net::ERR_/;
const TIMEOUT = 60000;

export function launch(executablePath) {
  return chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--mute-audio",
      "--autoplay-policy=no-user-gesture-required"],
  });
}

/** Opens a context of its own, as another browser would be. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options,
  });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.stack ?? error.message));
  page.on("dialog", (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss().catch(() => {});
  });
  page.on("console", (message) => {
    const isBad = message.type() === "error" || message.type() === "warning";
    if (isBad && !EXPECTED.test(message.text())) page.complaints.push(message.text());
  });
  return page;
}

/** Holds that the page threw nothing, and that its policy stopped nothing. */
export function assertQuiet(page) {
  assert.deepEqual(page.complaints, []);
}

/** Holds that axe-core finds nothing serious or critical. */
export async function assertAccessible(page, what) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = bad.map(({ id, impact, nodes }) =>
    `${impact} ${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
  assert.deepEqual(told, [], `axe-core on ${what}`);
}

/** Goes to a screen of the page. */
export async function go(page, ...parts) {
  const hash = `#/${parts.map(encodeURIComponent).join("/")}`;
  await page.evaluate((next) => {
    location.hash = next;
  }, hash);
}

export const button = (page, name, exact = true) => page.getByRole("button", { name, exact });
/** The button of one thing, as `Pause long sound.wav`: the name is isolated in the label. */
export const buttonOf = (page, verb, name) =>
  page.getByRole("button", { name: new RegExp(`^${verb} \u2068?${name}`, "u") });
export const dialog = (page) => page.getByRole("dialog");

/** Names a directory in a dialog, once the one to begin with is shown. */
export async function chooseDirectory(page, path) {
  const field = dialog(page).getByLabel("Directory", { exact: true });
  await until("a first directory", () => field.inputValue());
  await field.fill(path);
}

/** Opens one of the user's groups. */
export async function openGroup(page, group, part = "Files") {
  await go(page, "groups");
  await page.getByRole("link", { name: group, exact: true }).click();
  await page.getByRole("heading", { level: 1, name: group }).waitFor();
  if (part !== "Files") await page.getByRole("link", { name: part }).click();
}

/** The row of a table that holds a text. */
export const row = (page, text) => page.getByRole("row").filter({ hasText: text });
