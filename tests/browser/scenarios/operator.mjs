// The operator's page on a tracker: what it shows, and what is done with it.
import assert from "node:assert/strict";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assertAccessible, button, buttonOf, dialog, go, open, row } from "../browser.mjs";
import { assertPreloaded } from "../screens.mjs";
import { until } from "../until.mjs";

const PASSWORD = "correct horse";
/** A name that tries to be markup. */
const FILE = "<img src=x onerror=alert(1)>.txt";

/** Logs in with a client of this user and runs commands. */
const as = (network, user, password, ...commands) =>
  network.prompt(user, `login ${user} '${password}'`, ...commands);

async function assertDone(promise) {
  const { status, lines } = await promise;
  assert.equal(status, 0, lines.join("\n"));
}

async function assertRefused(promise, why) {
  const { status, lines } = await promise;
  assert.equal(status, 1, lines.join("\n"));
  assert.match(lines.join("\n"), why);
}

async function there_are_users_groups_and_files({ network }) {
  const path = join(network.home, FILE);
  await writeFile(path, "content");
  for (const user of ["carol", "dave"]) {
    await assertDone(network.prompt(user, `create_user ${user} '${PASSWORD}'`));
  }
  await assertDone(as(network, "carol", PASSWORD, "create_group press",
    `upload_file '${path}' press`));
}

async function the_page_asks_for_a_link_and_takes_it_once(stage) {
  const { browser, network } = stage;
  const page = await open(browser);
  stage.operatorPage = page;
  await page.goto(`http://${network.trackerPages[0]}/`);
  await page.getByRole("heading", { name: "Open this page with a link" }).waitFor();
  await page.getByText("tracker admin page").waitFor();
  await assertAccessible(page, "the operator's screen without a token");
  const link = await network.operatorLink(1);
  await page.goto(link);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  assert.equal(new URL(page.url()).hash, "", "the code stays in no history");
  await assertPreloaded(page);
  const other = await open(browser);
  await other.goto(link);
  await other.getByRole("alert").filter({ hasText: /\w/ }).waitFor();
  await other.getByRole("heading", { name: "Open this page with a link" }).waitFor();
  await other.context().close();
}

const light = (page, name) => page.getByRole("link", { name });

async function the_overview_shows_trackers_and_what_degraded_means({ network, operatorPage: page }) {
  await go(page, "overview");
  await light(page, "All trackers are up").waitFor();
  const trackers = page.getByRole("region", { name: "Trackers of the network" });
  await trackers.getByRole("listitem").filter({ hasText: "Tracker 2" }).getByText("up").waitFor();
  await page.getByRole("img", { name: /^Users: from/ }).waitFor();
  await network.trackers[1].stop("SIGKILL");
  await light(page, "Degraded").waitFor();
  await page.getByText(/^Degraded for .* since /).waitFor();
  await page.getByText("Not in step: tracker 2.").waitFor();
  await trackers.getByRole("listitem").filter({ hasText: "Tracker 2" }).getByText("down").waitFor();
  await network.startTracker(2);
  await light(page, "All trackers are up").waitFor();
  await page.getByText(/^Degraded for/).waitFor({ state: "detached" });
}

async function openUser(page, user) {
  await go(page, "users");
  await page.getByRole("searchbox", { name: "Search users" }).fill(user);
  await buttonOf(page, "Manage", user).click();
  await dialog(page).getByRole("button", { name: "Reset password" }).waitFor();
}

async function a_password_is_reset_and_used({ network, operatorPage: page }) {
  await openUser(page, "carol");
  await dialog(page).getByText("1 of 200").waitFor();
  await dialog(page).getByRole("button", { name: "Reset password" }).click();
  const consequences = await dialog(page).getByRole("list").textContent();
  assert.match(consequences, /All sessions of .*carol.* end/);
  await dialog(page).getByRole("button", { name: "Reset password" }).click();
  const password = await dialog(page).locator(".secret code").textContent();
  await button(page, "Close", true).last().click();
  await row(page, "carol").getByText("must change password").waitFor();
  await assertRefused(as(network, "carol", PASSWORD), /wrong user name or password/);
  await assertRefused(as(network, "carol", password, "list_groups"), /choose your own/);
  await assertDone(as(network, "carol", password, `change_password ${password} '${PASSWORD}'`));
}

async function a_user_is_disabled_and_enabled({ network, operatorPage: page }) {
  await openUser(page, "dave");
  await dialog(page).getByRole("button", { name: "Disable" }).click();
  await dialog(page).getByRole("button", { name: "Disable" }).click();
  await row(page, "dave").getByText("disabled").waitFor();
  await assertRefused(as(network, "dave", PASSWORD), /disabled/);
  await openUser(page, "dave");
  await dialog(page).getByRole("button", { name: "Enable" }).click();
  await dialog(page).getByRole("button", { name: "Disable" }).waitFor();
  await page.keyboard.press("Escape");
  await assertDone(as(network, "dave", PASSWORD));
}

