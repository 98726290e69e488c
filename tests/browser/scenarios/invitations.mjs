// Invitations: made by an owner, used by a newcomer at sign-up and by a member, and revoked.
import assert from "node:assert/strict";
import { assertAccessible, assertQuiet, button, dialog, go, open, openGroup, row } from "../browser.mjs";

const PASSWORD = "correct horse";

/** Makes an invitation to a group, and returns its link. */
async function invite(page, group) {
  await openGroup(page, group, "Invitations");
  await button(page, "Invite").click();
  await assertAccessible(page, "the dialog that invites");
  await button(page, "Make the link").click();
  await dialog(page).getByRole("img", { name: "QR code of the link" }).waitFor();
  await assertAccessible(page, "the dialog with the link");
  const link = await dialog(page).locator("code").textContent();
  assert.match(link, /^posse:join\/[\w-]+$/);
  await dialog(page).getByRole("button", { name: "Close" }).last().click();
  return link;
}

async function a_newcomer_signs_up_with_a_link(stage) {
  const link = await invite(stage.nikPage, "lab");
  const ann = await stage.network.client("ann");
  const page = await open(stage.browser);
  await page.goto(await ann.link());
  await button(page, "I have an invitation").click();
  await button(page, "Create an account").click();
  // What was typed stays when the form changes.
  await page.getByLabel("Link of the invitation").fill(link.slice(0, -3));
  await assertAccessible(page, "sign-up with an invitation");
  await page.getByLabel("User name").fill("ann");
  await page.getByLabel("New password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("New password again").fill(PASSWORD);
  await button(page, "Create an account").click();
  await page.getByRole("alert").filter({ hasText: "cut short" }).waitFor();
  await page.getByLabel("Link of the invitation").fill(link);
  await button(page, "Create an account").click();
  await page.getByRole("heading", { name: "Transfers" }).waitFor();
  await openGroup(page, "lab", "Members");
  await row(page, "ann").filter({ hasText: "invited by" }).waitFor();
  assertQuiet(page);
  await page.context().close();
  await ann.stop();
}

async function a_member_joins_another_group_by_a_link({ nik, nikPage, bobPage }) {
  await nik.command("create_group den");
  const link = await invite(nikPage, "den");
  await go(bobPage, "groups");
  await button(bobPage, "I have an invitation").click();
  await assertAccessible(bobPage, "the dialog for a link");
  await bobPage.getByLabel("Link of the invitation").fill(link);
  await dialog(bobPage).getByRole("button", { name: "Join", exact: true }).click();
  await bobPage.getByRole("heading", { level: 1, name: "den" }).waitFor();
  await nik.command("delete_group den --yes");
}

async function an_invitation_is_revoked_and_members_may_invite({ nikPage, bobPage }) {
  await invite(nikPage, "lab");
  await nikPage.getByText("Used 0 of 1 time").waitFor();
  await button(nikPage, /^Revoke the invitation/, false).first().click();
  await button(dialog(nikPage), "Revoke").click();
  await nikPage.getByRole("status").filter({ hasText: "revoked" }).waitFor();
  await nikPage.getByLabel("Members may invite, too").check();
  await openGroup(bobPage, "lab", "Invitations");
  await button(bobPage, "Invite").waitFor();
}

export const scenarios = [
  a_newcomer_signs_up_with_a_link,
  a_member_joins_another_group_by_a_link,
  an_invitation_is_revoked_and_members_may_invite,
];
