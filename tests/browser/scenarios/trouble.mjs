// The service restarts under an open page, and a member is removed.
import assert from "node:assert/strict";
import { button, buttonOf, dialog, go, openGroup } from "../browser.mjs";

async function the_service_restarts_under_the_open_page({ bob, bobPage: page }) {
  await openGroup(page, "lab");
  await page.getByText("dropped.txt").waitFor();
  await bob.stop("SIGKILL");
  await page.getByText("The connection to the client is lost.").waitFor();
  await bob.start();
  await page.getByText("The connection to the client is lost.").waitFor({ state: "detached" });
  // The device stays logged in, and the page shows the same group again.
  await page.getByRole("heading", { level: 1, name: "lab" }).waitFor();
  await page.getByText("dropped.txt").waitFor();
}

async function a_removed_member_sees_it_at_once({ nikPage, bobPage }) {
  await openGroup(bobPage, "lab");
  await bobPage.getByText("dropped.txt").waitFor();
  await openGroup(nikPage, "lab", "Members");
  await buttonOf(nikPage, "Manage", "bob").click();
  await dialog(nikPage).getByRole("button", { name: "Remove" }).click();
  const consequences = await dialog(nikPage).getByRole("list").textContent();
  assert.match(consequences, /bob.* can list and download files of .*lab.* no more/);
  const begun = Date.now();
  await dialog(nikPage).getByRole("button", { name: "Remove" }).click();
  await bobPage.getByRole("alert").filter({ hasText: "You are not a member of lab any more" })
    .waitFor();
  await bobPage.getByText("You are not a member of this group").waitFor();
  assert.ok(Date.now() - begun < 10000, "it took long until the member saw the removal");
  await go(bobPage, "groups");
  await bobPage.getByText("You are in no group yet.").waitFor();
}

async function an_account_is_deleted_after_a_confirmation({ bobPage: page }) {
  await go(page, "settings");
  await button(page, "Delete account").click();
  const verb = dialog(page).getByRole("button", { name: "Delete account" });
  assert.ok(await verb.isDisabled());
  await dialog(page).getByLabel(/Delete the account .*bob.* for good/).check();
  await verb.click();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
}

export const scenarios = [
  the_service_restarts_under_the_open_page,
  a_removed_member_sees_it_at_once,
  an_account_is_deleted_after_a_confirmation,
];