async function setQuota(page, label, value) {
  await button(page, `Change: ${label}`).click();
  if (value === null) return button(page, "Use the default").click();
  await dialog(page).getByLabel("Quota", { exact: true }).fill(value);
  return dialog(page).getByRole("button", { name: "Set", exact: true }).click();
}

async function a_quota_is_set_and_restored({ network, operatorPage: page }) {
  await go(page, "settings");
  const label = "Groups owned by an account";
  await setQuota(page, label, "many");
  await dialog(page).getByRole("alert").filter({ hasText: "no number" }).waitFor();
  await page.keyboard.press("Escape");
  await setQuota(page, label, "0");
  const entry = page.getByRole("listitem").filter({ hasText: label });
  await until("the quota", async () => / 0(?!\d)/.test(await entry.textContent()));
  await assertRefused(as(network, "dave", PASSWORD, "create_group late"), /as many groups/);
  await setQuota(page, label, null);
  await until("the default", async () => (await entry.textContent()).includes(" 200"));
  await assertDone(as(network, "dave", PASSWORD, "create_group late"));
}

async function accounts_are_closed_and_opened({ network, operatorPage: page }) {
  await go(page, "settings");
  for (const [name, isOpen] of [["Closed", false], ["Open", true]]) {
    await button(page, `Set: ${name}`).click();
    await dialog(page).getByRole("button", { name: "Set", exact: true }).click();
    await button(page, `Set: ${name}`).waitFor({ state: "detached" });
    const made = network.prompt(`frank-${name}`, `create_user frank '${PASSWORD}'`);
    await (isOpen ? assertDone(made) : assertRefused(made, /account/));
  }
}

/** The client of nik runs with the page that the other scenarios use. */
async function a_session_is_listed({ operatorPage: page }) {
  await go(page, "users", "sessions");
  await row(page, "nik").getByText("127.0.0.1").waitFor();
}

async function the_audit_tells_who_did_what({ operatorPage: page }) {
  await go(page, "audit");
  await row(page, "reset the password of carol").getByText("operator").waitFor();
  await row(page, "disabled dave").waitFor();
  await page.getByLabel("By or about the user").fill("carol");
  await row(page, "disabled dave").waitFor({ state: "detached" });
  const names = page.locator(".changes bdi");
  const shown = await names.allTextContents();
  assert.ok(shown.includes(FILE), "markup in a name is text");
  assert.equal(await page.locator("#page script, #page img").count(), 0);
  await page.getByRole("searchbox", { name: "Search these changes" }).fill("reset_password");
  await row(page, "made the group press").waitFor({ state: "detached" });
  await button(page, /reset the password of carol/, false).click();
  await dialog(page).getByText("reset_password").waitFor();
  await page.keyboard.press("Escape");
  await page.getByLabel("By or about the user").fill("nobody-here");
  await page.getByRole("alert").filter({ hasText: "no such user" }).waitFor();
}

async function a_file_is_removed_and_a_group_deleted({ network, operatorPage: page }) {
  await go(page, "groups");
  await page.getByLabel("Group", { exact: true }).fill("press");
  await page.getByLabel("File", { exact: true }).fill(FILE);
  await button(page, "Remove the file …").click();
  const consequences = await dialog(page).getByRole("list").textContent();
  assert.ok(consequences.includes(`${FILE}\u2069 is removed from the list of \u2068press`));
  await dialog(page).getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByRole("status").filter({ hasText: "is removed from press" }).waitFor();

  await page.getByLabel("Name of the group").fill("press");
  await button(page, "Delete the group …").click();
  const verb = dialog(page).getByRole("button", { name: "Delete group" });
  assert.ok(await verb.isDisabled());
  await dialog(page).getByRole("textbox").fill("pres");
  await page.keyboard.press("Enter");
  assert.ok(await verb.isDisabled());
  await dialog(page).getByRole("textbox").fill("press");
  await verb.click();
  await page.getByRole("status").filter({ hasText: "The group press is deleted" }).waitFor();
  const { lines } = await as(network, "dave", PASSWORD, "list_groups");
  assert.ok(!lines.some((line) => line.startsWith("press")), lines.join("\n"));
}

async function an_account_is_deleted_after_its_name_was_typed({ network, operatorPage: page }) {
  await openUser(page, "dave");
  await dialog(page).getByRole("button", { name: "Delete account" }).click();
  const verb = dialog(page).getByRole("button", { name: "Delete account" });
  assert.ok(await verb.isDisabled());
  const consequences = await dialog(page).getByRole("list").textContent();
  assert.match(consequences, /dave.* is deleted on every tracker/);
  assert.match(consequences, /The group that it owns goes/);
  await dialog(page).getByRole("textbox").fill("dave");
  await verb.click();
  await page.getByText("There is no such user.").waitFor();
  await assertRefused(as(network, "dave", PASSWORD), /wrong user name or password/);
}

