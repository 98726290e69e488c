// Tokens, rights, keyboard, and a page below a path.
import assert from "node:assert/strict";
import { assertQuiet, button, buttonOf, dialog, go, open, openGroup } from "../browser.mjs";
import { freePort } from "../network.mjs";
import { startProxy } from "../proxy.mjs";
import { until } from "../until.mjs";

async function a_token_is_made_used_and_revoked(stage) {
  const { browser, nik, nikPage: page } = stage;
  await go(page, "settings");
  await button(page, "Create a token").click();
  await dialog(page).getByLabel("Name").fill("reader");
  await button(page, "Create").click();
  const token = await dialog(page).locator(".secret code").textContent();
  await dialog(page).getByRole("button", { name: "Close" }).last().click();

  // A page with the right to read shows everything and changes nothing.
  const reader = await open(browser);
  await reader.goto(`http://${nik.page}/`);
  await reader.evaluate((secret) => {
    localStorage.setItem("posse.token", secret);
    localStorage.setItem("posse.rights", "read");
  }, token);
  await reader.reload();
  await openGroup(reader, "lab");
  await reader.getByRole("row").filter({ hasText: "dropped.txt" }).waitFor();
  assert.ok(await button(reader, "Upload").isDisabled());

  await buttonOf(page, "Revoke", "reader").click();
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await dialog(page).waitFor({ state: "detached" });
  await reader.reload();
  await reader.getByRole("heading", { name: "Open this page with a link" }).waitFor();
  await reader.context().close();
}

async function the_keyboard_reaches_everything({ nikPage: page }) {
  await openGroup(page, "lab");
  await page.getByRole("row").filter({ hasText: "sevens.bin" }).waitFor();
  const names = page.locator(".files .row-link");
  await names.first().focus();
  const first = await names.first().textContent();
  await page.keyboard.press("ArrowDown");
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  assert.notEqual(await focused(), first);
  const second = await focused();
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await until("a closed dialog gives the focus back", async () => (await focused()) === second);
  // The first stop leads past the navigation.
  await page.reload();
  await page.getByRole("navigation", { name: "Main" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
}

async function the_theme_is_kept({ nikPage: page }) {
  const back = () => page.evaluate(() =>
    getComputedStyle(document.documentElement).backgroundColor);
  await go(page, "settings");
  const before = await back();
  await page.getByLabel("Theme", { exact: true }).selectOption("Dark");
  assert.notEqual(await back(), before);
  const dark = await back();
  await page.reload();
  assert.equal(await back(), dark);
  await page.getByLabel("Theme", { exact: true }).selectOption("As the system");
  assert.equal(await back(), before);
}

async function the_page_works_below_a_path_of_a_proxy({ network, browser }) {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}/posse`;
  const carol = await network.client("carol", ["--page-origin", origin]);
  const proxy = await startProxy(port, "/posse", carol.page);
  const page = await open(browser);
  const link = await carol.link();
  assert.ok(link.startsWith(`${origin}/#code=`), link);
  await page.goto(link);
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  assertQuiet(page);
  await page.context().close();
  proxy.closeAllConnections();
  proxy.close();
  await carol.stop();
}

export const scenarios = [
  a_token_is_made_used_and_revoked,
  the_keyboard_reaches_everything,
  the_theme_is_kept,
  the_page_works_below_a_path_of_a_proxy,
];