async function a_tracker_is_added_and_removed({ operatorPage: page }) {
  await go(page, "trackers");
  await button(page, "Add a tracker").click();
  await dialog(page).getByLabel("Address").fill("no port");
  await dialog(page).getByRole("button", { name: "Add", exact: true }).click();
  await dialog(page).getByRole("alert").filter({ hasText: /\w/ }).waitFor();
  await dialog(page).getByLabel("Address").fill("127.0.0.1:9");
  await dialog(page).getByRole("button", { name: "Add", exact: true }).click();
  await dialog(page).getByText("Tracker 3 is added").waitFor();
  assert.match(await dialog(page).locator(".secret code").textContent(), /^network sha256:/);
  await button(page, "Close").last().click();
  await button(page, "Remove tracker 3").click();
  await dialog(page).getByRole("button", { name: "Remove", exact: true }).click();
  await dialog(page).getByText("Tracker 3 is removed").waitFor();
  await button(page, "Close").last().click();
  await button(page, "Remove tracker 3").waitFor({ state: "detached" });
}

async function the_key_is_replaced_up_to_the_last_step({ operatorPage: page }) {
  await go(page, "trackers", "key");
  await page.getByText("not begun").waitFor();
  await button(page, "Make the new key").click();
  await button(page, "Begin").click();
  await dialog(page).getByRole("button", { name: "Begin" }).click();
  await page.getByText("begun: both keys are valid").waitFor();
  // Both trackers of the test have one file.
  await page.getByText("Tracker 1 holds the new key").waitFor();
  await button(page, "Cancel the rotation").click();
  await dialog(page).getByRole("button", { name: "Cancel the rotation" }).click();
  await page.getByText("cancelled", { exact: true }).waitFor();
}

async function a_backup_is_made({ network, operatorPage: page }) {
  await go(page, "settings");
  const file = join(network.home, "backup.sqlite");
  await page.getByLabel("New file").fill("backup.sqlite");
  await button(page, "Make a backup").click();
  await page.getByRole("alert").filter({ hasText: "does not begin with /" }).waitFor();
  await page.getByLabel("New file").fill(file);
  await button(page, "Make a backup").click();
  await page.getByText(/^The backup is in /).waitFor();
  assert.ok((await stat(file)).size > 0);
}

async function a_token_that_may_read_changes_nothing(stage) {
  const { browser, network, operatorPage: page } = stage;
  await go(page, "settings");
  await button(page, "Create a token").click();
  await dialog(page).getByLabel("Name").fill("reader");
  await button(page, "Create").click();
  const token = await dialog(page).locator(".secret code").textContent();
  await button(page, "Close").last().click();

  const reader = await open(browser);
  await reader.goto(`http://${network.trackerPages[0]}/`);
  await reader.getByLabel("Link, code or token").fill(token);
  await button(reader, "Open").click();
  await reader.getByRole("heading", { name: "Overview" }).waitFor();
  await openUser(reader, "carol");
  await dialog(reader).getByRole("button", { name: "Disable" }).click();
  await dialog(reader).getByRole("button", { name: "Disable" }).click();
  await dialog(reader).getByRole("alert").filter({ hasText: "change nothing" }).waitFor();
  await reader.keyboard.press("Escape");
  await reader.getByText("This page may only look").waitFor();
  await openUser(reader, "carol");
  assert.ok(await dialog(reader).getByRole("button", { name: "Disable" }).isDisabled());
  await reader.reload();
  await reader.getByText("This page may only look").waitFor();

  await buttonOf(page, "Revoke", "reader").click();
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await reader.getByRole("heading", { name: "Open this page with a link" }).waitFor();
  await reader.context().close();
}

async function the_tracker_restarts_under_the_open_page({ network, operatorPage: page }) {
  await go(page, "overview");
  await network.trackers[0].stop("SIGKILL");
  await page.getByText("This page tries again by itself").waitFor();
  await network.startTracker(1);
  await page.getByText("This page tries again by itself").waitFor({ state: "detached" });
  await light(page, "All trackers are up").waitFor();
}

export const scenarios = [
  there_are_users_groups_and_files,
  the_page_asks_for_a_link_and_takes_it_once,
  the_overview_shows_trackers_and_what_degraded_means,
  a_password_is_reset_and_used,
  a_user_is_disabled_and_enabled,
  a_quota_is_set_and_restored,
  accounts_are_closed_and_opened,
  a_session_is_listed,
  the_audit_tells_who_did_what,
  a_file_is_removed_and_a_group_deleted,
  an_account_is_deleted_after_its_name_was_typed,
  a_tracker_is_added_and_removed,
  the_key_is_replaced_up_to_the_last_step,
  a_backup_is_made,
  a_token_that_may_read_changes_nothing,
  the_tracker_restarts_under_the_open_page,
];
